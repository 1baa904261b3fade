/* SPDX-License-Identifier: MIT */
/* UDP mappings: what makes one, what is queued, what goes out and in which packets, when it ends. */
#include "rig.h"

static struct net_rig rig;

#define CLIENT "10.0.0.2:1000"
#define CLIENT6 "[fd00::2]:1000"
#define REMOTE "1.2.3.4:2000"
#define REMOTE6 "[2001:db8::1]:2000"

static int begin(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int end(void **state)
{
    (void)state;
    rig_deinit(&rig);
    return 0;
}

/* A mapping with an owner and an empty queue. */
static struct udp *open_mapping(const char *client, const char *remote)
{
    struct udp *u;
    adit_dgram d;

    assert_int_equal(rig_udp(&rig, client, remote, "first", 5), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_non_null(u);
    rig_owns(u);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    udp_release(u, 1);
    return u;
}

static int send_one(struct udp *u, const char *remote, const void *data, size_t len, uint16_t gso_bytes)
{
    adit_dgram d = {.remote = addr(remote), .data = (void *)data, .len = len, .gso_bytes = gso_bytes};

    return udp_send(u, &d, 1, rig.now_ns);
}

/* ----------------------------------------------------------------------------------------------- in -- */

static void a_datagram_makes_a_mapping_and_waits_for_its_handler(void **state)
{
    adit_addr remote = addr(REMOTE);
    uint8_t p[200];
    uint32_t n = make_udp(p, CLIENT, REMOTE, "hello", 5);
    struct udp *u;
    adit_dgram d;

    (void)state;
    p[1] = 0xb8;
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_non_null(u);
    assert_true(u->is_new);
    assert_addr(u->info.src.ip, "10.0.0.2");
    assert_int_equal(u->info.src.port, 1000);
    assert_memory_equal(&u->info.dst.addr, &remote, sizeof(remote));
    assert_int_equal(u->info.dscp, 0x2e);
    assert_int_equal(u->info.proto, ADIT_PROTO_UDP);
    assert_int_equal(rig.net.stats.udp_open, 1);
    assert_int_equal(rig.net.stats.udp_total, 1);

    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.len, 5);
    assert_memory_equal(d.data, "hello", 5);
    assert_memory_equal(&d.remote, &remote, sizeof(remote));
    assert_int_equal(d.ttl, 64);
    assert_int_equal(d.tos, 0xb8);
    assert_int_equal(d.gso_bytes, 0);
    assert_int_equal(udp_recv(u, &d, 1), 0);
    assert_null(rig_ready_udp(&rig));
}

static void one_client_port_is_one_mapping_whatever_the_remote(void **state)
{
    struct udp *u;
    adit_dgram d[4];

    (void)state;
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "a", 1), DROP_NONE);
    assert_int_equal(rig_udp(&rig, CLIENT, "5.6.7.8:9", "b", 1), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_null(rig_ready_udp(&rig));
    assert_int_equal(udp_recv(u, d, 4), 2);
    assert_addr(d[0].remote.ip, "1.2.3.4");
    assert_addr(d[1].remote.ip, "5.6.7.8");
    assert_int_equal(rig.net.stats.udp_open, 1);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1001", REMOTE, "c", 1), DROP_NONE);
    assert_int_equal(rig.net.stats.udp_open, 2);
}

static void what_must_not_be_fragmented_says_so(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE), *u6 = open_mapping(CLIENT6, REMOTE6);
    uint8_t p[200];
    uint32_t n = make_udp(p, CLIENT, REMOTE, "hello", 5);
    adit_dgram d;

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.dont_fragment, 0);
    p[6] |= 0x40;
    mend_ip4(p);
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.dont_fragment, 1);
    assert_int_equal(rig_udp(&rig, CLIENT6, REMOTE6, "hello", 5), DROP_NONE); /* no router would */
    assert_int_equal(udp_recv(u6, &d, 1), 1);
    assert_int_equal(d.dont_fragment, 1);
}

static void views_live_until_they_are_released(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, &"abc"[i], 1), DROP_NONE);
    assert_int_equal(udp_recv(u, d, 2), 2);
    udp_release(u, 1);
    assert_int_equal(udp_recv(u, d + 2, 1), 1);
    assert_memory_equal(d[1].data, "b", 1);
    assert_memory_equal(d[2].data, "c", 1);
    udp_release(u, 2);
    assert_int_equal(rig.bufs.used, 0);
}

static void a_reference_is_kept_while_the_handler_keeps_up_and_a_copy_when_not(void **state)
{
    struct udp *u;
    struct udp_datagram *g;

    (void)state;
    assert_int_equal(rig_udp(&rig, "10.0.0.9:1", REMOTE, "nobody knows of it", 18), DROP_NONE);
    u = rig_ready_udp(&rig);
    g = LIST_ENTRY(u->queue.next, struct udp_datagram, node);
    assert_int_equal(g->buf->size, BUF_256);
    u = open_mapping(CLIENT, REMOTE);
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "now", 3), DROP_NONE);
    g = LIST_ENTRY(u->queue.next, struct udp_datagram, node);
    assert_int_equal(g->buf->size, BUF_PACKET);
    rig.now_ns++;
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "a turn later", 12), DROP_NONE);
    g = LIST_ENTRY(u->queue.prev, struct udp_datagram, node);
    assert_int_equal(g->buf->size, BUF_256);
}

static void an_empty_datagram_is_one(void **state)
{
    struct udp *u;
    adit_dgram d;

    (void)state;
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "", 0), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.len, 0);
    rig_owns(u);
    assert_int_equal(send_one(u, REMOTE, "", 0, 0), 1);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 0);
}

static void a_truncated_header_or_an_impossible_length_is_refused(void **state)
{
    uint8_t p[200];
    uint32_t n = make_ip(p, "10.0.0.2", "1.2.3.4", IP_PROTO_UDP, "1234567", 7);

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_HEADER);
    n = make_udp(p, CLIENT, REMOTE, "hello", 5);
    put_be16(p + 24, 14);
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_HEADER);
    assert_int_equal(rig.net.stats.udp_total, 0);
}

