/* SPDX-License-Identifier: MIT */
/* stats: an instance's counters for other threads.
 *
 * The worker's own counters are plain integers that only its thread touches. At the end of a turn it copies them under a
 * mutex that readers share, at most every REPORT_NS. A turn that comes sooner leaves the report stale and asks for one more
 * turn when it is due: so a report is never older than REPORT_NS of activity, and an idle instance has one wake-up after
 * its last packet and then none. No reader ever waits for the worker, so a reader may be anything, a handler too. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "adit/adit.h"

struct worker;

#define REPORT_NS 10000000ull

struct report {
    uv_mutex_t mutex;   /* guards stats and device */
    adit_stats stats;
    char device[64];    /* what the device says of itself: it may change when the kernel refuses something */
    const char *engine; /* of the stack; a constant */
    char fallback[160];
    uint64_t copied_ns; /* the worker's */
    bool is_stale;      /* likewise: something happened since */
};

int report_init(struct report *r); /* 0 or ADIT_ENOMEM */
void report_deinit(struct report *r);
/* At the end of a turn, on the worker's thread. last: whatever the time. */
void report_update(struct worker *w, uint64_t now_ns, bool last);
uint64_t report_next_ns(const struct report *r); /* when it wants another turn; WHEEL_NEVER */
