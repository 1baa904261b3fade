/* SPDX-License-Identifier: MIT */
/* sim: see sim.h. */
#include "sim.h"
#include <stdlib.h>
#include <string.h>
#include "dev/offload.h"
#include "../unit/net/tcp_check.h"
#include "wire/icmp.h"
#include "wire/print.h"

enum { PATTERN_BYTES = 65521 };
#define SIM_RETRY_NS 50000ull
#define BURST_MAX_NS 1000000000ull

double sim_uniform(struct sim *s)
{
    return (double)(random_next(&s->random) >> 11) / 9007199254740992.0;
}

uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high)
{
    return low + random_below(&s->random, high - low + 1);
}

static void sim_fail(struct sim *s, const char *what, uint64_t a, uint64_t b)
{
    if (s->failure)
        return;
    snprintf(s->failure_text, sizeof(s->failure_text), "%s (%llu, %llu) at %.6f s", what,
             (unsigned long long)a, (unsigned long long)b, (double)s->now_ns / 1e9);
    s->failure = s->failure_text;
}

/* --------------------------------------------------------------------------------------- pattern -- */

static const uint8_t *pattern(void)
{
    static uint8_t octets[PATTERN_BYTES];
    static bool made;

    if (!made) {
        struct random r = {.state = 1};

        for (int i = 0; i < PATTERN_BYTES; i++)
            octets[i] = (uint8_t)random_next(&r);
        made = true;
    }
    return octets;
}

uint8_t sim_pattern_octet(uint64_t offset)
{
    return pattern()[offset % PATTERN_BYTES];
}

/* Compares (or copies) [offset, offset + n) of a flow's stream. */
static bool pattern_is(uint64_t offset, const uint8_t *data, size_t n)
{
    while (n > 0) {
        size_t at = offset % PATTERN_BYTES, take = PATTERN_BYTES - at < n ? PATTERN_BYTES - at : n;

        if (memcmp(pattern() + at, data, take) != 0)
            return false;
        offset += take;
        data += take;
        n -= take;
    }
    return true;
}

static void pattern_fill(uint64_t offset, uint8_t *data, size_t n)
{
    while (n > 0) {
        size_t at = offset % PATTERN_BYTES, take = PATTERN_BYTES - at < n ? PATTERN_BYTES - at : n;

        memcpy(data, pattern() + at, take);
        offset += take;
        data += take;
        n -= take;
    }
}

/* --------------------------------------------------------------------------- packets in flight -- */

