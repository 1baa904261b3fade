/* SPDX-License-Identifier: MIT */
/* log: see log.h. */
#include "base/log.h"
#include <stddef.h>

void log_write(const struct log *l, int level, const char *module, uint64_t flow, const char *msg,
               ...)
{
    const char *kv[2 * LOG_PAIRS_MAX];
    adit_log_record r = {.level = level, .module = module, .flow = flow, .msg = msg, .kv = kv};
    va_list args;

    if (!log_is_on(l, level))
        return;
    va_start(args, msg);
    while (r.kv_count < 2 * LOG_PAIRS_MAX) {
        const char *key = va_arg(args, const char *);
        const char *value = key ? va_arg(args, const char *) : NULL;

        if (!value)
            break;
        kv[r.kv_count++] = key;
        kv[r.kv_count++] = value;
    }
    va_end(args);
    l->fn(l->ctx, &r);
}

bool log_limit_allows(struct log_limit *r, uint64_t now_ns)
{
    const uint64_t second_ns = 1000000000;
    uint64_t seconds = now_ns > r->refilled_ns ? (now_ns - r->refilled_ns) / second_ns : 0;

    if (r->refilled_ns == 0) {
        r->tokens = r->burst;
        r->refilled_ns = now_ns ? now_ns : 1;
    } else if (seconds) {
        r->tokens = seconds < r->burst - r->tokens ? r->tokens + (uint32_t)seconds : r->burst;
        r->refilled_ns += seconds * second_ns;
    }
    if (r->tokens == 0) {
        r->suppressed++;
        return false;
    }
    r->tokens--;
    return true;
}