static void checksums_are_verified(void **state)
{
    uint8_t p[200];
    uint32_t n = make_udp(p, CLIENT, REMOTE, "hello", 5);

    (void)state;
    p[n - 1] ^= 1;
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_CHECKSUM);
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_PARTIAL), DROP_UDP_CHECKSUM);
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_VALID), DROP_NONE);
    rig.net.config.trust_partial_csum = true;
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_PARTIAL), DROP_NONE);
    p[26] = p[27] = 0; /* none */
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
}

static void ipv6_needs_a_checksum(void **state)
{
    uint8_t p[200];
    uint32_t n = make_udp(p, CLIENT6, REMOTE6, "hello", 5);

    (void)state;
    assert_int_equal(rig_input(&rig, p, n), DROP_NONE);
    p[46] = p[47] = 0;
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_CHECKSUM);
    assert_int_equal(rig_input_as(&rig, p, n, 0, PACKET_CSUM_VALID), DROP_UDP_CHECKSUM);
}

static void a_train_is_queued_whole(void **state)
{
    static uint8_t p[8000], data[7000];
    uint32_t n = make_udp(p, CLIENT, REMOTE, data, sizeof(data));
    struct udp *u;
    adit_dgram d;

    (void)state;
    rig.net.config.trust_partial_csum = true;
    assert_int_equal(rig_input_as(&rig, p, n, 1200, PACKET_CSUM_PARTIAL), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.len, 7000);
    assert_int_equal(d.gso_bytes, 1200);
    assert_int_equal(rig_input_as(&rig, p, n, 1200, PACKET_CSUM_UNKNOWN), DROP_UDP_CHECKSUM);
}

static void a_handler_that_does_not_receive_fills_its_queue(void **state)
{
    static uint8_t data[60000];
    struct udp *u;

    (void)state;
    for (int i = 0; i < UDP_BACKLOG_DATAGRAMS_MAX; i++)
        assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_NONE);
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_UDP_QUEUE_FULL);
    for (size_t i = 0; i < UDP_BACKLOG_BYTES_MAX / sizeof(data); i++)
        assert_int_equal(rig_udp(&rig, "10.0.0.3:1000", REMOTE, data, sizeof(data)), DROP_NONE);
    assert_int_equal(rig_udp(&rig, "10.0.0.3:1000", REMOTE, data, sizeof(data)), DROP_UDP_QUEUE_FULL);
    u = rig_ready_udp(&rig);
    rig_owns(u);
    rig.now_ns++; /* who knows of it and leaves it is no better */
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_UDP_QUEUE_FULL);
    assert_int_equal(rig_drops(&rig, DROP_UDP_QUEUE_FULL), 3);
}

static void a_handler_that_keeps_up_gets_a_turns_worth(void **state)
{
    static uint8_t data[60000];
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d;
    uint32_t taken = 0;

    (void)state;
    while (rig_udp(&rig, CLIENT, REMOTE, data, sizeof(data)) == DROP_NONE)
        taken++;
    assert_int_equal(taken, UDP_QUEUE_BYTES_MAX / sizeof(data));
    rig.now_ns++; /* and once it does not, no more is kept for it */
    while (u->queued_bytes > UDP_BACKLOG_BYTES_MAX) {
        assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_UDP_QUEUE_FULL);
        assert_int_equal(udp_recv(u, &d, 1), 1);
        udp_release(u, 1);
    }
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_NONE);
}

static void what_waits_of_one_client_costs_a_part_of_the_budget_at_most(void **state)
{
    static uint8_t data[40000];
    char client[32];

    (void)state;
    rig.memory.budget_bytes = 3u << 20;
    for (int i = 0; i < 8; i++) {
        snprintf(client, sizeof(client), "10.0.0.2:%d", 1000 + i);
        assert_int_equal(rig_udp(&rig, client, REMOTE, data, sizeof(data)), i < 4 ? DROP_NONE : DROP_UDP_QUEUE_FULL);
        rig.now_ns++;
    }
    assert_int_equal(rig_udp(&rig, "10.0.0.3:1000", REMOTE, data, sizeof(data)), DROP_NONE);
    udp_close(rig_ready_udp(&rig), 0);
    assert_int_equal(rig_udp(&rig, client, REMOTE, data, sizeof(data)), DROP_NONE);
}

/* --------------------------------------------------------------------------------- prepare() and limits -- */

static void each_remote_is_asked_about_once(void **state)
{
    (void)state;
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "a", 1), DROP_NONE);
    assert_int_equal(rig.prepares, 1);
    assert_addr(rig.asked.dst.addr.ip, "1.2.3.4");
    assert_int_equal(rig.asked.dst.addr.port, 2000);
    assert_int_equal(rig_udp(&rig, CLIENT, "1.2.3.4:2001", "b", 1), DROP_NONE);
    assert_int_equal(rig.prepares, 2);
    assert_int_equal(rig.asked.dst.addr.port, 2001);
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "c", 1), DROP_NONE);
    assert_int_equal(rig_udp(&rig, CLIENT, "1.2.3.4:2001", "d", 1), DROP_NONE);
    assert_int_equal(rig.prepares, 2);
}

