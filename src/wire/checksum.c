/* SPDX-License-Identifier: MIT */
/* checksum: the Internet checksum.
 *
 * It is arithmetic modulo 65535, and 2^16, 2^32 and 2^64 are all 1 modulo 65535. Three things follow, and they are all
 * that happens here:
 *
 *   - Words of any width may be added, as long as carries come back at the low end or have room above (RFC 1071 2B, 2C).
 *   - The order of octets does not matter until the end: everything is summed as the machine loads it, and only
 *     checksum_fold() puts the two octets of the result in order.
 *   - A piece at an odd offset has its octets in the other half of each pair, which multiplies its sum by 256: a rotation
 *     by 8 bits.
 *
 * A sum is 0 only when every octet was 0; addition never leads back to 0. A sum that leaves a function here is below 2^33,
 * so callers may add as many as they like.
 *
 * A mapped IPv4 address has the prefix ::ffff, and 0xffff is 0 modulo 65535: the pseudo-headers of both families are one. */
#include "wire/checksum.h"
#include <string.h>
#include "base/bytes.h"
#include "wire/checksum_blocks.h"

static inline uint64_t checksum_load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t checksum_load16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Brings a sum below 2^33. */
static inline uint64_t checksum_reduce(uint64_t sum)
{
    return (sum & 0xffffffff) + (sum >> 32);
}

/* A piece by itself; its first octet is the first of a pair, and a last odd octet is followed by a zero. */
static uint64_t checksum_piece(const uint8_t *p, size_t n)
{
    uint64_t sum = 0;

    if (n >= CHECKSUM_BLOCK_BYTES) {
        sum = checksum_blocks(p, n / CHECKSUM_BLOCK_BYTES);
        p += n & ~(size_t)(CHECKSUM_BLOCK_BYTES - 1);
        n %= CHECKSUM_BLOCK_BYTES;
    }
    for (; n >= 8; n -= 8, p += 8)
        sum += checksum_load32(p) + checksum_load32(p + 4);
    if (n & 4) {
        sum += checksum_load32(p);
        p += 4;
    }
    if (n & 2) {
        sum += checksum_load16(p);
        p += 2;
    }
    if (n & 1) {
        const uint8_t pair[2] = {*p, 0};

        sum += checksum_load16(pair);
    }
    return checksum_reduce(sum);
}

uint64_t checksum_add(uint64_t sum, const void *data, size_t len_bytes)
{
    return checksum_reduce(checksum_reduce(sum) + checksum_piece(data, len_bytes));
}

uint64_t checksum_add_odd(uint64_t sum, const void *data, size_t len_bytes)
{
    return checksum_reduce(checksum_reduce(sum) + (checksum_piece(data, len_bytes) << 8));
}

uint64_t checksum_add_iov(uint64_t sum, const adit_iov *iov, int count)
{
    size_t offset = 0;

    for (int i = 0; i < count; i++) {
        if (offset & 1)
            sum = checksum_add_odd(sum, iov[i].base, iov[i].len);
        else
            sum = checksum_add(sum, iov[i].base, iov[i].len);
        offset += iov[i].len;
    }
    return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
    uint16_t pair;

    sum = checksum_reduce(checksum_reduce(sum));
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    pair = (uint16_t)sum;
    return get_be16(&pair);
}

uint64_t checksum_pseudo(const uint8_t src[16], const uint8_t dst[16], uint8_t proto,
                         uint32_t len_bytes)
{
    uint8_t tail[8] = {0};
    uint64_t sum = 0;

    put_be32(tail, len_bytes);
    tail[7] = proto;
    for (size_t i = 0; i < 16; i += 4)
        sum += checksum_load32(src + i) + checksum_load32(dst + i);
    return checksum_reduce(sum + checksum_load32(tail) + checksum_load32(tail + 4));
}

/* HC' = ~(~HC + ~m + m'), equation 3 of RFC 1624. The complement of a folded sum is its negative modulo 65535. */
uint16_t checksum_update(uint16_t field, const void *old, const void *fresh, size_t len_bytes)
{
    uint8_t negatives[4];

    put_be16(negatives, (uint16_t)~field);
    put_be16(negatives + 2, (uint16_t)~checksum_fold(checksum_add(0, old, len_bytes)));
    return checksum_finish(checksum_add(checksum_add(0, negatives, 4), fresh, len_bytes));
}
