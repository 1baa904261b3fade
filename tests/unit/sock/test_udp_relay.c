/* SPDX-License-Identifier: MIT */
/* The mapping is the test's own: the functions of net/udp.h that the relay calls are these. */
#include "rig.h"
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "net/net.h"
#include "sock/dgram.h"
#include "sock/udp_relay.h"

enum { DGRAMS_MAX = 512, OCTETS = 256 * 1024 };

/* What the client sent and what it got. */
static struct mapping {
    struct net net;
    struct udp udp;
    adit_dgram up[DGRAMS_MAX];
    int up_count, up_shown, up_released;
    uint8_t up_octets[OCTETS], down_octets[OCTETS];
    size_t up_bytes, down_bytes;
    adit_dgram down[DGRAMS_MAX]; /* trains are taken apart */
    int down_count, trains;
    int unreached, verdict, dropped;
    int send_room; /* how many messages the socket takes before it is full */
    int messages;  /* sent */
    int discover[DGRAMS_MAX]; /* of the messages: IP_MTU_DISCOVER as it was then */
    adit_addr unreached_remote;
    int failures; /* what the socket heard */
    struct udp_failure failure;
    adit_addr failed_remote;
} * mapping; /* of the test that runs */

int udp_recv(struct udp *u, adit_dgram *d, int n)
{
    int i;

    assert_ptr_equal(u, &mapping->udp);
    for (i = 0; i < n && mapping->up_shown < mapping->up_count; i++)
        d[i] = mapping->up[mapping->up_shown++];
    return i;
}

void udp_release(struct udp *u, int n)
{
    (void)u;
    mapping->up_released += n;
    assert_true(mapping->up_released <= mapping->up_shown);
}

int udp_send(struct udp *u, const adit_dgram *d, int n, uint64_t now_ns)
{
    int i;

    (void)u;
    (void)now_ns;
    for (i = 0; i < n; i++) {
        size_t segment = d[i].gso_bytes ? d[i].gso_bytes : d[i].len, at = 0;

        mapping->trains += d[i].gso_bytes > 0;
        do {
            adit_dgram *to = &mapping->down[mapping->down_count++];

            *to = d[i];
            to->len = d[i].len - at < segment ? d[i].len - at : segment;
            to->data = mapping->down_octets + mapping->down_bytes;
            memcpy(to->data, (const uint8_t *)d[i].data + at, to->len);
            mapping->down_bytes += to->len;
            at += to->len;
        } while (at < d[i].len);
    }
    return n;
}

void udp_close(struct udp *u, int why)
{
    assert_int_equal(why, ADIT_ELIMIT);
    u->is_closing = true;
}

void udp_unreach(struct udp *u, const adit_addr *real, int verdict, uint64_t now_ns)
{
    (void)u;
    (void)now_ns;
    mapping->unreached++;
    mapping->verdict = verdict;
    mapping->unreached_remote = *real;
}

void udp_failed(struct udp *u, const adit_addr *real, const struct udp_failure *f, uint64_t now_ns)
{
    (void)u;
    (void)now_ns;
    mapping->failures++;
    mapping->failure = *f;
    mapping->failed_remote = *real;
}

enum drop net_drop(struct net *net, enum drop why)
{
    assert_ptr_equal(net, &mapping->net);
    assert_int_equal(why, DROP_UDP_UPSTREAM);
    mapping->dropped++;
    return why;
}

/* In the place of the C library's: loopback takes everything at once, so that its sockets are never full. */
int sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags)
{
    int sent;

    if (mapping->send_room == 0) {
        errno = EAGAIN;
        return -1;
    }
    for (unsigned i = 0; i < count && mapping->messages + (int)i < DGRAMS_MAX; i++) {
        socklen_t len = sizeof(int);

        getsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &mapping->discover[mapping->messages + (int)i],
                   &len);
    }
    count = count < (unsigned)mapping->send_room ? count : (unsigned)mapping->send_room;
    sent = (int)syscall(SYS_sendmmsg, fd, msgs, count, flags);
    mapping->send_room -= sent > 0 ? sent : 0;
    mapping->messages += sent > 0 ? sent : 0;
    return sent;
}