static void a_refused_remote_is_answered_and_the_refusal_is_remembered(void **state)
{
    struct icmp_message m;
    struct udp *u;
    uint8_t p[200];
    uint32_t n = make_udp(p, CLIENT, REMOTE, "hello", 5);

    (void)state;
    rig.decision.verdict = ADIT_RESET;
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_REJECTED);
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_REJECTED);
    assert_int_equal(rig.prepares, 1);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_UNREACH_PORT);
    assert_memory_equal(m.data, p, n);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_UNREACH_PORT);
    assert_null(rig_ready_udp(&rig));

    rig.decision.verdict = ADIT_UNREACH_ADMIN;
    assert_int_equal(rig_udp(&rig, CLIENT, "5.6.7.8:9", "x", 1), DROP_UDP_REJECTED);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_UNREACH_ADMIN);
    rig.decision.verdict = ADIT_DROP;
    assert_int_equal(rig_udp(&rig, CLIENT, "5.6.7.8:10", "x", 1), DROP_UDP_REJECTED);
    rig_silent(&rig);

    /* One that is accepted makes the mapping known, under that remote. */
    rig.decision.verdict = ADIT_ACCEPT;
    rig.decision.mark = 7;
    assert_int_equal(rig_udp(&rig, CLIENT, "9.9.9.9:9", "x", 1), DROP_NONE);
    u = rig_ready_udp(&rig);
    assert_non_null(u);
    assert_addr(u->info.dst.addr.ip, "9.9.9.9");
    assert_int_equal(u->flow.mark, 7);
    rig.decision.mark = 8;
    assert_int_equal(rig_udp(&rig, CLIENT, "9.9.9.8:9", "x", 1), DROP_NONE);
    assert_addr(u->info.dst.addr.ip, "9.9.9.9");
    assert_int_equal(u->flow.mark, 7);
    assert_int_equal(rig_input(&rig, p, n), DROP_UDP_REJECTED);
}

static struct udp *closed_when_asked;

static void prepare_that_closes(void *ctx, const adit_flow *f, adit_decision *d)
{
    (void)ctx;
    (void)f;
    (void)d;
    udp_close(closed_when_asked, 0);
}

static void a_handler_may_close_the_mapping_that_it_is_asked_about(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    closed_when_asked = u;
    rig.net.env.prepare = prepare_that_closes;
    assert_int_equal(rig_udp(&rig, CLIENT, "5.6.7.8:9", "x", 1), DROP_UDP_REJECTED);
    rig.net.env.prepare = rig_env_prepare;
    assert_ptr_equal(rig_ready_udp(&rig), u);
    udp_free(u);
}

static void one_client_can_have_so_many_mappings(void **state)
{
    char client[32];

    (void)state;
    for (int i = 0; i < 8; i++) {
        snprintf(client, sizeof(client), "10.0.0.2:%d", 1000 + i);
        assert_int_equal(rig_udp(&rig, client, REMOTE, "x", 1), DROP_NONE);
    }
    assert_int_equal(rig_udp(&rig, "10.0.0.2:2000", REMOTE, "x", 1), DROP_UDP_CLIENT_LIMIT);
    assert_int_equal(rig_udp(&rig, "10.0.0.3:2000", REMOTE, "x", 1), DROP_NONE);
    udp_close(rig_ready_udp(&rig), 0);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:2000", REMOTE, "x", 1), DROP_NONE);
}

static void all_clients_can_have_so_many_mappings(void **state)
{
    char client[32];

    (void)state;
    for (int i = 0; i < 16; i++) {
        snprintf(client, sizeof(client), "10.0.%d.2:1000", i);
        assert_int_equal(rig_udp(&rig, client, REMOTE, "x", 1), DROP_NONE);
    }
    rig.now_ns += UDP_REPLACE_IDLE_NS - 1;
    assert_int_equal(rig_udp(&rig, "10.1.0.2:1000", REMOTE, "x", 1), DROP_UDP_LIMIT);
    assert_int_equal(rig.prepares, 16);
}

/* From so many ports that each is new; what is in use in between stays, and those that ended wait for their owner meanwhile. */
static void at_the_limits_the_mapping_idle_longest_ends_for_a_new_one(void **state)
{
    const char *others[] = {"10.0.0.3:1", "10.0.0.4:1", "10.0.0.5:1", "10.0.0.6:1", "10.0.0.7:1", "10.0.0.8:1", "10.0.0.9:1",
                            "10.0.0.10:1", "10.0.0.11:1"};
    struct udp *used = open_mapping(CLIENT, REMOTE), *other;
    char client[32];

    (void)state;
    other = open_mapping("10.0.0.3:1", REMOTE);
    for (int i = 0; i < 100; i++) {
        rig.now_ns += UDP_REPLACE_IDLE_NS;
        assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_NONE);
        snprintf(client, sizeof(client), "10.0.0.2:%d", 2000 + i);
        assert_int_equal(rig_udp(&rig, client, REMOTE, "x", 1), DROP_NONE);
    }
    assert_false(used->is_closing);
    assert_false(other->is_closing);
    assert_int_equal(rig.net.stats.udp_open, 9);
    assert_int_equal(rig.net.stats.udp_evicted, 93);
    rig.now_ns += UDP_REPLACE_IDLE_NS;
    for (size_t i = 1; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(rig_udp(&rig, others[i], REMOTE, "x", 1), DROP_NONE);
    assert_int_equal(rig.net.stats.udp_open, 16);
    assert_int_equal(rig.net.stats.udp_evicted, 94); /* of whoever holds most */
    assert_false(other->is_closing);
}

