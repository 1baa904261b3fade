/* SPDX-License-Identifier: MIT */
/* pages: anonymous mappings. Neighbours are one mapping for the kernel, so that many of them do not reach its limit. */
#include "base/pages.h"
#include <stdint.h>
#include <sys/mman.h>

void *pages_alloc(size_t len_bytes)
{
    void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* The system puts one mapping beside the other, so those of one size and alignment mostly fall right by themselves; else what
 * lies before and behind goes back. */
void *pages_alloc_aligned(size_t len_bytes, size_t align_bytes)
{
    uint8_t *p = pages_alloc(len_bytes);
    size_t before;

    if (!p || ((uintptr_t)p & (align_bytes - 1)) == 0)
        return p;
    pages_free(p, len_bytes);
    p = pages_alloc(len_bytes + align_bytes);
    if (!p)
        return NULL;
    before = -(uintptr_t)p & (align_bytes - 1);
    if (before > 0)
        pages_free(p, before);
    if (before < align_bytes)
        pages_free(p + before + len_bytes, align_bytes - before);
    return p + before;
}

void pages_free(void *p, size_t len_bytes)
{
    (void)munmap(p, len_bytes);
}
