/* SPDX-License-Identifier: MIT */
/* nat: what the kernel is shown, what the client is shown, and when an entry goes. Each packet that leaves is verified by the
 * obvious sum over all of it. */
#include "rig.h"
#include "net/nat.h"
#include "wire/fake_peer.h"
#include "wire/tcp.h"

#define CLIENT "10.0.0.2:5000"
#define REMOTE "1.2.3.4:80"
#define LISTENER "10.0.0.1:40000"
#define CLIENT6 "[fd00::2]:5000"
#define REMOTE6 "[2001:db8::1]:80"
#define LISTENER6 "[fd00::1]:40001"

struct nat_rig {
    struct net_rig r;
    struct nat nat;
};

static void nat_up(struct nat_rig *n, uint32_t tcp_max)
{
    struct net_config config = rig_config();
    adit_addr listeners[] = {addr(LISTENER), addr(LISTENER6)};

    config.tcp_max = tcp_max;
    config.tcp_half_open_max = config.tcp_half_open_per_client_max = 6;
    config.pending_ns = 10 * RIG_SECOND_NS;
    config.tcp_idle_ns = 1000 * RIG_SECOND_NS;
    config.tcp_half_closed_ns = 240 * RIG_SECOND_NS;
    config.tcp_time_wait_ns = 60 * RIG_SECOND_NS;
    config.trust_partial_csum = true;
    rig_init_with(&n->r, &config, 64 * 1024 * 1024, NULL);
    assert_int_equal(nat_init(&n->nat, &n->r.net, sizeof(struct nat_flow), listeners, 2), 0);
}

/* What is not released yet was nobody's business: it is ended and released here. */
static void nat_down(struct nat_rig *n)
{
    struct list *node = n->nat.all.next;
    struct flow *f;

    while (node != &n->nat.all) {
        struct nat_flow *nf = LIST_ENTRY(node, struct nat_flow, node);

        node = node->next;
        if (nf->state == NAT_PENDING)
            nat_reject(nf, ADIT_DROP); /* it is ready now */
        else if (nf->state != NAT_LINGER)
            nat_release(nf, false);
    }
    while ((f = net_next_ready(&n->r.net)) != NULL)
        nat_release(nat_of_flow(f), false);
    nat_deinit(&n->nat);
    rig_deinit(&n->r);
}

/* ------------------------------------------------------------------------------------------ segments -- */

static uint32_t make_segment(uint8_t *packet, const char *src, const char *dst, const struct tcp_segment *s)
{
    static uint8_t segment[RIG_PACKET_BYTES];
    adit_addr from = addr(src), to = addr(dst);
    struct tcp_segment t = *s;
    size_t n;

    t.src_port = from.port;
    t.dst_port = to.port;
    n = tcp_emit(segment, &t);
    if (s->len_bytes > 0)
        memcpy(segment + n, s->data, s->len_bytes);
    n += s->len_bytes;
    put_be16(segment + 16, checksum_finish(checksum_add(checksum_pseudo(from.ip, to.ip, IP_PROTO_TCP, (uint32_t)n), segment, n)));
    return make_ip(packet, src, dst, IP_PROTO_TCP, segment, (uint32_t)n);
}

static enum drop send_segment(struct nat_rig *n, const char *src, const char *dst, const struct tcp_segment *s)
{
    static uint8_t packet[RIG_PACKET_BYTES];

    return rig_input(&n->r, packet, make_segment(packet, src, dst, s));
}

static enum drop send_flags(struct nat_rig *n, const char *src, const char *dst, uint8_t flags, uint32_t seq)
{
    struct tcp_segment s = {.flags = flags, .seq = seq, .ack = flags & TCP_ACK ? 7000 : 0, .wnd = 1000};

    return send_segment(n, src, dst, &s);
}

/* The next packet that left is a segment between these two; its checksum is right over all of it. */
static struct tcp_segment out_segment(struct nat_rig *n, const char *src, const char *dst)
{
    const struct rig_packet *o = rig_out(&n->r);
    const uint8_t *tcp = o->octets + o->ip.header_bytes;
    adit_addr from = addr(src), to = addr(dst);
    struct tcp_segment s;
    uint64_t sum = checksum_pseudo(o->ip.src, o->ip.dst, IP_PROTO_TCP, o->ip.payload_bytes);

    assert_int_equal(o->ip.proto, IP_PROTO_TCP);
    assert_int_equal(tcp_parse(&s, tcp, o->ip.payload_bytes), DROP_NONE);
    assert_int_equal(checksum_finish(checksum_add(sum, tcp, o->ip.payload_bytes)), 0);
    assert_memory_equal(o->ip.src, from.ip, 16);
    assert_memory_equal(o->ip.dst, to.ip, 16);
    assert_int_equal(s.src_port, from.port);
    assert_int_equal(s.dst_port, to.port);
    return s;
}

static void peer_text(const struct nat_flow *f, char text[ADIT_ADDR_TEXT])
{
    adit_addr a = {.family = ip_is_mapped4(f->flow.key.client) ? 4 : 6, .port = f->peer_port};

    (void)fake_peer_prefix(a.family, a.ip);
    a.ip[15] = f->peer;
    adit_addr_format(&a, text, ADIT_ADDR_TEXT);
}

/* A flow that waits for its handler. */
static struct nat_flow *pending(struct nat_rig *n, const char *client, const char *remote)
{
    struct flow *f;

    assert_int_equal(send_flags(n, client, remote, TCP_SYN, 100), DROP_NONE);
    f = net_next_ready(&n->r.net);
    assert_non_null(f);
    assert_null(net_next_ready(&n->r.net));
    f->owner = n;
    return nat_of_flow(f);
}

