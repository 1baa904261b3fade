/* SPDX-License-Identifier: MIT */
/* checksum_blocks: the long run of a checksum, CHECKSUM_BLOCK_BYTES at a time. Which file implements it is chosen by the
 * build for the processor: checksum_blocks.c anywhere, checksum_blocks_x86.c where AVX2 may be there at run time. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CHECKSUM_BLOCK_BYTES = 64 };

/* The sum of the octets' 32-bit halves of machine order: congruent to the Internet checksum of machine order. At most
 * 16 GiB, so that it cannot overflow. */
uint64_t checksum_blocks(const uint8_t *data, size_t blocks);

/* A vector of 16 octets is one register of SSE2, NEON and their likes; elsewhere the compiler makes it of words. Each
 * 64-bit lane adds the lower and the upper halves of what it loads separately, so no carry is ever lost. */
static inline uint64_t checksum_blocks16(const uint8_t *data, size_t blocks)
{
    typedef uint64_t vector __attribute__((vector_size(16)));
    vector low0 = {0}, low1 = {0}, high0 = {0}, high1 = {0};

    for (; blocks > 0; blocks--, data += CHECKSUM_BLOCK_BYTES) {
        vector v[4];

        memcpy(v, data, sizeof(v));
        low0 += (v[0] & 0xffffffff) + (v[2] & 0xffffffff);
        high0 += (v[0] >> 32) + (v[2] >> 32);
        low1 += (v[1] & 0xffffffff) + (v[3] & 0xffffffff);
        high1 += (v[1] >> 32) + (v[3] >> 32);
    }
    low0 += low1 + high0 + high1;
    return low0[0] + low0[1];
}
