/* SPDX-License-Identifier: MIT */
/* core: a core without TCP for fuzz targets, in little memory. Whatever it sends must be a packet that its own parser takes,
 * and when all is over nothing may be left. Everything is decided by the input: time is a number, random numbers are
 * counted. */
#pragma once
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "net/net.h"
#include "net/udp.h"
#include "wire/checksum.h"

enum { CORE_MEMORY_BYTES = 3 * 1024 * 1024 };

struct core {
    struct memory memory;
    struct buf_pool bufs;
    struct log log;
    struct net net;
    uint64_t now_ns;
    uint32_t random;
    uint8_t verdict;     /* the next of prepare() and echo */
    uint8_t device_full; /* the device takes nothing while not 0 */
};

static inline bool core_output(void *ctx, const struct packet_out *p)
{
    struct core *c = ctx;
    struct ip_header h;
    uint8_t *flat;
    uint32_t at = p->headers_bytes;

    if (c->device_full)
        return false;
    assert(p->slices_count <= PACKET_SLICES_MAX && p->headers_bytes <= PACKET_HEADERS_MAX);
    assert(p->gso_bytes > 0 || packet_out_bytes(p) <= c->net.config.mtu_bytes);
    flat = malloc(packet_out_bytes(p));
    assert(flat);
    memcpy(flat, p->headers, at);
    for (int i = 0; i < p->slices_count; i++) {
        if (p->slices[i].len > 0)
            memcpy(flat + at, p->slices[i].base, p->slices[i].len);
        at += (uint32_t)p->slices[i].len;
    }
    assert(at == packet_out_bytes(p));
    assert(ip_parse(&h, flat, at, true) == DROP_NONE);
    assert(h.header_bytes + h.payload_bytes == at);
    free(flat);
    return true;
}

static inline void core_prepare(void *ctx, const adit_flow *f, adit_decision *d)
{
    const struct core *c = ctx;

    (void)f;
    d->verdict = c->verdict % 8;
}

static inline int core_echo(void *ctx, struct echo *e, const struct ip_header *ip, const struct icmp_message *m)
{
    const struct core *c = ctx;

    (void)e;
    (void)ip;
    (void)m;
    return c->verdict % 11;
}

static inline void core_random(void *ctx, void *buf, size_t len_bytes)
{
    struct core *c = ctx;

    for (size_t i = 0; i < len_bytes; i++)
        ((uint8_t *)buf)[i] = (uint8_t)((c->random = c->random * 1664525 + 1013904223) >> 24);
}

static inline void core_begin(struct core *c)
{
    struct net_env env = {
        .ctx = c, .output = core_output, .prepare = core_prepare, .echo = core_echo, .random = core_random};
    struct net_config config = {
        .mtu_bytes = 1400,
        .tcp_max = 4,
        .udp_max = 64,
        .udp_per_client_max = 32,
        .udp_unreplied_ns = 30000000000ull,
        .udp_replied_ns = 180000000000ull,
        .udp_dns_ns = 10000000000ull,
        .icmp_ns = 30000000000ull,
        .device_uso = true,
        .trust_partial_csum = true,
    };

    memset(c, 0, sizeof(*c));
    c->now_ns = 1000000000000ull;
    memory_init(&c->memory, CORE_MEMORY_BYTES, NULL);
    buf_pool_init(&c->bufs, &c->memory, CORE_MEMORY_BYTES / 8);
    (void)net_init(&c->net, &config, &env, &c->memory, &c->bufs, &c->log, c->now_ns);
}

/* Takes what is ready; answers it, where `reply` says so. */
static inline void core_serve(struct core *c, bool reply)
{
    struct flow *f;

    while ((f = net_next_ready(&c->net)) != NULL) {
        struct udp *u = LIST_ENTRY(f, struct udp, flow);
        adit_dgram d[8];
        int n;

        assert(f->key.proto == IP_PROTO_UDP);
        if (u->is_closing) {
            udp_free(u);
            continue;
        }
        u->flow.owner = u;
        u->is_new = false;
        while ((n = udp_recv(u, d, 8)) > 0) {
            if (reply)
                assert(udp_send(u, d, n, c->now_ns) <= n);
            else
                udp_unreach(u, &d[0].remote, ADIT_RESET, c->now_ns);
            udp_release(u, n);
        }
    }
}

static inline void core_input(struct core *c, const uint8_t *packet, size_t len_bytes, uint16_t gso_bytes, uint8_t csum)
{
    struct packet p = {.len_bytes = (uint32_t)len_bytes, .gso_bytes = gso_bytes, .csum = csum};
    struct buf *b = buf_new(&c->bufs, len_bytes);

    if (!b)
        return;
    if (len_bytes > 0)
        memcpy(b->data, packet, len_bytes);
    p.buf = b;
    p.data = b->data;
    (void)net_input(&c->net, &p, c->now_ns);
    buf_unref(b);
}

static inline void core_sleep(struct core *c, uint64_t ns)
{
    c->now_ns += ns;
    net_expire(&c->net, c->now_ns);
    assert(net_next_ns(&c->net) > c->now_ns);
    assert(c->net.frags.bytes <= FRAG_BYTES_MAX);
}

static inline void core_end(struct core *c)
{
    core_serve(c, true);
    core_sleep(c, 1000000000000ull); /* every flow has timed out */
    core_serve(c, true);
    assert(c->net.flows.flows.count == 0);
    net_deinit(&c->net);
    buf_pool_deinit(&c->bufs);
    assert(c->memory.used_bytes == 0);
}
