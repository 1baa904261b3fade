/* SPDX-License-Identifier: MIT */
/* rig: a core with nothing around it. Packets are made here and given to it, what leaves is recorded with complete checksums,
 * time is a number, random numbers come from a seed, prepare() and the echo verdict say what the test wants.
 *
 *     make_*() --> rig_input() --> [ net ] --> rig_out(): the next packet that left; rig_silent(): none did */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "../random.h"
#include "base/bytes.h"
#include "net/net.h"
#include "net/udp.h"
#include "wire/checksum.h"

enum { RIG_OUT_MAX = 4096, RIG_PACKET_BYTES = 65536 + 100, RIG_UNLIMITED = 1 << 30 };
#define RIG_SECOND_NS 1000000000ull
#define RIG_EPOCH_NS (1000 * RIG_SECOND_NS)

struct rig_packet {
    uint8_t *octets;
    uint32_t len_bytes;
    uint16_t gso_bytes;
    bool was_partial; /* the device would have completed the checksum */
    struct ip_header ip;
};

struct net_rig {
    struct memory memory;
    struct buf_pool bufs;
    struct log log;
    struct net net;
    struct random random;
    uint64_t now_ns;

    adit_decision decision; /* what prepare() says */
    adit_flow asked;        /* what it was asked last */
    unsigned prepares;
    int echo_verdict;
    unsigned echoes;
    int device_room; /* packets that the device still takes */

    struct rig_packet out[RIG_OUT_MAX];
    int out_count, out_at;
};

/* ----------------------------------------------------------------------------------- its environment -- */

static inline bool rig_env_output(void *ctx, const struct packet_out *p)
{
    struct net_rig *r = ctx;
    struct rig_packet *o = &r->out[r->out_count];
    uint32_t at = p->headers_bytes;

    if (r->device_room == 0)
        return false;
    r->device_room--;
    assert_true(r->out_count < RIG_OUT_MAX);
    assert_true(p->slices_count <= PACKET_SLICES_MAX && p->headers_bytes <= PACKET_HEADERS_MAX);
    o->octets = malloc(packet_out_bytes(p));
    assert_non_null(o->octets);
    memcpy(o->octets, p->headers, at);
    for (int i = 0; i < p->slices_count; i++) {
        if (p->slices[i].len > 0)
            memcpy(o->octets + at, p->slices[i].base, p->slices[i].len);
        at += (uint32_t)p->slices[i].len;
    }
    assert_int_equal(at, packet_out_bytes(p));
    o->len_bytes = at;
    o->gso_bytes = p->gso_bytes;
    o->was_partial = p->csum_start != 0;
    if (o->was_partial) {
        uint16_t sum = checksum_finish(checksum_add(0, o->octets + p->csum_start, at - p->csum_start));

        put_be16(o->octets + p->csum_start + p->csum_offset, sum ? sum : 0xffff);
    }
    assert_int_equal(ip_parse(&o->ip, o->octets, at, true), DROP_NONE);
    assert_int_equal(o->ip.header_bytes + o->ip.payload_bytes, at);
    r->out_count++;
    return true;
}

static inline void rig_env_prepare(void *ctx, const adit_flow *f, adit_decision *d)
{
    struct net_rig *r = ctx;

    assert_int_equal(d->size, sizeof(*d));
    assert_int_equal(d->verdict, ADIT_DEFER);
    r->asked = *f;
    r->prepares++;
    *d = r->decision;
}

static inline int rig_env_echo(void *ctx, struct echo *e, const struct ip_header *ip, const struct icmp_message *m)
{
    struct net_rig *r = ctx;

    assert_int_equal(e->flow.key.client_port, m->id);
    assert_int_equal(e->flow.key.proto, ip->proto);
    r->echoes++;
    return r->echo_verdict;
}

static inline void rig_env_random(void *ctx, void *buf, size_t len_bytes)
{
    struct net_rig *r = ctx;

    for (size_t i = 0; i < len_bytes; i++)
        ((uint8_t *)buf)[i] = (uint8_t)random_next(&r->random);
}

/* ------------------------------------------------------------------------------------------ life -- */

static inline struct net_config rig_config(void)
{
    return (struct net_config){
        .mtu_bytes = 1500,
        .tcp_max = 16,
        .tcp_per_client_max = 16,
        .tcp_half_open_max = 8,
        .tcp_half_open_per_client_max = 8,
        .udp_max = 16,
        .udp_per_client_max = 8,
        .rx_window_bytes = 1024 * 1024,
        .tx_buffer_bytes = 1024 * 1024,
        .udp_unreplied_ns = 30 * RIG_SECOND_NS,
        .udp_replied_ns = 180 * RIG_SECOND_NS,
        .udp_dns_ns = 10 * RIG_SECOND_NS,
        .icmp_ns = 30 * RIG_SECOND_NS,
    };
}

