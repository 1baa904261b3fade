/* SPDX-License-Identifier: MIT */
/* The relay between two sockets of the kernel's: kernel_stream, relay and splice together, the test at both ends. */
#include "kernel_rig.h"
#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include "sock/splice.h"

enum { MIB = 1024 * 1024, CHUNK = 256 * 1024, TOTAL = 24 * MIB };

/* What splice() does in the place of the C library's. */
static int splices, refusal; /* refusal: errno for reading a socket by splice */
static int pipes, pipe_refusal;
static bool breaks_midway; /* sends one octet, and then finds that nobody reads any more */

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
    struct sockaddr_storage name;
    socklen_t name_bytes = sizeof(name);

    splices++;
    if (refusal && getsockname(in, (struct sockaddr *)&name, &name_bytes) == 0) {
        errno = refusal;
        return -1;
    }
    if (breaks_midway) {
        raise(SIGPIPE);
        len = 1;
    }
    return syscall(SYS_splice, in, in_at, out, out_at, len, flags);
}

int pipe2(int fds[2], int flags)
{
    pipes++;
    if (pipe_refusal) {
        errno = pipe_refusal;
        return -1;
    }
    return (int)syscall(SYS_pipe2, fds, flags);
}

/* One direction: what was sent and received of the octets of a seed, and the seeds' states. */
struct way {
    int from, to;
    struct random out, in;
    uint8_t tail_out[CHUNK], tail_in[CHUNK];
    size_t tail_out_at, sent, got;
    bool fin_sent, fin_got;
};

struct splice_rig {
    struct kernel_rig *k;
    int server;
    struct way up, down;
};

static void way_init(struct way *w, int from, int to, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->from = from;
    w->to = to;
    w->out.state = w->in.state = seed;
    w->tail_out_at = CHUNK;
}

static void octets_make(struct random *r, uint8_t *out)
{
    for (size_t i = 0; i < CHUNK; i += sizeof(uint64_t)) {
        uint64_t v = random_next(r);

        memcpy(out + i, &v, sizeof(v));
    }
}

/* Sends at most `len` of the next octets; false: the socket is full. */
static bool way_send(struct way *w, size_t len)
{
    ssize_t n;

    if (w->tail_out_at == CHUNK) {
        octets_make(&w->out, w->tail_out);
        w->tail_out_at = 0;
    }
    if (len > CHUNK - w->tail_out_at)
        len = CHUNK - w->tail_out_at;
    n = send(w->from, w->tail_out + w->tail_out_at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0)
        return false;
    w->tail_out_at += (size_t)n;
    w->sent += (size_t)n;
    return true;
}

/* Receives at most `len`, each octet compared; what recv() said. */
static ssize_t way_receive(struct way *w, size_t len)
{
    static uint8_t got[CHUNK];
    size_t at = w->got % CHUNK;
    ssize_t n;

    if (len > CHUNK - at)
        len = CHUNK - at;
    n = recv(w->to, got, len, MSG_DONTWAIT);
    if (n == 0)
        w->fin_got = true;
    if (n <= 0)
        return n < 0 ? -errno : 0;
    if (at == 0)
        octets_make(&w->in, w->tail_in);
    assert_memory_equal(got, w->tail_in + at, n);
    w->got += (size_t)n;
    return n;
}

static void way_end(struct way *w)
{
    shutdown(w->from, SHUT_WR);
    w->fin_sent = true;
}

/* The conn is open and its relay runs. */
static struct splice_rig *join(struct kernel_rig *k)
{
    struct splice_rig *s = calloc(1, sizeof(*s));
    int pair[2];

    splices = refusal = pipes = pipe_refusal = 0;
    kernel_open(k);
    tcp_pair(pair);
    assert_int_equal(adit_conn_relay(k->conn, pair[0]), 0);
    s->k = k;
    s->server = pair[1];
    way_init(&s->up, k->client, s->server, 7);
    way_init(&s->down, s->server, k->client, 8);
    return s;
}

