/* SPDX-License-Identifier: MIT */
/* pages: anonymous mappings. Neighbours are one mapping for the kernel, so that many of them do not reach its limit. */
#include "base/pages.h"
#include <sys/mman.h>

void *pages_alloc(size_t len_bytes)
{
    void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

void pages_free(void *p, size_t len_bytes)
{
    (void)munmap(p, len_bytes);
}
