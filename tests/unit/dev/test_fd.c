/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>
#include "dev/offload.h"
#include "dev/vnet.h"
#include "rig.h"

static struct rig g;
static struct made made, other;
static struct random rnd;
static int pair[2]; /* the device's end, and the test's */
static adit_options options;

static uint8_t
    refused_type; /* super-segments of this type are refused, as by a kernel that cannot */
static size_t memory_bytes; /* packets that are longer find no memory in the kernel */

static size_t iov_bytes(const struct iovec *iov, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

/* In place of the C library's. */
ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    const struct vnet_header *h = m->msg_iov[0].iov_base;

    assert_true(flags & MSG_NOSIGNAL);
    if (refused_type && (h->gso_type & 0x7f) == refused_type) {
        errno = EINVAL;
        return -1;
    }
    if (memory_bytes && iov_bytes(m->msg_iov, m->msg_iovlen) > memory_bytes) {
        errno = ENOBUFS;
        return -1;
    }
    return syscall(SYS_sendmsg, fd, m, flags);
}

static int setup(void **state)
{
    (void)state;
    rig_init(&g);
    rnd = random_seeded("fd");
    refused_type = 0;
    memory_bytes = 0;
    options = (adit_options){.kind = ADIT_DEV_FD, .fds = pair, .fds_count = 1};
    options.notice = rig_notice;
    options.notice_ctx = &g;
    return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    rig_deinit(&g);
    return 0;
}

static struct device *fd_new(void)
{
    struct device *d;

    if (fd_open(&d, &options, 0, &g.bufs, &g.log, &g.err) != ADIT_OK)
        fail_msg("%s", g.err.msg);
    return d;
}

