/* SPDX-License-Identifier: MIT */
/* pages: memory in whole pages, from the system and back to it at once. */
#pragma once
#include <stddef.h>

/* Zeroed, and at the beginning of a page; what is not touched costs nothing. NULL: the system has none. */
void *pages_alloc(size_t len_bytes);
/* The same, and at a multiple of align_bytes, a power of two. */
void *pages_alloc_aligned(size_t len_bytes, size_t align_bytes);
/* len_bytes: as it was allocated. */
void pages_free(void *p, size_t len_bytes);
