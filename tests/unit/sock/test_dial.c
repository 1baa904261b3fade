/* SPDX-License-Identifier: MIT */
#include "../sockets.h"
#include "rig.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "sock/dial.h"

#define FIVE_SECONDS_NS ((uint64_t)5000000000)

static struct dialled dial(const struct sock_config *c, int proto, const adit_dest *to,
                           uint64_t timeout_ns)
{
    struct adit_loop *l = rig_loop();
    struct dialled o = {0};

    assert_non_null(dial_start(l, c, proto, to, 0, timeout_ns, on_dialled, &o));
    assert_int_equal(o.told, 0); /* never from inside the call */
    rig_until(l, &o.told, 1);
    assert_int_equal(adit_loop_timeout_ns(l), -1); /* nothing is left behind */
    loop_free(l);
    assert_int_equal(o.told, 1);
    assert_true((o.err == 0) == (o.s != ADIT_NO_SOCKET));
    return o;
}

/* The descriptors that are open. */
static int count_fds(void)
{
    int fd, count = 0;

    for (fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void what_is_connected_is_told_by_the_turn_that_sees_it(void **state)
{
    struct sock_config c = {0};
    struct adit_loop *l = rig_loop();
    struct dialled o = {0};
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, "127.0.0.1", 1);
    struct pollfd seen = {.fd = adit_loop_pollfd(l), .events = POLLIN};

    (void)state;
    assert_int_equal(adit_loop_dispatch(l), 0);
    assert_non_null(dial_start(l, &c, ADIT_PROTO_TCP, &to, 0, FIVE_SECONDS_NS, on_dialled, &o));
    assert_int_equal(poll(&seen, 1, 5000), 1);
    assert_int_equal(adit_loop_dispatch(l), 0);
    assert_int_equal(o.told, 1);
    assert_int_equal(o.err, 0);
    close(o.s);
    close(fd);
    loop_free(l);
}

static void an_address_is_connected(const char *text)
{
    struct sock_config c = {0};
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, text, 1), nodelay = 0;
    socklen_t len = sizeof(nodelay);
    struct dialled o = dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS);

    assert_int_equal(o.err, 0);
    assert_int_equal(write(o.s, "x", 1), 1);
    assert_true(fcntl(o.s, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(o.s, F_GETFD) & FD_CLOEXEC);
    getsockopt(o.s, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len);
    assert_true(nodelay);
    close(o.s);
    close(fd);
}

static void an_ipv4_address_is_connected(void **state)
{
    (void)state;
    an_address_is_connected("127.0.0.1");
}

static void an_ipv6_address_is_connected(void **state)
{
    (void)state;
    an_address_is_connected("::1");
}

static void a_closed_port_is_refused(void **state)
{
    struct sock_config c = {0};
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, "127.0.0.1", -1);

    (void)state;
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS).err, ADIT_EREFUSED);
    close(fd);
}

static void a_destination_that_does_not_answer_times_out(void **state)
{
    struct sock_config c = {0};
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, "127.0.0.1", 0), fds[TCP_QUEUE_FILLERS];
    uint64_t begin_ns = rig_clock_ns();

    (void)state;
    tcp_fill_queue(&to.addr, fds);
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &to, 50000000).err, ADIT_ETIMEDOUT);
    assert_true(rig_clock_ns() - begin_ns >= 50000000);
    tcp_close_all(fds);
    close(fd);
}

static void a_name_is_resolved(void **state)
{
    struct sock_config c = {0};
    adit_dest to = {.host = "localhost"};
    adit_addr at;
    int fd = tcp_listen(&at, "127.0.0.1", 1);
    struct dialled o;

    (void)state;
    to.addr.port = at.port;
    o = dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS);
    assert_int_equal(o.err, 0);
    close(o.s);
    close(fd);
}

static void a_literal_address_as_a_name_needs_no_resolver(void **state)
{
    struct sock_config c = {0};
    adit_dest to = {.host = "127.0.0.1"};
    adit_addr at;
    int fd = tcp_listen(&at, "127.0.0.1", -1);

    (void)state;
    to.addr.port = at.port;
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS).err, ADIT_EREFUSED);
    close(fd);
}

static void a_name_that_cannot_be_one_fails(void **state)
{
    struct sock_config c = {0};
    char long_name[400];
    adit_dest none = {0}, empty = {.host = ""}, longer = {.host = long_name}, bad = {.host = "a b"};

    (void)state;
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &none, FIVE_SECONDS_NS).err, ADIT_EINVAL);
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &empty, FIVE_SECONDS_NS).err, ADIT_EINVAL);
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &longer, FIVE_SECONDS_NS).err, ADIT_EINVAL);
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &bad, FIVE_SECONDS_NS).err, ADIT_ENAME);
}

