/* SPDX-License-Identifier: MIT */
/* Real echo requests over loopback, by whichever kind of socket this system allows; where it allows none, that is what is
 * tested. The functions of net/icmp.h that ping calls are the test's own. */
#include "rig.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "net/net.h"
#include "sock/ping.h"

enum { REPLIES_MAX = 64 };

static struct echoes {
    struct net net;
    struct memory memory;
    int replies, failures, dropped;
    struct {
        struct flow_key key;
        uint16_t seq;
        uint8_t data[2048];
        size_t len;
        uint8_t ttl;
    } reply[REPLIES_MAX];
} * echoes; /* of the test that runs */

void icmp_reply(struct net *net, const struct flow_key *key, uint16_t seq, const void *data,
                size_t len_bytes, uint8_t ttl, uint64_t now_ns)
{
    int i = echoes->replies++;

    (void)now_ns;
    assert_ptr_equal(net, &echoes->net);
    assert_true(i < REPLIES_MAX && len_bytes <= sizeof(echoes->reply[i].data));
    echoes->reply[i].key = *key;
    echoes->reply[i].seq = seq;
    echoes->reply[i].len = len_bytes;
    echoes->reply[i].ttl = ttl;
    memcpy(echoes->reply[i].data, data, len_bytes);
}

void icmp_echo_failed(struct net *net, const struct flow_key *key, uint16_t seq,
                      enum icmp_kind kind, uint32_t mtu_bytes, const uint8_t from[16],
                      uint64_t now_ns)
{
    (void)net;
    (void)key;
    (void)seq;
    (void)kind;
    (void)mtu_bytes;
    (void)from;
    (void)now_ns;
    echoes->failures++;
}

enum drop net_drop(struct net *net, enum drop why)
{
    (void)net;
    assert_int_equal(why, DROP_ICMP_UPSTREAM);
    echoes->dropped++;
    return why;
}

static void fill_random(void *ctx, void *buf, size_t len_bytes)
{
    (void)ctx;
    memset(buf, 0xfe, len_bytes); /* the counter of identifiers wraps soon */
}

struct ping_rig {
    struct adit_loop *loop;
    struct sock_config config;
    struct log log;
    struct ping *ping;
    uint64_t skipped_ns; /* by which the loop's clock is ahead */
    int records;
};

static uint64_t rig_now_ns(void *ctx)
{
    return rig_clock_ns() + ((struct ping_rig *)ctx)->skipped_ns;
}

static void count_record(void *ctx, const adit_log_record *r)
{
    ++*(int *)ctx;
    assert_string_equal(r->module, "ping");
}

static void rig_open(struct ping_rig *r, uint64_t idle_ms)
{
    echoes = calloc(1, sizeof(*echoes));
    memory_init(&echoes->memory, 1 << 20, NULL);
    echoes->net.memory = &echoes->memory;
    echoes->net.env.random = fill_random;
    *r = (struct ping_rig){.records = 0};
    r->loop = rig_loop_with(&(struct loop_config){.now_ns = rig_now_ns, .now_ctx = r});
    r->log = (struct log){.fn = count_record, .ctx = &r->records, .level = ADIT_LOG_INFO};
    r->config.log = &r->log;
    r->ping = ping_new(r->loop, &r->config, &echoes->net, idle_ms * 1000000);
    assert_non_null(r->ping);
}

static void rig_close(struct ping_rig *r)
{
    ping_free(r->ping);
    loop_free(r->loop);
    assert_int_equal(echoes->memory.used_bytes, 0);
    free(echoes);
}

static struct flow_key key_of(const char *remote, uint16_t id)
{
    struct flow_key key = {.client_port = id, .proto = IP_PROTO_ICMP};
    adit_addr addr;

    assert_int_equal(adit_addr_parse(&addr, remote), 0);
    memcpy(key.remote, addr.ip, 16);
    memset(key.client, 10, 16);
    return key;
}

static int request(struct ping_rig *r, const char *remote, uint16_t id, uint16_t seq,
                   const char *text)
{
    struct flow_key key = key_of(remote, id);
    struct icmp_message m = {.kind = ICMP_ECHO_REQUEST, .id = id, .seq = seq};
    adit_addr real;

    m.data = (const uint8_t *)text;
    m.data_bytes = (uint32_t)strlen(text);
    adit_addr_parse(&real, remote);
    return ping_request(r->ping, &key, &real, &m, 64, 0);
}