static void put(const void *head, size_t head_bytes, const struct made *m)
{
    static uint8_t all[70000];

    memcpy(all, head, head_bytes);
    memcpy(all + head_bytes, m->octets, m->len_bytes);
    assert_int_equal(write(pair[1], all, head_bytes + m->len_bytes), head_bytes + m->len_bytes);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void packets_pass_both_ways_without_a_frame(void **state)
{
    struct device *d = fd_new();
    struct packet in[8];
    struct packet_out p;
    uint8_t got[2000];

    (void)state;
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    make_packet(&other, 6, TCP, 0, 40000, &rnd);
    put("", 0, &made);
    put("", 0, &other);
    assert_int_equal(device_recv(d, in, 8, 0), 2);
    assert_int_equal(in[0].len_bytes, made.len_bytes);
    assert_memory_equal(in[0].data, made.octets, made.len_bytes);
    assert_int_equal(in[0].csum, PACKET_CSUM_UNKNOWN);
    assert_int_equal(in[0].buf->size, BUF_256);
    assert_memory_equal(in[1].data, other.octets, other.len_bytes);
    assert_int_equal(in[1].buf->size, BUF_PACKET);
    buf_unref(in[0].buf);
    buf_unref(in[1].buf);
    assert_int_equal(device_recv(d, in, 8, 0), 0);

    made_out(&made, &p, 0, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(read(pair[1], got, sizeof(got)), made.len_bytes);
    assert_true(checksums_are_right(got, made.len_bytes, 20, UDP));
    assert_int_equal(d->reads, 4);
    assert_int_equal(d->writes, 1);
    device_close(d);
}

static void no_more_packets_are_read_than_asked_for(void **state)
{
    struct device *d = fd_new();
    struct packet in[8];

    (void)state;
    make_packet(&made, 4, UDP, 0, 10, &rnd);
    for (int i = 0; i < 5; i++)
        put("", 0, &made);
    for (int want = 3, left = 5; left > 0; left -= want) {
        int count = device_recv(d, in, want, 0);

        assert_int_equal(count, left < want ? left : want);
        for (int i = 0; i < count; i++)
            buf_unref(in[i].buf);
    }
    device_close(d);
}

static void super_segments_pass_whole_behind_a_virtio_net_header(void **state)
{
    struct vnet_header h = {VNET_NEEDS_CSUM, VNET_GSO_TCP4, 0, 1460, 20, 16};
    uint8_t got[70000];
    struct packet in[2];
    struct packet_out p;
    struct device *d;

    (void)state;
    options.fd_vnet_hdr = 1;
    d = fd_new();
    assert_string_equal(d->describe, "vnet_hdr tso4 tso6");
    assert_true(d->tso && d->partial_csum && !d->uso);
    make_packet(&made, 4, TCP, 0, 50000, &rnd);
    put(&h, sizeof(h), &made);
    h.gso_bytes = 1;
    put(&h, sizeof(h), &made); /* a contradiction */
    assert_int_equal(device_recv(d, in, 2, 0), 1);
    assert_int_equal(in[0].gso_bytes, 1460);
    assert_int_equal(in[0].csum, PACKET_CSUM_PARTIAL);
    assert_memory_equal(in[0].data, made.octets, made.len_bytes);
    assert_int_equal(d->drops[DROP_OFFLOAD_HEADER], 1);
    buf_unref(in[0].buf);

    made_out(&made, &p, 1000, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(read(pair[1], got, sizeof(got)), 10 + made.len_bytes);
    memcpy(&h, got, sizeof(h));
    assert_int_equal(h.gso_bytes, 1000);
    assert_int_equal(h.flags, VNET_NEEDS_CSUM);
    assert_memory_equal(got + 10, made.octets, made.len_bytes);
    device_close(d);
}

/* As the far side reads it: a shorter super-segment of that much payload, whose header states it. */
static void read_part(uint32_t at, uint32_t payload_bytes)
{
    struct vnet_header h;
    uint8_t got[70000];

    assert_int_equal(read(pair[1], got, sizeof(got)), 10 + 40 + payload_bytes);
    memcpy(&h, got, sizeof(h));
    assert_int_equal(h.gso_type & ~VNET_GSO_ECN, VNET_GSO_TCP4);
    assert_int_equal(h.gso_bytes, 1000);
    assert_int_equal(get_be16(got + 10 + 2), 40 + payload_bytes);
    assert_memory_equal(got + 10 + 40, made.octets + 40 + at, payload_bytes);
}

static void what_no_ip_header_can_state_goes_in_two_where_no_kernel_is_known_to_take_it(void **state)
{
    struct packet_out p;
    struct device *d;

    (void)state;
    options.fd_vnet_hdr = fd_vnet_hdr_of(VNET_OFFLOADS | VNET_BIG4); /* believed of a TUN only */
    d = fd_new();
    assert_false(d->big_tcp4);
    make_packet(&made, 4, TCP, 0, 120000, &rnd);
    made_out(&made, &p, 1000, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    read_part(0, 65000);
    read_part(65000, 55000);
    device_close(d);
}

static void what_a_kernel_has_no_memory_for_goes_in_parts_and_is_tried_again(void **state)
{
    struct vnet_config c = {.framing = VNET_FRAMING_HEADER, .takes = VNET_CSUM | VNET_TSO4 | VNET_BIG4};
    struct device *small = fd_new(), *d;
    struct packet_out p;
    uint8_t whole[130010];

    (void)state;
    c.ops = small->ops;
    c.fd = dup(pair[0]);
    assert_int_equal(vnet_open(&d, &c, &g.bufs, &g.log, &g.err), ADIT_OK);
    make_packet(&made, 4, TCP, 0, 120000, &rnd);
    made_out(&made, &p, 1000, &rnd);
    memory_bytes = 70000;
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    read_part(0, 65000);
    read_part(65000, 55000);
    memory_bytes = 10;
    assert_int_equal(device_send(d, &p, 0), ADIT_EAGAIN);
    memory_bytes = 0;
    assert_true(d->big_tcp4);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(read(pair[1], whole, sizeof(whole)), 10 + 40 + 120000);
    device_close(d);
    device_close(small);
}

static void super_segments_are_split_where_nobody_takes_them(void **state)
{
    struct device *d = fd_new();
    struct packet_out p;
    uint8_t got[2000];

    (void)state;
    make_packet(&made, 6, UDP, 0, 2500, &rnd);
    made_out(&made, &p, 1000, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    for (int i = 0; i < 3; i++) {
        uint32_t want = i < 2 ? 1000 : 500;

        assert_int_equal(read(pair[1], got, sizeof(got)), 48 + want);
        assert_true(checksums_are_right(got, 48 + want, 40, UDP));
        assert_memory_equal(got + 48, made.octets + 48 + 1000 * i, want);
    }
    device_close(d);
}

static void full_descriptor_is_said_before_the_first_part_and_counted_after(void **state)
{
    struct device *d = fd_new();
    struct packet_out small, super;
    struct made *big = &other;
    int rc = ADIT_OK;

    (void)state;
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    made_out(&made, &small, 0, &rnd);
    make_packet(big, 4, TCP, 0, 60000, &rnd);
    made_out(big, &super, 600, &rnd);
    for (int i = 0; i < 10 && rc == ADIT_OK && d->drops[DROP_DEVICE_FULL] == 0; i++)
        rc = device_send(d, &super, 0); /* the queue of a datagram socket is short */
    assert_int_equal(rc, ADIT_OK);
    assert_true(d->drops[DROP_DEVICE_FULL] > 0);
    assert_int_equal(device_send(d, &super, 0), ADIT_EAGAIN);
    assert_int_equal(device_send(d, &small, 0), ADIT_EAGAIN);
    device_close(d);
}

static void kernel_that_refuses_super_segments_gets_their_parts_and_the_host_is_told(void **state)
{
    struct vnet_header h;
    uint8_t got[2000];
    struct packet_out p;
    struct device *d;

    (void)state;
    options.fd_vnet_hdr = 1;
    d = fd_new();
    refused_type = VNET_GSO_TCP6;
    make_packet(&made, 6, TCP, 0, 2500, &rnd);
    made_out(&made, &p, 1000, &rnd);
    for (int i = 1; i <= 5; i++) {
        uint64_t writes = d->writes;

        assert_int_equal(device_send(d, &p, 0), ADIT_OK);
        assert_int_equal(d->writes - writes, i <= 3 ? 4 : 3); /* the whole is tried three times */
        assert_int_equal(g.notices, i < 3 ? 0 : 1);
        assert_int_equal(d->tso, i < 3);
        for (uint32_t part = 0; part < 3; part++) {
            uint32_t want = part < 2 ? 1000 : 500;

            assert_int_equal(read(pair[1], got, sizeof(got)), 10 + 60 + want);
            memcpy(&h, got, sizeof(h));
            assert_int_equal(h.gso_type, VNET_GSO_NONE);
            assert_int_equal(h.flags, VNET_NEEDS_CSUM);
            assert_memory_equal(got + 70, made.octets + 60 + 1000 * part, want);
        }
    }
    assert_int_equal(g.notice.code, ADIT_ENOTSUP);
    assert_int_equal(g.notice.os, EINVAL);
    assert_string_equal(d->describe, "vnet_hdr");
    device_close(d);
}

static void family_prefix_is_checked_and_written(void **state)
{
    static const uint8_t is4[4] = {0, 0, 0, AF_INET}, is6[4] = {0, 0, 0, AF_INET6};
    struct packet in[4];
    struct packet_out p;
    uint8_t got[2000];
    struct device *d;

    (void)state;
    options.fd_family_prefix = 1;
    d = fd_new();
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    put(is4, 4, &made);
    put(is6, 4, &made);
    made.len_bytes = 0;
    put(is4, 4, &made); /* nothing behind the prefix */
    assert_int_equal(device_recv(d, in, 4, 0), 1);
    assert_int_equal(d->drops[DROP_IP_VERSION], 1);
    assert_int_equal(d->drops[DROP_IP_TRUNCATED], 1);
    buf_unref(in[0].buf);

    make_packet(&made, 6, UDP, 0, 100, &rnd);
    made_out(&made, &p, 0, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(read(pair[1], got, sizeof(got)), 4 + made.len_bytes);
    assert_memory_equal(got, is6, 4);
    device_close(d);
}

static void without_memory_packets_are_read_and_counted(void **state)
{
    struct device *d = fd_new();
    struct packet in[4];

    (void)state;
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    make_packet(&other, 4, UDP, 0, 30000, &rnd);
    put("", 0, &made);
    put("", 0, &other);
    g.memory.budget_bytes = g.memory.used_bytes;
    assert_int_equal(device_recv(d, in, 4, 0), 0);
    assert_int_equal(d->drops[DROP_NO_MEMORY], 2);
    g.memory.budget_bytes = 512 << 20;
    put("", 0, &other);
    assert_int_equal(device_recv(d, in, 4, 0), 1);
    buf_unref(in[0].buf);
    device_close(d);
}

static void peer_that_closes_is_a_device_that_is_gone(void **state)
{
    struct packet in[4];
    struct packet_out p;
    struct device *d;

    (void)state;
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    d = fd_new();
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    put("", 0, &made);
    close(pair[1]);
    assert_int_equal(device_recv(d, in, 4, 0), 1);
    buf_unref(in[0].buf);
    assert_int_equal(device_recv(d, in, 4, 0), ADIT_ENODEV);
    made_out(&made, &p, 0, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_ENODEV); /* and no SIGPIPE */
    device_close(d);
}

static void the_hosts_descriptor_stays_open_and_its_own(void **state)
{
    struct device *d = fd_new();

    (void)state;
    assert_int_not_equal(d->fd, pair[0]);
    device_close(d);
    assert_true(is_open(pair[0]));
}

static void nonsense_is_refused_with_a_sentence(void **state)
{
    int stream[2], pipes[2], bad = 9999;
    struct {
        const int *fds;
        size_t count;
        int code;
        const char *word;
    } rows[] = {
        {NULL, 0, ADIT_EINVAL, "no descriptor"},
        {stream, 1, ADIT_EINVAL, "stream socket"}, {pipes, 1, ADIT_EINVAL, "file or pipe"},
        {&bad, 1, ADIT_EINVAL, "descriptor 9999"},
    };

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
    assert_int_equal(pipe(pipes), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_error err = {0};
        struct device *d = NULL;

        options.fds = rows[i].fds;
        options.fds_count = rows[i].count;
        assert_int_equal(fd_open(&d, &options, 0, &g.bufs, &g.log, &err), rows[i].code);
        assert_non_null(strstr(err.msg, rows[i].word));
        assert_true(err.hint[0] != '\0');
    }
    close(stream[0]);
    close(stream[1]);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(packets_pass_both_ways_without_a_frame),
        TEST(no_more_packets_are_read_than_asked_for),
        TEST(super_segments_pass_whole_behind_a_virtio_net_header),
        TEST(super_segments_are_split_where_nobody_takes_them),
        TEST(what_no_ip_header_can_state_goes_in_two_where_no_kernel_is_known_to_take_it),
        TEST(what_a_kernel_has_no_memory_for_goes_in_parts_and_is_tried_again),
        TEST(full_descriptor_is_said_before_the_first_part_and_counted_after),
        TEST(kernel_that_refuses_super_segments_gets_their_parts_and_the_host_is_told),
        TEST(family_prefix_is_checked_and_written),
        TEST(without_memory_packets_are_read_and_counted),
        TEST(peer_that_closes_is_a_device_that_is_gone),
        TEST(the_hosts_descriptor_stays_open_and_its_own),
        TEST(nonsense_is_refused_with_a_sentence),
    };

    return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
