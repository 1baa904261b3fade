/* SPDX-License-Identifier: MIT */
/* hash: SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF"), and the table.
 *
 * An item of hash h lives in the first free slot from h & mask on. Between its home and its slot there is
 * no free slot, ever: hash_remove() keeps that by shifting later items back into the hole, so there are
 * no tombstones and a search ends at the first free slot. At most 3/4 of the slots are taken, so there is
 * always one. A search reads a run of adjacent slots and touches an item only where all 32 bits of the
 * hash are equal: one cache miss for the slots and one for the item. */
#include "base/hash.h"
#include <assert.h>
#include <string.h>
#include "base/memory.h"

enum { HASH_SLOTS_MIN = 16 };

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl64(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline __attribute__((always_inline)) void sip_rounds(struct sip *s, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        s->v0 += s->v1;
        s->v1 = rotl64(s->v1, 13) ^ s->v0;
        s->v0 = rotl64(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotl64(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotl64(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotl64(s->v1, 17) ^ s->v2;
        s->v2 = rotl64(s->v2, 32);
    }
}

static inline __attribute__((always_inline)) void sip_word(struct sip *s, uint64_t word, int rounds)
{
    s->v3 ^= word;
    sip_rounds(s, rounds);
    s->v0 ^= word;
}

/* Inlined twice, with constant rounds: a loop over one round costs half as much again. */
static inline __attribute__((always_inline)) uint64_t
siphash(const struct sip_key *key, const uint8_t *p, size_t len_bytes, int c, int d)
{
    struct sip s = {
        .v0 = key->k[0] ^ 0x736f6d6570736575,
        .v1 = key->k[1] ^ 0x646f72616e646f6d,
        .v2 = key->k[0] ^ 0x6c7967656e657261,
        .v3 = key->k[1] ^ 0x7465646279746573,
    };
    uint64_t last = (uint64_t)len_bytes << 56;
    const uint8_t *end = p + len_bytes / 8 * 8;

    for (; p != end; p += 8)
        sip_word(&s, get_le64(p), c);
    for (size_t i = 0; i < len_bytes % 8; i++)
        last |= (uint64_t)p[i] << (8 * i);
    sip_word(&s, last, c);
    s.v2 ^= 0xff;
    sip_rounds(&s, d);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t siphash13(const struct sip_key *key, const void *data, size_t len_bytes)
{
    return siphash(key, data, len_bytes, 1, 3);
}

uint64_t siphash24(const struct sip_key *key, const void *data, size_t len_bytes)
{
    return siphash(key, data, len_bytes, 2, 4);
}

void hash_init(struct hash *t, struct memory *memory, uint32_t items_max)
{
    *t = (struct hash){.memory = memory, .items_max = items_max};
}

static size_t hash_bytes(uint64_t slots_count)
{
    return slots_count * sizeof(struct hash_slot);
}

void hash_deinit(struct hash *t)
{
    if (t->slots)
        memory_free(t->memory, t->slots, hash_bytes((uint64_t)t->mask + 1));
    *t = (struct hash){.memory = t->memory, .items_max = t->items_max};
}

static void hash_place(struct hash *t, struct hash_slot slot)
{
    uint32_t i = slot.hash & t->mask;

    while (t->slots[i].item)
        i = (i + 1) & t->mask;
    t->slots[i] = slot;
}

static bool hash_resize(struct hash *t, uint64_t new_count)
{
    struct hash old = *t;
    uint64_t old_count = old.slots ? (uint64_t)old.mask + 1 : 0;
    struct hash_slot *slots;

    if (new_count > (uint64_t)UINT32_MAX + 1)
        return false;
    slots = memory_alloc_zeroed(t->memory, hash_bytes(new_count));
    if (!slots)
        return false;
    t->slots = slots;
    t->mask = (uint32_t)(new_count - 1);
    for (uint64_t i = 0; i < old_count; i++) {
        if (old.slots[i].item)
            hash_place(t, old.slots[i]);
    }
    memory_free(t->memory, old.slots, hash_bytes(old_count));
    return true;
}

static bool hash_grow(struct hash *t)
{
    return hash_resize(t, t->slots ? ((uint64_t)t->mask + 1) * 2 : HASH_SLOTS_MIN);
}

/* At most 1/8 full: then at least 1/4 of the slots are used afterwards, and growth is far away. */
void hash_trim(struct hash *t)
{
    uint64_t slots_count = (uint64_t)t->mask + 1, fewer = slots_count;

    while (t->slots && fewer > HASH_SLOTS_MIN && t->count <= fewer / 8)
        fewer /= 2;
    if (fewer < slots_count)
        (void)hash_resize(t, fewer); /* no memory for it: another time */
}

static bool hash_has_room(const struct hash *t)
{
    uint64_t slots_count = (uint64_t)t->mask + 1;

    return t->slots && t->count < slots_count - slots_count / 4;
}

bool hash_insert(struct hash *t, uint32_t hash, void *item)
{
    assert(item);
    if (t->count >= t->items_max)
        return false;
    if (!hash_has_room(t) && !hash_grow(t))
        return false;
    hash_place(t, (struct hash_slot){.hash = hash, .item = item});
    t->count++;
    return true;
}

/* Moves back what follows the hole at `hole`, up to the next free slot. */
static void hash_close_hole(struct hash *t, uint32_t hole)
{
    uint32_t i = hole;

    for (;;) {
        i = (i + 1) & t->mask;
        if (!t->slots[i].item)
            break;
        /* An item may move to the hole unless its home lies behind the hole. */
        if (((i - t->slots[i].hash) & t->mask) >= ((i - hole) & t->mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole] = (struct hash_slot){0};
}

void hash_remove(struct hash *t, uint32_t hash, void *item)
{
    uint32_t i = hash & t->mask;

    assert(t->slots);
    while (t->slots[i].item != item) {
        assert(t->slots[i].item); /* it is in the table */
        i = (i + 1) & t->mask;
    }
    hash_close_hole(t, i);
    t->count--;
}

static void *hash_scan(const struct hash *t, uint32_t hash, uint32_t from, uint32_t *pos)
{
    for (uint32_t i = from & t->mask; t->slots[i].item; i = (i + 1) & t->mask) {
        if (t->slots[i].hash == hash) {
            *pos = i;
            return t->slots[i].item;
        }
    }
    return NULL;
}

void *hash_first(const struct hash *t, uint32_t hash, uint32_t *pos)
{
    return t->slots ? hash_scan(t, hash, hash, pos) : NULL;
}

void *hash_next(const struct hash *t, uint32_t hash, uint32_t *pos)
{
    return hash_scan(t, hash, *pos + 1, pos);
}