/* The same, after this flow ended to make room for it, which is released. */
static struct nat_flow *pending_after(struct nat_rig *n, struct nat_flow *f, const char *client, const char *remote)
{
    struct flow *fresh;

    assert_int_equal(send_flags(n, client, remote, TCP_SYN, 100), DROP_NONE);
    assert_ptr_equal(net_next_ready(&n->r.net), &f->flow);
    assert_int_equal(f->state, NAT_CLOSED);
    assert_int_equal(f->why, ADIT_ELIMIT);
    nat_release(f, false);
    fresh = net_next_ready(&n->r.net);
    assert_non_null(fresh);
    fresh->owner = n;
    return nat_of_flow(fresh);
}

/* An open one; text: its fake peer. */
static struct nat_flow *opened(struct nat_rig *n, const char *client, const char *remote, char text[ADIT_ADDR_TEXT])
{
    struct nat_flow *f = pending(n, client, remote);
    adit_addr peer;

    assert_int_equal(nat_accept(f), 0);
    peer_text(f, text);
    peer = addr(text);
    assert_ptr_equal(nat_accepted(&n->nat, &peer), f);
    assert_ptr_equal(net_next_ready(&n->r.net), &f->flow);
    n->r.out_at = n->r.out_count;
    return f;
}

/* ------------------------------------------------------------------------------------------- deferral -- */

static void a_syn_waits_for_the_handler_and_its_newest_copy_goes_to_the_kernel(void **state)
{
    struct nat_rig n;
    struct tcp_segment again = {.flags = TCP_SYN, .seq = 100, .wnd = 1000, .has_ts = true, .ts_val = 77, .has_mss = true,
                                .mss_bytes = 1400};
    struct tcp_segment s;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    assert_int_equal(send_segment(&n, CLIENT, REMOTE, &again), DROP_TCP_PENDING);
    rig_silent(&n.r);
    assert_int_equal(n.r.prepares, 1);
    assert_int_equal(nat_accept(f), 0);
    peer_text(f, peer);
    s = out_segment(&n, peer, LISTENER);
    assert_int_equal(s.flags, TCP_SYN);
    assert_int_equal(s.seq, 100);
    assert_int_equal(s.ts_val, 77);
    assert_int_equal(s.mss_bytes, 1400);
    assert_int_equal(nat_accept(f), ADIT_ESTATE);
    nat_down(&n);
}

static void a_refused_flow_is_answered_as_its_verdict_says(void **state)
{
    struct nat_rig n;
    struct tcp_segment s;
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    nat_reject(f, ADIT_RESET);
    s = out_segment(&n, REMOTE, CLIENT);
    assert_int_equal(s.flags, TCP_RST | TCP_ACK);
    assert_int_equal(s.ack, 101);
    assert_int_equal(f->state, NAT_CLOSED);
    nat_release(f, false);
    f = pending(&n, CLIENT6, REMOTE6);
    nat_reject(f, ADIT_UNREACH_HOST);
    assert_int_equal(rig_out_icmp(&n.r).kind, ICMP_UNREACH_HOST);
    nat_release(f, false);
    f = pending(&n, CLIENT, REMOTE);
    nat_reject(f, ADIT_DROP);
    rig_silent(&n.r);
    nat_release(f, false);
    n.r.decision.verdict = ADIT_RESET;
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_SYN, 100), DROP_TCP_SYN_REJECTED);
    assert_int_equal(out_segment(&n, REMOTE, CLIENT).flags, TCP_RST | TCP_ACK);
    assert_int_equal(n.nat.flows, 0);
    nat_down(&n);
}

static void a_flow_that_nobody_settles_is_refused_in_time(void **state)
{
    struct nat_rig n;
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    rig_sleep(&n.r, 9 * RIG_SECOND_NS);
    rig_silent(&n.r);
    rig_sleep(&n.r, 2 * RIG_SECOND_NS);
    assert_int_equal(out_segment(&n, REMOTE, CLIENT).flags, TCP_RST | TCP_ACK);
    assert_int_equal(f->why, ADIT_ETIMEDOUT);
    assert_int_equal(n.nat.half_open, 0);
    nat_down(&n);
}

static void a_client_that_gives_up_ends_its_pending_flow(void **state)
{
    struct nat_rig n;
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_RST, 5), DROP_TCP_PENDING);
    assert_int_equal(f->state, NAT_PENDING);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_RST, 101), DROP_TCP_PENDING_RESET);
    assert_int_equal(f->why, ADIT_ERESET);
    rig_silent(&n.r);
    nat_down(&n);
}

static void a_kernel_that_does_not_answer_gets_the_syn_again_and_then_it_times_out(void **state)
{
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *f;
    int copies = 0;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    assert_int_equal(nat_accept(f), 0);
    peer_text(f, peer);
    for (int i = 0; i < 130 && f->state == NAT_ACCEPTING; i++) {
        rig_sleep(&n.r, RIG_SECOND_NS / 10);
        while (n.r.out_at < n.r.out_count) {
            assert_int_equal(out_segment(&n, peer, LISTENER).flags, TCP_SYN);
            copies++;
        }
    }
    assert_true(copies > 4 && copies < 12);
    assert_int_equal(f->why, ADIT_ETIMEDOUT);
    nat_down(&n);
}

static void a_kernel_that_has_answered_is_not_asked_again(void **state)
{
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    assert_int_equal(nat_accept(f), 0);
    peer_text(f, peer);
    (void)out_segment(&n, peer, LISTENER);
    assert_int_equal(send_flags(&n, LISTENER, peer, TCP_SYN | TCP_ACK, 900), DROP_NONE);
    assert_int_equal(out_segment(&n, REMOTE, CLIENT).flags, TCP_SYN | TCP_ACK);
    rig_sleep(&n.r, 5 * RIG_SECOND_NS);
    rig_silent(&n.r);
    assert_int_equal(f->state, NAT_ACCEPTING);
    nat_down(&n);
}

