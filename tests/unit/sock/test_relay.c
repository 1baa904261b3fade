/* SPDX-License-Identifier: MIT */
#include "../sockets.h"
#include "fake_stream.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sock/loop_private.h"
#include "sock/relay.h"

enum { CAPACITY = 3 * 1024 * 1024, ROOM = 256 * 1024, PATIENT_MS = 60000 };

/* In the place of the C library's: every call that the relay makes on its socket. */
static int reads, writes;

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    reads++;
    return syscall(SYS_recvmsg, fd, m, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    writes++;
    return syscall(SYS_sendmsg, fd, m, flags);
}

/* A relay between a stream whose client is the test, and a connection whose far end, the server, is the test. */
struct relay_rig {
    struct adit_loop *loop;
    struct fake_stream *client;
    struct relay *relay;
    int server;
    int done, why;
    uint8_t *served; /* what the server received */
    size_t served_bytes, sent_bytes;
    uint64_t random;
    uint64_t skipped_ns; /* by which the loop's clock is ahead */
    bool server_eof;
};

static uint64_t rig_now_ns(void *ctx)
{
    return rig_clock_ns() + ((struct relay_rig *)ctx)->skipped_ns;
}

/* Time passes, and the loop turns. */
static void skip_ms(struct relay_rig *r, uint64_t ms)
{
    r->skipped_ns += ms * 1000000;
    rig_turn(r->loop, 0);
}

static void rig_done(void *arg, int why)
{
    struct relay_rig *r = arg;

    r->done++;
    r->why = why;
}

/* All but the relay. */
static void rig_prepare(struct relay_rig *r, const int fds[2], uint64_t seed)
{
    struct loop_config config = {.now_ns = rig_now_ns, .now_ctx = r};

    *r = (struct relay_rig){.random = seed | 1, .server = fds[1]};
    r->loop = rig_loop_with(&config);
    r->client = fake_new(CAPACITY, ROOM, seed);
    r->served = malloc(CAPACITY);
}

static void rig_join(struct relay_rig *r, const int fds[2], int half_closed_ms, uint64_t seed)
{
    rig_prepare(r, fds, seed);
    r->relay = relay_new(r->loop, &r->client->stream, &(struct relay_socket){.s = fds[0]},
                         (uint64_t)half_closed_ms * 1000000, rig_done, r);
    assert_non_null(r->relay);
}

static void rig_open(struct relay_rig *r, int half_closed_ms)
{
    int fds[2];

    tcp_pair(fds);
    rig_join(r, fds, half_closed_ms, 1);
}

static void rig_close(struct relay_rig *r)
{
    relay_free(r->relay);
    if (r->server >= 0)
        close(r->server);
    loop_free(r->loop);
    fake_free(r->client);
    free(r->served);
}

/* The client sends. */
static void client_sends(struct relay_rig *r, size_t len)
{
    r->client->rx_fed += len;
    assert_true(r->client->rx_fed <= CAPACITY);
    relay_stream_ready(r->relay);
}

static void client_ends(struct relay_rig *r)
{
    r->client->rx_fin = true;
    relay_stream_ready(r->relay);
}

static void client_acks(struct relay_rig *r, size_t len)
{
    r->client->tx_acked += len;
    relay_stream_ready(r->relay);
}

static void client_resets(struct relay_rig *r)
{
    r->client->why = ADIT_ERESET;
    r->client->is_closed = true;
    relay_stream_ready(r->relay);
}

/* The server sends the octets that follow; the same ones as the client has to send, at the same place. */
static void server_sends(struct relay_rig *r, size_t len, int flags)
{
    ssize_t sent = send(r->server, r->client->rx + r->sent_bytes, len, MSG_NOSIGNAL | flags);

    assert_true(sent >= 0 || errno == EAGAIN);
    r->sent_bytes += sent > 0 ? (size_t)sent : 0;
}

/* Returns what recv() did. */
static ssize_t server_reads(struct relay_rig *r, size_t len)
{
    ssize_t got;

    if (len > CAPACITY - r->served_bytes)
        len = CAPACITY - r->served_bytes;
    got = recv(r->server, r->served + r->served_bytes, len ? len : 1, 0);
    if (got == 0)
        r->server_eof = true;
    if (got > 0)
        r->served_bytes += (size_t)got;
    return got;
}

