/* SPDX-License-Identifier: MIT */
/* owners: which worker has a flow, where an instance has several workers. The one thing that their cores share.
 *
 *     flow_hash(key) & mask --> slot: | count 24 | worker + 1, 8 |     0: nobody's
 *
 * A kernel spreads packets over the queues of a device by a hash of their addresses and ports, so a TCP flow stays where its
 * SYN came; but the datagrams of one UDP client to several remotes do not come together, nor do ICMP errors, reassembled
 * datagrams, and whatever comes while the kernel's table of flows turns over. So every flow is entered here, by the hash of
 * its key, while it lives: the first worker that enters one in a free slot has the slot until its last flow there is gone.
 * A packet that finds no flow at home looks here whose it is. One that does find its flow never does: the table is touched
 * when flows begin and end, and for packets that were misplaced.
 *
 * Two flows of one slot are one worker's, whoever saw the second one's first packet: correct, and rare enough, since there
 * are more slots than flows. Only the owner changes a slot that is not free, and nobody waits for anybody. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/memory.h"

enum { OWNERS_NOBODY = -1, OWNERS_WORKERS_MAX = 254 };

struct owners {
    _Atomic uint32_t *slots;
    uint32_t mask;
    struct memory *memory;
};

/* For that many flows of all workers together. memory is borrowed for life. False: no memory. */
bool owners_init(struct owners *o, struct memory *memory, uint64_t flows_max);
/* No flow is left. */
void owners_deinit(struct owners *o);
/* Enters a flow of that worker's. False: the slot is another one's. Any thread. */
bool owners_enter(struct owners *o, uint32_t hash, unsigned worker);
/* Of a flow that was entered, by its worker. */
void owners_leave(struct owners *o, uint32_t hash);
/* The worker that has what has this hash, or OWNERS_NOBODY. Any thread. */
int owners_find(const struct owners *o, uint32_t hash);