/* --------------------------------------------------------------------------------------- translation -- */

static void one_way(struct nat_rig *n, const char *ends[4], const struct tcp_segment *s, bool partial)
{
    static uint8_t packet[RIG_PACKET_BYTES];
    uint32_t len_bytes = make_segment(packet, ends[0], ends[1], s);
    struct ip_header ip;
    struct tcp_segment got;

    assert_int_equal(ip_parse(&ip, packet, len_bytes, true), DROP_NONE);
    if (partial)
        put_be16(packet + ip.header_bytes + 16,
                 checksum_fold(checksum_pseudo(ip.src, ip.dst, IP_PROTO_TCP, ip.payload_bytes)));
    assert_int_equal(rig_input_as(&n->r, packet, len_bytes, s->gso_bytes,
                                  partial ? PACKET_CSUM_PARTIAL : PACKET_CSUM_UNKNOWN), DROP_NONE);
    assert_int_equal(n->r.out[n->r.out_at].gso_bytes, s->gso_bytes);
    got = out_segment(n, ends[2], ends[3]);
    assert_int_equal(got.seq, s->seq);
    assert_int_equal(got.ack, s->ack);
    assert_int_equal(got.wnd, s->wnd);
    assert_int_equal(got.flags, s->flags);
    assert_int_equal(got.len_bytes, s->len_bytes);
    assert_memory_equal(got.data, s->data, s->len_bytes);
}

static void segments_of_any_kind_pass_both_ways_with_a_right_checksum(void **state)
{
    static uint8_t data[60000];
    struct nat_rig n;
    char peer4[ADIT_ADDR_TEXT], peer6[ADIT_ADDR_TEXT];

    (void)state;
    nat_up(&n, 16);
    (void)opened(&n, CLIENT, REMOTE, peer4);
    (void)opened(&n, CLIENT6, REMOTE6, peer6);
    for (int i = 0; i < 2000; i++) {
        const char *ways[4][4] = {{CLIENT, REMOTE, peer4, LISTENER}, {LISTENER, peer4, REMOTE, CLIENT},
                                  {CLIENT6, REMOTE6, peer6, LISTENER6}, {LISTENER6, peer6, REMOTE6, CLIENT6}};
        struct tcp_segment s = {.flags = TCP_ACK | TCP_PSH, .data = data};
        bool partial = random_next(&n.r.random) % 2;
        uint32_t most = i % 50 == 0 ? sizeof(data) : 1400;

        s.seq = (uint32_t)random_next(&n.r.random);
        s.ack = (uint32_t)random_next(&n.r.random);
        s.wnd = (uint16_t)random_next(&n.r.random);
        s.has_ts = random_next(&n.r.random) % 2;
        s.len_bytes = (uint32_t)(random_next(&n.r.random) % most);
        s.gso_bytes = s.len_bytes > 1400 ? 1400 : 0;
        for (uint32_t k = 0; k < s.len_bytes; k += 7)
            data[k] = (uint8_t)random_next(&n.r.random);
        one_way(&n, ways[random_next(&n.r.random) % 4], &s, partial || s.gso_bytes > 0);
        if (n.r.out_count > RIG_OUT_MAX / 2)
            rig_forget_output(&n.r);
    }
    nat_down(&n);
}

static void damage_stays_visible_to_the_kernel(void **state)
{
    static uint8_t packet[RIG_PACKET_BYTES];
    const uint8_t data[] = "octets";
    struct tcp_segment s = {.flags = TCP_ACK, .seq = 101, .data = data, .len_bytes = sizeof(data)};
    const struct rig_packet *o;
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    uint32_t len_bytes;

    (void)state;
    nat_up(&n, 16);
    (void)opened(&n, CLIENT, REMOTE, peer);
    len_bytes = make_segment(packet, CLIENT, REMOTE, &s);
    packet[len_bytes - 3] ^= 0x20;
    assert_int_equal(rig_input(&n.r, packet, len_bytes), DROP_NONE);
    o = rig_out(&n.r);
    assert_int_not_equal(checksum_finish(checksum_add(
                             checksum_pseudo(o->ip.src, o->ip.dst, IP_PROTO_TCP, o->ip.payload_bytes),
                             o->octets + o->ip.header_bytes, o->ip.payload_bytes)), 0);
    s.flags |= TCP_FIN; /* what changes the entry is verified here */
    len_bytes = make_segment(packet, CLIENT, REMOTE, &s);
    packet[len_bytes - 3] ^= 0x20;
    assert_int_equal(rig_input(&n.r, packet, len_bytes), DROP_TCP_CHECKSUM);
    nat_down(&n);
}

static void options_of_ip_do_not_go_on_and_the_rest_does(void **state)
{
    static uint8_t packet[RIG_PACKET_BYTES];
    const uint8_t data[] = "octets";
    struct tcp_segment s = {.flags = TCP_ACK, .seq = 101, .data = data, .len_bytes = sizeof(data)}, got;
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    uint32_t len_bytes;

    (void)state;
    nat_up(&n, 16);
    (void)opened(&n, CLIENT, REMOTE, peer);
    len_bytes = make_segment(packet, CLIENT, REMOTE, &s);
    memmove(packet + 60, packet + 20, len_bytes - 20);
    memset(packet + 20, 1, 40); /* no-operations */
    packet[0] = 0x4f;
    put_be16(packet + 2, (uint16_t)(len_bytes + 40));
    mend_ip4(packet);
    assert_int_equal(rig_input(&n.r, packet, len_bytes + 40), DROP_NONE);
    got = out_segment(&n, peer, LISTENER);
    assert_int_equal(got.len_bytes, sizeof(data));
    assert_memory_equal(got.data, data, sizeof(data));
    nat_down(&n);
}