static void a_udp_socket_is_connected_without_a_packet(void **state)
{
    struct sock_config c = {0};
    adit_dest to = {0};
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    struct dialled o;

    (void)state;
    adit_addr_parse(&to.addr, "127.0.0.1:53");
    o = dial(&c, ADIT_PROTO_UDP, &to, FIVE_SECONDS_NS);
    assert_int_equal(o.err, 0);
    assert_int_equal(getpeername(o.s, (struct sockaddr *)&peer, &len), 0);
    assert_int_equal(ntohs(peer.sin_port), 53);
    close(o.s);
}

static void a_dial_can_be_cancelled_at_any_time(void **state)
{
    static const char *const hosts[] = {NULL, "localhost", "nowhere.invalid"};
    struct sock_config c = {0};
    struct dialled o = {0};
    adit_addr at;
    int fd = tcp_listen(&at, "127.0.0.1", 64), before = count_fds();
    size_t i;
    int turns;

    (void)state;
    for (i = 0; i < 3; i++)
        for (turns = 0; turns < 4; turns++) {
            struct adit_loop *l = rig_loop();
            adit_dest to = {.addr = at, .host = hosts[i]};
            struct dial *d;
            int n;

            if (hosts[i])
                to.addr = (adit_addr){.port = at.port};
            d = dial_start(l, &c, ADIT_PROTO_TCP, &to, 0, FIVE_SECONDS_NS, on_dialled, &o);
            for (n = 0; n < turns && o.told == 0; n++)
                rig_turn(l, 1);
            if (o.told == 0)
                dial_cancel(d);
            else if (o.err == 0)
                close(o.s);
            o = (struct dialled){0};
            rig_for_ms(l, 2);
            assert_int_equal(o.told, 0);
            loop_free(l); /* waits for the resolver */
        }
    assert_int_equal(count_fds(), before);
    close(fd);
}

struct kept {
    struct watch watch;
    unsigned events;
};

static void note_ready(struct watch *w, unsigned events)
{
    LIST_ENTRY(w, struct kept, watch)->events |= events;
}

/* It stays registered under the caller's watch, which was told that it can be written to; cancelled at any time, nothing is
 * left. */
static void a_registration_can_be_kept(void **state)
{
    int before = count_fds(), turns;
    struct sock_config c = {0};
    adit_addr at;
    int fd = tcp_listen(&at, "127.0.0.1", 16);
    adit_dest to = {.addr = at};

    (void)state;
    for (turns = 0; turns < 4; turns++) {
        struct adit_loop *l = rig_loop();
        struct dialled o = {0};
        struct kept kept = {0};
        struct dial *d = dial_start(l, &c, ADIT_PROTO_TCP, &to, 0, FIVE_SECONDS_NS, on_dialled, &o);

        dial_keep(d, &kept.watch, note_ready);
        for (int n = 0; n < turns && o.told == 0; n++)
            rig_turn(l, 1);
        if (o.told == 0) {
            dial_cancel(d);
        } else {
            assert_int_equal(o.err, 0);
            assert_ptr_equal(kept.watch.loop, l);
            assert_int_equal(kept.watch.fd, o.s);
            assert_true(kept.events & ADIT_WRITE);
            watch_remove(&kept.watch);
            close(o.s);
        }
        loop_free(l);
    }
    close(fd);
    assert_int_equal(count_fds(), before);
}

static void an_address_costs_little_of_the_workers_budget_and_gives_it_back(void **state)
{
    struct sock_config c = {0};
    struct memory memory;
    struct loop_config config = {.memory = &memory};
    struct dialled o = {0};
    struct dial *dials[100];
    struct adit_loop *l;
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, "127.0.0.1", 100), count = 0;

    (void)state;
    memory_init(&memory, 16 * 1024, NULL);
    l = rig_loop_with(&config);
    while (count < 100 && (dials[count] = dial_start(l, &c, ADIT_PROTO_TCP, &to, 0, FIVE_SECONDS_NS, on_dialled, &o)))
        count++;
    assert_in_range(count, 16 * 1024 / 320, 99);
    while (count > 1)
        dial_cancel(dials[--count]);
    rig_until(l, &o.told, 1);
    assert_int_equal(o.err, 0);
    dials[0] = dial_start(l, &c, ADIT_PROTO_TCP, &to, 0, FIVE_SECONDS_NS, on_dialled, &o);
    assert_non_null(dials[0]);
    dial_cancel(dials[0]);
    loop_free(l);
    assert_int_equal(memory.used_bytes, 0);
    close(o.s);
    close(fd);
}

