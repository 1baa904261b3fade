/* SPDX-License-Identifier: MIT */
/* spin: whether to look again for a moment before blocking.
 *
 * A thread that blocks is woken 20 to 50 us after there is something for it, and its waker pays for that too. Where the
 * next event comes within SPIN_NS of the last one, as the answer of a near server does, looking again is cheaper for
 * both. Where it does not, or where the processor is wanted by those who are to answer, it is waste. So it is tried only
 * with a second processor and right after something happened, and each time it was in vain the next 2, 4, ... up to 64
 * opportunities are let pass: then it costs at most 20 us of every 64 waits. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SPIN_NS 20000u

enum { SPIN_MISSES_MAX = 6 };

struct spin {
    bool is_possible;
    uint8_t misses;  /* in a row, at most SPIN_MISSES_MAX */
    uint32_t to_skip; /* opportunities */
};

static inline void spin_init(struct spin *s, unsigned cpus)
{
    *s = (struct spin){.is_possible = cpus > 1};
}

/* An opportunity: something has just happened, and nothing is there now. True: look again for SPIN_NS and tell spin_ended(). */
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