/* --------------------------------------------------------------------------------------------- rig -- */

struct server {
    int fd;
    adit_addr at;
    uint8_t octets[OCTETS];
    size_t bytes, lens[DGRAMS_MAX];
    int count;
    struct sockaddr_storage client;
};

struct udp_rig {
    struct adit_loop *loop;
    struct sock_config config;
    struct udp_relay *relay;
    adit_socket last_socket;
    struct server *a, *b; /* 127.0.0.1, ::1 */
};

static struct server *server_open(const char *text)
{
    struct server *s = calloc(1, sizeof(*s));
    struct sockaddr_storage name;
    socklen_t name_len;
    int len, size = 4 * 1024 * 1024;

    assert_int_equal(adit_addr_parse(&s->at, text), 0);
    adit_addr_to_sockaddr(&s->at, &name, &len);
    name_len = (socklen_t)len;
    s->fd = socket(s->at.family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    assert_int_equal(bind(s->fd, (struct sockaddr *)&name, name_len), 0);
    getsockname(s->fd, (struct sockaddr *)&name, &name_len);
    adit_addr_from_sockaddr(&s->at, &name);
    return s;
}

static void server_close(struct server *s)
{
    close(s->fd);
    free(s);
}

static void server_read(struct server *s)
{
    for (;;) {
        socklen_t len = sizeof(s->client);
        ssize_t got = recvfrom(s->fd, s->octets + s->bytes, OCTETS - s->bytes, 0,
                               (struct sockaddr *)&s->client, &len);

        if (got < 0)
            return;
        s->lens[s->count++] = (size_t)got;
        s->bytes += (size_t)got;
    }
}

static void server_send(struct server *s, const void *data, size_t len)
{
    socklen_t name_len =
        s->at.family == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    assert_int_equal(sendto(s->fd, data, len, 0, (struct sockaddr *)&s->client, name_len), len);
}

static adit_socket note_socket(void *ctx, int purpose, int family, int type)
{
    struct udp_rig *r = ctx;

    assert_int_equal(purpose, ADIT_SOCKET_UDP);
    r->last_socket = socket(family == 4 ? AF_INET : AF_INET6, type, 0);
    return r->last_socket;
}

static void rig_open(struct udp_rig *r)
{
    uint64_t random = 99;
    size_t i;

    mapping = calloc(1, sizeof(*mapping));
    mapping->udp.net = &mapping->net;
    mapping->send_room = INT_MAX;
    for (i = 0; i < OCTETS; i++)
        mapping->up_octets[i] = (uint8_t)rig_random(&random);
    *r = (struct udp_rig){
        .loop = rig_loop(), .a = server_open("127.0.0.1"), .b = server_open("::1")};
    r->config = (struct sock_config){.socket = note_socket, .socket_ctx = r};
    r->relay = udp_relay_new(r->loop, &r->config, &mapping->udp);
    assert_non_null(r->relay);
}

static void rig_close(struct udp_rig *r)
{
    assert_int_equal(mapping->up_released, mapping->up_shown);
    udp_relay_free(r->relay);
    loop_free(r->loop);
    server_close(r->a);
    server_close(r->b);
    free(mapping);
}

/* The client's next datagram, `len` octets, or a train. */
static adit_dgram *client_queues(const adit_addr *to, size_t len, uint16_t gso_bytes)
{
    adit_dgram *d = &mapping->up[mapping->up_count++];

    assert_true(mapping->up_bytes + len <= OCTETS);
    *d = (adit_dgram){.remote = *to, .len = len, .gso_bytes = gso_bytes, .ttl = 64};
    d->data = mapping->up_octets + mapping->up_bytes;
    mapping->up_bytes += len;
    return d;
}

/* ----------------------------------------------------------------------------------------- passing -- */

static void a_datagram_reaches_either_family_and_the_answer_comes_back(void **state)
{
    struct udp_rig r;

    (void)state;
    rig_open(&r);
    client_queues(&r.a->at, 10, 0);
    client_queues(&r.b->at, 20, 0);
    udp_relay_ready(r.relay);
    server_read(r.a);
    server_read(r.b);
    assert_int_equal(r.a->lens[0], 10);
    assert_int_equal(r.b->lens[0], 20);
    server_send(r.a, "from a", 6);
    rig_until(r.loop, &mapping->down_count, 1);
    server_send(r.b, "from b!", 7);
    server_send(r.b, "", 0);
    rig_until(r.loop, &mapping->down_count, 3);
    assert_memory_equal(&mapping->down[0].remote, &r.a->at, sizeof(adit_addr));
    assert_int_equal(mapping->down[0].len, 6);
    assert_memory_equal(mapping->down[0].data, "from a", 6);
    assert_memory_equal(&mapping->down[1].remote, &r.b->at, sizeof(adit_addr));
    assert_int_equal(mapping->down[1].len, 7);
    assert_int_equal(mapping->down[2].len, 0);
    rig_close(&r);
}

static void anybody_may_answer(void **state)
{
    struct udp_rig r;
    struct server *other;

    (void)state;
    rig_open(&r);
    other = server_open("127.0.0.1");
    client_queues(&r.a->at, 10, 0);
    udp_relay_ready(r.relay);
    server_read(r.a);
    other->client = r.a->client;
    server_send(other, "x", 1);
    rig_until(r.loop, &mapping->down_count, 1);
    assert_memory_equal(&mapping->down[0].remote, &other->at, sizeof(adit_addr));
    server_close(other);
    rig_close(&r);
}

/* Datagrams and trains of all sizes in random order: the servers see what a client without us would have sent them. */
static void every_datagram_arrives_alone_and_in_order(uint64_t seed)
{
    struct udp_rig r;
    uint64_t random = seed;
    uint8_t *expected[2];
    size_t bytes[2] = {0}, lens[2][DGRAMS_MAX];
    int counts[2] = {0}, i, which;
    struct server *servers[2];

    rig_open(&r);
    servers[0] = r.a;
    servers[1] = r.b;
    expected[0] = malloc(OCTETS);
    expected[1] = malloc(OCTETS);
    for (i = 0; i < 60; i++) {
        size_t segment = rig_random(&random) % 4 ? 700 : rig_random(&random) % 1400, len = segment,
               at;
        bool is_train = segment > 0 && rig_random(&random) % 6 == 0;

        which = rig_random(&random) % 5 == 0;
        if (is_train)
            len = segment * (1 + rig_random(&random) % 12) + rig_random(&random) % segment;
        if (mapping->up_bytes + len > OCTETS)
            break;
        memcpy(expected[which] + bytes[which], mapping->up_octets + mapping->up_bytes, len);
        bytes[which] += len;
        client_queues(&servers[which]->at, len, is_train ? (uint16_t)segment : 0);
        for (at = 0; at == 0 || at < len; at += segment ? segment : 1)
            lens[which][counts[which]++] = len - at < segment ? len - at : segment;
    }
    udp_relay_ready(r.relay);
    for (which = 0; which < 2; which++) {
        server_read(servers[which]);
        if (servers[which]->count != counts[which])
            fail_msg("%d of %d datagrams with seed %llu", servers[which]->count, counts[which],
                     (unsigned long long)seed);
        assert_memory_equal(servers[which]->lens, lens[which],
                            (size_t)counts[which] * sizeof(size_t));
        assert_int_equal(servers[which]->bytes, bytes[which]);
        assert_memory_equal(servers[which]->octets, expected[which], bytes[which]);
        free(expected[which]);
    }
    assert_int_equal(mapping->dropped, 0);
    rig_close(&r);
}

static void datagrams_and_trains_arrive_as_they_were_sent(void **state)
{
    uint64_t seed;

    (void)state;
    for (seed = 1; seed <= 40; seed++)
        every_datagram_arrives_alone_and_in_order(seed * 6007);
}

static void a_train_of_more_segments_than_a_message_takes_is_cut(void **state)
{
    struct udp_rig r;

    (void)state;
    rig_open(&r);
    client_queues(&r.a->at, 200 * 100 + 7, 100);
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(mapping->messages, 4); /* of 64 segments */
    assert_int_equal(r.a->count, 201);
    assert_int_equal(r.a->lens[199], 100);
    assert_int_equal(r.a->lens[200], 7);
    assert_memory_equal(r.a->octets, mapping->up_octets, 20007);
    rig_close(&r);
}

static void datagrams_alike_go_as_one_message(void **state)
{
    struct udp_rig r;
    int i;

    (void)state;
    rig_open(&r);
    for (i = 0; i < 30; i++)
        client_queues(&r.a->at, 1200, 0);
    client_queues(&r.a->at, 300, 0); /* the last one may be shorter */
    client_queues(&r.a->at, 300, 0)->tos = 1;
    client_queues(&r.a->at, 300, 0)->ttl = 1;
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(r.a->count, 33);
    assert_int_equal(mapping->messages, 3);
    rig_close(&r);
}

static void trains_alike_share_messages(void **state)
{
    struct udp_rig r;
    int i;

    (void)state;
    rig_open(&r);
    for (i = 0; i < 6; i++)
        client_queues(&r.a->at, 16 * 100, 100);
    client_queues(&r.a->at, 100, 0); /* as one of its datagrams */
    client_queues(&r.a->at, 16 * 100, 50); /* of others */
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(mapping->messages, 3); /* of 64, 33 and 32 */
    assert_int_equal(r.a->count, 6 * 16 + 1 + 32);
    assert_int_equal(r.a->lens[96], 100);
    assert_int_equal(r.a->lens[97], 50);
    assert_memory_equal(r.a->octets, mapping->up_octets, mapping->up_bytes);
    rig_close(&r);
}

static void where_segmentation_is_refused_the_datagrams_go_one_by_one(void **state)
{
    struct udp_rig r;
    int on = 1, i;

    (void)state;
    rig_open(&r);
    client_queues(&r.a->at, 1, 0);
    udp_relay_ready(r.relay);
    /* The kernel does not cut trains for a socket that sends no checksums. */
    setsockopt(r.last_socket, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on));
    for (i = 0; i < 10; i++)
        client_queues(&r.a->at, 500, 0);
    client_queues(&r.a->at, 70 * 500 + 1, 500);
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(r.a->count, 1 + 10 + 71);
    assert_memory_equal(r.a->octets, mapping->up_octets, mapping->up_bytes);
    assert_int_equal(mapping->dropped, 0);
    rig_close(&r);
}