/* ---------------------------------------------------------------------------------- what is refused -- */

static void what_is_unknown_is_reset_and_makes_no_entry(void **state)
{
    struct nat_rig n;
    struct tcp_segment s;

    (void)state;
    nat_up(&n, 16);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_ACK, 500), DROP_TCP_NO_FLOW);
    s = out_segment(&n, REMOTE, CLIENT);
    assert_int_equal(s.flags, TCP_RST);
    assert_int_equal(s.seq, 7000);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_RST, 500), DROP_TCP_NO_FLOW);
    rig_silent(&n.r);
    assert_int_equal(send_flags(&n, LISTENER, "198.19.255.9:2000", TCP_ACK, 500), DROP_TCP_NO_FLOW);
    assert_int_equal(out_segment(&n, "198.19.255.9:2000", LISTENER).flags, TCP_RST);
    assert_int_equal(send_flags(&n, "198.19.255.9:2000", REMOTE, TCP_SYN, 500), DROP_IP_MARTIAN_SRC);
    assert_int_equal(n.nat.flows, 0);
    assert_int_equal(n.r.prepares, 0);
    nat_down(&n);
}

static void only_a_peer_that_stands_for_a_waiting_flow_is_accepted(void **state)
{
    struct nat_rig n;
    char text[ADIT_ADDR_TEXT];
    adit_addr peer, other;
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    assert_int_equal(nat_accept(f), 0);
    peer_text(f, text);
    peer = other = addr(text);
    other.port ^= 1;
    assert_null(nat_accepted(&n.nat, &other));
    other = peer;
    other.ip[15] ^= 1;
    assert_null(nat_accepted(&n.nat, &other));
    other = addr("192.0.2.1:1");
    other.port = peer.port;
    other.ip[15] = peer.ip[15];
    assert_null(nat_accepted(&n.nat, &other));
    assert_ptr_equal(nat_accepted(&n.nat, &peer), f);
    assert_null(nat_accepted(&n.nat, &peer)); /* once */
    nat_down(&n);
}

static void half_open_flows_are_limited_for_each_client_and_in_all(void **state)
{
    struct nat_rig n;
    struct flow *f;

    (void)state;
    nat_up(&n, 16);
    for (uint32_t i = 0; i < 6; i++) {
        char client[ADIT_ADDR_TEXT];

        snprintf(client, sizeof(client), "10.0.0.2:%u", 5000 + i);
        assert_int_equal(send_flags(&n, client, REMOTE, TCP_SYN, 1), DROP_NONE);
    }
    assert_int_equal(send_flags(&n, "10.0.0.2:6000", REMOTE, TCP_SYN, 1), DROP_TCP_SYN_LIMIT);
    n.r.net.config.tcp_half_open_max = 8;
    assert_int_equal(send_flags(&n, "10.0.0.2:6000", REMOTE, TCP_SYN, 1), DROP_TCP_SYN_CLIENT_LIMIT);
    assert_int_equal(send_flags(&n, "10.0.0.3:6000", REMOTE, TCP_SYN, 1), DROP_NONE);
    while ((f = net_next_ready(&n.r.net)) != NULL) {
        nat_reject(nat_of_flow(f), ADIT_DROP);
        nat_release(nat_of_flow(f), false);
    }
    assert_int_equal(n.nat.half_open, 0);
    nat_down(&n);
}

static void a_client_that_does_not_answer_makes_room_for_a_new_flow(void **state)
{
    struct nat_rig n;
    struct nat_flow *answered, *silent, *thinks;

    (void)state;
    nat_up(&n, 16);
    n.r.net.config.tcp_half_open_max = 3;
    answered = pending(&n, "10.0.0.2:5000", REMOTE);
    assert_int_equal(nat_accept(answered), 0);
    silent = pending(&n, "10.0.0.2:5001", REMOTE);
    assert_int_equal(nat_accept(silent), 0);
    thinks = pending(&n, "10.0.0.2:5002", REMOTE);
    assert_int_equal(send_flags(&n, "10.0.0.2:5000", REMOTE, TCP_ACK, 101), DROP_NONE); /* the kernel has not accepted yet */
    n.r.now_ns += RIG_SECOND_NS - 1;
    assert_int_equal(send_flags(&n, "10.0.0.2:5003", REMOTE, TCP_SYN, 1), DROP_TCP_SYN_LIMIT);
    n.r.now_ns += RIG_SECOND_NS;
    (void)pending_after(&n, silent, "10.0.0.2:5003", REMOTE);
    assert_int_equal(answered->state, NAT_ACCEPTING);
    assert_int_equal(thinks->state, NAT_PENDING);
    assert_int_equal(n.r.net.stats.tcp_evicted, 1);
    assert_int_equal(n.nat.half_open, 3);
    n.r.now_ns += 5 * RIG_SECOND_NS;
    assert_int_equal(send_flags(&n, "10.0.0.2:5004", REMOTE, TCP_SYN, 1), DROP_TCP_SYN_LIMIT);
    nat_down(&n);
}

static void at_a_clients_limit_its_own_flow_makes_room(void **state)
{
    struct nat_rig n;
    struct nat_flow *silent;

    (void)state;
    nat_up(&n, 16);
    n.r.net.config.tcp_half_open_per_client_max = 1;
    assert_int_equal(nat_accept(pending(&n, "10.0.0.3:5000", REMOTE)), 0);
    silent = pending(&n, "10.0.0.2:5000", REMOTE);
    assert_int_equal(nat_accept(silent), 0);
    assert_int_equal(send_flags(&n, "10.0.0.2:5001", REMOTE, TCP_SYN, 1), DROP_TCP_SYN_CLIENT_LIMIT);
    n.r.now_ns += 2 * RIG_SECOND_NS;
    (void)pending_after(&n, silent, "10.0.0.2:5001", REMOTE);
    nat_down(&n);
}

