/* SPDX-License-Identifier: MIT */
/* loop_private: struct adit_loop, for the files that use libuv: loop.c and dial.c. */
#pragma once
#include <stdatomic.h>
#include <uv.h>
#include "base/bins.h"
#include "sock/loop.h"
#include "sock/ready.h"
#include "sock/spare.h"
#include "sock/splice.h"
#include "sock/spin.h"

enum { LOOP_EVENTS_MAX = 256 };

/* Who is registered, by the low half of a token; the high half is the generation, which changes when the slot is
 * given up: an event that was fetched before that finds another one and is dropped. */
struct loop_slot {
    struct watch *watch; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct loop_post {
    struct loop_post *next;
    void (*fn)(void *arg);
    void *arg;
};

struct adit_loop {
    struct loop_config config;
    struct memory own_memory; /* the scratch, which a small budget must not refuse; all, where config.memory is NULL */
    struct bins bins;
    struct ready ready;
    uv_loop_t uv;
    uv_async_t async;

    struct loop_slot *slots;
    uint32_t slots_count, slots_free; /* slots_free: first free slot, or LOOP_NO_SLOT */
    struct ready_event events[LOOP_EVENTS_MAX];

    struct spin spin;
    bool is_busy; /* the last wait brought something */

    struct list tasks, leftovers;
    unsigned served; /* by this iteration: events or tasks, whichever are more; at least 1 */
    struct wheel wheel;
    uint64_t now_ns;
    void *scratch;
    struct pipe_pool pipes;
    struct spares spares;
    struct list reclaimables; /* used least recently first */
    uint64_t iterations;
    void (*wake_fn)(void *arg);
    void *wake_arg;
    bool is_stopped;
    bool is_iterating; /* callbacks are being run: the loop does not block before it has looked at posts again */
    bool is_fresh;     /* no turn yet: the first one does not wait */

    atomic_uintptr_t thread; /* that runs the loop; 0: none yet */
    atomic_bool is_woken, has_posts;
    uv_mutex_t lock;         /* of the four below */
    struct loop_post *posts, **posts_end;
    bool is_closing;
};
