/* SPDX-License-Identifier: MIT */
/* loop: the event loop of one worker (struct adit_loop), on libuv; no libuv type leaves src/sock and src/stack.
 *
 * libuv gives timers, wake-ups from other threads, and name resolution. Sockets of flows and the device are not libuv
 * handles (160 bytes and several system calls each): they are in a readiness set of the loop's own (`ready_linux.c`:
 * epoll), which is one uv_poll handle in the libuv loop.
 *
 *     uv: poll ---> ready set ---> watch->fn (device, relays, dials ...)  --+
 *     uv: async --> posts -------------------------------------------------+--> hooks.turn: serve ready flows,
 *     uv: timer --> (hooks.next_ns was due) -------------------------------+    expire, output
 *
 * hooks.turn runs after the callbacks of each iteration and before the loop blocks again: what was done from any
 * callback leaves in one batch. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/list.h"
#include "base/log.h"

struct loop_hooks {
    void *ctx;
    void (*turn)(void *ctx, uint64_t now_ns);
    uint64_t (*next_ns)(void *ctx); /* when turn is due even if nothing happens; WHEEL_NEVER */
};

struct loop_config {
    uint64_t (*now_ns)(void *ctx); /* NULL: CLOCK_MONOTONIC */
    void *now_ctx;
    const struct log *log;
    struct loop_hooks hooks;
};

/* struct adit_loop itself is defined in loop_private.h (it holds libuv handles). */
int loop_new(struct adit_loop **out, const struct loop_config *c, adit_error *err);
void loop_free(struct adit_loop *l);
uint64_t loop_now_ns(const struct adit_loop *l); /* of this iteration; cheap */
void loop_run(struct adit_loop *l);              /* until loop_stop() */
void loop_stop(struct adit_loop *l);             /* on the loop's thread */
/* Async-signal-safe and callable from any thread: makes the loop turn once and call `fn` of loop_set_wake. */
void loop_wake(struct adit_loop *l);
void loop_set_wake(struct adit_loop *l, void (*fn)(void *arg), void *arg);
bool loop_is_own_thread(const struct adit_loop *l); /* for assertions in debug builds */

/* A descriptor in the ready set. The struct is the caller's memory and must stay until removed. */
struct watch;
typedef void (*watch_fn)(struct watch *w, unsigned events); /* ADIT_READ | ADIT_WRITE; errors and hang-ups show as both */
struct watch {
    struct adit_loop *loop;
    watch_fn fn;
    int fd;
    unsigned events;  /* what is asked for */
    bool edge;        /* told once per change: read or write until EAGAIN */
    uint32_t slot;    /* in the ready set, so that an event of a removed watch is not delivered */
};
/* edge: registered once with both directions, never changed again (one system call per connection). */
int watch_add(struct adit_loop *l, struct watch *w, int fd, unsigned events, bool edge, watch_fn fn);
int watch_set(struct watch *w, unsigned events); /* level-triggered watches only */
/* Removes it; no event of it is delivered after that, even in this iteration. Before the close of the descriptor. */
void watch_remove(struct watch *w);