static void a_train_that_comes_back_stays_one(void **state)
{
    struct udp_rig r;
    int segment = 1000, i;

    (void)state;
    rig_open(&r);
    client_queues(&r.a->at, 1, 0);
    udp_relay_ready(r.relay);
    server_read(r.a);
    setsockopt(r.a->fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
    server_send(r.a, mapping->up_octets, 20500);
    rig_until(r.loop, &mapping->down_count, 21);
    assert_int_equal(mapping->trains, 1);
    for (i = 0; i < 20; i++)
        assert_int_equal(mapping->down[i].len, 1000);
    assert_int_equal(mapping->down[20].len, 500);
    assert_memory_equal(mapping->down_octets, mapping->up_octets, 20500);
    rig_close(&r);
}

static void the_largest_datagram_passes(void **state)
{
    struct udp_rig r;

    (void)state;
    rig_open(&r);
    client_queues(&r.a->at, 65507, 0);
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(r.a->lens[0], 65507);
    server_send(r.a, mapping->up_octets, 65507);
    rig_until(r.loop, &mapping->down_count, 1);
    assert_int_equal(mapping->down[0].len, 65507);
    rig_close(&r);
}

static int control_of(struct server *s, int level, int type)
{
    union {
        struct cmsghdr align;
        char room[128];
    } control;
    char octets[64];
    struct iovec iov = {octets, sizeof(octets)};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *c;

    assert_true(recvmsg(s->fd, &m, MSG_PEEK) > 0);
    for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != level || c->cmsg_type != type)
            continue;
        return c->cmsg_len >= CMSG_LEN(sizeof(int)) ? *(int *)(void *)CMSG_DATA(c) : *CMSG_DATA(c);
    }
    return -1;
}