static inline void rig_init_with(struct net_rig *r, const struct net_config *config, uint64_t budget_bytes,
                                 const adit_allocator *allocator)
{
    struct net_env env = {
        .ctx = r,
        .output = rig_env_output,
        .prepare = rig_env_prepare,
        .echo = rig_env_echo,
        .random = rig_env_random,
    };

    memset(r, 0, sizeof(*r));
    r->now_ns = RIG_EPOCH_NS;
    r->random.state = 1;
    r->decision = (adit_decision){.size = sizeof(r->decision), .verdict = ADIT_DEFER};
    r->echo_verdict = ADIT_ECHO_REPLY;
    r->device_room = RIG_UNLIMITED;
    memory_init(&r->memory, budget_bytes, allocator);
    buf_pool_init(&r->bufs, &r->memory, 1024 * 1024);
    assert_int_equal(net_init(&r->net, config, &env, &r->memory, &r->bufs, &r->log, r->now_ns), 0);
}

static inline void rig_init(struct net_rig *r)
{
    struct net_config config = rig_config();

    rig_init_with(r, &config, 64 * 1024 * 1024, NULL);
}

static inline void rig_forget_output(struct net_rig *r)
{
    while (r->out_count > 0)
        free(r->out[--r->out_count].octets);
    r->out_at = 0;
}

/* Closes and frees what those above would own; asserts that nothing leaks. */
static inline void rig_deinit(struct net_rig *r)
{
    const struct hash *flows = &r->net.flows.flows;
    struct flow *f;

    for (uint32_t i = 0; flows->slots && i <= flows->mask; i++) {
        f = flows->slots[i].item;
        if (f && f->key.proto == IP_PROTO_UDP) {
            f->owner = NULL;
            udp_close(LIST_ENTRY(f, struct udp, flow), ADIT_ECANCELED);
            i = UINT32_MAX; /* others may have moved */
        }
    }
    while ((f = net_next_ready(&r->net)) != NULL)
        udp_free(LIST_ENTRY(f, struct udp, flow));
    net_deinit(&r->net);
    rig_forget_output(r);
    buf_pool_deinit(&r->bufs);
    assert_int_equal(r->memory.used_bytes, 0);
}

/* ------------------------------------------------------------------------------------ making packets -- */

static inline adit_addr addr(const char *text)
{
    adit_addr a;

    assert_int_equal(adit_addr_parse(&a, text), 0);
    return a;
}

/* An IP header (addresses as text, ports ignored) and the payload behind it. Returns the packet's length. */
static inline uint32_t make_ip(uint8_t *out, const char *src, const char *dst, uint8_t proto, const void *payload,
                               uint32_t len_bytes)
{
    struct ip_header h = {.proto = proto, .ttl = 64, .payload_bytes = len_bytes, .fragment_id = 7};
    adit_addr from = addr(src), to = addr(dst);
    size_t n;

    memcpy(h.src, from.ip, 16);
    memcpy(h.dst, to.ip, 16);
    n = ip_emit(out, &h);
    memmove(out + n, payload, len_bytes);
    return (uint32_t)n + len_bytes;
}

static inline uint32_t make_udp(uint8_t *out, const char *src, const char *dst, const void *data, uint32_t len_bytes)
{
    static uint8_t datagram[RIG_PACKET_BYTES];
    adit_addr from = addr(src), to = addr(dst);
    uint16_t sum;

    udp_emit(datagram, from.port, to.port, len_bytes);
    if (len_bytes > 0)
        memcpy(datagram + UDP_HEADER_BYTES, data, len_bytes);
    sum = checksum_finish(checksum_add(checksum_pseudo(from.ip, to.ip, IP_PROTO_UDP, UDP_HEADER_BYTES + len_bytes), datagram,
                                       UDP_HEADER_BYTES + len_bytes));
    put_be16(datagram + 6, sum ? sum : 0xffff);
    return make_ip(out, src, dst, IP_PROTO_UDP, datagram, UDP_HEADER_BYTES + len_bytes);
}

static inline uint32_t make_icmp(uint8_t *out, const char *src, const char *dst, const struct icmp_message *m)
{
    static uint8_t message[RIG_PACKET_BYTES];
    adit_addr from = addr(src), to = addr(dst);
    struct ip_header h = {.version = from.family};

    memcpy(h.src, from.ip, 16);
    memcpy(h.dst, to.ip, 16);
    icmp_emit(message, &h, m);
    memcpy(message + ICMP_HEADER_BYTES, m->data, m->data_bytes);
    return make_ip(out, src, dst, from.family == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6, message,
                   ICMP_HEADER_BYTES + m->data_bytes);
}