/* ------------------------------------------------------------------------------------ sock's rules -- */

struct host {
    int protected_count, asked_count, refuse;
    adit_socket s;
    adit_addr to;
    int purpose, family, type;
};

static int host_protect(void *ctx, adit_socket s, const adit_dest *to)
{
    struct host *h = ctx;
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    h->protected_count++;
    h->s = s;
    h->to = to->addr;
    assert_int_equal(getpeername(s, (struct sockaddr *)&peer, &len), -1); /* before the connect */
    return h->refuse;
}

static adit_socket host_socket(void *ctx, int purpose, int family, int type)
{
    struct host *h = ctx;

    h->asked_count++;
    h->purpose = purpose;
    h->family = family;
    h->type = type;
    return h->refuse ? ADIT_NO_SOCKET : socket(family == 4 ? AF_INET : AF_INET6, type, 0);
}

static void a_socket_is_protected_before_it_connects(void **state)
{
    struct host h = {0};
    struct sock_config c = {.protect = host_protect, .protect_ctx = &h};
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, "127.0.0.1", 1);
    struct dialled o = dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS);

    (void)state;
    assert_int_equal(o.err, 0);
    assert_int_equal(h.protected_count, 1);
    assert_int_equal(h.s, o.s);
    assert_memory_equal(&h.to, &to.addr, sizeof(h.to));
    close(o.s);
    h.refuse = 1;
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS).err, ADIT_EPERM);
    close(fd);
}

static void the_hosts_own_sockets_are_used(void **state)
{
    struct host h = {0};
    struct sock_config c = {.socket = host_socket, .socket_ctx = &h};
    adit_dest to = {0};
    int fd = tcp_listen(&to.addr, "::1", 1);
    struct dialled o = dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS);

    (void)state;
    assert_int_equal(o.err, 0);
    assert_int_equal(h.asked_count, 1);
    assert_int_equal(h.purpose, ADIT_SOCKET_TCP);
    assert_int_equal(h.family, 6);
    assert_int_equal(h.type, SOCK_STREAM);
    assert_true(fcntl(o.s, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(o.s, F_GETFD) & FD_CLOEXEC);
    close(o.s);
    h.refuse = 1;
    assert_int_equal(dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS).err, ADIT_EPERM);
    close(fd);
}

static void count_record(void *ctx, const adit_log_record *r)
{
    ++*(int *)ctx;
    assert_string_equal(r->module, "sock");
}

static void an_interface_that_is_not_there_fails_the_dial_and_is_logged_once(void **state)
{
    int records = 0, before = count_fds();
    struct log log = {.fn = count_record, .ctx = &records, .level = ADIT_LOG_INFO};
    struct log_limit limit = {.burst = 1};
    struct sock_config c = {.bind_iface = "no-such-if0", .log = &log, .log_limit = &limit};
    adit_dest to = {0};
    int i;

    (void)state;
    adit_addr_parse(&to.addr, "127.0.0.1:9");
    for (i = 0; i < 5; i++)
        assert_true(dial(&c, ADIT_PROTO_TCP, &to, FIVE_SECONDS_NS).err < 0);
    assert_int_equal(records, 1);
    assert_int_equal(count_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_connected_is_told_by_the_turn_that_sees_it),
        cmocka_unit_test(an_ipv4_address_is_connected),
        cmocka_unit_test(an_ipv6_address_is_connected),
        cmocka_unit_test(a_closed_port_is_refused),
        cmocka_unit_test(a_destination_that_does_not_answer_times_out),
        cmocka_unit_test(a_name_is_resolved),
        cmocka_unit_test(a_literal_address_as_a_name_needs_no_resolver),
        cmocka_unit_test(a_name_that_cannot_be_one_fails),
        cmocka_unit_test(a_udp_socket_is_connected_without_a_packet),
        cmocka_unit_test(a_dial_can_be_cancelled_at_any_time),
        cmocka_unit_test(a_registration_can_be_kept),
        cmocka_unit_test(an_address_costs_little_of_the_workers_budget_and_gives_it_back),
        cmocka_unit_test(a_socket_is_protected_before_it_connects),
        cmocka_unit_test(the_hosts_own_sockets_are_used),
        cmocka_unit_test(an_interface_that_is_not_there_fails_the_dial_and_is_logged_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
