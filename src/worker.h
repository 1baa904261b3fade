/* SPDX-License-Identifier: MIT */
/* worker: one thread's share of an instance: a device, a protocol core, a stack, a loop, and the memory of all of them.
 *
 * A turn, run by the loop after the callbacks of each iteration:
 *
 *     device readable -> recv a batch -> net_input      (until the device is empty, 64 packets, or 1 MiB)
 *     what other workers handed over -> net_input
 *     repeat: serve what is ready -> net_expire -> net_output -> recv what is left of the turn's 1 MiB, if it waits already
 *                                          (while there is something; eight times at most)
 *     settle buffers -> report
 *
 * What was received together is thereby handed over together and acknowledged once, in the same turn. A bound that was
 * reached ends the turn, not the work: worker_next_ns() says that the next turn is due at once, and the sockets get theirs
 * in between.
 *
 * The end: worker_stop() sets a flag and wakes the loop; the turn that sees it aborts every flow, serves them until all are
 * gone, waits WORKER_STOP_NS at most for what the device has not taken, and stops the loop. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/memory.h"
#include "crew.h"
#include "dev/dev.h"
#include "net/net.h"
#include "sock/loop.h"
#include "sock/ping.h"
#include "stack/stack.h"
#include "stats.h"

enum {
    WORKER_BATCH_PACKETS = 8,
    WORKER_PASS_PACKETS = 64,
    WORKER_TURN_BYTES = 1024 * 1024,
    WORKER_PASS_FLOWS = 4096, /* flows served between two outputs */
    WORKER_PASSES = 8,
};
#define WORKER_RETRY_NS 1000000ull  /* a device that was full and that cannot say when it no longer is; no memory to receive */
#define WORKER_STOP_NS 200000000ull
#define WORKER_TRIM_NS 500000000ull

struct worker {
    const adit_options *options; /* its share of the limits */
    struct crew *crew;
    unsigned index;              /* in the crew */
    const struct log *log;
    struct memory memory;
    struct buf_pool bufs;
    struct net net;
    struct stack stack;
    struct device *device;
    adit_socket listeners[LISTEN_MAX]; /* where the kernel accepts, for a stack that needs it */
    size_t listeners_count;
    adit_socket shortcut[SHORTCUT_FDS_MAX]; /* for the engine "bpf" */
    char shortcut_refused[96]; /* ADIT_DEV_FD: why there is none */
    size_t shortcut_count;
    adit_error engine_err;     /* why there is none, where there could be one */
    struct adit_loop *loop;
    struct ping *ping;
    struct watch device_watch;
    struct log_limit sock_log_limit;
    struct report report;
    struct sip_key random_key; /* from the system; what is handed out is made of it and the counter */
    uint64_t random_count;
    uint64_t turns, turn_bytes; /* the bytes that this turn received */
    uint64_t trim_ns;          /* when to look which buffers nobody needs; WHEEL_NEVER: none are kept */
    uint64_t retry_ns;         /* when to try the device again; WHEEL_NEVER: it is not waited for */
    uint64_t stop_by_ns;       /* once is_stopping */
    atomic_bool stop_wanted;   /* the one thing that other threads write */
    bool is_watched;           /* device_watch */
    bool is_output_full;       /* the device took no packet; nothing more is tried until it does */
    bool input_waits;          /* the device may have more */
    bool in_turn;
    bool is_stopping, is_ended;
    adit_error fatal;          /* why it stops by itself; code 0: it does not */
};

/* Opens the device, or its queue, and makes everything ready. Undoes all of it on failure. w: crew, index, options and log
 * are set and borrowed for life; the rest is zero. */
int worker_init(struct worker *w, adit *engine, adit_error *err);
/* Who gets the flows. Before the loop runs. */
void worker_set_handler(struct worker *w, const adit_handler *h, void *ctx);
/* After the loop has ended (is_ended), or before it ever ran and nothing was dialled. */
void worker_deinit(struct worker *w);
/* Any thread; async-signal-safe. */
void worker_stop(struct worker *w);
/* For an external device, on the loop's thread. */
size_t worker_input(struct worker *w, const adit_packet *p, size_t n);
