/* SPDX-License-Identifier: MIT */
/* bytes: big-endian loads and stores at any alignment, and a cursor that cannot run past its end.
 *
 * Every parser of untrusted octets reads through `struct bytes`: a read past the end returns zero and
 * sets `bad`, so a parser checks once, at the end, instead of at each step. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_be16(const void *p)
{
    const uint8_t *b = p;

    return (uint16_t)((unsigned)b[0] << 8 | b[1]);
}

static inline uint32_t get_be32(const void *p)
{
    const uint8_t *b = p;

    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void put_be16(void *p, uint16_t v)
{
    uint8_t *b = p;

    b[0] = (uint8_t)(v >> 8);
    b[1] = (uint8_t)v;
}

static inline void put_be32(void *p, uint32_t v)
{
    uint8_t *b = p;

    b[0] = (uint8_t)(v >> 24);
    b[1] = (uint8_t)(v >> 16);
    b[2] = (uint8_t)(v >> 8);
    b[3] = (uint8_t)v;
}

struct bytes {
    const uint8_t *at, *end;
    bool bad; /* a read went past the end */
};

static inline struct bytes bytes_of(const void *p, size_t n)
{
    const uint8_t *at = p;

    /* NULL may come with no octets, but C knows no NULL + 0. */
    return (struct bytes){.at = at, .end = n ? at + n : at, .bad = false};
}

static inline size_t bytes_left(const struct bytes *b)
{
    return (size_t)(b->end - b->at);
}

/* `n` octets, or NULL (and bad) where fewer are left. */
static inline const uint8_t *bytes_take(struct bytes *b, size_t n)
{
    const uint8_t *p = b->at;

    if (bytes_left(b) < n) {
        b->bad = true;
        b->at = b->end;
        return NULL;
    }
    b->at += n;
    return p;
}

static inline uint8_t bytes_u8(struct bytes *b)
{
    const uint8_t *p = bytes_take(b, 1);

    return p ? *p : 0;
}

static inline uint16_t bytes_be16(struct bytes *b)
{
    const uint8_t *p = bytes_take(b, 2);

    return p ? get_be16(p) : 0;
}

static inline uint32_t bytes_be32(struct bytes *b)
{
    const uint8_t *p = bytes_take(b, 4);

    return p ? get_be32(p) : 0;
}