static bool packet_before(const struct sim_packet *a, const struct sim_packet *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void queue_push(struct sim *s, struct sim_packet p)
{
    uint32_t i;

    if (s->queued == s->queue_max) {
        s->queue_max = s->queue_max ? s->queue_max * 2 : 1024;
        s->queue = realloc(s->queue, s->queue_max * sizeof(*s->queue));
    }
    p.order = s->order++;
    i = s->queued++;
    while (i > 0 && packet_before(&p, &s->queue[(i - 1) / 2])) {
        s->queue[i] = s->queue[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->queue[i] = p;
}

static struct sim_packet queue_pop(struct sim *s)
{
    struct sim_packet first = s->queue[0], last = s->queue[--s->queued];
    uint32_t i = 0;

    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= s->queued)
            break;
        if (child + 1 < s->queued && packet_before(&s->queue[child + 1], &s->queue[child]))
            child++;
        if (!packet_before(&s->queue[child], &last))
            break;
        s->queue[i] = s->queue[child];
        i = child;
    }
    s->queue[i] = last;
    return first;
}

/* ------------------------------------------------------------------------------------------ link -- */

static void sim_print(const struct sim *s, int from, const struct packet *p, const char *fate)
{
    char text[200];

    if (!s->trace)
        return;
    (void)packet_print(text, sizeof(text), p->data, p->len_bytes);
    fprintf(stderr, "%.6f %d: %s%s%s\n", (double)s->now_ns / 1e9, from, text, fate ? " | " : "",
            fate ? fate : "");
}

static struct buf *flatten(struct sim_host *to, const struct packet_out *p)
{
    uint32_t total = packet_out_bytes(p), at = p->headers_bytes;
    struct buf *b = buf_new(&to->bufs, total);

    if (!b)
        return NULL;
    memcpy(b->data, p->headers, p->headers_bytes);
    for (int i = 0; i < p->slices_count; i++) {
        memcpy(b->data + at, p->slices[i].base, p->slices[i].len);
        at += (uint32_t)p->slices[i].len;
    }
    return b;
}

static bool link_loses(struct sim *s, struct sim_link *l)
{
    const struct sim_link_config *c = &l->config;

    if (c->burst_enter > 0) {
        double p = l->in_burst ? c->burst_leave : c->burst_enter;

        if (l->in_burst && s->now_ns - l->burst_since_ns > BURST_MAX_NS)
            l->in_burst = false; /* a link that loses everything for minutes is dead, not lossy */
        else if (sim_uniform(s) < p)
            l->in_burst = !l->in_burst;
        if (!l->in_burst)
            l->burst_since_ns = s->now_ns;
        if (l->in_burst)
            return true;
    }
    return c->loss > 0 && sim_uniform(s) < c->loss;
}

static void link_deliver(struct sim *s, int to, struct packet p, uint64_t at_ns)
{
    queue_push(s, (struct sim_packet){.at_ns = at_ns, .to = to, .p = p});
}

/* A router in the middle says what it takes. */
static void link_too_big(struct sim *s, int from, const struct packet *big)
{
    static const uint8_t router4[4] = {192, 0, 2, 1};
    struct sim_link *l = &s->link[from];
    struct ip_header about, ip = {.ttl = 64};
    struct icmp_message m = {.kind = ICMP_TOO_BIG, .mtu_bytes = l->mtu_bytes, .data = big->data};
    struct buf *b = buf_new(&s->host[from].bufs, 1500);
    size_t n;

    if (!b || ip_parse(&about, big->data, big->len_bytes, false) != DROP_NONE) {
        buf_unref(b);
        return;
    }
    m.data_bytes = (uint32_t)icmp_quote_bytes(about.version, big->len_bytes);
    ip.version = about.version;
    ip.proto = about.version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6;
    ip.payload_bytes = ICMP_HEADER_BYTES + m.data_bytes;
    memcpy(ip.dst, about.src, 16);
    memcpy(ip.src, about.dst, 16);
    if (about.version == 4)
        ip_map4(ip.src, router4);
    n = ip_emit(b->data, &ip);
    icmp_emit(b->data + n, &ip, &m);
    memcpy(b->data + n + ICMP_HEADER_BYTES, big->data, m.data_bytes);
    link_deliver(s, from,
                 (struct packet){.buf = b,
                                 .data = b->data,
                                 .len_bytes = (uint32_t)n + ICMP_HEADER_BYTES + m.data_bytes},
                 s->now_ns + 2 * l->config.delay_ns);
}

static void link_corrupt(struct sim *s, struct packet *p)
{
    uint32_t bit = (uint32_t)random_below(&s->random, p->len_bytes * 8ull);

    p->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static void link_send(struct sim *s, int from, struct packet p)
{
    struct sim_link *l = &s->link[from];
    const struct sim_link_config *c = &l->config;
    uint64_t start = l->busy_until_ns > s->now_ns ? l->busy_until_ns : s->now_ns, at_ns;

    l->packets++;
    if (p.gso_bytes == 0 && p.len_bytes > l->mtu_bytes) {
        link_too_big(s, from, &p);
        buf_unref(p.buf);
        return;
    }
    if (c->rate_bps > 0) {
        if ((start - s->now_ns) * (c->rate_bps / 8) / 1000000000 + p.len_bytes > c->queue_bytes) {
            l->queue_drops++;
            sim_print(s, from, &p, "queue full");
            buf_unref(p.buf);
            return;
        }
        start += p.len_bytes * 8ull * 1000000000 / c->rate_bps;
        l->busy_until_ns = start;
    }
    if (link_loses(s, l)) {
        l->lost++;
        sim_print(s, from, &p, "lost");
        buf_unref(p.buf);
        return;
    }
    at_ns = start + c->delay_ns;
    if (c->reorder > 0 && sim_uniform(s) < c->reorder)
        at_ns += sim_between(s, 0, c->reorder_ns);
    if (c->duplicate > 0 && sim_uniform(s) < c->duplicate) {
        buf_ref(p.buf);
        link_deliver(s, !from, p, at_ns + sim_between(s, 0, 1000000));
    }
    if (c->corrupt > 0 && p.csum == PACKET_CSUM_UNKNOWN && p.buf->refs == 1 &&
        sim_uniform(s) < c->corrupt) {
        link_corrupt(s, &p);
        l->corrupted++;
    }
    link_deliver(s, !from, p, at_ns);
}

static int link_send_part(void *ctx, const struct packet_out *part)
{
    struct sim_host *h = ctx;
    struct packet_out whole = *part;
    struct buf *b;

    if (whole.csum_start != 0)
        offload_complete_out(&whole);
    b = flatten(&h->sim->host[!h->index], &whole);
    if (b)
        link_send(
            h->sim, h->index,
            (struct packet){.buf = b, .data = b->data, .len_bytes = packet_out_bytes(&whole)});
    return 0;
}

/* ------------------------------------------------------------------------------------------ hosts -- */

/* Strangers (hostile.c) do not answer. */
static bool is_for_stranger(const struct packet_out *p)
{
    return p->headers[0] >> 4 == 4 && memcmp(p->headers + 16, (const uint8_t[]){10, 7, 1}, 3) == 0;
}

static bool host_output(void *ctx, const struct packet_out *p)
{
    struct sim_host *h = ctx;
    struct buf *b;

    if (h->device_full > 0 && sim_uniform(h->sim) < h->device_full) {
        h->retry = true;
        return false;
    }
    if (is_for_stranger(p))
        return true;
    if (!h->sim->link[h->index].config.whole) {
        if (offload_is_super(p))
            (void)offload_split(p, p->gso_bytes, link_send_part, h);
        else
            (void)link_send_part(h, p);
        return true;
    }
    b = flatten(&h->sim->host[!h->index], p);
    if (b)
        link_send(
            h->sim, h->index,
            (struct packet){.buf = b,
                            .data = b->data,
                            .len_bytes = packet_out_bytes(p),
                            .gso_bytes = p->gso_bytes,
                            .csum = p->csum_start ? PACKET_CSUM_PARTIAL : PACKET_CSUM_UNKNOWN});
    return true;
}

static void host_prepare(void *ctx, const adit_flow *f, adit_decision *d)
{
    (void)ctx;
    if (f->dst.addr.port == SIM_REFUSED_PORT)
        d->verdict = ADIT_RESET;
    else if (f->src.port >= SIM_HOSTILE_PORT && f->src.port & 1)
        d->verdict = ADIT_ACCEPT;
}

static int host_echo(void *ctx, struct echo *e, const struct ip_header *ip,
                     const struct icmp_message *m)
{
    (void)ctx;
    (void)e;
    (void)ip;
    (void)m;
    return ADIT_DROP;
}

static void host_random(void *ctx, void *buf, size_t len_bytes)
{
    struct sim_host *h = ctx;
    uint8_t *at = buf;

    while (len_bytes-- > 0)
        *at++ = (uint8_t)random_next(&h->sim->random);
}

static void host_init(struct sim *s, int index, const struct sim_options *o)
{
    struct sim_host *h = &s->host[index];
    struct net_env env = {.ctx = h,
                          .output = host_output,
                          .prepare = host_prepare,
                          .echo = host_echo,
                          .random = host_random};
    struct net_config c = {
        .mtu_bytes = o->mtu_bytes,
        .tcp_max = o->tcp_max ? o->tcp_max : 64,
        .tcp_per_client_max = o->tcp_per_client_max ? o->tcp_per_client_max : 64,
        .tcp_half_open_max = o->half_open_max ? o->half_open_max : 32,
        .tcp_half_open_per_client_max = o->half_open_per_client_max ? o->half_open_per_client_max : 32,
        .udp_max = 16,
        .udp_per_client_max = 16,
        .rx_window_bytes = o->rx_window_bytes,
        .tx_buffer_bytes = o->tx_buffer_bytes,
        .tcp_idle_ns = 7440000000000ull,
        .tcp_half_closed_ns = 600000000000ull,
        .tcp_keepalive_ns = 7200000000000ull,
        .tcp_time_wait_ns = 60000000000ull,
        .udp_unreplied_ns = 30000000000ull,
        .udp_replied_ns = 180000000000ull,
        .udp_dns_ns = 10000000000ull,
        .icmp_ns = 30000000000ull,
        .pending_ns = 10000000000ull,
        .device_uso = true,
        .trust_partial_csum = true,
    };

    h->sim = s;
    h->index = index;
    memory_init(&h->memory, o->budget_bytes, o->allocator[index]);
    buf_pool_init(&h->bufs, &h->memory, o->allocator[index] ? 0 : 4 * 1024 * 1024);
    if (net_init(&h->net, &c, &env, &h->memory, &h->bufs, &h->log, s->now_ns) != 0 ||
        tcp_engine_init(&h->engine, &h->net) != 0)
        sim_fail(s, "a host could not be made", 0, 0);
    h->engine.cc = o->cc;
}

static adit_addr sim_address(bool v6, int host, uint16_t port)
{
    char text[ADIT_ADDR_TEXT];
    adit_addr a;

    snprintf(text, sizeof(text), v6 ? "2001:db8::%d" : "10.7.0.%d", host + 1);
    (void)adit_addr_parse(&a, text);
    a.port = port;
    return a;
}

void sim_init(struct sim *s, const struct sim_options *o)
{
    memset(s, 0, sizeof(*s));
    s->seed = o->seed;
    s->trace = getenv("ADIT_SIM_TRACE") != NULL;
    s->random = (struct random){.state = o->seed};
    s->now_ns = 1000000000ull * (1 + o->seed % 5000000); /* clocks and timestamps wrap somewhere */
    s->memory_may_fail = o->allocator[0] || o->allocator[1];
    for (int i = 0; i < 2; i++) {
        s->link[i].config = o->link[i];
        s->link[i].mtu_bytes = o->mtu_bytes;
        host_init(s, i, o);
    }
}

struct sim_flow *sim_add_flow(struct sim *s, uint64_t up_bytes, uint64_t down_bytes)
{
    struct sim_flow *f = &s->flow[s->flows];

    f->port = (uint16_t)(20000 + s->flows);
    f->side[0] = (struct sim_side){.to_send = up_bytes, .abort_at = UINT64_MAX};
    f->side[1] = (struct sim_side){.to_send = down_bytes, .abort_at = UINT64_MAX};
    s->flows++;
    return f;
}

/* ------------------------------------------------------------------------------------------- apps -- */

static void side_read(struct sim *s, struct sim_side *a)
{
    while (s->now_ns >= a->pause_until_ns) {
        adit_iov iov[8];
        int n = a->stream->ops->peek(a->stream, iov, 8);
        size_t taken = 0;

        if (n <= 0)
            return;
        for (int i = 0; i < n; i++) {
            size_t take = iov[i].len;

            if (a->read_max > 0 && take > a->read_max - taken)
                take = a->read_max - taken;
            if (!pattern_is(a->received + taken, iov[i].base, take))
                sim_fail(s, "wrong octets", a->received + taken, take);
            taken += take;
        }
        a->stream->ops->consume(a->stream, taken);
        a->received += taken;
        if (a->pause > 0 && sim_uniform(s) < a->pause)
            a->pause_until_ns = s->now_ns + sim_between(s, 1, a->pause_ns);
        if (a->received >= a->abort_at) {
            if (a->gives_up_politely)
                a->stream->ops->close(a->stream);
            else
                a->stream->ops->abort(a->stream);
            a->abort_at = a->received; /* once */
            a->pause_until_ns = UINT64_MAX;
            return;
        }
    }
}

static void side_write(struct sim *s, struct sim_side *a)
{
    (void)s;
    while (a->sent < a->to_send) {
        adit_iov iov[8];
        int n = a->stream->ops->reserve(a->stream, iov, 8);
        size_t given = 0;

        if (n <= 0)
            return;
        for (int i = 0; i < n && a->sent + given < a->to_send; i++) {
            size_t take = iov[i].len;

            if (take > a->to_send - a->sent - given)
                take = a->to_send - a->sent - given;
            pattern_fill(a->sent + given, iov[i].base, take);
            given += take;
        }
        a->stream->ops->commit(a->stream, given);
        a->sent += given;
    }
    if (!a->shut) {
        a->shut = true;
        (void)a->stream->ops->shutdown(a->stream);
    }
}

static void side_serve(struct sim *s, struct sim_side *a)
{
    unsigned ev = stream_events(a->stream);

    if (ev & STREAM_READ)
        side_read(s, a);
    if (stream_events(a->stream) & STREAM_OPEN)
        side_write(s, a);
    ev = stream_events(a->stream);
    if (ev & STREAM_CLOSED) {
        a->why = a->stream->ops->why(a->stream);
        a->closed = true;
        a->stream->ops->free(a->stream);
        a->stream = NULL;
        s->finished_ns = s->now_ns;
        return;
    }
    a->stream->ops->settle(a->stream);
}

static struct sim_side *side_of(struct sim *s, int host, struct tcp *t)
{
    uint16_t port = host == 0 ? t->flow.key.remote_port : t->flow.key.client_port;

    for (int i = 0; i < s->flows; i++)
        if (s->flow[i].port == port)
            return &s->flow[i].side[host];
    return NULL;
}

static void side_accept_due(struct sim *s, struct sim_side *a)
{
    if (a->accepted || !a->stream || s->now_ns < a->accept_at_ns)
        return;
    a->accepted = true;
    if (a->stream->ops->accept(a->stream) != 0 && !(stream_events(a->stream) & STREAM_CLOSED))
        sim_fail(s, "a pending flow cannot be accepted", 0, 0);
}

static void host_serve(struct sim_host *h)
{
    struct flow *f;

    while ((f = net_next_ready(&h->net)) != NULL) {
        struct tcp *t = tcp_of_flow(f);
        struct stream *stream = tcp_stream(t);
        struct sim_side *a = side_of(h->sim, h->index, t);

        if (!f->owner && (stream_events(stream) & STREAM_CLOSED)) {
            stream->ops->free(stream);
            continue;
        }
        if (!a && t->flow.key.client_port >= SIM_HOSTILE_PORT)
            continue; /* no handler answers strangers */
        if (!a) {
            sim_fail(h->sim, "a flow that nobody opened", 0, 0);
            return;
        }
        if (!f->owner && a->closed) { /* a late SYN of a flow that has been */
            stream->ops->abort(stream);
            stream->ops->free(stream);
            continue;
        }
        f->owner = a;
        a->stream = stream;
        if (h->index == 1)
            side_accept_due(h->sim, a);
        side_serve(h->sim, a);
    }
}

/* What is due for apps: pauses that are over, accepts. */
static uint64_t apps_run(struct sim *s)
{
    uint64_t next_ns = UINT64_MAX;

    for (int i = 0; i < s->flows; i++)
        for (int j = 0; j < 2; j++) {
            struct sim_side *a = &s->flow[i].side[j];

            if (!a->stream)
                continue;
            s->host[j].engine.now_ns = s->now_ns;
            if (j == 1 && !a->accepted) {
                side_accept_due(s, a);
                if (!a->accepted && a->accept_at_ns < next_ns)
                    next_ns = a->accept_at_ns;
            } else if (a->pause_until_ns && a->pause_until_ns <= s->now_ns) {
                a->pause_until_ns = 0;
                side_serve(s, a);
            }
            if (a->stream && a->pause_until_ns > s->now_ns && a->pause_until_ns < next_ns)
                next_ns = a->pause_until_ns;
        }
    return next_ns;
}

static void host_turn(struct sim_host *h)
{
    net_expire(&h->net, h->sim->now_ns);
    host_serve(h);
    h->retry = false;
    net_output(&h->net, h->sim->now_ns);
    host_serve(h);
}

/* ---------------------------------------------------------------------------------------------- run -- */

static void sim_dial(struct sim *s)
{
    bool v6 = s->seed & 1;

    for (int i = 0; i < s->flows; i++) {
        adit_addr from = sim_address(v6, 0, s->flow[i].port), to = sim_address(v6, 1, 80);
        struct tcp *t = tcp_dial(&s->host[0].engine, &from, &to, s->now_ns);

        if (!t && s->memory_may_fail) {
            s->flow[i].side[0].closed = true;
            continue;
        }
        if (!t) {
            sim_fail(s, "no flow could be dialled", (uint64_t)i, 0);
            return;
        }
        s->flow[i].side[0].stream = tcp_stream(t);
        tcp_flow(t)->owner = &s->flow[i].side[0];
    }
}

static bool sim_is_over(const struct sim *s)
{
    for (int i = 0; i < s->flows; i++)
        if (!s->flow[i].side[0].closed || (s->flow[i].side[1].stream && !s->flow[i].side[1].closed))
            return false;
    return s->queued == 0 && s->host[0].engine.flows == 0 && s->host[1].engine.flows == 0;
}

static void sim_change_mtu(struct sim *s)
{
    if (s->mtu_change_at_ns == 0 || s->now_ns < s->mtu_change_at_ns)
        return;
    s->mtu_change_at_ns = 0;
    s->link[0].mtu_bytes = s->link[1].mtu_bytes = s->mtu_after_bytes;
}

void sim_arrive(struct sim *s, int to, const struct packet *p)
{
    enum drop why = net_input(&s->host[to].net, p, s->now_ns);

    sim_print(s, !to, p, why ? drop_name(why) : NULL);
}

static uint64_t sim_next_ns(struct sim *s, uint64_t apps_ns)
{
    uint64_t next = apps_ns;

    if (s->queued > 0 && s->queue[0].at_ns < next)
        next = s->queue[0].at_ns;
    for (int i = 0; i < 2; i++) {
        uint64_t at = net_next_ns(&s->host[i].net);

        next = at < next ? at : next;
        if (s->host[i].retry && s->now_ns + SIM_RETRY_NS < next)
            next = s->now_ns + SIM_RETRY_NS;
    }
    return next;
}

/* Counts anew, the slow way, what each connection keeps as sums: for one seed in 16. */
static void sim_check(struct sim *s)
{
    if (s->seed % 16 != 0)
        return;
    for (int i = 0; i < s->flows; i++)
        for (int j = 0; j < 2; j++) {
            struct stream *stream = s->flow[i].side[j].stream;
            const char *why = stream ? tcp_check(LIST_ENTRY(stream, struct tcp, flow.stream)) : NULL;

            if (why)
                sim_fail(s, why, (uint64_t)i, (uint64_t)j);
        }
}

/* Has all that b sent come to a? */
static void side_judge(struct sim *s, const struct sim_side *a, const struct sim_side *b)
{
    if (a->abort_at != UINT64_MAX || b->abort_at != UINT64_MAX)
        return;
    if (s->memory_may_fail && (a->why != 0 || a->received == 0)) /* it said so, or never came to be */
        return;
    if (a->received != b->to_send || a->why != 0)
        sim_fail(s, a->why ? adit_strerror(a->why) : "a stream did not arrive whole", a->received,
                 b->to_send);
}

bool sim_run(struct sim *s, uint64_t limit_ns)
{
    uint64_t end_ns = s->now_ns + limit_ns;

    sim_dial(s);
    while (!s->failure && !sim_is_over(s)) {
        uint64_t apps_ns, next;

        sim_change_mtu(s);
        while (s->queued > 0 && s->queue[0].at_ns <= s->now_ns) {
            struct sim_packet p = queue_pop(s);

            sim_arrive(s, p.to, &p.p);
            buf_unref(p.p.buf);
        }
        if (s->hostile > 0 && sim_uniform(s) < s->hostile)
            sim_hostile(s);
        apps_ns = apps_run(s);
        host_turn(&s->host[0]);
        host_turn(&s->host[1]);
        sim_check(s);
        next = sim_next_ns(s, apps_ns);
        if (next == UINT64_MAX)
            break;
        s->now_ns = next > s->now_ns ? next : s->now_ns + 1;
        if (s->now_ns > end_ns)
            sim_fail(s, "out of time", limit_ns, 0);
    }
    if (!s->failure && !sim_is_over(s))
        sim_fail(s, "stalled: nothing will ever happen again", 0, 0);
    for (int i = 0; i < s->flows && !s->failure; i++)
        for (int j = 0; j < 2; j++)
            side_judge(s, &s->flow[i].side[j], &s->flow[i].side[!j]);
    return !s->failure;
}

bool sim_deinit(struct sim *s)
{
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < s->flows; j++) {
            struct stream *stream = s->flow[j].side[i].stream;

            if (stream) {
                stream->ops->abort(stream);
                stream->ops->free(stream);
            }
        }
    while (s->queued > 0)
        buf_unref(queue_pop(s).p.buf);
    free(s->queue);
    for (int i = 0; i < 2; i++) {
        struct sim_host *h = &s->host[i];

        tcp_engine_deinit(&h->engine);
        net_deinit(&h->net);
        buf_pool_deinit(&h->bufs);
        if (h->memory.used_bytes != 0)
            sim_fail(s, "memory is still held", (uint64_t)i, h->memory.used_bytes);
    }
    return !s->failure;
}