static void part(struct splice_rig *s)
{
    if (s->server >= 0)
        close(s->server);
    free(s);
}

/* Sends so much as the sockets take, and receives it, in pieces of random sizes; then nothing is on its way. */
static void pass(struct splice_rig *s, struct way *w, size_t len)
{
    size_t end = w->sent + len;
    uint64_t end_ns = rig_clock_ns() + KERNEL_PATIENCE_NS;

    while (w->got < end) {
        if (w->sent < end) {
            size_t n = 1 + random_next(&s->k->r.random) % CHUNK;

            (void)way_send(w, n < end - w->sent ? n : end - w->sent);
        }
        if (random_next(&s->k->r.random) % 2)
            (void)way_receive(w, 1 + random_next(&s->k->r.random) % CHUNK);
        rig_turn(s->k->loop, 0);
        if (rig_clock_ns() > end_ns)
            fail_msg("stalled after %zu of %zu octets", w->got, w->sent);
    }
}

static const struct pipe_pool *pool_of(struct splice_rig *s)
{
    return loop_pipes(s->k->loop);
}

/* ------------------------------------------------------------------------------------------- octets -- */

static void bulk_passes_exactly_by_a_pipe_in_both_directions_at_once(void **state)
{
    struct splice_rig *s = join(*state);
    struct random *r = &s->k->r.random;
    uint64_t end_ns = rig_clock_ns() + KERNEL_PATIENCE_NS;
    struct way *ways[2] = {&s->up, &s->down};

    while (!s->up.fin_got || !s->down.fin_got) {
        struct way *w = ways[random_next(r) % 2];

        if (w->sent < TOTAL)
            (void)way_send(w, 1 + random_next(r) % (random_next(r) % 8 ? CHUNK : 100));
        else if (!w->fin_sent)
            way_end(w);
        if (random_next(r) % 3)
            (void)way_receive(ways[random_next(r) % 2], 1 + random_next(r) % CHUNK);
        rig_turn(s->k->loop, 0);
        if (rig_clock_ns() > end_ns)
            fail_msg("stalled: up %zu of %zu, down %zu of %zu", s->up.got, s->up.sent, s->down.got, s->down.sent);
    }
    assert_int_equal(s->up.got, s->up.sent);
    assert_int_equal(s->down.got, s->down.sent);
    assert_true(splices > 50);
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(s->k->closed_why, 0);
    part(s);
}

static void no_pipe_is_made_for_a_flow_that_moves_little_at_a_time(void **state)
{
    struct splice_rig *s = join(*state);

    for (int i = 0; i < 2000; i++) {
        assert_true(way_send(&s->up, 1000));
        while (s->up.got < s->up.sent) {
            (void)way_receive(&s->up, CHUNK);
            rig_turn(s->k->loop, 0);
        }
    }
    assert_int_equal(pipes + splices, 0);
    part(s);
}

static void a_flow_that_becomes_quiet_again_is_copied_again(void **state)
{
    struct splice_rig *s = join(*state);
    int before;

    pass(s, &s->down, 8 * MIB);
    assert_true(splices > 0);
    for (int i = 0; i < 20; i++)
        pass(s, &s->down, 100);
    before = splices;
    pass(s, &s->down, 100);
    assert_int_equal(splices, before);
    part(s);
}

static void an_empty_pipe_is_in_the_pool_and_the_next_direction_takes_it(void **state)
{
    struct splice_rig *s = join(*state);

    pass(s, &s->up, 8 * MIB);
    assert_int_equal(pipes, 1);
    assert_int_equal(pool_of(s)->idle_count, 1);
    pass(s, &s->down, 8 * MIB);
    assert_int_equal(pipes, 1);
    assert_int_equal(pool_of(s)->idle_count, 1);
    part(s);
}

