/* SPDX-License-Identifier: MIT */
/* log: an instance's log, handed to the host's callback. There is no process-wide log.
 *
 * One call makes one record: level, module, flow id, a sentence, and key/value pairs ("src", "10.0.0.1")
 * that stay separate for JSON logs. A record is built on the stack and its strings die when the callback
 * returns. What strangers can trigger is rate limited by `struct log_limit`. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include "adit/base.h"

struct log {
    adit_log_fn fn; /* NULL: silent */
    void *ctx;
    int level; /* records above it are not made */
};

enum { LOG_PAIRS_MAX = 16 }; /* of a record; what is beyond is left out */

/* Pairs of strings, NULL at the end: log_write(l, ADIT_LOG_WARN, "tun", 0, "no TUN", "os", "EPERM", NULL) */
void log_write(const struct log *l, int level, const char *module, uint64_t flow, const char *msg, ...)
    __attribute__((sentinel));
#define log_is_on(l, lvl) ((l)->fn && (lvl) <= (l)->level)

/* At most `burst` records, then one a second; `suppressed` counts the others. Zeroed but for `burst`
 * is a limit that is full. */
struct log_limit {
    uint64_t refilled_ns, suppressed;
    uint32_t tokens, burst;
};
bool log_limit_allows(struct log_limit *r, uint64_t now_ns);