/* False: this system lets nobody like us ping, and says so. */
static bool may_ping(struct ping_rig *r)
{
    int rc = request(r, "127.0.0.1", 1, 0, "may I?");

    if (rc == 0) {
        rig_until(r->loop, &echoes->replies, 1);
        echoes->replies = 0;
        return true;
    }
    assert_int_equal(rc, ADIT_EPERM);
    assert_int_equal(request(r, "127.0.0.1", 1, 0, "and now?"), ADIT_EPERM);
    assert_int_equal(r->records, 1);
    return false;
}

static void an_echo_request_is_answered(const char *remote)
{
    struct ping_rig r;
    struct flow_key key = key_of(remote, 4711);

    rig_open(&r, 10000);
    if (may_ping(&r)) {
        assert_int_equal(request(&r, remote, 4711, 7, "some odd octets"), 0);
        rig_until(r.loop, &echoes->replies, 1);
        assert_memory_equal(&echoes->reply[0].key, &key, sizeof(key));
        assert_int_equal(echoes->reply[0].seq, 7);
        assert_int_equal(echoes->reply[0].len, 15);
        assert_memory_equal(echoes->reply[0].data, "some odd octets", 15);
        assert_int_equal(echoes->reply[0].ttl, 64);
        assert_int_equal(request(&r, remote, 4711, 8, ""), 0);
        rig_until(r.loop, &echoes->replies, 2);
        assert_int_equal(echoes->reply[1].seq, 8);
        assert_int_equal(echoes->reply[1].len, 0);
    }
    assert_int_equal(echoes->failures + echoes->dropped, 0);
    rig_close(&r);
}

static void an_echo_request_over_ipv4_is_answered(void **state)
{
    (void)state;
    an_echo_request_is_answered("127.0.0.1");
}

static void an_echo_request_over_ipv6_is_answered(void **state)
{
    (void)state;
    an_echo_request_is_answered("::1");
}

static void every_flow_gets_its_own_replies_only(void **state)
{
    struct ping_rig r;
    uint16_t id;
    int i;

    (void)state;
    rig_open(&r, 10000);
    if (may_ping(&r)) {
        for (id = 0; id < 5; id++)
            assert_int_equal(
                request(&r, "127.0.0.1", (uint16_t)(100 + id), (uint16_t)(1000 + id), "x"), 0);
        rig_until(r.loop, &echoes->replies, 5);
        rig_for_ms(r.loop, 10);
        assert_int_equal(echoes->replies, 5);
        for (i = 0; i < 5; i++)
            assert_int_equal(echoes->reply[i].key.client_port - 100, echoes->reply[i].seq - 1000);
    }
    rig_close(&r);
}

static int count_fds(void)
{
    int fd, count = 0;

    for (fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void an_idle_socket_is_closed_and_a_later_request_opens_another(void **state)
{
    struct ping_rig r;
    int before;

    (void)state;
    rig_open(&r, 30000);
    before = count_fds();
    if (may_ping(&r)) {
        r.skipped_ns += 25000000000u;
        assert_int_equal(request(&r, "127.0.0.1", 1, 1, "I am not idle"), 0);
        rig_until(r.loop, &echoes->replies, 1);
        r.skipped_ns += 25000000000u;
        rig_turn(r.loop, 0);
        assert_int_equal(count_fds(), before + 1);
        r.skipped_ns += 6000000000u;
        rig_turn(r.loop, 0);
        assert_int_equal(count_fds(), before);
        assert_int_equal(request(&r, "127.0.0.1", 1, 1, "again"), 0);
        rig_until(r.loop, &echoes->replies, 2);
    }
    rig_close(&r);
}

/* In the place of the C library's: a system without the right to any kind of socket for pings. */
static bool is_forbidden;

int socket(int domain, int type, int protocol)
{
    if (is_forbidden && (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)) {
        errno = (type & SOCK_RAW) == SOCK_RAW ? EPERM : EACCES;
        return -1;
    }
    return (int)syscall(SYS_socket, domain, type, protocol);
}

static void without_the_right_to_ping_it_is_said_once_how_to_get_it(void **state)
{
    struct ping_rig r;

    (void)state;
    rig_open(&r, 1000);
    is_forbidden = true;
    assert_false(may_ping(&r));
    is_forbidden = false;
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_echo_request_over_ipv4_is_answered),
        cmocka_unit_test(an_echo_request_over_ipv6_is_answered),
        cmocka_unit_test(every_flow_gets_its_own_replies_only),
        cmocka_unit_test(an_idle_socket_is_closed_and_a_later_request_opens_another),
        cmocka_unit_test(without_the_right_to_ping_it_is_said_once_how_to_get_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