static void server_resets(struct relay_rig *r)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    setsockopt(r->server, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(r->server);
    r->server = -1;
}

static void assert_served(struct relay_rig *r, size_t len)
{
    assert_int_equal(r->served_bytes, len);
    assert_memory_equal(r->served, r->client->rx, len);
}

static void assert_delivered(struct relay_rig *r, size_t len)
{
    assert_int_equal(r->client->tx_filled, len);
    assert_memory_equal(r->client->tx, r->client->rx, len);
}

/* ------------------------------------------------------------------------------------------ octets -- */

/* One random act of the client or of the server. */
static void act(struct relay_rig *r, size_t total)
{
    struct fake_stream *c = r->client;
    size_t n = 1 + rig_random(&r->random) % (rig_random(&r->random) % 3 ? 200000 : 50);

    switch (rig_random(&r->random) % 5) {
    case 0:
        if (c->rx_fed < total)
            client_sends(r, n < total - c->rx_fed ? n : total - c->rx_fed);
        else if (!c->rx_fin && rig_random(&r->random) % 4 == 0)
            client_ends(r);
        break;
    case 1:
        if (c->tx_filled > c->tx_acked)
            client_acks(r, n < c->tx_filled - c->tx_acked ? n : c->tx_filled - c->tx_acked);
        break;
    case 2:
        if (r->sent_bytes < total)
            server_sends(r, n < total - r->sent_bytes ? n : total - r->sent_bytes, 0);
        else
            shutdown(r->server, SHUT_WR);
        break;
    case 3:
        server_reads(r, n);
        break;
    default:
        rig_turn(r->loop, 0);
        break;
    }
}

static void octets_pass_exactly(const int fds[2], uint64_t seed)
{
    struct relay_rig r;
    size_t total = CAPACITY - seed % 1000;
    uint64_t end_ns = rig_clock_ns() + (uint64_t)RIG_PATIENCE_MS * 1000000;

    rig_join(&r, fds, PATIENT_MS, seed);
    while (!r.done || !r.server_eof) {
        if (rig_clock_ns() > end_ns)
            fail_msg("stalled with seed %llu", (unsigned long long)seed);
        act(&r, total);
    }
    assert_int_equal(r.why, 0);
    assert_served(&r, total);
    assert_delivered(&r, total);
    assert_int_equal(r.client->shutdowns, 1);
    assert_int_equal(r.client->closes, 1);
    assert_int_equal(r.client->aborts, 0);
    rig_close(&r);
}

static void octets_pass_both_ways_exactly_over_tcp(void **state)
{
    uint64_t seed;
    int fds[2];

    (void)state;
    for (seed = 1; seed <= 12; seed++) {
        tcp_pair(fds);
        octets_pass_exactly(fds, seed * 7919);
    }
}

static void octets_pass_both_ways_exactly_over_a_socket_pair(void **state)
{
    uint64_t seed;
    int fds[2];

    (void)state;
    for (seed = 1; seed <= 6; seed++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        octets_pass_exactly(fds, seed * 104729);
    }
}

static void what_waits_in_the_stream_is_sent_before_the_loop_turns(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    client_sends(&r, 5);
    assert_int_equal(server_reads(&r, 100), 5);
    rig_close(&r);
}

static void a_request_and_its_answer_cost_one_call_each(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    rig_for_ms(r.loop, 5);
    r.client->is_whole = true;
    reads = writes = 0;
    client_sends(&r, 90);
    rig_for_ms(r.loop, 5);
    assert_int_equal(server_reads(&r, 100), 90);
    server_sends(&r, 1, 0);
    rig_for_ms(r.loop, 5);
    assert_delivered(&r, 1);
    assert_int_equal(writes, 1);
    assert_int_equal(reads, 1);
    rig_close(&r);
}

static void a_full_socket_is_not_tried_again_before_it_has_room(void **state)
{
    struct relay_rig r;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    rig_join(&r, fds, PATIENT_MS, 1);
    r.client->is_whole = true;
    writes = 0;
    client_sends(&r, 1000000);
    assert_true(r.client->rx_taken < r.client->rx_fed);
    client_sends(&r, 100);
    rig_for_ms(r.loop, 5);
    assert_int_equal(writes, 1);
    while (r.served_bytes < 1000100) {
        server_reads(&r, 100000);
        rig_turn(r.loop, 0);
    }
    assert_served(&r, 1000100);
    rig_close(&r);
}

