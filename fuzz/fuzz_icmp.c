/* SPDX-License-Identifier: MIT */
/* icmp: the first octet chooses the family (odd: IPv6), the rest is a message. What was parsed is emitted with a right
 * checksum, parsed again, and must mean the same. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "wire/icmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static void check_same(const struct icmp_message *a, const struct icmp_message *b)
{
    assert(a->kind == b->kind && a->id == b->id && a->seq == b->seq);
    assert(a->mtu_bytes == b->mtu_bytes && a->data_bytes == b->data_bytes);
    assert(a->kind != ICMP_OTHER || (a->type == b->type && a->code == b->code));
    assert(a->kind != ICMP_PARAMETER || a->pointer == b->pointer);
}

static void check_round_trip(const struct ip_header *ip, const struct icmp_message *m)
{
    size_t len_bytes = ICMP_HEADER_BYTES + (size_t)m->data_bytes;
    uint8_t *out = malloc(len_bytes);
    struct icmp_message back;

    if (!out)
        abort();
    icmp_emit(out, ip, m);
    memcpy(out + ICMP_HEADER_BYTES, m->data, m->data_bytes);
    assert(icmp_parse(&back, ip, out, len_bytes, true) == DROP_NONE);
    check_same(m, &back);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct ip_header ip = {.version = 4};
    struct icmp_message m;

    if (len_bytes == 0)
        return 0;
    memset(ip.src, 0x20, sizeof(ip.src));
    memset(ip.dst, 0x30, sizeof(ip.dst));
    if (data[0] & 1) {
        ip.version = 6;
    } else {
        ip_map4(ip.src, (const uint8_t[]){10, 0, 0, 2});
        ip_map4(ip.dst, (const uint8_t[]){1, 2, 3, 4});
    }
    icmp_parse(&m, &ip, data + 1, len_bytes - 1, true);
    if (icmp_parse(&m, &ip, data + 1, len_bytes - 1, false) != DROP_NONE)
        return 0;
    assert(m.data + m.data_bytes == data + len_bytes && m.kind <= ICMP_OTHER);
    check_round_trip(&ip, &m);
    return 0;
}