/* The kernel goes on with it until it hears that there is nothing any more. */
static void the_kernel_is_told_of_a_flow_that_made_room(void **state)
{
    struct nat_rig n;
    struct nat_flow *silent;
    char peer[ADIT_ADDR_TEXT];

    (void)state;
    nat_up(&n, 16);
    n.r.net.config.tcp_half_open_max = 1;
    silent = pending(&n, CLIENT, REMOTE);
    assert_int_equal(nat_accept(silent), 0);
    peer_text(silent, peer);
    n.r.now_ns += 2 * RIG_SECOND_NS;
    (void)pending_after(&n, silent, "10.0.0.2:5001", REMOTE);
    rig_forget_output(&n.r);
    assert_int_equal(send_flags(&n, LISTENER, peer, TCP_SYN | TCP_ACK, 900), DROP_TCP_NO_FLOW);
    assert_int_equal(out_segment(&n, peer, LISTENER).flags, TCP_RST);
    nat_down(&n);
}

/* ---------------------------------------------------------------------------------------- endings -- */

static void after_both_fins_the_entry_waits_a_while_and_goes(void **state)
{
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = opened(&n, CLIENT, REMOTE, peer);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_FIN | TCP_ACK, 101), DROP_NONE);
    nat_release(f, false);
    assert_int_equal(n.r.net.stats.tcp_time_wait, 0);
    assert_int_equal(send_flags(&n, LISTENER, peer, TCP_FIN | TCP_ACK, 900), DROP_NONE);
    assert_int_equal(n.r.net.stats.tcp_time_wait, 1);
    rig_sleep(&n.r, 59 * RIG_SECOND_NS);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_ACK, 102), DROP_NONE); /* a late ACK still passes */
    rig_sleep(&n.r, 59 * RIG_SECOND_NS);
    assert_int_equal(n.nat.flows, 1);
    rig_sleep(&n.r, 2 * RIG_SECOND_NS);
    assert_int_equal(n.nat.flows, 0);
    assert_int_equal(n.r.net.stats.tcp_time_wait, 0);
    nat_down(&n);
}

static void one_fin_is_not_the_end(void **state)
{
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = opened(&n, CLIENT, REMOTE, peer);
    assert_int_equal(send_flags(&n, LISTENER, peer, TCP_FIN | TCP_ACK, 900), DROP_NONE);
    nat_release(f, false);
    rig_sleep(&n.r, 200 * RIG_SECOND_NS);
    assert_int_equal(n.nat.flows, 1);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_SYN, 4000), DROP_NONE); /* the kernel judges it */
    assert_int_equal(n.r.prepares, 1);
    rig_sleep(&n.r, 241 * RIG_SECOND_NS);
    assert_int_equal(n.nat.flows, 0);
    nat_down(&n);
}

static void an_idle_flow_ends_and_its_owner_resets_it(void **state)
{
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = opened(&n, CLIENT, REMOTE, peer);
    rig_sleep(&n.r, 900 * RIG_SECOND_NS);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_ACK, 101), DROP_NONE);
    rig_sleep(&n.r, 900 * RIG_SECOND_NS);
    assert_int_equal(f->why, 0);
    rig_sleep(&n.r, 101 * RIG_SECOND_NS);
    assert_int_equal(f->why, ADIT_ETIMEDOUT);
    assert_ptr_equal(net_next_ready(&n.r.net), &f->flow);
    n.r.out_at = n.r.out_count;
    assert_int_equal(send_flags(&n, LISTENER, peer, TCP_RST | TCP_ACK, 900), DROP_NONE);
    assert_true(out_segment(&n, REMOTE, CLIENT).flags & TCP_RST);
    nat_release(f, false);
    assert_int_equal(n.r.net.stats.tcp_time_wait, 1);
    nat_down(&n);
}

static void a_port_that_the_client_uses_again_is_a_new_flow_with_another_peer(void **state)
{
    struct nat_rig n;
    char first[ADIT_ADDR_TEXT], second[ADIT_ADDR_TEXT];
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = opened(&n, CLIENT, REMOTE, first);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_RST, 101), DROP_NONE);
    nat_release(f, false);
    (void)opened(&n, CLIENT, REMOTE, second);
    assert_string_not_equal(first, second);
    assert_int_equal(n.r.prepares, 2);
    assert_int_equal(n.nat.flows, 1);
    nat_down(&n);
}

static void an_owner_that_leaves_before_the_kernel_accepts_is_not_found_any_more(void **state)
{
    struct nat_rig n;
    char text[ADIT_ADDR_TEXT];
    adit_addr peer;
    struct nat_flow *f;

    (void)state;
    nat_up(&n, 16);
    f = pending(&n, CLIENT, REMOTE);
    assert_int_equal(nat_accept(f), 0);
    peer_text(f, text);
    peer = addr(text);
    nat_release(f, false);
    assert_null(nat_accepted(&n.nat, &peer)); /* the socket is reset by whoever asked, and the RST passes: */
    n.r.out_at = n.r.out_count;
    assert_int_equal(send_flags(&n, LISTENER, text, TCP_RST | TCP_ACK, 900), DROP_NONE);
    assert_true(out_segment(&n, REMOTE, CLIENT).flags & TCP_RST);
    nat_down(&n);
}

