/* SPDX-License-Identifier: MIT */
/* packets: valid packets of every kind that the parsers know, to be cut and broken; and a copy of the exact length
 * on the heap, beyond which a sanitizer sees any read. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "wire/checksum.h"

struct sample {
    const char *name;
    size_t len_bytes;
    uint8_t data[128];
};

static const struct sample samples[] = {
    {"a SYN over IPv4 with options",
     60,
     {0x45, 0,    0, 60,  0x12, 0x34, 0x40, 0,  64, 6, 0, 0, 10,   0, 0,    2,    1, 2, 3, 4,
      0x9c, 0x40, 0, 80,  0,    0,    0,    7,  0,  0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0,
      2,    4,    5, 180, 4,    2,    8,    10, 0,  0, 0, 1, 0,    0, 0,    0,    1, 3, 3, 7}},
    {"a TCP segment over IPv6 with SACK blocks and payload",
     98,
     {0x60, 0,    0,    0, 0,    58, 6,    64,   0xfd, 0,    0,    0,   0,  0, 0, 0,  0,
      0,    0,    0,    0, 0,    0,  2,    0x20, 1,    0xd,  0xb8, 0,   0,  0, 0, 0,  0,
      0,    0,    0,    0, 0,    1,  0x9c, 0x40, 1,    0xbb, 0,    0,   0,  8, 0, 0,  0,
      20,   0xd0, 0x18, 1, 0xf5, 0,  0,    0,    0,    1,    1,    8,   10, 0, 0, 0,  5,
      0,    0,    0,    9, 1,    1,  5,    18,   0,    0,    0,    30,  0,  0, 0, 40, 0,
      0,    0,    50,   0, 0,    0,  60,   'p',  'a',  'y',  'l',  'o', 'a'}},
    {"a datagram over IPv4 with options", 36, {0x47, 0, 0, 36, 0,    1,    0, 0,  64, 17,   0, 0,
                                               10,   0, 0, 2,  1,    1,    1, 1,  1,  0x44, 6, 5,
                                               0,    9, 0, 0,  0x14, 0xe9, 0, 53, 0,  8,    0, 0}},
    {"a datagram over IPv6 behind hop-by-hop, destination and routing headers",
     72,
     {0x60, 0, 0,  0, 0,  32, 0,    64, 0xfd, 0,    0,    0,    0,  0,  0, 0, 0,    0,
      0,    0, 0,  0, 0,  2,  0x20, 1,  0xd,  0xb8, 0,    0,    0,  0,  0, 0, 0,    0,
      0,    0, 0,  1, 60, 0,  5,    2,  0,    0,    1,    0,    43, 0,  1, 4, 0,    0,
      0,    0, 17, 0, 4,  0,  0,    0,  0,    0,    0x14, 0xe9, 0,  53, 0, 8, 0x12, 0x34}},
    {"an echo request over IPv4", 32, {0x45, 0, 0, 32, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2,
                                       1,    1, 1, 1,  8, 0, 0, 0, 0,  5, 0, 1, 1,  2, 3, 4}},
    {"a fragment over IPv6", 56, {0x60, 0,    0, 0, 0, 16, 44, 64, 0xfd, 0, 0,    0, 0,   0,
                                  0,    0,    0, 0, 0, 0,  0,  0,  0,    2, 0x20, 1, 0xd, 0xb8,
                                  0,    0,    0, 0, 0, 0,  0,  0,  0,    0, 0,    1, 17,  0,
                                  5,    0xa9, 0, 0, 0, 77, 1,  2,  3,    4, 5,    6, 7,   8}},
    {"packet too big over IPv6", 56, {0x60, 0, 0, 0, 0, 16, 58, 64, 0xfd, 0, 0,    0, 0,   0,
                                      0,    0, 0, 0, 0, 0,  0,  0,  0,    2, 0x20, 1, 0xd, 0xb8,
                                      0,    0, 0, 0, 0, 0,  0,  0,  0,    0, 0,    1, 2,   0,
                                      0,    0, 0, 0, 5, 0,  1,  2,  3,    4, 5,    6, 7,   8}},
};

enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

/* To be freed. Never NULL. */
static inline uint8_t *exact_copy(const void *data, size_t len_bytes)
{
    uint8_t *copy = calloc(len_bytes ? len_bytes : 1, 1); /* zeroed: compilers see that an empty one is not read uninitialized */

    if (!copy)
        abort();
    return memcpy(copy, data, len_bytes);
}

/* Puts the right header checksum into an IPv4 packet. */
static inline void ip4_seal(uint8_t *packet)
{
    size_t header_bytes = (size_t)(packet[0] & 0xf) * 4;
    uint16_t field;

    packet[10] = packet[11] = 0;
    field = checksum_finish(checksum_add(0, packet, header_bytes));
    packet[10] = (uint8_t)(field >> 8);
    packet[11] = (uint8_t)field;
}
