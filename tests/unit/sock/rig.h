/* SPDX-License-Identifier: MIT */
/* rig: a loop that a test turns by hand until something has happened, with a bound on the time. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "adit/adit.h"
#include "sock/loop.h"

enum { RIG_PATIENCE_MS = 10000 };

static inline uint64_t rig_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct adit_loop *rig_loop_with(const struct loop_config *c)
{
    struct adit_loop *l;
    adit_error err = {0};

    assert_int_equal(loop_new(&l, c, &err), 0);
    return l;
}

static inline struct adit_loop *rig_loop(void)
{
    struct loop_config c = {0};

    return rig_loop_with(&c);
}

/* One iteration as a host's own loop does it: waits at most wait_ms. */
static inline void rig_turn(struct adit_loop *l, int wait_ms)
{
    struct pollfd p = {.fd = adit_loop_pollfd(l), .events = POLLIN};
    int64_t timeout_ns = adit_loop_timeout_ns(l);
    int ms = wait_ms;

    if (timeout_ns >= 0 && (timeout_ns + 999999) / 1000000 < ms)
        ms = (int)((timeout_ns + 999999) / 1000000);
    poll(&p, 1, ms);
    adit_loop_dispatch(l);
}

/* Turns until *flag, a counter, is at least `count`. */
static inline void rig_until(struct adit_loop *l, const int *flag, int count)
{
    uint64_t end_ns = rig_clock_ns() + (uint64_t)RIG_PATIENCE_MS * 1000000;

    while (*flag < count) {
        if (rig_clock_ns() > end_ns)
            fail_msg("nothing happened");
        rig_turn(l, 50);
    }
}

/* Turns for so long, whatever happens. */
static inline void rig_for_ms(struct adit_loop *l, int ms)
{
    uint64_t end_ns = rig_clock_ns() + (uint64_t)ms * 1000000;

    while (rig_clock_ns() < end_ns)
        rig_turn(l, 5);
}

/* What a dial has told. */
struct dialled {
    int told, err;
    adit_socket s;
};

static inline void on_dialled(void *arg, int err, adit_socket s)
{
    struct dialled *d = arg;

    d->told++;
    d->err = err;
    d->s = s;
}

/* xorshift: a test prints its seed. */
static inline uint32_t rig_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}