static void a_full_table_forgets_what_is_over_and_refuses_when_nothing_is(void **state)
{
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    struct nat_flow *over;

    (void)state;
    nat_up(&n, 3);
    over = opened(&n, "10.0.0.2:1", REMOTE, peer);
    (void)opened(&n, "10.0.0.2:2", REMOTE, peer);
    (void)opened(&n, "10.0.0.2:3", REMOTE, peer);
    assert_int_equal(send_flags(&n, "10.0.0.2:4", REMOTE, TCP_SYN, 1), DROP_TCP_FLOW_LIMIT);
    assert_int_equal(send_flags(&n, "10.0.0.2:1", REMOTE, TCP_RST, 101), DROP_NONE);
    nat_release(over, false);
    (void)opened(&n, "10.0.0.2:4", REMOTE, peer);
    assert_int_equal(n.nat.flows, 3);
    nat_down(&n);
}

static void a_pair_that_lives_is_never_given_again(void **state)
{
    struct nat_rig n;
    char first[ADIT_ADDR_TEXT], text[ADIT_ADDR_TEXT];
    uint32_t start;

    (void)state;
    nat_up(&n, 16);
    n.nat.next_pair = start = FAKE_PEERS * (65536 - NAT_PEER_PORT_FIRST) - 1; /* the last pair there is */
    (void)opened(&n, "10.0.0.2:1", REMOTE, first);
    assert_string_equal(first, "198.19.255.255:65535");
    (void)opened(&n, "10.0.0.2:2", REMOTE, text);
    assert_string_equal(text, "198.19.255.0:1024");
    n.nat.next_pair = start; /* all others have been used meanwhile */
    (void)opened(&n, "10.0.0.2:3", REMOTE, text);
    assert_string_equal(text, "198.19.255.1:1024");
    nat_down(&n);
}

static void an_icmp_error_of_a_router_reaches_the_kernels_socket(void **state)
{
    static uint8_t packet[RIG_PACKET_BYTES], quote[RIG_PACKET_BYTES];
    struct tcp_segment sent = {.flags = TCP_ACK, .seq = 901};
    struct icmp_message m = {.kind = ICMP_TOO_BIG, .mtu_bytes = 1300, .data = quote}, got;
    struct ip_header inner;
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    adit_addr a, listener = addr(LISTENER);

    (void)state;
    nat_up(&n, 16);
    (void)opened(&n, CLIENT, REMOTE, peer);
    m.data_bytes = make_segment(quote, REMOTE, CLIENT, &sent);
    assert_int_equal(rig_input(&n.r, packet, make_icmp(packet, "10.0.0.9", "1.2.3.4", &m)), DROP_NONE);
    got = rig_out_icmp(&n.r);
    assert_int_equal(got.kind, ICMP_TOO_BIG);
    assert_int_equal(got.mtu_bytes, 1300);
    assert_int_equal(ip_parse_quoted(&inner, got.data, got.data_bytes), DROP_NONE);
    a = addr(peer);
    assert_memory_equal(inner.src, listener.ip, 16);
    assert_memory_equal(inner.dst, a.ip, 16);
    assert_int_equal(get_be16(got.data + inner.header_bytes), listener.port);
    assert_int_equal(get_be16(got.data + inner.header_bytes + 2), a.port);
    assert_int_equal(get_be32(got.data + inner.header_bytes + 4), 901);
    m.data_bytes = make_segment(quote, "1.2.3.5:80", CLIENT, &sent);
    assert_int_equal(rig_input(&n.r, packet, make_icmp(packet, "10.0.0.9", "1.2.3.4", &m)), DROP_ICMP_ERROR_UNRELATED);
    nat_down(&n);
}

static void an_icmp_error_of_the_kernel_reaches_the_client(void **state)
{
    static uint8_t packet[RIG_PACKET_BYTES], quote[RIG_PACKET_BYTES];
    struct tcp_segment sent = {.flags = TCP_ACK, .seq = 901};
    struct icmp_message m = {.kind = ICMP_UNREACH_ADMIN, .data = quote}, got;
    struct ip_header inner;
    struct nat_rig n;
    char peer[ADIT_ADDR_TEXT];
    adit_addr client = addr(CLIENT), remote = addr(REMOTE);

    (void)state;
    nat_up(&n, 16);
    (void)opened(&n, CLIENT, REMOTE, peer);
    m.data_bytes = make_segment(quote, peer, LISTENER, &sent);
    assert_int_equal(rig_input(&n.r, packet, make_icmp(packet, LISTENER, peer, &m)), DROP_NONE);
    got = rig_out_icmp(&n.r);
    assert_int_equal(got.kind, ICMP_UNREACH_ADMIN);
    assert_int_equal(ip_parse_quoted(&inner, got.data, got.data_bytes), DROP_NONE);
    assert_memory_equal(inner.src, client.ip, 16);
    assert_memory_equal(inner.dst, remote.ip, 16);
    assert_int_equal(get_be16(got.data + inner.header_bytes), client.port);
    assert_int_equal(get_be16(got.data + inner.header_bytes + 2), remote.port);
    assert_int_equal(get_be32(got.data + inner.header_bytes + 4), 901);
    m.data_bytes = make_segment(quote, "198.19.255.9:9", LISTENER, &sent);
    assert_int_equal(rig_input(&n.r, packet, make_icmp(packet, LISTENER, peer, &m)), DROP_ICMP_ERROR_UNRELATED);
    nat_down(&n);
}