static void octets_are_counted_as_before(void **state)
{
    struct splice_rig *s = join(*state);
    adit_conn_info info;

    pass(s, &s->up, 8 * MIB);
    pass(s, &s->down, 9 * MIB);
    assert_true(splices > 0);
    assert_int_equal(adit_conn_stat(s->k->conn, &info), 0);
    assert_int_equal(info.rx_bytes, s->up.sent);
    assert_int_equal(info.tx_bytes, s->down.sent);
    part(s);
}

static void urgent_octets_stall_nothing(void **state)
{
    struct splice_rig *s = join(*state);
    struct way *ways[2] = {&s->up, &s->down};
    uint64_t end_ns = rig_clock_ns() + KERNEL_PATIENCE_NS;

    pass(s, &s->up, 8 * MIB);
    pass(s, &s->down, 8 * MIB);
    for (int i = 0; i < 2; i++) {
        struct way *w = ways[i];

        way_send(w, 50000);
        assert_int_equal(send(w->from, w->tail_out + w->tail_out_at, 10, MSG_OOB | MSG_DONTWAIT), 10);
        w->tail_out_at += 10;
        w->sent += 10;
        way_send(w, 50000);
        while (w->got < w->sent && rig_clock_ns() < end_ns) {
            (void)way_receive(w, CHUNK);
            rig_turn(s->k->loop, 0);
        }
        assert_int_equal(w->got, w->sent);
    }
    part(s);
}

/* --------------------------------------------------------------------------------- what is not there -- */

static void a_socket_that_cannot_be_spliced_is_copied(void **state)
{
    struct splice_rig *s = join(*state);

    refusal = EINVAL;
    pass(s, &s->up, 8 * MIB);
    pass(s, &s->down, 8 * MIB);
    assert_true(splices > 0 && splices <= 3); /* one try each way, and a probe */
    part(s);
}

static void without_descriptors_for_a_pipe_octets_are_copied_and_a_pipe_is_asked_for_again(void **state)
{
    struct splice_rig *s = join(*state);

    pipe_refusal = EMFILE;
    pass(s, &s->up, 8 * MIB);
    assert_int_equal(splices, 0);
    assert_true(pool_of(s)->refused > 0);
    pipe_refusal = 0;
    pass(s, &s->up, 8 * MIB);
    assert_true(splices > 0);
    part(s);
}

static void a_pool_keeps_to_its_quota(void **state)
{
    struct memory m;
    struct pipe_pool p;
    struct pipe *taken[64];
    int n = 0;

    (void)state;
    pipe_refusal = 0;
    memory_init(&m, UINT64_MAX, NULL);
    pipe_pool_init(&p, &m);
    p.max_bytes = 3 * (uint64_t)MIB + 300 * 1024;
    while (n < 64 && (taken[n] = pipe_take(&p)) != NULL) {
        assert_true(taken[n]->capacity_bytes >= PIPE_BYTES_MIN);
        n++;
        assert_true(p.used_bytes <= p.max_bytes);
    }
    assert_int_equal(n, 4); /* the last one a small one */
    assert_int_equal(p.refused, 1);
    while (n > 0)
        pipe_give(&p, taken[--n]);
    assert_int_equal(p.idle_count, PIPES_IDLE_MAX);
    assert_non_null(taken[0] = pipe_take(&p));
    taken[0]->bytes = 1; /* as if octets were left in it: the next flow must not get them */
    pipe_give(&p, taken[0]);
    assert_int_equal(p.idle_count, PIPES_IDLE_MAX - 1);
    pipe_pool_deinit(&p);
    assert_int_equal(m.used_bytes, 0);
}

static bool broken_pipe_is_pending(void)
{
    sigset_t pending;

    sigpending(&pending);
    return sigismember(&pending, SIGPIPE);
}