static void ttl_and_tos_are_the_clients(void **state)
{
    struct udp_rig r;
    adit_dgram *d;
    int on = 1, tos = 0x2e << 2 | 1;

    (void)state;
    rig_open(&r);
    setsockopt(r.a->fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
    setsockopt(r.a->fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
    setsockopt(r.b->fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
    setsockopt(r.b->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
    d = client_queues(&r.a->at, 9, 0);
    d->ttl = 7;
    d->tos = 0x2e << 2 | 2;
    d = client_queues(&r.b->at, 9, 0);
    d->ttl = 9;
    d->tos = 3;
    udp_relay_ready(r.relay);
    assert_int_equal(control_of(r.a, IPPROTO_IP, IP_TTL), 7);
    assert_int_equal(control_of(r.a, IPPROTO_IP, IP_TOS), 0x2e << 2 | 2);
    assert_int_equal(control_of(r.b, IPPROTO_IPV6, IPV6_HOPLIMIT), 9);
    assert_int_equal(control_of(r.b, IPPROTO_IPV6, IPV6_TCLASS), 3);
    server_read(r.a);
    server_read(r.b);
    setsockopt(r.a->fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
    setsockopt(r.b->fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
    server_send(r.a, "x", 1);
    rig_until(r.loop, &mapping->down_count, 1);
    assert_int_equal(mapping->down[0].tos, tos);
    server_send(r.b, "x", 1);
    rig_until(r.loop, &mapping->down_count, 2);
    assert_int_equal(mapping->down[1].tos, tos);
    rig_close(&r);
}

static void what_came_with_df_leaves_with_df_and_nothing_else_does(void **state)
{
    static const uint8_t with_df[] = {0, 1, 1, 0, 1};
    struct udp_rig r;

    (void)state;
    rig_open(&r);
    for (int i = 0; i < 5; i++)
        client_queues(&r.a->at, 100, 0)->dont_fragment = with_df[i];
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(r.a->count, 5);
    assert_int_equal(mapping->messages, 4); /* both of the middle go together */
    assert_int_equal(mapping->discover[0], IP_PMTUDISC_DONT);
    assert_int_equal(mapping->discover[1], IP_PMTUDISC_PROBE);
    assert_int_equal(mapping->discover[2], IP_PMTUDISC_DONT);
    assert_int_equal(mapping->discover[3], IP_PMTUDISC_PROBE);
    rig_close(&r);
}

/* ---------------------------------------------------------------------------------------- failures -- */

static void what_is_too_large_to_leave_whole_is_told_once_with_the_mtu(void **state)
{
    struct udp_rig r;
    int mtu = 1280;

    (void)state;
    rig_open(&r);
    client_queues(&r.b->at, 1, 0);
    udp_relay_ready(r.relay);
    setsockopt(r.last_socket, IPPROTO_IPV6, IPV6_MTU, &mtu, sizeof(mtu));
    client_queues(&r.b->at, 1400, 0); /* without DF: in fragments */
    client_queues(&r.b->at, 1200, 0)->dont_fragment = 1;
    client_queues(&r.b->at, 3 * 1400, 1400)->dont_fragment = 1;
    client_queues(&r.b->at, 1200, 0)->dont_fragment = 1;
    client_queues(&r.b->at, 1453, 0)->dont_fragment = 1; /* no link's size: only the tunnel's MTU let it be whole */
    udp_relay_ready(r.relay);
    rig_for_ms(r.loop, 5);
    server_read(r.b);
    assert_int_equal(r.b->count, 5);
    assert_int_equal(r.b->lens[1], 1400);
    assert_int_equal(r.b->lens[3], 1200);
    assert_int_equal(mapping->dropped, 1); /* the train, as one */
    assert_int_equal(mapping->failures, 1);
    assert_int_equal(mapping->failure.kind, ICMP_TOO_BIG);
    assert_int_equal(mapping->failure.mtu_bytes, 1280);
    assert_memory_equal(&mapping->failed_remote, &r.b->at, sizeof(adit_addr));
    assert_int_equal(mapping->unreached, 0);
    rig_close(&r);
}

static void a_closed_port_is_told_when_the_client_sends_no_more(void **state)
{
    struct udp_rig r;
    struct server *gone;

    (void)state;
    rig_open(&r);
    gone = server_open("127.0.0.1");
    client_queues(&gone->at, 100, 0);
    server_close(gone);
    udp_relay_ready(r.relay);
    rig_until(r.loop, &mapping->failures, 1);
    assert_int_equal(mapping->failure.kind, ICMP_UNREACH_PORT);
    assert_memory_equal(mapping->failure.from.ip, r.a->at.ip, 16);
    rig_close(&r);
}

static void a_closed_port_is_told_and_costs_no_other_datagram(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1"};
    struct udp_rig r;
    struct server *gone;
    adit_addr nobody;
    int family;

    (void)state;
    for (family = 0; family < 2; family++) {
        rig_open(&r);
        gone = server_open(hosts[family]);
        nobody = gone->at;
        server_close(gone);
        client_queues(&nobody, 100, 0);
        udp_relay_ready(r.relay);
        /* The error waits on the socket when this is sent. */
        client_queues(family == 0 ? &r.a->at : &r.b->at, 100, 0);
        udp_relay_ready(r.relay);
        rig_until(r.loop, &mapping->failures, 1);
        rig_for_ms(r.loop, 5);
        server_read(family == 0 ? r.a : r.b);
        assert_int_equal((family == 0 ? r.a : r.b)->count, 1);
        assert_int_equal(mapping->failures, 1);
        assert_int_equal(mapping->failure.kind, ICMP_UNREACH_PORT);
        assert_memory_equal(&mapping->failed_remote, &nobody, sizeof(nobody));
        assert_int_equal(mapping->dropped, 0);
        assert_int_equal(adit_loop_timeout_ns(r.loop), -1);
        rig_close(&r);
    }
}

static void a_datagram_that_may_not_be_sent_is_told_and_the_others_go_on(void **state)
{
    struct udp_rig r;
    adit_addr broadcast;

    (void)state;
    rig_open(&r);
    adit_addr_parse(&broadcast, "255.255.255.255:9");
    client_queues(&r.a->at, 100, 0);
    client_queues(&broadcast, 100, 0); /* the socket may not: no SO_BROADCAST, or no route */
    client_queues(&r.a->at, 100, 0);
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(r.a->count, 2);
    assert_int_equal(mapping->dropped, 1);
    assert_int_equal(mapping->unreached, 1);
    assert_memory_equal(&mapping->unreached_remote, &broadcast, sizeof(broadcast));
    rig_close(&r);
}

static int refuse(void *ctx, adit_socket s, const adit_dest *to)
{
    (void)ctx;
    (void)s;
    (void)to;
    return -1;
}

static void a_socket_that_cannot_be_opened_is_an_administrative_refusal(void **state)
{
    struct udp_rig r;

    (void)state;
    rig_open(&r);
    r.config.protect = refuse;
    client_queues(&r.a->at, 100, 0);
    client_queues(&r.a->at, 100, 0);
    udp_relay_ready(r.relay);
    assert_int_equal(mapping->dropped, 2);
    assert_int_equal(mapping->unreached, 2);
    assert_int_equal(mapping->verdict, ADIT_UNREACH_ADMIN);
    rig_close(&r);
}

static void a_full_socket_drops_and_counts(void **state)
{
    struct udp_rig r;
    int i;

    (void)state;
    rig_open(&r);
    mapping->send_room = 4; /* messages */
    for (i = 0; i < 10; i++)
        client_queues(&r.a->at, 10 + (size_t)i, 0);
    udp_relay_ready(r.relay);
    server_read(r.a);
    assert_int_equal(r.a->count, 4);
    assert_int_equal(mapping->dropped, 6);
    assert_int_equal(mapping->unreached, 0);
    rig_close(&r);
}

/* Both sockets of the mapping, of which the second is opened with the last descriptor, or is none. */
static void an_idle_mapping_gives_its_sockets_and_a_busy_one_keeps_them(void **state)
{
    struct rlimit before, limit;
    struct udp_rig r;
    adit_socket s[3];

    (void)state;
    rig_open(&r);
    r.config = (struct sock_config){.loop = r.loop};
    client_queues(&r.a->at, 10, 0);
    udp_relay_ready(r.relay);
    s[0] = socket(AF_INET, SOCK_STREAM, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    limit = (struct rlimit){.rlim_cur = (rlim_t)s[0], .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    client_queues(&r.b->at, 10, 0);
    udp_relay_ready(r.relay);
    assert_false(mapping->udp.is_closing);
    assert_int_equal(mapping->verdict, ADIT_RESET);
    limit.rlim_cur++;
    close(s[0]);
    setrlimit(RLIMIT_NOFILE, &limit);
    client_queues(&r.b->at, 10, 0);
    udp_relay_ready(r.relay);
    server_read(r.b);
    assert_int_equal(r.b->count, 1);
    assert_int_equal(sock_open(&s[0], &r.config, ADIT_SOCKET_TCP, 4, 0, NULL), 0);
    assert_true(mapping->udp.is_closing);
    assert_int_equal(sock_open(&s[1], &r.config, ADIT_SOCKET_UDP, 4, 0, NULL), 0);
    assert_int_equal(sock_open(&s[2], &r.config, ADIT_SOCKET_TCP, 4, 0, NULL), ADIT_ELIMIT);
    setrlimit(RLIMIT_NOFILE, &before);
    close(s[0]);
    close(s[1]);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_reaches_either_family_and_the_answer_comes_back),
        cmocka_unit_test(anybody_may_answer),
        cmocka_unit_test(datagrams_and_trains_arrive_as_they_were_sent),
        cmocka_unit_test(a_train_of_more_segments_than_a_message_takes_is_cut),
        cmocka_unit_test(trains_alike_share_messages),
        cmocka_unit_test(datagrams_alike_go_as_one_message),
        cmocka_unit_test(where_segmentation_is_refused_the_datagrams_go_one_by_one),
        cmocka_unit_test(a_train_that_comes_back_stays_one),
        cmocka_unit_test(the_largest_datagram_passes),
        cmocka_unit_test(ttl_and_tos_are_the_clients),
        cmocka_unit_test(what_came_with_df_leaves_with_df_and_nothing_else_does),
        cmocka_unit_test(what_is_too_large_to_leave_whole_is_told_once_with_the_mtu),
        cmocka_unit_test(a_closed_port_is_told_when_the_client_sends_no_more),
        cmocka_unit_test(a_closed_port_is_told_and_costs_no_other_datagram),
        cmocka_unit_test(a_datagram_that_may_not_be_sent_is_told_and_the_others_go_on),
        cmocka_unit_test(a_socket_that_cannot_be_opened_is_an_administrative_refusal),
        cmocka_unit_test(a_full_socket_drops_and_counts),
        cmocka_unit_test(an_idle_mapping_gives_its_sockets_and_a_busy_one_keeps_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
