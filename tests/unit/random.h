/* SPDX-License-Identifier: MIT */
/* random: reproducible random numbers for tests. The seed is new in each run and printed; the environment
 * variable ADIT_TEST_SEED repeats a run. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct random {
    uint64_t state;
};

/* splitmix64 */
static inline uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* 0 ... n - 1 */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
    return random_next(r) % n;
}

static inline struct random random_seeded(const char *test)
{
    const char *text = getenv("ADIT_TEST_SEED");
    struct timespec now;
    uint64_t seed;

    clock_gettime(CLOCK_REALTIME, &now);
    seed = text ? strtoull(text, NULL, 0) : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    fprintf(stderr, "%s: ADIT_TEST_SEED=%llu\n", test, (unsigned long long)seed);
    return (struct random){.state = seed};
}