static void a_mapping_forgets_the_remote_used_least_recently_but_none_in_use(void **state)
{
    char remote[32];
    struct udp *u = open_mapping(CLIENT, "1.0.0.0:9");

    (void)state;
    for (int i = 1; i < UDP_REMOTES_MAX; i++) {
        snprintf(remote, sizeof(remote), "1.0.%d.%d:9", i / 256, i % 256);
        assert_int_equal(rig_udp(&rig, CLIENT, remote, "x", 1), i < 257 ? DROP_NONE : DROP_UDP_QUEUE_FULL);
    }
    assert_int_equal(u->remotes_count, UDP_REMOTES_MAX);
    assert_int_equal(rig.prepares, UDP_REMOTES_MAX);
    assert_int_equal(rig_udp(&rig, CLIENT, "2.0.0.0:9", "x", 1), DROP_UDP_REMOTE_LIMIT);
    assert_int_equal(rig.prepares, UDP_REMOTES_MAX);

    rig.now_ns += UDP_REMOTE_KEEP_NS;
    assert_int_equal(rig_udp(&rig, CLIENT, "1.0.0.0:9", "x", 1), DROP_UDP_QUEUE_FULL); /* used again */
    assert_int_equal(rig_udp(&rig, CLIENT, "2.0.0.0:9", "x", 1), DROP_UDP_QUEUE_FULL);
    assert_int_equal(u->remotes_count, UDP_REMOTES_MAX);
    assert_int_equal(rig.prepares, UDP_REMOTES_MAX + 1);
    assert_int_equal(rig_udp(&rig, CLIENT, "1.0.0.0:9", "x", 1), DROP_UDP_QUEUE_FULL);
    assert_int_equal(rig.prepares, UDP_REMOTES_MAX + 1);
    assert_int_equal(rig_udp(&rig, CLIENT, "1.0.0.1:9", "x", 1), DROP_UDP_QUEUE_FULL); /* was forgotten */
    assert_int_equal(rig.prepares, UDP_REMOTES_MAX + 2);
}

static enum drop talks_to(const char *client, int remote)
{
    char to[32];

    snprintf(to, sizeof(to), "1.0.0.%d:9", remote);
    return rig_udp(&rig, client, to, "x", 1);
}

static void one_client_can_have_so_many_remotes(void **state)
{
    struct udp *u;

    (void)state;
    rig.net.udp_remote_pool.used_max = 8; /* half of them a client */
    assert_int_equal(talks_to("10.0.0.2:1", 1), DROP_NONE);
    u = rig_ready_udp(&rig);
    for (int i = 2; i <= 4; i++)
        assert_int_equal(talks_to("10.0.0.2:2", i), DROP_NONE);
    assert_int_equal(talks_to("10.0.0.2:2", 5), DROP_UDP_REMOTE_LIMIT);
    assert_int_equal(talks_to("10.0.0.2:3", 5), DROP_UDP_REMOTE_LIMIT);
    assert_int_equal(talks_to("10.0.0.3:2", 5), DROP_NONE);

    rig.now_ns += UDP_REMOTE_KEEP_NS;
    assert_int_equal(talks_to("10.0.0.2:2", 5), DROP_NONE);
    assert_int_equal(u->remotes_count, 0); /* its was the one used least recently */
    assert_int_equal(u->flow.client->remotes, 4);
}

static void when_all_remotes_are_taken_who_holds_most_gives(void **state)
{
    struct udp *heavy, *other;

    (void)state;
    rig.net.udp_remote_pool.used_max = 8;
    for (int i = 1; i <= 4; i++)
        assert_int_equal(talks_to("10.0.0.2:1", i), DROP_NONE);
    heavy = rig_ready_udp(&rig);
    for (int i = 1; i <= 2; i++)
        assert_int_equal(talks_to("10.0.0.3:1", i), DROP_NONE);
    other = rig_ready_udp(&rig);
    for (int i = 1; i <= 2; i++)
        assert_int_equal(talks_to("10.0.0.4:1", i), DROP_NONE);
    assert_int_equal(talks_to("10.0.0.5:1", 1), DROP_NONE); /* in use or not */
    assert_int_equal(heavy->remotes_count, 3);
    assert_int_equal(other->remotes_count, 2);
    assert_int_equal(talks_to("10.0.0.2:1", 9), DROP_UDP_REMOTE_LIMIT); /* it takes from nobody */
    assert_int_equal(heavy->remotes_count, 3);
}

static void the_limit_of_remotes_is_a_part_of_the_budget(void **state)
{
    (void)state;
    assert_int_equal(udp_remotes_max(0), UDP_REMOTES_MAX);
    assert_int_equal(udp_remotes_max(8u << 20), 4096);
    assert_int_equal(udp_remotes_max(UINT64_MAX), UDP_REMOTES_ALL_MAX);
    assert_int_equal(rig.net.udp_remote_pool.used_max, 32768);
    assert_true(sizeof(struct udp_remote) <= UDP_REMOTE_COST);
}

static void an_idle_mapping_of_whoever_holds_most_is_evicted_first(void **state)
{
    struct udp *lone, *first, *second;

    (void)state;
    assert_int_equal(talks_to("10.0.0.2:1", 1), DROP_NONE);
    lone = rig_ready_udp(&rig);
    rig.now_ns += RIG_SECOND_NS;
    assert_int_equal(talks_to("10.0.0.3:1", 1), DROP_NONE);
    first = rig_ready_udp(&rig);
    assert_int_equal(talks_to("10.0.0.3:2", 1), DROP_NONE);
    second = rig_ready_udp(&rig);
    rig.now_ns += UDP_EVICT_IDLE_NS;
    assert_true(udp_evict(&rig.net, rig.now_ns, UDP_EVICT_IDLE_NS));
    assert_true(first->is_closing && !second->is_closing && !lone->is_closing);
    assert_int_equal(first->closed_why, ADIT_ELIMIT);
    assert_int_equal(talks_to("10.0.0.3:2", 2), DROP_NONE); /* heaviest, but not idle */
    assert_true(udp_evict(&rig.net, rig.now_ns, UDP_EVICT_IDLE_NS));
    assert_true(lone->is_closing && !second->is_closing);
    assert_false(udp_evict(&rig.net, rig.now_ns, UDP_EVICT_IDLE_NS));
}

/* ----------------------------------------------------------------------------------------------- out -- */

