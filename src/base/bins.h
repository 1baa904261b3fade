/* SPDX-License-Identifier: MIT */
/* bins: small objects of any size, a pool for each size.
 *
 * For what there may be as many of as there are flows, and of several lengths: the C library would keep the memory of all of
 * them for one that lives on, while a pool gives its pages back. A size is rounded up to the next multiple of 32; what is
 * larger than BINS_BYTES_MAX comes from `struct memory` directly. Callers say the length again when they free, as there. */
#pragma once
#include <stddef.h>
#include "base/pool.h"

enum { BINS_STEP_BYTES = 32, BINS_BYTES_MAX = 1024 };

struct bins {
    struct memory *memory;
    struct pool pools[BINS_BYTES_MAX / BINS_STEP_BYTES];
};

void bins_init(struct bins *b, struct memory *memory);
/* Asserts that every small object came back. */
void bins_deinit(struct bins *b);
/* Zeroed, aligned to 8 bytes. NULL: no memory. */
void *bins_alloc(struct bins *b, size_t len_bytes);
/* len_bytes: as it was allocated. p may be NULL. */
void bins_free(struct bins *b, void *p, size_t len_bytes);
