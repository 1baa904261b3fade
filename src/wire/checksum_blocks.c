/* SPDX-License-Identifier: MIT */
/* checksum_blocks for any processor. */
#include "wire/checksum_blocks.h"

uint64_t checksum_blocks(const uint8_t *data, size_t blocks)
{
    return checksum_blocks16(data, blocks);
}