static void a_reply_leaves_with_the_remotes_address(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d = {.remote = addr(REMOTE), .data = "reply", .len = 5, .tos = 0xb8, .ttl = 17};
    struct udp_header h;

    (void)state;
    assert_int_equal(udp_send(u, &d, 1, rig.now_ns), 1);
    h = rig_out_udp(&rig);
    assert_int_equal(h.src_port, 2000);
    assert_int_equal(h.dst_port, 1000);
    assert_int_equal(h.data_bytes, 5);
    assert_memory_equal(h.data, "reply", 5);
    assert_addr(rig.out[0].ip.src, "1.2.3.4");
    assert_addr(rig.out[0].ip.dst, "10.0.0.2");
    assert_int_equal(rig.out[0].ip.ttl, 17);
    assert_int_equal(rig.out[0].ip.tos, 0xb8);
    assert_true(rig.out[0].was_partial);
    rig_silent(&rig);
}

static void ipv6_goes_both_ways(void **state)
{
    struct udp *u = open_mapping(CLIENT6, REMOTE6);

    (void)state;
    assert_int_equal(send_one(u, REMOTE6, "reply", 5, 0), 1);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 5);
    assert_addr(rig.out[0].ip.src, "2001:db8::1");
    assert_int_equal(rig.out[0].ip.ttl, 64);
    assert_int_equal(send_one(u, REMOTE, "reply", 5, 0), 0); /* a family that the client does not speak */
    assert_int_equal(rig_drops(&rig, DROP_UDP_FILTERED), 1);
}

static void equal_datagrams_of_one_batch_leave_as_a_train(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d[40];
    struct udp_header h;

    (void)state;
    rig.net.config.device_uso = true;
    for (int i = 0; i < 40; i++)
        d[i] = (adit_dgram){.remote = addr(REMOTE), .data = "0123456789", .len = 10};
    d[20].len = 4; /* ends the second train */
    d[30].remote.port = 53;
    assert_int_equal(udp_send(u, d, 40, rig.now_ns), 40);

    h = rig_out_udp(&rig); /* as many as a packet has slices */
    assert_int_equal(h.data_bytes, 10 * PACKET_SLICES_MAX);
    assert_int_equal(rig.out[0].gso_bytes, 10);
    h = rig_out_udp(&rig); /* 17, 18, 19, and the short one */
    assert_int_equal(h.data_bytes, 34);
    assert_memory_equal(h.data, "0123456789012345678901234567890123", 34);
    assert_int_equal(rig.out[1].gso_bytes, 10);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 90);
    h = rig_out_udp(&rig); /* of another remote */
    assert_int_equal(h.data_bytes, 10);
    assert_int_equal(h.src_port, 53);
    assert_int_equal(rig.out[3].gso_bytes, 0);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 90);
    rig_silent(&rig);
}

static void a_longer_datagram_or_another_class_begins_a_packet(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d[4];

    (void)state;
    rig.net.config.device_uso = true;
    for (int i = 0; i < 4; i++)
        d[i] = (adit_dgram){.remote = addr(REMOTE), .data = "0123456789", .len = 5};
    d[1].len = 6;
    d[2].len = 0;
    assert_int_equal(udp_send(u, d, 4, rig.now_ns), 4);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 5);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 6);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 0);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 5);
    for (int i = 0; i < 4; i++)
        d[i].len = 5;
    d[1].tos = d[2].tos = 4;
    d[2].ttl = d[3].ttl = 9;
    d[3].tos = 4;
    assert_int_equal(udp_send(u, d, 4, rig.now_ns), 4);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 5);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 5);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 10);
    rig_silent(&rig);
}

static void a_device_without_trains_gets_datagrams(void **state)
{
    static uint8_t data[3000];
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d[2] = {{.remote = addr(REMOTE), .data = data, .len = 10}, {.remote = addr(REMOTE), .data = data, .len = 10}};

    (void)state;
    assert_int_equal(udp_send(u, d, 2, rig.now_ns), 2);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 10);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 10);
    assert_int_equal(send_one(u, REMOTE, data, 2500, 1200), 1);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 1200);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 1200);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 100);
    rig_silent(&rig);
}

static void a_train_beyond_the_limits_leaves_as_several(void **state)
{
    static uint8_t data[65536];
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    rig.net.config.device_uso = true;
    assert_int_equal(send_one(u, REMOTE, data, 65535, 1000), 1);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 64000);
    assert_int_equal(rig.out[0].gso_bytes, 1000);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 1535);

    assert_int_equal(send_one(u, REMOTE, data, 65535, 1472), 1);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 44 * 1472);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 65535 - 44 * 1472);
    rig_silent(&rig);
}

static void trains_of_one_batch_fill_packets(void **state)
{
    static uint8_t data[3 * 22400 + 50];
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d[3];
    struct udp_header h;

    (void)state;
    rig.net.config.device_uso = true;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i / 1400);
    for (int i = 0; i < 3; i++)
        d[i] = (adit_dgram){.remote = addr(REMOTE), .data = data + i * 22400, .len = 22400, .gso_bytes = 1400};
    d[2].len += 50;
    assert_int_equal(udp_send(u, d, 3, rig.now_ns), 3);
    h = rig_out_udp(&rig);
    assert_int_equal(h.data_bytes, 46 * 1400);
    assert_memory_equal(h.data, data, 46 * 1400);
    assert_int_equal(rig.out[0].gso_bytes, 1400);
    h = rig_out_udp(&rig);
    assert_int_equal(h.data_bytes, 2 * 1400 + 50);
    assert_memory_equal(h.data, data + 46 * 1400, 2 * 1400 + 50);
    rig_silent(&rig);

    d[1].gso_bytes = 700; /* of others, which begins a packet */
    assert_int_equal(udp_send(u, d, 2, rig.now_ns), 2);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 22400);
    assert_int_equal(rig_out_udp(&rig).data_bytes, 22400);
    rig_silent(&rig);
}

static void a_train_of_datagrams_beyond_the_mtu_leaves_in_fragments(void **state)
{
    static uint8_t data[4000];
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    rig.net.config.device_uso = true;
    assert_int_equal(send_one(u, REMOTE, data, 4000, 2000), 1);
    assert_int_equal(rig.out_count, 4);
    assert_true(rig.out[0].ip.more_fragments);
    assert_int_equal(rig.out[1].ip.fragment_offset_bytes, 1480);
    assert_int_equal(rig.out[2].ip.fragment_offset_bytes, 0);
    assert_int_not_equal(rig.out[0].ip.fragment_id, rig.out[2].ip.fragment_id);
}