static void one_bulk_flow_moves_a_bounded_amount_in_one_call(void **state)
{
    struct relay_rig r;
    int fds[2], size = 8 * 1024 * 1024;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    rig_join(&r, fds, PATIENT_MS, 1);
    client_sends(&r, CAPACITY);
    assert_in_range(r.client->rx_taken, 1024 * 1024, 2 * 1024 * 1024);
    assert_int_equal(adit_loop_timeout_ns(r.loop), 0); /* it goes on by itself */
    rig_for_ms(r.loop, 20);
    assert_int_equal(r.client->rx_taken, CAPACITY);
    rig_close(&r);
}

static void nothing(struct watch *w, unsigned events)
{
    (void)w;
    (void)events;
}

static void the_more_are_served_the_less_each_moves_in_one_call(void **state)
{
    enum { OTHERS = 31 };
    struct relay_rig r;
    struct watch others[OTHERS];
    int fds[2], size = 8 * 1024 * 1024;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    rig_join(&r, fds, PATIENT_MS, 1);
    for (int i = 0; i < OTHERS; i++)
        assert_int_equal(watch_add(r.loop, &others[i], dup(fds[1]), ADIT_WRITE, false, nothing), 0);
    rig_turn(r.loop, 0);
    client_sends(&r, CAPACITY);
    assert_in_range(r.client->rx_taken, 64 * 1024, 256 * 1024);
    for (int i = 0; i < OTHERS; i++) {
        watch_remove(&others[i]);
        close(others[i].fd);
    }
    rig_for_ms(r.loop, 20);
    assert_int_equal(r.client->rx_taken, CAPACITY);
    rig_close(&r);
}

/* -------------------------------------------------------------------------------------- half-close -- */

static void the_clients_fin_ends_one_direction_only(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    client_sends(&r, 10);
    client_ends(&r);
    assert_int_equal(server_reads(&r, 100), 10);
    assert_int_equal(server_reads(&r, 100), 0);
    server_sends(&r, 5000, 0);
    rig_for_ms(r.loop, 10);
    assert_delivered(&r, 5000);
    assert_int_equal(r.done, 0);
    close(r.server);
    r.server = -1;
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, 0);
    assert_int_equal(r.client->closes, 1);
    rig_close(&r);
}

static void the_servers_fin_ends_one_direction_only(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    server_sends(&r, 5000, 0);
    shutdown(r.server, SHUT_WR);
    rig_until(r.loop, &r.client->shutdowns, 1);
    assert_delivered(&r, 5000);
    client_sends(&r, 77);
    assert_int_equal(server_reads(&r, 100), 77);
    assert_int_equal(r.done, 0);
    client_ends(&r);
    assert_int_equal(r.done, 0); /* not from inside the call */
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, 0);
    assert_int_equal(server_reads(&r, 100), 0);
    rig_close(&r);
}

struct kept_socket {
    struct watch watch;
    int events_count;
    unsigned events;
};

static void kept_ready(struct watch *w, unsigned events)
{
    struct kept_socket *k = LIST_ENTRY(w, struct kept_socket, watch);

    k->events |= events;
    if (events & ADIT_READ)
        k->events_count++;
}

static void kept_open(struct kept_socket *k, struct relay_rig *r, int fd)
{
    *k = (struct kept_socket){.events_count = 0};
    assert_int_equal(watch_add(r->loop, &k->watch, fd, 0, true, kept_ready), 0);
}

static void kept_join(struct kept_socket *k, struct relay_rig *r)
{
    struct relay_socket s = {.s = k->watch.fd, .kept = &k->watch, .events = k->events};

    r->relay = relay_new(r->loop, &r->client->stream, &s, 1000000000, rig_done, r);
    assert_non_null(r->relay);
    assert_null(k->watch.loop);
}

/* The edge was told to the watch before; no other follows it. */
static void what_came_before_the_relay_took_the_registration_over_is_read(void **state)
{
    struct kept_socket kept;
    struct relay_rig r;
    int fds[2];

    (void)state;
    tcp_pair(fds);
    rig_prepare(&r, fds, 1);
    kept_open(&kept, &r, fds[0]);
    server_sends(&r, 5000, 0);
    rig_until(r.loop, &kept.events_count, 1);
    kept_join(&kept, &r);
    assert_delivered(&r, 5000);
    server_sends(&r, 3000, 0);
    rig_for_ms(r.loop, 10);
    assert_delivered(&r, 8000);
    client_sends(&r, 10);
    assert_int_equal(server_reads(&r, 100), 10);
    rig_close(&r);
}

