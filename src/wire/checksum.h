/* SPDX-License-Identifier: MIT */
/* checksum: the Internet checksum (RFC 1071), incremental update (RFC 1624), pseudo-headers.
 *
 * Sums are carried unfolded in 64 bits, with octets as they lie in memory: only `checksum_fold` and what is made of it
 * gives a number. `checksum_add` over pieces of a packet gives the same as over the whole, provided that every piece
 * but the last has an even length (use `checksum_add_odd` otherwise). Sums may be added with +. Fast at any
 * alignment and length; tested against the obvious loop. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/base.h"

uint64_t checksum_add(uint64_t sum, const void *data, size_t len_bytes);
/* Adds a piece that begins at an odd offset of the packet. */
uint64_t checksum_add_odd(uint64_t sum, const void *data, size_t len_bytes);
/* Slices in order, starting at an even offset. */
uint64_t checksum_add_iov(uint64_t sum, const adit_iov *iov, int count);
/* Folded to 16 bits, not inverted, in host order. */
uint16_t checksum_fold(uint64_t sum);
/* The value for the field: folded and inverted. */
static inline uint16_t checksum_finish(uint64_t sum)
{
    return (uint16_t)~checksum_fold(sum);
}
/* src, dst: mapped 16-octet addresses. len_bytes: of the transport header and payload. */
uint64_t checksum_pseudo(const uint8_t src[16], const uint8_t dst[16], uint8_t proto, uint32_t len_bytes);
/* RFC 1624: the field's new value when `len_bytes` (even) octets change from `old` to `fresh`. Over UDP a result of 0 is
 * to be written as 0xffff. */
uint16_t checksum_update(uint16_t field, const void *old, const void *fresh, size_t len_bytes);
