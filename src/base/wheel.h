/* SPDX-License-Identifier: MIT */
/* wheel: a hierarchical timer wheel, 4 levels of 256 slots, 0.25 ms a tick (12 days; later deadlines wait
 * in the last slot and are put again).
 *
 * Starting, moving and stopping are O(1). A timer that is moved later is moved lazily: only its
 * deadline is stored, and the entry is re-linked when its old slot comes up; since most timers of a
 * busy flow are pushed out again and again, that makes re-arming a store.
 *
 * Time is nanoseconds on the caller's clock and does not go back; timers never fire early, and at most
 * one tick plus the caller's own lateness late. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

enum { WHEEL_LEVELS = 4, WHEEL_SLOTS = 256, WHEEL_TICK_NS = 250000 };
#define WHEEL_NEVER UINT64_MAX

struct wheel_timer {
    struct list node;
    uint64_t deadline_ns; /* WHEEL_NEVER: not running */
    uint64_t linked_ns;   /* the deadline by which it is linked; at most deadline_ns. WHEEL_NEVER: not linked */
};

struct wheel {
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS][WHEEL_SLOTS / 64]; /* a bit per slot that has an entry */
    uint64_t tick;  /* the tick of the latest wheel_expire(): what its slot holds is due */
    uint32_t count; /* timers that run */
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_timer_init(struct wheel_timer *t);
void wheel_stop(struct wheel *w, struct wheel_timer *t);
void wheel_relink_(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ns);

/* Starts or moves. WHEEL_NEVER stops. A deadline in the past fires at the next wheel_expire(). */
static inline void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ns)
{
    if (deadline_ns >= t->linked_ns && deadline_ns != WHEEL_NEVER)
        t->deadline_ns = deadline_ns;
    else
        wheel_relink_(w, t, deadline_ns);
}

/* One timer whose deadline is at or before now_ns, stopped; NULL when there is none (left). The caller
 * loops, and may start and stop any timer between two calls. */
struct wheel_timer *wheel_expire(struct wheel *w, uint64_t now_ns);
/* When wheel_expire() should next be called: exact within level 0, else the start of an occupied slot
 * (which may turn out to hold nothing that is due yet). WHEEL_NEVER: no timer runs. */
uint64_t wheel_next_ns(const struct wheel *w);

static inline bool wheel_is_running(const struct wheel_timer *t)
{
    return t->deadline_ns != WHEEL_NEVER;
}