/* Each listener gets a SYN; an answer is taken back by RST, and only the right one counts. */
static void a_probe_is_answered_by_the_listener_or_not(void **state)
{
    static const char *const peers[] = {"198.19.255.1:1", "[fd61:6469:7470:6565:7200::1]:1"};
    static const char *const listeners[] = {LISTENER, LISTENER6};
    struct nat_rig n;
    uint32_t isn;

    (void)state;
    nat_up(&n, 16);
    nat_probe(&n.nat);
    isn = out_segment(&n, peers[0], listeners[0]).seq;
    assert_int_equal(out_segment(&n, peers[1], listeners[1]).flags, TCP_SYN);
    assert_false(nat_is_answered(&n.nat));
    for (int i = 0; i < 2; i++) {
        struct tcp_segment answer = {.flags = TCP_SYN | TCP_ACK, .seq = 5, .ack = isn, .wnd = 1000};

        assert_int_equal(send_segment(&n, listeners[i], peers[i], &answer), DROP_TCP_NO_FLOW);
        (void)out_segment(&n, peers[i], listeners[i]);
        assert_false(nat_is_answered(&n.nat));
        answer.ack = isn + 1;
        assert_int_equal(send_segment(&n, listeners[i], peers[i], &answer), DROP_NONE);
        assert_int_equal(out_segment(&n, peers[i], listeners[i]).flags, TCP_RST);
    }
    assert_true(nat_is_answered(&n.nat));
    nat_probe(&n.nat);
    rig_silent(&n.r);
    nat_down(&n);
}

static void a_listener_among_the_fake_peers_is_refused(void **state)
{
    struct nat_rig n;
    struct nat other;
    adit_addr bad = addr("198.19.255.1:4000");

    (void)state;
    nat_up(&n, 16);
    assert_int_equal(nat_init(&other, &n.r.net, sizeof(struct nat_flow), &bad, 1), ADIT_EINVAL);
    nat_down(&n);
}

/* ---------------------------------------------------------------------------------------- a shortcut -- */

struct shortcut_rig {
    struct nat_way ways[NAT_WAYS];
    struct nat_looked looked[NAT_WAYS];
    int flows, looks;
    bool is_full;
};

static bool shortcut_rig_add(void *ctx, const struct nat_way ways[NAT_WAYS])
{
    struct shortcut_rig *s = ctx;

    if (s->is_full)
        return false;
    memcpy(s->ways, ways, sizeof(s->ways));
    s->flows++;
    return true;
}

static void shortcut_rig_look(void *ctx, const struct nat_way ways[NAT_WAYS], struct nat_looked out[NAT_WAYS])
{
    struct shortcut_rig *s = ctx;

    assert_memory_equal(ways, s->ways, sizeof(s->ways));
    memcpy(out, s->looked, sizeof(s->looked));
    s->looks++;
}

static void shortcut_rig_remove(void *ctx, const struct nat_way ways[NAT_WAYS])
{
    struct shortcut_rig *s = ctx;

    assert_memory_equal(ways, s->ways, sizeof(s->ways));
    s->flows--;
}

static void nat_up_with_shortcut(struct nat_rig *n, struct shortcut_rig *s)
{
    struct nat_shortcut ops = {
        .ctx = s, .add = shortcut_rig_add, .look = shortcut_rig_look, .remove = shortcut_rig_remove};

    *s = (struct shortcut_rig){.flows = 0};
    nat_up(n, 16);
    nat_set_shortcut(&n->nat, &ops);
}

static void assert_ends(const struct nat_ends *e, const char *src, const char *dst)
{
    adit_addr from = addr(src), to = addr(dst);

    assert_memory_equal(e->src, from.ip, 16);
    assert_memory_equal(e->dst, to.ip, 16);
    assert_int_equal(e->src_port, from.port);
    assert_int_equal(e->dst_port, to.port);
}

static void a_shortcut_gets_both_ways_of_a_flow_that_was_accepted_until_its_entry_goes(void **state)
{
    struct nat_rig n;
    struct shortcut_rig s;
    struct nat_flow *f;
    adit_addr from;
    char peer[ADIT_ADDR_TEXT];

    (void)state;
    nat_up_with_shortcut(&n, &s);
    f = pending(&n, CLIENT6, REMOTE6);
    assert_int_equal(s.flows, 0);
    assert_int_equal(nat_accept(f), 0);
    peer_text(f, peer);
    assert_int_equal(s.flows, 0); /* the handshake is passed on here */
    from = addr(peer);
    assert_ptr_equal(nat_accepted(&n.nat, &from), f);
    assert_int_equal(s.flows, 1);
    assert_ends(&s.ways[NAT_UP].from, CLIENT6, REMOTE6);
    assert_ends(&s.ways[NAT_UP].to, peer, LISTENER6);
    assert_ends(&s.ways[NAT_DOWN].from, LISTENER6, peer);
    assert_ends(&s.ways[NAT_DOWN].to, REMOTE6, CLIENT6);
    nat_release(f, false);
    assert_int_equal(s.flows, 1);
    rig_sleep(&n.r, 250 * RIG_SECOND_NS);
    assert_int_equal(n.nat.flows, 0);
    assert_int_equal(s.flows, 0);
    nat_down(&n);
}

static void octets_that_pass_by_the_shortcut_keep_a_flow_alive(void **state)
{
    struct nat_rig n;
    struct shortcut_rig s;
    struct nat_flow *f;
    char peer[ADIT_ADDR_TEXT];

    (void)state;
    nat_up_with_shortcut(&n, &s);
    f = opened(&n, CLIENT, REMOTE, peer);
    s.looked[NAT_UP] = (struct nat_looked){.is_heard = true, .age_ns = 10 * RIG_SECOND_NS};
    rig_sleep(&n.r, 1500 * RIG_SECOND_NS);
    assert_int_equal(f->why, 0);
    assert_true(s.looks > 0 && s.looks < 4);
    s.looked[NAT_UP].age_ns = 2000 * RIG_SECOND_NS;
    rig_sleep(&n.r, 1000 * RIG_SECOND_NS);
    assert_int_equal(f->why, ADIT_ETIMEDOUT);
    nat_down(&n);
}

