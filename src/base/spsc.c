/* SPDX-License-Identifier: MIT */
/* spsc: see spsc.h. head and tail count octets and wrap at 2^32; the ring's size divides that. */
#include "base/spsc.h"
#include <assert.h>
#include <string.h>

enum { ALIGN_BYTES = 8 };
#define TO_START UINT32_MAX /* instead of a length: the next record is at the ring's start */

static uint32_t record_bytes(uint32_t len_bytes)
{
    return (len_bytes + ALIGN_BYTES + ALIGN_BYTES - 1) & ~(uint32_t)(ALIGN_BYTES - 1);
}

static uint32_t *length_at(const struct spsc *r, uint32_t at)
{
    return (uint32_t *)(void *)(r->octets + (at & (r->size_bytes - 1)));
}

static uint32_t bytes_to_end(const struct spsc *r, uint32_t at)
{
    return r->size_bytes - (at & (r->size_bytes - 1));
}

bool spsc_init(struct spsc *r, struct memory *memory, uint32_t size_bytes)
{
    assert(size_bytes >= 64 && size_bytes <= 1u << 30 && (size_bytes & (size_bytes - 1)) == 0);
    r->memory = memory;
    r->size_bytes = size_bytes;
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    r->octets = memory_alloc(memory, size_bytes);
    return r->octets != NULL;
}

void spsc_deinit(struct spsc *r)
{
    if (r->octets)
        memory_free(r->memory, r->octets, r->size_bytes);
    r->octets = NULL;
}

bool spsc_put(struct spsc *r, const void *first, uint32_t first_bytes, const void *second, uint32_t second_bytes)
{
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t free_bytes = r->size_bytes - (head - atomic_load_explicit(&r->tail, memory_order_acquire));
    uint32_t len_bytes = first_bytes + second_bytes, need_bytes = record_bytes(len_bytes), skip_bytes = 0;
    uint8_t *octets;

    if (len_bytes > r->size_bytes / 2 - ALIGN_BYTES)
        return false;
    if (need_bytes > bytes_to_end(r, head))
        skip_bytes = bytes_to_end(r, head);
    if (skip_bytes + need_bytes > free_bytes)
        return false;
    if (skip_bytes > 0)
        *length_at(r, head) = TO_START;
    head += skip_bytes;
    *length_at(r, head) = len_bytes;
    octets = (uint8_t *)length_at(r, head) + ALIGN_BYTES;
    memcpy(octets, first, first_bytes);
    memcpy(octets + first_bytes, second, second_bytes);
    atomic_store_explicit(&r->head, head + need_bytes, memory_order_release);
    return true;
}

const void *spsc_peek(struct spsc *r, uint32_t *len_bytes)
{
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

    if (tail == atomic_load_explicit(&r->head, memory_order_acquire))
        return NULL;
    if (*length_at(r, tail) == TO_START) {
        tail += bytes_to_end(r, tail);
        atomic_store_explicit(&r->tail, tail, memory_order_release);
    }
    *len_bytes = *length_at(r, tail);
    return (const uint8_t *)length_at(r, tail) + ALIGN_BYTES;
}

void spsc_drop(struct spsc *r)
{
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

    atomic_store_explicit(&r->tail, tail + record_bytes(*length_at(r, tail)), memory_order_release);
}