static void what_no_ip_packet_can_hold_is_too_big(void **state)
{
    static uint8_t data[65536];
    struct udp *u = open_mapping(CLIENT, REMOTE), *u6 = open_mapping(CLIENT6, REMOTE6);

    (void)state;
    assert_int_equal(send_one(u, REMOTE, data, 65507, 0), 1);
    assert_int_equal(send_one(u, REMOTE, data, 65508, 0), 0);
    assert_int_equal(send_one(u6, REMOTE6, data, 65527, 0), 1);
    assert_int_equal(send_one(u6, REMOTE6, data, 65528, 0), 0);
    assert_int_equal(rig_drops(&rig, DROP_DEVICE_TOO_BIG), 2);
}

static void what_a_full_device_does_not_take_is_dropped_and_counted(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);
    adit_dgram d[6];

    (void)state;
    rig.net.config.device_uso = true;
    rig.device_room = 1;
    for (int i = 0; i < 6; i++)
        d[i] = (adit_dgram){.remote = addr(REMOTE), .data = "0123456789", .len = i < 3 ? 5 : 6};
    assert_int_equal(udp_send(u, d, 6, rig.now_ns), 3);
    assert_int_equal(rig_drops(&rig, DROP_DEVICE_FULL), 3);
    assert_int_equal(rig.out_count, 1);
}

static void any_remote_may_send_unless_filtered(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    assert_int_equal(send_one(u, "9.9.9.9:9", "x", 1, 0), 1);
    rig.net.config.udp_filtering = ADIT_FILTER_ADDRESS;
    assert_int_equal(send_one(u, "9.9.9.9:9", "x", 1, 0), 0);
    assert_int_equal(send_one(u, "1.2.3.4:9", "x", 1, 0), 1);
    rig.net.config.udp_filtering = ADIT_FILTER_ADDRESS_PORT;
    assert_int_equal(send_one(u, "1.2.3.4:9", "x", 1, 0), 0);
    assert_int_equal(send_one(u, REMOTE, "x", 1, 0), 1);
    assert_int_equal(rig_drops(&rig, DROP_UDP_FILTERED), 2);

    rig.decision.verdict = ADIT_DROP; /* a refused remote may not answer either */
    assert_int_equal(rig_udp(&rig, CLIENT, "9.9.9.9:9", "x", 1), DROP_UDP_REJECTED);
    assert_int_equal(send_one(u, "9.9.9.9:9", "x", 1, 0), 0);
    rig.net.config.udp_filtering = ADIT_FILTER_ADDRESS;
    assert_int_equal(send_one(u, "9.9.9.9:9", "x", 1, 0), 0);
}

/* ------------------------------------------------------------------------------------------- aliases -- */

static void an_alias_is_translated_both_ways(void **state)
{
    adit_alias aliases[] = {{.seen = addr("10.9.9.9:53"), .real = addr("127.0.0.53:5353")},
                            {.seen = addr("10.9.9.9"), .real = addr("8.8.8.8")}};
    struct udp *u;
    adit_dgram d;

    (void)state;
    rig.net.config.aliases = aliases;
    rig.net.config.aliases_count = 2;
    assert_int_equal(rig_udp(&rig, CLIENT, "10.9.9.9:53", "q", 1), DROP_NONE);
    assert_addr(rig.asked.dst.addr.ip, "127.0.0.53");
    assert_int_equal(rig.asked.dst.addr.port, 5353);
    u = rig_ready_udp(&rig);
    rig_owns(u);
    assert_addr(u->info.dst.addr.ip, "127.0.0.53");
    assert_int_equal(udp_recv(u, &d, 1), 1);
    assert_int_equal(d.remote.port, 5353);
    assert_int_equal(send_one(u, "127.0.0.53:5353", "a", 1, 0), 1);
    assert_int_equal(rig_out_udp(&rig).src_port, 53);
    assert_addr(rig.out[0].ip.src, "10.9.9.9");

    /* Every other port of it is another host; and whoever talks to that one directly is answered by it. */
    assert_int_equal(rig_udp(&rig, CLIENT, "10.9.9.9:99", "q", 1), DROP_NONE);
    assert_addr(rig.asked.dst.addr.ip, "8.8.8.8");
    assert_int_equal(rig.asked.dst.addr.port, 99);
    assert_int_equal(send_one(u, "8.8.8.8:99", "a", 1, 0), 1);
    assert_int_equal(rig_out_udp(&rig).src_port, 99);
    assert_addr(rig.out[1].ip.src, "10.9.9.9");
    assert_int_equal(rig_udp(&rig, CLIENT, "8.8.8.8:98", "q", 1), DROP_NONE);
    assert_int_equal(send_one(u, "8.8.8.8:98", "a", 1, 0), 1);
    assert_addr(rig.out[2].ip.src, "8.8.8.8");

    udp_unreach(u, &(adit_addr){.ip = {[10] = 255, 255, 127, 0, 0, 53}, .port = 5353, .family = 4}, ADIT_RESET,
                rig.now_ns);
    assert_addr(rig.out[3].ip.src, "10.9.9.9");
    rig.net.config.aliases_count = 0;
}

/* -------------------------------------------------------------------------------------------- errors -- */