static void fins_that_pass_by_the_shortcut_end_an_entry(void **state)
{
    struct nat_rig n;
    struct shortcut_rig s;
    char peer[ADIT_ADDR_TEXT];

    (void)state;
    nat_up_with_shortcut(&n, &s);
    nat_release(opened(&n, CLIENT, REMOTE, peer), false);
    s.looked[NAT_DOWN] = (struct nat_looked){.is_heard = true, .is_fin = true, .age_ns = 1};
    rig_sleep(&n.r, RIG_SECOND_NS);
    assert_int_equal(n.r.net.stats.tcp_time_wait, 0);
    s.looked[NAT_UP] = s.looked[NAT_DOWN];
    rig_sleep(&n.r, RIG_SECOND_NS);
    assert_int_equal(n.r.net.stats.tcp_time_wait, 1);
    s.looked[NAT_UP].age_ns = s.looked[NAT_DOWN].age_ns = 100 * RIG_SECOND_NS;
    rig_sleep(&n.r, 70 * RIG_SECOND_NS);
    assert_int_equal(n.nat.flows, 0);
    nat_down(&n);
}

static void a_port_is_used_again_once_the_shortcut_has_seen_its_end(void **state)
{
    struct nat_rig n;
    struct shortcut_rig s;
    char peer[ADIT_ADDR_TEXT];

    (void)state;
    nat_up_with_shortcut(&n, &s);
    nat_release(opened(&n, CLIENT, REMOTE, peer), false);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_SYN, 900), DROP_NONE); /* for the kernel to judge */
    assert_null(net_next_ready(&n.r.net));
    s.looked[NAT_UP] = s.looked[NAT_DOWN] = (struct nat_looked){.is_heard = true, .is_fin = true};
    (void)pending(&n, CLIENT, REMOTE);
    assert_int_equal(s.flows, 0);
    nat_down(&n);
}

static void a_flow_without_room_in_the_shortcut_is_rewritten_here(void **state)
{
    struct nat_rig n;
    struct shortcut_rig s;
    char peer[ADIT_ADDR_TEXT];

    (void)state;
    nat_up_with_shortcut(&n, &s);
    s.is_full = true;
    (void)opened(&n, CLIENT, REMOTE, peer);
    assert_int_equal(send_flags(&n, CLIENT, REMOTE, TCP_ACK, 101), DROP_NONE);
    assert_int_equal(out_segment(&n, peer, LISTENER).flags, TCP_ACK);
    assert_int_equal(s.flows, 0);
    nat_down(&n);
    assert_int_equal(s.flows, 0);
    assert_int_equal(s.looks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_syn_waits_for_the_handler_and_its_newest_copy_goes_to_the_kernel),
        cmocka_unit_test(a_refused_flow_is_answered_as_its_verdict_says),
        cmocka_unit_test(a_flow_that_nobody_settles_is_refused_in_time),
        cmocka_unit_test(a_client_that_gives_up_ends_its_pending_flow),
        cmocka_unit_test(a_kernel_that_does_not_answer_gets_the_syn_again_and_then_it_times_out),
        cmocka_unit_test(a_kernel_that_has_answered_is_not_asked_again),
        cmocka_unit_test(segments_of_any_kind_pass_both_ways_with_a_right_checksum),
        cmocka_unit_test(damage_stays_visible_to_the_kernel),
        cmocka_unit_test(options_of_ip_do_not_go_on_and_the_rest_does),
        cmocka_unit_test(what_is_unknown_is_reset_and_makes_no_entry),
        cmocka_unit_test(only_a_peer_that_stands_for_a_waiting_flow_is_accepted),
        cmocka_unit_test(half_open_flows_are_limited_for_each_client_and_in_all),
        cmocka_unit_test(a_client_that_does_not_answer_makes_room_for_a_new_flow),
        cmocka_unit_test(at_a_clients_limit_its_own_flow_makes_room),
        cmocka_unit_test(the_kernel_is_told_of_a_flow_that_made_room),
        cmocka_unit_test(after_both_fins_the_entry_waits_a_while_and_goes),
        cmocka_unit_test(one_fin_is_not_the_end),
        cmocka_unit_test(an_idle_flow_ends_and_its_owner_resets_it),
        cmocka_unit_test(a_port_that_the_client_uses_again_is_a_new_flow_with_another_peer),
        cmocka_unit_test(an_owner_that_leaves_before_the_kernel_accepts_is_not_found_any_more),
        cmocka_unit_test(a_full_table_forgets_what_is_over_and_refuses_when_nothing_is),
        cmocka_unit_test(a_pair_that_lives_is_never_given_again),
        cmocka_unit_test(an_icmp_error_of_a_router_reaches_the_kernels_socket),
        cmocka_unit_test(an_icmp_error_of_the_kernel_reaches_the_client),
        cmocka_unit_test(a_probe_is_answered_by_the_listener_or_not),
        cmocka_unit_test(a_listener_among_the_fake_peers_is_refused),
        cmocka_unit_test(a_shortcut_gets_both_ways_of_a_flow_that_was_accepted_until_its_entry_goes),
        cmocka_unit_test(octets_that_pass_by_the_shortcut_keep_a_flow_alive),
        cmocka_unit_test(fins_that_pass_by_the_shortcut_end_an_entry),
        cmocka_unit_test(a_port_is_used_again_once_the_shortcut_has_seen_its_end),
        cmocka_unit_test(a_flow_without_room_in_the_shortcut_is_rewritten_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
