/* SPDX-License-Identifier: MIT */
/* system_shortcut: see system_shortcut.h.
 *
 * The program is spared all arithmetic: what a checksum changes by is a property of the flow and stands in the entry. Sums are
 * of 16-bit words as they lie in memory, like the kernel's, so they are right on machines of both byte orders. */
#include "stack/system_shortcut.h"
#include <arpa/inet.h>
#include <string.h>
#include <time.h>
#include "dev/shortcut.h"

static uint32_t sum_words(uint32_t sum, const void *octets, size_t len_bytes, uint16_t flip)
{
    const uint8_t *at = octets;

    for (size_t i = 0; i < len_bytes; i += 2) {
        uint16_t word;

        memcpy(&word, at + i, 2);
        sum += (uint16_t)(word ^ flip);
    }
    return sum;
}

/* The old words inverted, and the new ones (RFC 1624). */
static uint32_t diff_words(const void *was, const void *is, size_t len_bytes)
{
    return sum_words(sum_words(0, was, len_bytes, 0xffff), is, len_bytes, 0);
}

static void put_ends(struct shortcut_ends *out, const struct nat_ends *e)
{
    memcpy(out->src, e->src, 16);
    memcpy(out->dst, e->dst, 16);
    out->src_port = htons(e->src_port);
    out->dst_port = htons(e->dst_port);
}

void system_shortcut_entry(const struct nat_way *way, struct shortcut_ends *key, struct shortcut_entry *out)
{
    *out = (struct shortcut_entry){0};
    put_ends(key, &way->from);
    put_ends(&out->to, &way->to);
    out->addrs_diff = diff_words(key->src, out->to.src, 32);
    out->ports_diff = diff_words(&key->src_port, &out->to.src_port, 4);
}

static bool system_shortcut_add(void *ctx, const struct nat_way ways[NAT_WAYS])
{
    const int *flows = ctx;
    struct shortcut_ends keys[NAT_WAYS];
    struct shortcut_entry entry;

    for (int i = 0; i < NAT_WAYS; i++) {
        system_shortcut_entry(&ways[i], &keys[i], &entry);
        if (shortcut_add(*flows, &keys[i], &entry))
            continue;
        if (i > 0)
            shortcut_remove(*flows, &keys[0]);
        return false;
    }
    return true;
}

static void system_shortcut_look(void *ctx, const struct nat_way ways[NAT_WAYS], struct nat_looked out[NAT_WAYS])
{
    const int *flows = ctx;
    struct shortcut_entry entry;
    struct shortcut_ends key;
    struct timespec now;
    uint64_t now_ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    for (int i = 0; i < NAT_WAYS; i++) {
        out[i] = (struct nat_looked){0};
        put_ends(&key, &ways[i].from);
        if (!shortcut_look(*flows, &key, &entry) || entry.heard_ns == 0)
            continue;
        out[i].is_heard = true;
        out[i].is_fin = (entry.seen & SHORTCUT_FIN) != 0;
        out[i].age_ns = now_ns > entry.heard_ns ? now_ns - entry.heard_ns : 0;
    }
}

static void system_shortcut_remove(void *ctx, const struct nat_way ways[NAT_WAYS])
{
    const int *flows = ctx;
    struct shortcut_ends key;

    for (int i = 0; i < NAT_WAYS; i++) {
        put_ends(&key, &ways[i].from);
        shortcut_remove(*flows, &key);
    }
}

struct nat_shortcut system_shortcut(int *flows)
{
    return (struct nat_shortcut){
        .ctx = flows,
        .add = system_shortcut_add,
        .look = system_shortcut_look,
        .remove = system_shortcut_remove,
    };
}