static void a_fin_that_arrives_with_the_last_octets_is_seen_at_once(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    rig_for_ms(r.loop, 5);
    server_sends(&r, 5000, 0);
    shutdown(r.server, SHUT_WR);
    adit_loop_dispatch(r.loop);
    assert_delivered(&r, 5000);
    assert_int_equal(r.client->shutdowns, 1);
    rig_close(&r);
}

static void silence_after_a_half_close_is_ended_and_traffic_prolongs_it(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, 60000);
    client_ends(&r);
    skip_ms(&r, 40000);
    server_sends(&r, 10, 0);
    rig_for_ms(r.loop, 5);
    skip_ms(&r, 40000);
    assert_int_equal(r.done, 0);
    skip_ms(&r, 21000);
    assert_int_equal(r.client->aborts, 1);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, ADIT_ETIMEDOUT);
    assert_int_equal(send(r.server, "x", 1, MSG_NOSIGNAL), -1); /* there was a RST after the FIN */
    assert_int_equal(errno, EPIPE);
    rig_close(&r);
}

static void an_open_relay_may_be_silent_for_ever(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, 1000);
    rig_for_ms(r.loop, 5);
    skip_ms(&r, 3600 * 1000);
    assert_int_equal(r.done, 0);
    assert_int_equal(adit_loop_timeout_ns(r.loop), -1);
    rig_close(&r);
}

/* ------------------------------------------------------------------------------------------ resets -- */

static void a_reset_of_the_client_resets_the_socket(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    client_sends(&r, 10);
    client_resets(&r);
    assert_int_equal(r.done, 0);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, ADIT_ERESET);
    assert_int_equal(r.client->aborts + r.client->closes, 0); /* it is closed already */
    assert_int_equal(server_reads(&r, 100), 10);
    assert_int_equal(server_reads(&r, 100), -1);
    assert_int_equal(errno, ECONNRESET);
    rig_close(&r);
}

static void a_reset_of_the_server_resets_the_client_after_what_was_received(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    server_sends(&r, 5000, 0);
    server_resets(&r);
    rig_for_ms(r.loop, 30);
    assert_delivered(&r, 5000);
    assert_int_equal(r.client->aborts, 0); /* the client has not got it all yet */
    client_acks(&r, 4999);
    rig_for_ms(r.loop, 30);
    assert_int_equal(r.client->aborts, 0);
    client_acks(&r, 1);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.client->aborts, 1);
    assert_int_equal(r.client->shutdowns, 0);
    assert_int_equal(r.why, ADIT_ERESET);
    rig_close(&r);
}

static void a_reset_is_not_put_off_for_ever_by_a_client_that_does_not_read(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, 60000);
    server_sends(&r, 5000, 0);
    server_resets(&r);
    rig_for_ms(r.loop, 20);
    skip_ms(&r, 59000);
    assert_int_equal(r.client->aborts, 0);
    skip_ms(&r, 1001);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.client->aborts, 1);
    assert_int_equal(r.why, ADIT_ERESET);
    rig_close(&r);
}

static void a_reset_that_a_send_meets_first_still_delivers_what_was_received(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    rig_for_ms(r.loop, 5);
    server_sends(&r, 5000, 0);
    server_resets(&r);
    client_sends(&r, 100); /* the error goes to this send, before any read */
    rig_for_ms(r.loop, 5);
    assert_delivered(&r, 5000);
    assert_int_equal(r.client->shutdowns, 0); /* what follows is no FIN */
    client_acks(&r, 5000);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, ADIT_ERESET);
    rig_close(&r);
}

static void a_server_that_closes_with_unread_octets_resets_the_client(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    client_sends(&r, 100);
    close(r.server);
    r.server = -1;
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, ADIT_ERESET);
    assert_int_equal(r.client->aborts, 1);
    assert_int_equal(r.client->shutdowns, 0);
    rig_close(&r);
}