static void an_upstreams_refusal_reaches_the_client(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE), *u6 = open_mapping(CLIENT6, REMOTE6);
    adit_addr remote = addr(REMOTE), remote6 = addr(REMOTE6);
    struct icmp_message m;
    struct ip_header q;

    (void)state;
    udp_unreach(u, &remote, ADIT_RESET, rig.now_ns);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_UNREACH_PORT);
    assert_addr(rig.out[0].ip.src, "1.2.3.4");
    assert_addr(rig.out[0].ip.dst, "10.0.0.2");
    assert_int_equal(ip_parse_quoted(&q, m.data, m.data_bytes), DROP_NONE);
    assert_addr(q.src, "10.0.0.2");
    assert_addr(q.dst, "1.2.3.4");
    assert_int_equal(q.proto, IP_PROTO_UDP);
    assert_int_equal(get_be16(m.data + q.header_bytes), 1000);
    assert_int_equal(get_be16(m.data + q.header_bytes + 2), 2000);

    udp_failed(u6, &remote6, &(struct udp_failure){.kind = ICMP_TOO_BIG, .mtu_bytes = 1400}, rig.now_ns);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_TOO_BIG);
    assert_int_equal(m.mtu_bytes, 1400);
    udp_unreach(u, &remote, ADIT_DROP, rig.now_ns);
    udp_unreach(u, &remote6, ADIT_RESET, rig.now_ns);
    rig_silent(&rig);
}

static void what_a_router_says_comes_from_the_router(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE), *u6 = open_mapping(CLIENT6, REMOTE6);
    struct udp_failure f = {.kind = ICMP_TTL_EXCEEDED, .from = addr("9.8.7.6")};
    adit_addr remote = addr(REMOTE), remote6 = addr(REMOTE6);
    struct icmp_message m;
    struct ip_header q;

    (void)state;
    udp_failed(u, &remote, &f, rig.now_ns);
    m = rig_out_icmp(&rig);
    assert_int_equal(m.kind, ICMP_TTL_EXCEEDED);
    assert_addr(rig.out[0].ip.src, "9.8.7.6");
    assert_addr(rig.out[0].ip.dst, "10.0.0.2");
    assert_int_equal(ip_parse_quoted(&q, m.data, m.data_bytes), DROP_NONE);
    assert_addr(q.dst, "1.2.3.4");
    assert_int_equal(q.ttl, 1);
    assert_int_equal(get_be16(m.data + q.header_bytes + 2), 2000);

    f = (struct udp_failure){.kind = ICMP_UNREACH_HOST, .from = addr("2001:db8::ff")};
    udp_failed(u6, &remote6, &f, rig.now_ns);
    assert_int_equal(rig_out_icmp(&rig).kind, ICMP_UNREACH_HOST);
    assert_addr(rig.out[1].ip.src, "2001:db8::ff");

    /* Nothing comes from loopback, nor from the other family; what no client would understand is not told. */
    f = (struct udp_failure){.kind = ICMP_TTL_EXCEEDED, .from = addr("127.0.0.1")};
    udp_failed(u, &remote, &f, rig.now_ns);
    (void)rig_out_icmp(&rig);
    assert_addr(rig.out[2].ip.src, "1.2.3.4");
    f.from = addr("2001:db8::ff");
    udp_failed(u, &remote, &f, rig.now_ns);
    (void)rig_out_icmp(&rig);
    assert_addr(rig.out[3].ip.src, "1.2.3.4");
    f.kind = ICMP_REASSEMBLY_EXCEEDED;
    udp_failed(u, &remote, &f, rig.now_ns);
    f.kind = ICMP_OTHER;
    udp_failed(u, &remote, &f, rig.now_ns);
    rig_silent(&rig);
}

/* The client says that nobody listens at its port for what `remote` sends. */
static enum drop client_refuses(const char *remote)
{
    uint8_t ours[100], error[200];
    struct icmp_message m = {.kind = ICMP_UNREACH_PORT, .data = ours};

    m.data_bytes = make_udp(ours, remote, CLIENT, "late", 4);
    return rig_input(&rig, error, make_icmp(error, "10.0.0.2", remote, &m));
}

static void a_remote_that_the_client_refuses_leaves_the_mapping_and_the_last_one_closes_it(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    assert_int_equal(rig_udp(&rig, CLIENT, "5.6.7.8:9", "x", 1), DROP_NONE);
    assert_int_equal(client_refuses("9.9.9.9:9"), DROP_NONE); /* never heard of: its own fault */
    assert_int_equal(u->remotes_count, 2);
    assert_int_equal(client_refuses(REMOTE), DROP_NONE);
    assert_int_equal(u->remotes_count, 1);
    assert_false(u->is_closing);
    assert_int_equal(client_refuses("5.6.7.8:9"), DROP_NONE);
    assert_true(u->is_closing);
    assert_int_equal(u->closed_why, ADIT_EREFUSED);
    assert_int_equal(client_refuses(REMOTE), DROP_ICMP_ERROR_UNRELATED);
}

/* ----------------------------------------------------------------------------------------------- time -- */

/* Whether u is closed after ns, and was not one tick before. */
static void assert_closes_after(struct udp *u, uint64_t ns)
{
    rig_sleep(&rig, ns - WHEEL_TICK_NS);
    assert_false(u->is_closing);
    assert_true(net_next_ns(&rig.net) <= rig.now_ns + WHEEL_TICK_NS);
    rig_sleep(&rig, WHEEL_TICK_NS);
    assert_true(u->is_closing);
    assert_int_equal(u->closed_why, ADIT_ETIMEDOUT);
    assert_ptr_equal(rig_ready_udp(&rig), u);
    udp_free(u);
    assert_int_equal(rig.net.stats.udp_open, 0);
    assert_int_equal(net_next_ns(&rig.net), WHEEL_NEVER);
}

static void an_unreplied_mapping_ends_after_its_time(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    rig_sleep(&rig, 20 * RIG_SECOND_NS);
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "again", 5), DROP_NONE);
    assert_ptr_equal(rig_ready_udp(&rig), u);
    assert_closes_after(u, 30 * RIG_SECOND_NS);
}

static void a_replied_mapping_lives_longer(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE);

    (void)state;
    assert_int_equal(send_one(u, REMOTE, "x", 1, 0), 1);
    assert_closes_after(u, 180 * RIG_SECOND_NS);
}

