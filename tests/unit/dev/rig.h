/* SPDX-License-Identifier: MIT */
/* rig: memory and buffers for devices, and a device made of two lists: what it will give, and what was sent to it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "dev/dev.h"
#include "packets.h"

enum { RIG_PACKETS_MAX = 4096 };

struct rig {
    struct memory memory;
    struct buf_pool bufs;
    struct log log;
    adit_error err;
    int notices;
    adit_error notice;
};

static inline void rig_init(struct rig *g)
{
    *g = (struct rig){0};
    memory_init(&g->memory, 512 << 20, NULL);
    buf_pool_init(&g->bufs, &g->memory, 1 << 20);
}

/* Fails where anything leaked. */
static inline void rig_deinit(struct rig *g)
{
    buf_pool_deinit(&g->bufs);
    assert_int_equal(g->memory.used_bytes, 0);
}

static inline void rig_notice(void *ctx, const adit_error *e)
{
    struct rig *g = ctx;

    g->notices++;
    g->notice = *e;
}

static inline struct packet rig_packet(struct rig *g, const struct made *m)
{
    struct packet p = {.buf = buf_new(&g->bufs, m->len_bytes), .len_bytes = m->len_bytes};

    p.data = p.buf->data;
    memcpy(p.data, m->octets, m->len_bytes);
    return p;
}

/* ------------------------------------------------------------------------------------ a stub device -- */

struct stub {
    struct device dev;
    struct packet give[RIG_PACKETS_MAX];
    int give_count, given, sent_count, closed;
    uint8_t *sent[RIG_PACKETS_MAX];
    uint32_t sent_bytes[RIG_PACKETS_MAX];
    uint64_t sent_ns[RIG_PACKETS_MAX];
    int send_rc, recv_rc;
};

static inline int stub_recv(struct device *d, struct packet *p, int n, uint64_t now_ns)
{
    struct stub *s = (struct stub *)(void *)d;
    int count = 0;

    (void)now_ns;
    while (count < n && s->given < s->give_count)
        p[count++] = s->give[s->given++];
    return count == 0 && s->recv_rc ? s->recv_rc : count;
}

static inline int stub_send(struct device *d, const struct packet_out *p, uint64_t now_ns)
{
    struct stub *s = (struct stub *)(void *)d;

    if (s->send_rc)
        return s->send_rc;
    assert_int_equal(p->gso_bytes, 0);
    s->sent[s->sent_count] = malloc(packet_out_bytes(p));
    s->sent_bytes[s->sent_count] = flatten(p, s->sent[s->sent_count]);
    s->sent_ns[s->sent_count++] = now_ns;
    return ADIT_OK;
}

static inline void stub_close(struct device *d)
{
    struct stub *s = (struct stub *)(void *)d;

    s->closed++;
    while (s->sent_count)
        free(s->sent[--s->sent_count]);
    while (s->given < s->give_count)
        buf_unref(s->give[s->given++].buf);
}

static const struct device_ops stub_ops = {"stub", stub_recv, stub_send, NULL, NULL, stub_close};

static inline struct device *stub_init(struct stub *s, struct rig *g)
{
    memset(s, 0, sizeof(*s));
    s->dev = (struct device){
        .ops = &stub_ops, .bufs = &g->bufs, .log = &g->log, .fd = 17, .mtu_bytes = 1500};
    s->dev.tso = s->dev.uso = s->dev.big_tcp4 = s->dev.partial_csum = true;
    memcpy(s->dev.ifname, "stub0", 6);
    return &s->dev;
}
