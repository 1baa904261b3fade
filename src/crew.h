/* SPDX-License-Identifier: MIT */
/* crew: what the workers of one instance have in common, where there are several: whose flow is whose (net/owners.h), a
 * letter box between any two, and the one word that they end by.
 *
 *        queue 0          queue 1         the kernel's choice: the queue where a flow was last written to, else a hash
 *           |                |
 *        worker 0  -------> worker 1      a packet of a flow that the other one has: copied into a ring (base/spsc.h) and
 *           |      <-------  |            taken out in the other's turn, which one wake-up brings however many they are
 *           v                v
 *        queue 0          queue 1         what a worker writes goes to its own queue: the kernel then sends the flow there
 *
 * A ring is made when it is first needed, of the sender's memory. One that is full loses packets, which is counted. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/hash.h"
#include "base/memory.h"
#include "base/spsc.h"
#include "dev/dev.h"
#include "net/owners.h"
#include "sock/loop.h"
#include "wire/packet.h"

enum { CREW_WORKERS_MAX = DEVICE_QUEUES_MAX, CREW_RING_BYTES = 256 * 1024 };

struct crew_seat {
    struct adit_loop *loop; /* NULL: nobody sits there (yet) */
    struct memory *memory;
    atomic_bool has_mail;
    atomic_bool is_open[CREW_WORKERS_MAX];    /* to[n] is there */
    struct spsc to[CREW_WORKERS_MAX];
};

struct crew {
    unsigned count;
    struct crew_seat *seats;     /* count of them; NULL where count is 1: there is nothing to share */
    struct memory memory;        /* of what is shared: no budget */
    struct owners owners;
    struct sip_key flow_key;
    struct device *first_device; /* of worker 0, which made it and whose queues those are: */
    adit_socket queues[DEVICE_QUEUES_MAX - 1];
    size_t queues_count;
    atomic_bool has_ended;       /* the handler was told that it is over */
};

/* flows_max: of all workers together. 0 or ADIT_ENOMEM. */
int crew_init(struct crew *c, unsigned count, uint64_t flows_max, const struct adit_allocator *alloc);
/* Every seat was left before. */
void crew_deinit(struct crew *c);
/* Before any worker runs. loop and memory are borrowed until crew_leave(). */
void crew_join(struct crew *c, unsigned worker, struct adit_loop *loop, struct memory *memory);
void crew_leave(struct crew *c, unsigned worker);
/* From one worker, on its thread, to another. False: there is no room. */
bool crew_send(struct crew *c, unsigned from, unsigned to, const struct packet *p);
/* What others sent, on its thread: copies, each in a buffer of its own. What is more than the boxes hold at once waits for
 * another turn, for which it wakes the loop. A packet for which there
 * is no memory goes to fn without octets (data NULL). */
void crew_receive(struct crew *c, unsigned worker, struct buf_pool *bufs, void (*fn)(void *ctx, const struct packet *p),
                  void *ctx);