static void a_dns_mapping_ends_soon_when_every_query_has_its_answer(void **state)
{
    struct udp *u = open_mapping(CLIENT, "1.1.1.1:53");

    (void)state;
    assert_int_equal(rig_udp(&rig, CLIENT, "8.8.8.8:53", "another query", 13), DROP_NONE);
    assert_ptr_equal(rig_ready_udp(&rig), u);
    assert_int_equal(send_one(u, "1.1.1.1:53", "answer", 6, 0), 1);
    rig_sleep(&rig, 11 * RIG_SECOND_NS);
    assert_false(u->is_closing);
    assert_int_equal(send_one(u, "8.8.8.8:53", "answer", 6, 0), 1);
    assert_closes_after(u, 10 * RIG_SECOND_NS);
}

static void a_mapping_that_does_more_than_dns_is_no_dns_mapping(void **state)
{
    struct udp *u = open_mapping(CLIENT, "1.1.1.1:53");

    (void)state;
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_NONE);
    assert_ptr_equal(rig_ready_udp(&rig), u);
    assert_int_equal(send_one(u, "1.1.1.1:53", "answer", 6, 0), 1);
    assert_closes_after(u, 180 * RIG_SECOND_NS);
}

static void the_handlers_timeout_counts(void **state)
{
    struct udp *u;

    (void)state;
    rig.decision.idle_ms = 7000;
    u = open_mapping(CLIENT, REMOTE);
    assert_int_equal(send_one(u, REMOTE, "x", 1, 0), 1);
    udp_set_timeout(u, 3 * RIG_SECOND_NS, rig.now_ns);
    assert_closes_after(u, 3 * RIG_SECOND_NS);
    u = open_mapping(CLIENT, REMOTE);
    assert_closes_after(u, 7 * RIG_SECOND_NS);
}

static void a_mapping_of_refused_remotes_only_ends_in_silence(void **state)
{
    struct udp *u;

    (void)state;
    rig.decision.verdict = ADIT_DROP;
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_UDP_REJECTED);
    rig_sleep(&rig, 30 * RIG_SECOND_NS);
    u = rig_ready_udp(&rig);
    assert_true(u->is_closing);
    udp_free(u);
}

static void what_comes_after_the_close_begins_another_mapping(void **state)
{
    struct udp *u = open_mapping(CLIENT, REMOTE), *other;

    (void)state;
    udp_close(u, 0);
    udp_close(u, ADIT_ECANCELED);
    assert_int_equal(u->closed_why, 0);
    assert_int_equal(send_one(u, REMOTE, "x", 1, 0), 0);
    assert_int_equal(rig_udp(&rig, CLIENT, REMOTE, "x", 1), DROP_NONE);
    assert_ptr_equal(rig_ready_udp(&rig), u); /* the closed one is served first */
    other = rig_ready_udp(&rig);
    assert_non_null(other);
    assert_true(other->is_new);
    udp_free(u);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(a_datagram_makes_a_mapping_and_waits_for_its_handler),
        T(one_client_port_is_one_mapping_whatever_the_remote),
        T(what_must_not_be_fragmented_says_so),
        T(views_live_until_they_are_released),
        T(a_reference_is_kept_while_the_handler_keeps_up_and_a_copy_when_not),
        T(an_empty_datagram_is_one),
        T(a_truncated_header_or_an_impossible_length_is_refused),
        T(checksums_are_verified),
        T(ipv6_needs_a_checksum),
        T(a_train_is_queued_whole),
        T(a_handler_that_does_not_receive_fills_its_queue),
        T(a_handler_that_keeps_up_gets_a_turns_worth),
        T(what_waits_of_one_client_costs_a_part_of_the_budget_at_most),
        T(each_remote_is_asked_about_once),
        T(a_refused_remote_is_answered_and_the_refusal_is_remembered),
        T(a_handler_may_close_the_mapping_that_it_is_asked_about),
        T(one_client_can_have_so_many_mappings),
        T(all_clients_can_have_so_many_mappings),
        T(at_the_limits_the_mapping_idle_longest_ends_for_a_new_one),
        T(a_mapping_forgets_the_remote_used_least_recently_but_none_in_use),
        T(one_client_can_have_so_many_remotes),
        T(when_all_remotes_are_taken_who_holds_most_gives),
        T(the_limit_of_remotes_is_a_part_of_the_budget),
        T(an_idle_mapping_of_whoever_holds_most_is_evicted_first),
        T(a_reply_leaves_with_the_remotes_address),
        T(ipv6_goes_both_ways),
        T(equal_datagrams_of_one_batch_leave_as_a_train),
        T(a_longer_datagram_or_another_class_begins_a_packet),
        T(a_device_without_trains_gets_datagrams),
        T(a_train_beyond_the_limits_leaves_as_several),
        T(trains_of_one_batch_fill_packets),
        T(a_train_of_datagrams_beyond_the_mtu_leaves_in_fragments),
        T(what_no_ip_packet_can_hold_is_too_big),
        T(what_a_full_device_does_not_take_is_dropped_and_counted),
        T(any_remote_may_send_unless_filtered),
        T(an_alias_is_translated_both_ways),
        T(an_upstreams_refusal_reaches_the_client),
        T(what_a_router_says_comes_from_the_router),
        T(a_remote_that_the_client_refuses_leaves_the_mapping_and_the_last_one_closes_it),
        T(an_unreplied_mapping_ends_after_its_time),
        T(a_replied_mapping_lives_longer),
        T(a_dns_mapping_ends_soon_when_every_query_has_its_answer),
        T(a_mapping_that_does_more_than_dns_is_no_dns_mapping),
        T(the_handlers_timeout_counts),
        T(a_mapping_of_refused_remotes_only_ends_in_silence),
        T(what_comes_after_the_close_begins_another_mapping),
    };

    return cmocka_run_group_tests_name("udp", tests, NULL, NULL);
}
