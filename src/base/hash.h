/* SPDX-License-Identifier: MIT */
/* hash: SipHash, and an open-addressed table keyed by it.
 *
 * Everything that is looked up by something a stranger chooses (addresses, ports, identifiers) goes
 * through a keyed hash, so that nobody can aim for one bucket. The table stores (hash, item) pairs
 * only: the key lives in the item and the caller compares it, so that one table serves every kind of
 * item without a callback. Linear probing, deletion by shifting back, at most 3/4 full (at 7/8 a search
 * for what is not there would visit 32 slots on average instead of 8); it grows by doubling from the
 * allocator's memory, never beyond what `items_max` needs, and shrinks where it is asked to (hash_trim).
 *
 *     for (it = hash_first(t, h, &pos); it; it = hash_next(t, h, &pos))
 *         if (flow_has_key(it, key)) ...
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory;

struct sip_key {
    uint64_t k[2];
};

uint64_t siphash13(const struct sip_key *key, const void *data, size_t len_bytes);
uint64_t siphash24(const struct sip_key *key, const void *data, size_t len_bytes);

struct __attribute__((packed, aligned(4))) hash_slot { /* without a hole: 12 octets where pointers have 8 */
    uint32_t hash;
    void *item; /* NULL: free */
};

struct hash {
    struct memory *memory;
    struct hash_slot *slots;
    uint32_t mask; /* slots - 1; the number of slots is a power of two */
    uint32_t count, items_max;
};

/* `items_max` bounds the number of items. Allocates nothing until the first insertion. */
void hash_init(struct hash *t, struct memory *memory, uint32_t items_max);
void hash_deinit(struct hash *t);
/* False: full (items_max), or no memory to grow. */
bool hash_insert(struct hash *t, uint32_t hash, void *item);
/* Takes fewer slots where far fewer would do. To be called now and then, and not within a walk over the slots. */
void hash_trim(struct hash *t);
/* The item must be in the table. */
void hash_remove(struct hash *t, uint32_t hash, void *item);
/* The items whose hash is `hash`, one by one. The table must not change in between. */
void *hash_first(const struct hash *t, uint32_t hash, uint32_t *pos);
void *hash_next(const struct hash *t, uint32_t hash, uint32_t *pos);