/* Splices three octets to a socket, whose other end is closed where the splice itself does not break. What splice_out() said. */
static ssize_t splice_to_nobody(bool midway)
{
    struct memory m;
    struct pipe_pool p;
    struct pipe *x;
    ssize_t sent;
    int pair[2];

    pipe_refusal = 0;
    memory_init(&m, UINT64_MAX, NULL);
    pipe_pool_init(&p, &m);
    assert_non_null(x = pipe_take(&p));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    if (!midway)
        close(pair[1]);
    assert_int_equal(write(x->write_fd, "xyz", 3), 3);
    x->bytes = 3;
    breaks_midway = midway;
    sent = splice_out(x, pair[0]);
    breaks_midway = false;
    close(pair[0]);
    if (midway)
        close(pair[1]);
    pipe_give(&p, x);
    pipe_pool_deinit(&p);
    return sent;
}

/* splice() itself would end the process: a library must not. */
static void nobody_reads_any_more_is_an_error_and_no_signal(void **state)
{
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);
    sigset_t blocked;

    (void)state;
    assert_int_equal(splice_to_nobody(false), -EPIPE);
    assert_int_equal(splice_to_nobody(true), 1);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    assert_false(sigismember(&blocked, SIGPIPE));
    signal(SIGPIPE, before);
}

static void a_host_that_blocks_the_signal_gets_none_and_keeps_its_own(void **state)
{
    void (*before)(int) = signal(SIGPIPE, SIG_DFL);
    sigset_t only, mask;

    (void)state;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &only, &mask);
    assert_int_equal(splice_to_nobody(false), -EPIPE);
    assert_false(broken_pipe_is_pending());
    raise(SIGPIPE);
    assert_int_equal(splice_to_nobody(false), -EPIPE);
    assert_true(broken_pipe_is_pending());
    assert_int_equal(sigtimedwait(&only, NULL, &(struct timespec){0}), SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    signal(SIGPIPE, before);
}

/* ------------------------------------------------------------------------------------- back-pressure -- */

/* Fills everything between the sender and a receiver that does not read; how much that is. */
static size_t fill_up(struct splice_rig *s, struct way *w)
{
    int stalls = 0;

    while (stalls < 30) {
        stalls = way_send(w, CHUNK) ? 0 : stalls + 1;
        rig_turn(s->k->loop, stalls ? 1 : 0);
        assert_true(w->sent < 256 * (size_t)MIB);
    }
    return w->sent - w->got;
}

static void a_stalled_reader_stops_the_sender_and_then_gets_everything(void **state)
{
    struct splice_rig *s = join(*state);
    struct way *ways[2] = {&s->up, &s->down};

    for (int i = 0; i < 2; i++) {
        struct way *w = ways[i];
        size_t held;

        pass(s, w, 8 * MIB);
        held = fill_up(s, w);
        assert_true(held > PIPE_BYTES_MIN);
        rig_for_ms(s->k->loop, 5);
        assert_true(pool_of(s)->used_bytes <= 2 * PIPE_BYTES_MAX);
        assert_true(adit_loop_timeout_ns(s->k->loop) != 0); /* it sleeps */
        way_end(w);
        KERNEL_UNTIL(s->k, (way_receive(w, CHUNK), w->fin_got));
        assert_int_equal(w->got, w->sent);
    }
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(s->k->closed_why, 0);
    part(s);
}

/* ------------------------------------------------------------------------------------------- endings -- */

static void the_clients_fin_follows_its_bulk_and_the_other_direction_goes_on(void **state)
{
    struct splice_rig *s = join(*state);

    pass(s, &s->up, 8 * MIB);
    fill_up(s, &s->up);
    way_end(&s->up);
    KERNEL_UNTIL(s->k, (way_receive(&s->up, CHUNK), s->up.fin_got));
    assert_int_equal(s->up.got, s->up.sent);
    pass(s, &s->down, 8 * MIB);
    assert_int_equal(s->k->closeds, 0);
    way_end(&s->down);
    KERNEL_UNTIL(s->k, (way_receive(&s->down, CHUNK), s->down.fin_got));
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(s->k->closed_why, 0);
    part(s);
}

