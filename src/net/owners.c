/* SPDX-License-Identifier: MIT */
/* owners: see owners.h. A slot says who may have a flow, not what is in it: nothing is published through one, so the
 * accesses are relaxed. */
#include "net/owners.h"
#include <assert.h>
#include <string.h>

enum { SLOTS_MIN = 1024, SLOTS_MAX = 1 << 20, COUNT_ONE = 256, WORKER_MASK = 255 };
#define COUNT_MAX 0xffffffu

static size_t owners_bytes(const struct owners *o)
{
    return ((size_t)o->mask + 1) * sizeof(o->slots[0]);
}

bool owners_init(struct owners *o, struct memory *memory, uint64_t flows_max)
{
    uint32_t slots = SLOTS_MIN;

    while (slots < SLOTS_MAX && slots < 2 * flows_max)
        slots *= 2;
    *o = (struct owners){.mask = slots - 1, .memory = memory};
    o->slots = memory_alloc_zeroed(memory, owners_bytes(o)); /* as atomics are here; what is not used has no page */
    return o->slots != NULL;
}

void owners_deinit(struct owners *o)
{
    for (size_t i = 0; o->slots && i <= o->mask; i++)
        assert(atomic_load_explicit(&o->slots[i], memory_order_relaxed) == 0);
    if (o->slots)
        memory_free(o->memory, o->slots, owners_bytes(o));
    o->slots = NULL;
}

bool owners_enter(struct owners *o, uint32_t hash, unsigned worker)
{
    _Atomic uint32_t *slot = &o->slots[hash & o->mask];
    uint32_t had = atomic_load_explicit(slot, memory_order_relaxed), has;

    do {
        if (had != 0 && (had & WORKER_MASK) != worker + 1)
            return false;
        if (had / COUNT_ONE == COUNT_MAX)
            return false;
        has = (had & ~(uint32_t)WORKER_MASK) + COUNT_ONE + worker + 1;
    } while (!atomic_compare_exchange_weak_explicit(slot, &had, has, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Nobody else changes a slot that is ours. */
void owners_leave(struct owners *o, uint32_t hash)
{
    _Atomic uint32_t *slot = &o->slots[hash & o->mask];
    uint32_t had = atomic_load_explicit(slot, memory_order_relaxed);

    assert(had >= COUNT_ONE);
    atomic_store_explicit(slot, had / COUNT_ONE > 1 ? had - COUNT_ONE : 0, memory_order_relaxed);
}

int owners_find(const struct owners *o, uint32_t hash)
{
    uint32_t has = atomic_load_explicit(&o->slots[hash & o->mask], memory_order_relaxed);

    return has ? (int)(has & WORKER_MASK) - 1 : OWNERS_NOBODY;
}
