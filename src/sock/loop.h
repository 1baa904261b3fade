/* SPDX-License-Identifier: MIT */
/* loop: the event loop of one worker (struct adit_loop); no libuv type leaves src/sock and src/stack.
 *
 * The worker blocks in a readiness set of its own (`ready_linux.c`: epoll), in which sockets of flows and the device are
 * registered directly. libuv gives name resolution and wake-ups from other threads and signal handlers; its loop is one
 * descriptor in the set and runs only when that is readable, so that a busy turn costs one system call for waiting
 * however many descriptors there are. Timers are a wheel (base/wheel.h): the earliest deadline bounds the wait.
 *
 *     ready set ---> watch->fn (device, relays, dials ...)  --+
 *          +------> libuv: posts, loop_wake, names -----------+
 *     tasks put off from the iteration before ----------------+--> hooks.turn: serve ready flows,
 *     timers due ---------------------------------------------+    expire, output
 *
 * hooks.turn runs after the callbacks of each iteration and before the loop blocks again: what was done from any
 * callback leaves in one batch. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/wheel.h"

struct loop_hooks {
    void *ctx;
    void (*begin)(void *ctx, uint64_t now_ns); /* an iteration begins: the time of the callbacks that follow. NULL: not told */
    void (*turn)(void *ctx, uint64_t now_ns);
    uint64_t (*next_ns)(void *ctx); /* when turn is due even if nothing happens; WHEEL_NEVER */
};

struct loop_config {
    uint64_t (*now_ns)(void *ctx); /* NULL: CLOCK_MONOTONIC */
    void *now_ctx;
    const struct log *log;
    struct memory *memory; /* borrowed for life; NULL: one of the loop's own, without a limit */
    bool needs_thread; /* one of several of an instance: adit_loop_dispatch() refuses it */
    bool saves_power;  /* it never looks again before it blocks */
    struct loop_hooks hooks;
};

/* struct adit_loop itself is defined in loop_private.h (it holds libuv handles). */
int loop_new(struct adit_loop **out, const struct loop_config *c, adit_error *err);
/* Runs what was posted, releases the leftovers, then frees it; everything else that uses it must be gone. Waits for a
 * name resolution that the system is in the middle of and cannot be told to give up. NULL is allowed. */
void loop_free(struct adit_loop *l);
uint64_t loop_now_ns(const struct adit_loop *l); /* of this iteration; cheap */
/* Of what one iteration may move in all, the part of each of those that it serves; at least `least`. */
size_t loop_share(const struct adit_loop *l, size_t whole, size_t least);
void loop_run(struct adit_loop *l);              /* until loop_stop() */
void loop_stop(struct adit_loop *l);             /* on the loop's thread */
/* Async-signal-safe and callable from any thread: makes the loop turn once and call `fn` of loop_set_wake. */
void loop_wake(struct adit_loop *l);
void loop_set_wake(struct adit_loop *l, void (*fn)(void *arg), void *arg);
/* Objects of the loop's thread, on the budget of its worker. Zeroed; NULL: no memory. */
void *loop_alloc(struct adit_loop *l, size_t len_bytes);
/* len_bytes: as it was allocated. p may be NULL. */
void loop_release(struct adit_loop *l, void *p, size_t len_bytes);
bool loop_is_own_thread(const struct adit_loop *l); /* or nobody runs it yet */
bool loop_runs_here(const struct adit_loop *l);     /* this thread is the one that runs it */

/* A descriptor in the ready set. The struct is the caller's memory and must stay until removed. */
struct watch;
/* events: ADIT_READ | ADIT_WRITE; errors and hang-ups show as both directions and one of these. */
enum {
    WATCH_HANGUP = 4, /* the peer has ended its side, or there is an error */
    WATCH_ERROR = 16, /* with WATCH_HANGUP: there is an error, which sock_error() tells */
    WATCH_URGENT = 8, /* TCP urgent data: a read stops in front of it, so a short read is not an empty queue */
};
typedef void (*watch_fn)(struct watch *w, unsigned events);
struct watch {
    struct adit_loop *loop;
    watch_fn fn;
    int fd;
    uint32_t slot;    /* in the ready set, so that an event of a removed watch is not delivered */
    uint32_t server;  /* to which its socket may connect again (sock/spare.h); 0: to none */
    uint8_t events;   /* what is asked for */
    bool edge;        /* told once per change: read or write until EAGAIN */
};
/* edge: registered once with both directions, never changed again (one system call per connection). 0 or a code. */
int watch_add(struct adit_loop *l, struct watch *w, int fd, unsigned events, bool edge, watch_fn fn);
int watch_set(struct watch *w, unsigned events); /* level-triggered watches only; 0 pauses */
/* Removes it; no event of it is delivered after that, even in this iteration. Before the close of the descriptor. */
void watch_remove(struct watch *w);
/* The same for an edge-triggered watch whose descriptor the caller closes at once: the system forgets it by itself. */
void watch_forget(struct watch *w);

/* The registration of an edge-triggered watch goes on under another one: no system call, and no edge is lost. `from` is over. */
void watch_move(struct watch *to, struct watch *from, watch_fn fn);

/* A function to be called in the next iteration, before its turn. The struct is the caller's memory. */
struct loop_task {
    struct list node;
    void (*fn)(struct loop_task *t);
};
void loop_task_init(struct loop_task *t, void (*fn)(struct loop_task *t));
void loop_task_start(struct adit_loop *l, struct loop_task *t); /* once, however often it is started */
void loop_task_stop(struct loop_task *t);                       /* not running: nothing happens */

/* A timer in the caller's memory; it is stopped when fn runs. Never early. */
struct loop_timer {
    struct wheel_timer timer;
    void (*fn)(struct loop_timer *t);
};
void loop_timer_init(struct loop_timer *t, void (*fn)(struct loop_timer *t));
void loop_timer_set(struct adit_loop *l, struct loop_timer *t, uint64_t deadline_ns); /* WHEEL_NEVER stops it */
void loop_timer_stop(struct adit_loop *l, struct loop_timer *t);

/* What a host made through adit/loop.h and left behind is released with the loop. */
struct loop_leftover {
    struct list node;
    void (*release)(struct loop_leftover *o);
};
void loop_keep_leftover(struct adit_loop *l, struct loop_leftover *o); /* list_remove(&o->node) undoes it */

/* Pipes for relays that splice (sock/splice.h). */
struct pipe_pool *loop_pipes(struct adit_loop *l);

/* Memory for the length of one callback that does not call another user of it: batches of datagrams. NULL: none left. */
enum { LOOP_SCRATCH_BYTES = 1152 * 1024 };
void *loop_scratch(struct adit_loop *l);