static void octets_for_a_server_that_is_gone_reset_the_client(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    close(r.server);
    r.server = -1;
    rig_until(r.loop, &r.client->shutdowns, 1);
    client_sends(&r, 1); /* answered by RST */
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, ADIT_ERESET);
    assert_int_equal(r.client->aborts, 1);
    rig_close(&r);
}

static void a_reset_after_the_servers_fin_is_noticed_without_traffic(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    shutdown(r.server, SHUT_WR);
    rig_until(r.loop, &r.client->shutdowns, 1);
    server_resets(&r);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, ADIT_ERESET);
    rig_close(&r);
}

static void a_relay_that_is_freed_early_resets_the_socket_and_leaves_the_stream(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    relay_free(r.relay);
    r.relay = NULL;
    assert_int_equal(server_reads(&r, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    rig_for_ms(r.loop, 5);
    assert_int_equal(r.done + r.client->aborts + r.client->closes, 0);
    rig_close(&r);
}

static void a_relay_that_is_freed_after_the_stream_closed_in_order_sends_fin(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    client_sends(&r, 9);
    r.client->is_closed = true;
    relay_free(r.relay);
    r.relay = NULL;
    assert_int_equal(server_reads(&r, 100), 9);
    assert_int_equal(server_reads(&r, 100), 0);
    rig_close(&r);
}

static void a_relay_that_is_freed_after_the_clients_fin_leaves_the_server_everything(void **state)
{
    enum { SENT = 400000 }; /* more than the server's kernel takes, less than ours holds */
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    client_sends(&r, SENT);
    client_ends(&r);
    relay_free(r.relay);
    r.relay = NULL;
    while (!r.server_eof) {
        struct pollfd p = {.fd = r.server, .events = POLLIN};

        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_true(server_reads(&r, CAPACITY) >= 0);
    }
    assert_int_equal(r.served_bytes, SENT);
    rig_close(&r);
}

/* ------------------------------------------------------------------------------------ back-pressure -- */

static void a_client_that_does_not_read_bounds_what_is_taken_from_the_server(void **state)
{
    struct relay_rig r;
    int i, stalled = 0;

    (void)state;
    rig_open(&r, PATIENT_MS);
    for (i = 0; i < 200 && r.sent_bytes < CAPACITY; i++) {
        server_sends(&r, 100000 < CAPACITY - r.sent_bytes ? 100000 : CAPACITY - r.sent_bytes, 0);
        rig_turn(r.loop, 0);
    }
    rig_turn(r.loop, 0);
    assert_int_equal(r.client->tx_filled, ROOM);
    assert_int_equal(adit_loop_timeout_ns(r.loop), -1); /* it sleeps */
    for (i = 0; i < 20; i++)
        stalled +=
            poll(&(struct pollfd){.fd = adit_loop_pollfd(r.loop), .events = POLLIN}, 1, 0) == 0;
    assert_int_equal(stalled, 20);
    client_acks(&r, ROOM);
    assert_true(r.client->tx_filled > ROOM);
    rig_close(&r);
}

static void a_server_that_does_not_read_leaves_the_octets_in_the_stream(void **state)
{
    struct relay_rig r;
    int size = 64 * 1024;
    size_t taken;

    (void)state;
    rig_open(&r, PATIENT_MS);
    setsockopt(r.server, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    client_sends(&r,
                 1000); /* tcp_wmem lets the buffer of the relay's own socket grow to some MiB */
    while (r.client->rx_fed == r.client->rx_taken && r.client->rx_fed < CAPACITY - 300000) {
        client_sends(&r, 300000);
        rig_turn(r.loop, 0);
    }
    taken = r.client->rx_taken;
    rig_for_ms(r.loop, 10);
    assert_int_equal(adit_loop_timeout_ns(r.loop), -1);
    while (r.served_bytes < r.client->rx_fed) {
        server_reads(&r, 100000);
        rig_turn(r.loop, 0);
    }
    assert_true(r.client->rx_taken >= taken);
    assert_served(&r, r.client->rx_fed);
    rig_close(&r);
}

static void urgent_octets_stall_nothing(void **state)
{
    struct relay_rig r;

    (void)state;
    rig_open(&r, PATIENT_MS);
    rig_for_ms(r.loop, 5);
    server_sends(&r, 1000, 0);
    server_sends(&r, 10, MSG_OOB);
    server_sends(&r, 1000, 0);
    adit_loop_dispatch(r.loop);
    assert_delivered(&r, 2010);
    rig_close(&r);
}

/* ------------------------------------------------------------------------------------ spare sockets -- */

/* How many spare sockets a connection leaves that moves so much each way and ends in order. flags: of the server's send. */
static uint32_t spares_left(size_t up_bytes, size_t down_bytes, int flags)
{
    struct kept_socket kept;
    struct relay_rig r;
    uint32_t left;
    int fds[2];

    tcp_pair(fds);
    rig_prepare(&r, fds, 1);
    r.client->is_whole = true;
    kept_open(&kept, &r, fds[0]);
    kept.watch.server = 1;
    kept_join(&kept, &r);
    client_sends(&r, up_bytes);
    client_ends(&r);
    server_sends(&r, down_bytes, flags);
    shutdown(r.server, SHUT_WR);
    rig_until(r.loop, &r.done, 1);
    assert_int_equal(r.why, 0);
    assert_delivered(&r, down_bytes);
    left = r.loop->spares.count;
    rig_close(&r);
    return left;
}

static void a_small_connection_that_ended_in_order_leaves_its_socket(void **state)
{
    (void)state;
    assert_int_equal(spares_left(16383, 16383, 0), 1);
}

static void one_large_move_and_no_socket_is_left(void **state)
{
    (void)state;
    assert_int_equal(spares_left(16384, 1, 0), 0);
    assert_int_equal(spares_left(1, 16384, 0), 0);
}

static void urgent_octets_and_no_socket_is_left(void **state)
{
    (void)state;
    assert_int_equal(spares_left(1, 1, MSG_OOB), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(octets_pass_both_ways_exactly_over_tcp),
        cmocka_unit_test(octets_pass_both_ways_exactly_over_a_socket_pair),
        cmocka_unit_test(what_waits_in_the_stream_is_sent_before_the_loop_turns),
        cmocka_unit_test(a_request_and_its_answer_cost_one_call_each),
        cmocka_unit_test(a_full_socket_is_not_tried_again_before_it_has_room),
        cmocka_unit_test(one_bulk_flow_moves_a_bounded_amount_in_one_call),
        cmocka_unit_test(the_more_are_served_the_less_each_moves_in_one_call),
        cmocka_unit_test(the_clients_fin_ends_one_direction_only),
        cmocka_unit_test(the_servers_fin_ends_one_direction_only),
        cmocka_unit_test(what_came_before_the_relay_took_the_registration_over_is_read),
        cmocka_unit_test(a_fin_that_arrives_with_the_last_octets_is_seen_at_once),
        cmocka_unit_test(silence_after_a_half_close_is_ended_and_traffic_prolongs_it),
        cmocka_unit_test(an_open_relay_may_be_silent_for_ever),
        cmocka_unit_test(a_reset_of_the_client_resets_the_socket),
        cmocka_unit_test(a_reset_of_the_server_resets_the_client_after_what_was_received),
        cmocka_unit_test(a_reset_is_not_put_off_for_ever_by_a_client_that_does_not_read),
        cmocka_unit_test(a_reset_that_a_send_meets_first_still_delivers_what_was_received),
        cmocka_unit_test(a_server_that_closes_with_unread_octets_resets_the_client),
        cmocka_unit_test(octets_for_a_server_that_is_gone_reset_the_client),
        cmocka_unit_test(a_reset_after_the_servers_fin_is_noticed_without_traffic),
        cmocka_unit_test(a_relay_that_is_freed_early_resets_the_socket_and_leaves_the_stream),
        cmocka_unit_test(a_relay_that_is_freed_after_the_stream_closed_in_order_sends_fin),
        cmocka_unit_test(a_relay_that_is_freed_after_the_clients_fin_leaves_the_server_everything),
        cmocka_unit_test(a_client_that_does_not_read_bounds_what_is_taken_from_the_server),
        cmocka_unit_test(a_server_that_does_not_read_leaves_the_octets_in_the_stream),
        cmocka_unit_test(urgent_octets_stall_nothing),
        cmocka_unit_test(a_small_connection_that_ended_in_order_leaves_its_socket),
        cmocka_unit_test(one_large_move_and_no_socket_is_left),
        cmocka_unit_test(urgent_octets_and_no_socket_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
