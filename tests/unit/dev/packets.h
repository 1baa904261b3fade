/* SPDX-License-Identifier: MIT */
/* packets: TCP and UDP packets made from random numbers, and checksums verified by the obvious loop, which shares nothing
 * with the code under test. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/bytes.h"
#include "wire/packet.h"
#include "../random.h"

enum { TCP = 6, UDP = 17 };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, CWR = 128 };

struct made {
    uint8_t octets[130000];
    uint32_t len_bytes, transport_at, payload_at;
    uint8_t version, proto;
};

/* The sum of 16-bit words, folded. */
static inline uint16_t slow_sum(uint32_t sum, const uint8_t *p, uint32_t len_bytes)
{
    for (uint32_t i = 0; i < len_bytes; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static inline uint16_t slow_pseudo(const uint8_t *packet, uint8_t proto, uint32_t transport_bytes)
{
    bool is_v4 = packet[0] >> 4 == 4;
    uint32_t sum = slow_sum(proto, packet + (is_v4 ? 12 : 8), is_v4 ? 8 : 32);

    return (uint16_t)((sum + transport_bytes) % 65535 == 0 ? 65535
                                                           : (sum + transport_bytes) % 65535);
}

/* The checksums of a packet with `transport_at` octets of IP headers are right, and none of UDP is missing. */
static inline bool checksums_are_right(const uint8_t *packet, uint32_t len_bytes,
                                       uint32_t transport_at, uint8_t proto)
{
    uint32_t transport_bytes = len_bytes - transport_at;
    uint16_t sum = slow_pseudo(packet, proto, transport_bytes);

    if (packet[0] >> 4 == 4 && slow_sum(0, packet, transport_at) != 0xffff)
        return false;
    if (proto == UDP && get_be16(packet + transport_at + 6) == 0)
        return false;
    return slow_sum(sum, packet + transport_at, transport_bytes) == 0xffff;
}

static inline void fill(uint8_t *p, uint32_t len_bytes, struct random *r)
{
    for (uint32_t i = 0; i < len_bytes; i++)
        p[i] = (uint8_t)random_next(r);
}

static inline void make_ip(struct made *m, uint32_t ip_bytes, uint32_t transport_bytes)
{
    uint8_t *h = m->octets;

    if (m->version == 4) {
        h[0] = (uint8_t)(0x40 | ip_bytes / 4);
        put_be16(h + 2, (uint16_t)(ip_bytes + transport_bytes));
        put_be16(h + 6, 0x4000);
        h[9] = m->proto;
        put_be16(h + 10, 0);
        put_be16(h + 10, (uint16_t)~slow_sum(0, h, ip_bytes));
        return;
    }
    h[0] = 0x60;
    put_be16(h + 4, (uint16_t)(ip_bytes - 40 + transport_bytes));
    h[6] = m->proto;
    if (ip_bytes > 40) { /* one destination options header */
        h[6] = 60;
        h[40] = m->proto;
        h[41] = (uint8_t)((ip_bytes - 40) / 8 - 1);
    }
}

/* A packet with the pseudo-header sum in its checksum field. options_bytes: a multiple of 8, in the IP header and, for TCP, in
 * the TCP header. */
static inline void make_packet(struct made *m, uint8_t version, uint8_t proto,
                               uint32_t options_bytes, uint32_t payload_bytes, struct random *r)
{
    uint32_t ip_bytes = (version == 4 ? 20 : 40) + options_bytes;
    uint32_t header_bytes = proto == TCP ? 20 + options_bytes : 8;
    uint8_t *t = m->octets + ip_bytes;

    m->version = version;
    m->proto = proto;
    m->transport_at = ip_bytes;
    m->payload_at = ip_bytes + header_bytes;
    m->len_bytes = m->payload_at + payload_bytes;
    fill(m->octets, m->len_bytes, r);
    make_ip(m, ip_bytes, header_bytes + payload_bytes);
    if (proto == TCP) {
        t[12] = (uint8_t)(header_bytes / 4 << 4);
        t[13] = ACK | PSH | FIN | CWR;
    } else {
        put_be16(t + 4, (uint16_t)(8 + payload_bytes));
    }
    put_be16(t + (proto == TCP ? 16 : 6),
             slow_pseudo(m->octets, proto, header_bytes + payload_bytes));
}

/* The packet as one that goes out, its payload in slices of random lengths that point into m. */
static inline void made_out(const struct made *m, struct packet_out *p, uint16_t gso_bytes,
                            struct random *r)
{
    uint32_t at = m->payload_at;

    *p = (struct packet_out){
        .headers_bytes = (uint8_t)m->payload_at,
        .csum_start = (uint8_t)m->transport_at,
        .csum_offset = m->proto == TCP ? 16 : 6,
        .gso_bytes = gso_bytes,
        .payload_bytes = m->len_bytes - m->payload_at,
    };
    memcpy(p->headers, m->octets, m->payload_at);
    while (at < m->len_bytes) {
        uint32_t left = m->len_bytes - at;
        bool is_last = p->slices_count == PACKET_SLICES_MAX - 1;
        uint32_t take = is_last ? left : (uint32_t)random_below(r, left) + 1;

        p->slices[p->slices_count++] = (adit_iov){(uint8_t *)(uintptr_t)m->octets + at, take};
        at += take;
    }
}

/* All octets of a packet that goes out, one after the other. Returns their number. */
static inline uint32_t flatten(const struct packet_out *p, uint8_t *to)
{
    uint32_t at = p->headers_bytes;

    memcpy(to, p->headers, p->headers_bytes);
    for (int i = 0; i < p->slices_count; i++) {
        memcpy(to + at, p->slices[i].base, p->slices[i].len);
        at += (uint32_t)p->slices[i].len;
    }
    return at;
}
