/* SPDX-License-Identifier: MIT */
/* ready: which descriptors are ready, asked of the system: one file for each system (ready_linux.c: epoll).
 *
 * A descriptor is registered with a token of the caller's, and the token comes back with its events: the set knows
 * neither watches nor functions. Edge-triggered registrations ask for both directions and are never changed. The set's
 * own descriptor is readable when something is ready, so that it can be watched in another loop. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct ready {
    int fd;
    bool is_coarse; /* waits are whole milliseconds */
};

struct ready_event {
    uint64_t token;
    unsigned events; /* ADIT_READ | ADIT_WRITE | WATCH_HANGUP | WATCH_ERROR | WATCH_URGENT */
};

/* All functions that return int: 0, or a negative adit_code. */
int ready_open(struct ready *r);
void ready_close(struct ready *r);
/* events: ADIT_READ | ADIT_WRITE, not 0. */
int ready_add(struct ready *r, int fd, unsigned events, bool edge, uint64_t token);
int ready_set(struct ready *r, int fd, unsigned events, uint64_t token); /* level-triggered ones only */
/* A descriptor that is not in the set is no error: a closed one has left it by itself. */
void ready_remove(struct ready *r, int fd);
/* Waits for events, at most timeout_ns (rounded up to what the system can; -1: for ever; 0: not at all). How many were
 * written to `out`; an interruption by a signal is 0. */
int ready_wait(struct ready *r, struct ready_event *out, int out_max, int64_t timeout_ns);
/* Processors that this process may run on. */
unsigned ready_cpus(void);
