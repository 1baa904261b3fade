/* SPDX-License-Identifier: MIT */
/* spin: whether to look again for a moment before blocking, and for how long.
 *
 * A thread that blocks is woken 20 to 50 us after there is something for it, and its waker pays for that too. Where the
 * next event comes shortly after the last one, as the answer of a near server does, looking again is cheaper for both.
 * Where it does not, or where the processor is wanted by those who are to answer, it is waste. So it is tried only with
 * a second processor and right after something happened, and each time it was in vain the next 2, 4, ... up to 64
 * opportunities are let pass.
 *
 * How long the answer takes depends on the machine: where an idle processor sleeps deeply, waking the one who answers takes
 * longer than all else. So the waits are measured, those without looking too: one that SPIN_MAX_NS would have covered doubles
 * the window, one that nothing would have covered takes it back to SPIN_MIN_NS, and that much is lost by it at most. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SPIN_MIN_NS 20000u
#define SPIN_MAX_NS 80000u

enum { SPIN_MISSES_MAX = 6 };

struct spin {
    bool is_possible;
    uint8_t misses;     /* in a row, at most SPIN_MISSES_MAX */
    uint32_t to_skip;   /* opportunities */
    uint32_t window_ns; /* SPIN_MIN_NS to SPIN_MAX_NS */
};

static inline void spin_init(struct spin *s, bool is_possible)
{
    *s = (struct spin){.is_possible = is_possible, .window_ns = SPIN_MIN_NS};
}

/* An opportunity: something has just happened, and nothing is there now. True: look again for window_ns and tell spin_ended(). */
static inline bool spin_begins(struct spin *s)
{
    if (!s->is_possible)
        return false;
    if (s->to_skip == 0)
        return true;
    s->to_skip--;
    return false;
}

static inline void spin_ended(struct spin *s, bool has_come)
{
    if (has_come) {
        s->misses = 0;
        return;
    }
    if (s->misses < SPIN_MISSES_MAX)
        s->misses++;
    s->to_skip = 1u << s->misses;
}

/* The wait that began with an opportunity took so long, blocked in the end. */
static inline void spin_blocked(struct spin *s, uint64_t waited_ns)
{
    if (waited_ns > SPIN_MAX_NS)
        s->window_ns = SPIN_MIN_NS;
    else if (waited_ns > s->window_ns)
        s->window_ns = 2 * s->window_ns < SPIN_MAX_NS ? 2 * s->window_ns : SPIN_MAX_NS;
}
