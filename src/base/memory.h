/* SPDX-License-Identifier: MIT */
/* memory: one budget for everything that a worker allocates.
 *
 * All memory of the packet path comes from here: pools of objects, buffers, tables. It counts what is
 * in use, refuses beyond the budget, and tells how near the budget is, so that those above can shrink
 * windows and refuse flows before an allocation fails. An allocation that fails is an ordinary, counted
 * event. Not thread-safe: one `struct memory` per worker. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adit_allocator;

enum { MEMORY_PAGES_BYTES = 16 * 1024 }; /* from here on an object has pages of its own */

struct memory {
    const struct adit_allocator *allocator; /* NULL: the C library's */
    uint64_t used_bytes, peak_bytes, budget_bytes;
    uint64_t starved; /* allocations refused */
};

/* How full the budget is. What each level means for whom is in net/net.h. */
enum memory_pressure { MEMORY_EASY, MEMORY_TIGHT /* 50 % */, MEMORY_HIGH /* 80 % */, MEMORY_CRITICAL /* 95 % */ };

void memory_init(struct memory *m, uint64_t budget_bytes, const struct adit_allocator *allocator);
/* Not zeroed; aligned to 64 bytes. NULL: over the budget, or the system has none. */
void *memory_alloc(struct memory *m, size_t len_bytes);
/* The same, zeroed: without being written to where the system's pages are so anyhow, and therefore not resident yet. */
void *memory_alloc_zeroed(struct memory *m, size_t len_bytes);
/* Aligned to align_bytes: a power of two, at least 64, at most len_bytes. */
void *memory_alloc_aligned(struct memory *m, size_t len_bytes, size_t align_bytes);
/* len_bytes: as it was allocated. p may be NULL. */
void memory_free(struct memory *m, void *p, size_t len_bytes);
enum memory_pressure memory_pressure(const struct memory *m);
/* Octets that are left until the budget is so full; 0: it is. */
uint64_t memory_left(const struct memory *m, enum memory_pressure level);
