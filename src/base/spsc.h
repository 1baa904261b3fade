/* SPDX-License-Identifier: MIT */
/* spsc: records of octets from one thread to one other, without locks.
 *
 *     spsc_put -->  [ len | octets, padded ][ len | octets ] ... [ to the start ]  --> spsc_peek, spsc_drop
 *     one thread         head: what was put, ever        tail: what was dropped, ever               one other
 *
 * A record lies in one piece: one that does not fit before the end of the ring begins at its start. A ring that is full
 * takes nothing: the caller counts the loss. Whoever puts wakes the other side by means of its own. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/memory.h"

enum { SPSC_CACHE_LINE_BYTES = 64 };

struct spsc {
    struct memory *memory; /* of the thread that puts */
    uint8_t *octets;
    uint32_t size_bytes;   /* a power of two */
    uint8_t apart0[SPSC_CACHE_LINE_BYTES]; /* what the two threads write is on cache lines of their own */
    _Atomic uint32_t head;
    uint8_t apart1[SPSC_CACHE_LINE_BYTES];
    _Atomic uint32_t tail;
};

/* size_bytes: a power of two, at most 2^30. Records are of at most half of it. False: no memory. */
bool spsc_init(struct spsc *r, struct memory *memory, uint32_t size_bytes);
void spsc_deinit(struct spsc *r);
/* Copies the two parts as one record. False: there is no room. */
bool spsc_put(struct spsc *r, const void *first, uint32_t first_bytes, const void *second, uint32_t second_bytes);
/* The oldest record, aligned to 8 octets; it stays where it is until spsc_drop(). NULL: there is none. */
const void *spsc_peek(struct spsc *r, uint32_t *len_bytes);
void spsc_drop(struct spsc *r);