/* The checksum of an IPv4 header after something in it was changed. */
static inline void mend_ip4(uint8_t *packet)
{
    put_be16(packet + 10, 0);
    put_be16(packet + 10, checksum_finish(checksum_add(0, packet, (size_t)(packet[0] & 15) * 4)));
}

/* ------------------------------------------------------------------------------------- in and out -- */

static inline enum drop rig_input_as(struct net_rig *r, const void *packet, uint32_t len_bytes, uint16_t gso_bytes,
                                     enum packet_csum csum)
{
    struct buf *b = buf_new(&r->bufs, BUF_PACKET_BYTES); /* as a device receives */
    struct packet p = {.buf = b, .len_bytes = len_bytes, .gso_bytes = gso_bytes, .csum = (uint8_t)csum};
    uint64_t before, after = 0;
    enum drop why;

    if (!b)
        return DROP_NO_MEMORY;
    memcpy(b->data, packet, len_bytes);
    p.data = b->data;
    before = r->net.stats.rx_packets;
    why = net_input(&r->net, &p, r->now_ns);
    after = r->net.stats.rx_packets;
    assert_int_equal(after, before + 1);
    buf_unref(b);
    return why;
}

static inline enum drop rig_input(struct net_rig *r, const void *packet, uint32_t len_bytes)
{
    return rig_input_as(r, packet, len_bytes, 0, PACKET_CSUM_UNKNOWN);
}

static inline enum drop rig_udp(struct net_rig *r, const char *src, const char *dst, const void *data, uint32_t len_bytes)
{
    static uint8_t packet[RIG_PACKET_BYTES];

    return rig_input(r, packet, make_udp(packet, src, dst, data, len_bytes));
}

static inline uint64_t rig_drops(const struct net_rig *r, enum drop why)
{
    return r->net.stats.drops[why];
}

/* The next packet that left; fails where there is none. */
static inline const struct rig_packet *rig_out(struct net_rig *r)
{
    assert_true(r->out_at < r->out_count);
    return &r->out[r->out_at++];
}

static inline void rig_silent(const struct net_rig *r)
{
    assert_int_equal(r->out_count, r->out_at);
}

/* The next packet that left is an ICMP message; its checksum is right. */
static inline struct icmp_message rig_out_icmp(struct net_rig *r)
{
    const struct rig_packet *o = rig_out(r);
    struct icmp_message m;

    assert_int_equal(o->ip.proto, o->ip.version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6);
    assert_int_equal(icmp_parse(&m, &o->ip, o->octets + o->ip.header_bytes, o->ip.payload_bytes, true), DROP_NONE);
    return m;
}

/* The next packet that left is a datagram (or a train); its checksum is right. */
static inline struct udp_header rig_out_udp(struct net_rig *r)
{
    const struct rig_packet *o = rig_out(r);
    const uint8_t *datagram = o->octets + o->ip.header_bytes;
    struct udp_header h;

    assert_int_equal(o->ip.proto, IP_PROTO_UDP);
    assert_int_equal(udp_parse(&h, datagram, o->ip.payload_bytes, o->gso_bytes), DROP_NONE);
    assert_int_equal(checksum_finish(checksum_add(checksum_pseudo(o->ip.src, o->ip.dst, IP_PROTO_UDP, o->ip.payload_bytes),
                                                  datagram, o->ip.payload_bytes)),
                     0);
    return h;
}

static inline void assert_addr(const uint8_t ip[16], const char *text)
{
    adit_addr a = addr(text);

    assert_memory_equal(ip, a.ip, 16);
}

/* The mapping that is ready, as those above would find it; they own it from then on. NULL: none is. */
static inline struct udp *rig_ready_udp(struct net_rig *r)
{
    struct flow *f = net_next_ready(&r->net);

    if (!f)
        return NULL;
    assert_int_equal(f->key.proto, IP_PROTO_UDP);
    return LIST_ENTRY(f, struct udp, flow);
}

/* Frees the mappings that have ended, as those above would; others stay ready. */
static inline void rig_serve_ends(struct net_rig *r)
{
    struct list *node = r->net.ready.next;

    while (node != &r->net.ready) {
        struct udp *u = LIST_ENTRY(node, struct udp, flow.ready_node);

        node = node->next;
        if (u->is_closing)
            udp_free(u);
    }
}

static inline void rig_owns(struct udp *u)
{
    u->flow.owner = u;
    u->is_new = false;
}

static inline void rig_sleep(struct net_rig *r, uint64_t ns)
{
    r->now_ns += ns;
    net_expire(&r->net, r->now_ns);
}