static void the_servers_fin_follows_its_bulk_and_the_other_direction_goes_on(void **state)
{
    struct splice_rig *s = join(*state);

    pass(s, &s->down, 8 * MIB);
    fill_up(s, &s->down);
    way_end(&s->down);
    KERNEL_UNTIL(s->k, (way_receive(&s->down, CHUNK), s->down.fin_got));
    assert_int_equal(s->down.got, s->down.sent);
    pass(s, &s->up, 8 * MIB);
    assert_int_equal(s->k->closeds, 0);
    way_end(&s->up);
    KERNEL_UNTIL(s->k, (way_receive(&s->up, CHUNK), s->up.fin_got));
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(s->k->closed_why, 0);
    part(s);
}

static void a_reset_of_the_client_resets_the_server_though_octets_are_in_the_pipe(void **state)
{
    struct splice_rig *s = join(*state);
    ssize_t n;

    pass(s, &s->up, 8 * MIB);
    fill_up(s, &s->up);
    kernel_client_resets(s->k);
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(s->k->closed_why, ADIT_ERESET);
    while ((n = way_receive(&s->up, CHUNK)) > 0)
        ;
    assert_int_equal(n, -ECONNRESET);
    assert_true(s->up.got < s->up.sent);
    part(s);
}

static void a_reset_of_the_server_reaches_the_client_after_what_was_received(void **state)
{
    struct splice_rig *s = join(*state);
    ssize_t n;
    int unsent;

    pass(s, &s->down, 8 * MIB);
    fill_up(s, &s->down);
    rig_for_ms(s->k->loop, 5);
    assert_int_equal(ioctl(s->server, SIOCOUTQ, &unsent), 0);
    tcp_reset(s->server);
    s->server = -1;
    rig_for_ms(s->k->loop, 20);
    assert_int_equal(s->k->closeds, 0); /* the client has not got it all yet */
    assert_true(pool_of(s)->idle_count == 0 && pool_of(s)->used_bytes > 0);
    while ((n = way_receive(&s->down, CHUNK)) > 0 || n == -EAGAIN)
        rig_turn(s->k->loop, 1);
    assert_int_equal(n, -ECONNRESET);
    assert_true(s->down.got >= s->down.sent - (size_t)unsent);
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(s->k->closed_why, ADIT_ERESET);
    part(s);
}

static void a_conn_that_is_aborted_with_a_full_pipe_gives_it_back(void **state)
{
    struct splice_rig *s = join(*state);

    pass(s, &s->up, 8 * MIB);
    fill_up(s, &s->up);
    assert_int_equal(pool_of(s)->idle_count, 0);
    adit_conn_abort(s->k->conn);
    KERNEL_UNTIL(s->k, s->k->closeds == 1);
    assert_int_equal(pool_of(s)->used_bytes, 0);
    part(s);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, kernel_up, kernel_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bulk_passes_exactly_by_a_pipe_in_both_directions_at_once),
        T(no_pipe_is_made_for_a_flow_that_moves_little_at_a_time),
        T(a_flow_that_becomes_quiet_again_is_copied_again),
        T(an_empty_pipe_is_in_the_pool_and_the_next_direction_takes_it),
        T(octets_are_counted_as_before),
        T(urgent_octets_stall_nothing),
        T(a_socket_that_cannot_be_spliced_is_copied),
        T(without_descriptors_for_a_pipe_octets_are_copied_and_a_pipe_is_asked_for_again),
        cmocka_unit_test(a_pool_keeps_to_its_quota),
        cmocka_unit_test(nobody_reads_any_more_is_an_error_and_no_signal),
        cmocka_unit_test(a_host_that_blocks_the_signal_gets_none_and_keeps_its_own),
        T(a_stalled_reader_stops_the_sender_and_then_gets_everything),
        T(the_clients_fin_follows_its_bulk_and_the_other_direction_goes_on),
        T(the_servers_fin_follows_its_bulk_and_the_other_direction_goes_on),
        T(a_reset_of_the_client_resets_the_server_though_octets_are_in_the_pipe),
        T(a_reset_of_the_server_reaches_the_client_after_what_was_received),
        T(a_conn_that_is_aborted_with_a_full_pipe_gives_it_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
