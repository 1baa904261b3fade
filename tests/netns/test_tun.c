/* SPDX-License-Identifier: MIT */
/* A real TUN and a real kernel. As root; each test runs in a network namespace of its own, which the process enters and
 * which vanishes with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "dev/offload.h"
#include "wire/ip.h"
#include "wire/tcp.h"
#include "../unit/dev/rig.h"

static struct rig g;
static struct made made;
static struct random rnd;
static const char *addrs[] = {"10.9.0.1/30", "fd00:9::1/126"};
static adit_options options;

static int setup(void **state)
{
    (void)state;
    rig_init(&g);
    rnd = random_seeded("tun");
    options =
        (adit_options){.name = "t%d", .addrs = addrs, .addrs_count = 2, .netns_fd = ADIT_NO_SOCKET};
    options.notice = rig_notice;
    options.notice_ctx = &g;
    return unshare(CLONE_NEWNET);
}

static int teardown(void **state)
{
    (void)state;
    rig_deinit(&g);
    return 0;
}

static struct device *tun_new(void)
{
    struct device *d;

    if (tun_open(&d, &options, &g.bufs, &g.log, &g.err) != ADIT_OK)
        fail_msg("%s: %s", g.err.op, g.err.msg);
    return d;
}

/* What a shell command prints. */
static const char *output_of(const char *command)
{
    static char text[8192];
    FILE *f = popen(command, "r");
    size_t got = fread(text, 1, sizeof(text) - 1, f);

    text[got] = '\0';
    pclose(f);
    return text;
}

static void prints(const char *command, const char *words)
{
    const char *text = output_of(command);

    if (!strstr(text, words))
        fail_msg("%s: no %s in %s", command, words, text);
}

static void prints_not(const char *command, const char *words)
{
    if (strstr(output_of(command), words))
        fail_msg("%s: there is %s", command, words);
}

/* The next packet that is not the kernel's own talk (router solicitations, multicast reports). Waits for at most 2 s. */
static struct packet next_packet(struct device *d, uint8_t proto)
{
    for (int i = 0; i < 500; i++) {
        struct pollfd readable = {.fd = d->fd, .events = POLLIN};
        struct packet p;
        struct offload_layout l;

        poll(&readable, 1, 20);
        if (device_recv(d, &p, 1, 0) != 1)
            continue;
        if (offload_layout_parse(&l, p.data, p.len_bytes) && l.proto == proto)
            return p;
        buf_unref(p.buf);
    }
    fail_msg("no packet came");
    return (struct packet){0};
}

static int connecting_socket(const char *ip)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, ip, &to.sin_addr);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    return fd;
}

/* ------------------------------------------------------------------------------------ configuration -- */

static void new_device_is_configured_as_asked(void **state)
{
    struct device *d;

    (void)state;
    options.mtu_bytes = 1400;
    options.txqueue_packets = 777;
    options.default_route = 1;
    d = tun_new();
    assert_string_equal(d->ifname, "t0");
    assert_int_equal(d->mtu_bytes, 1400);
    prints("ip -j link show t0", "\"mtu\":1400");
    prints("ip -j link show t0", "\"txqlen\":777");
    prints("ip -j link show t0", "\"UP\"");
    prints("ip -j addr show t0", "\"local\":\"10.9.0.1\",\"prefixlen\":30");
    prints("ip -j addr show t0", "\"local\":\"fd00:9::1\",\"prefixlen\":126");
    prints_not("ip addr show t0", "tentative");
    prints("ip -j -4 route", "\"dst\":\"default\",\"dev\":\"t0\"");
    prints("ip -j -6 route", "\"dst\":\"default\",\"dev\":\"t0\"");
    prints_not("ip -j link show lo", "\"UP\"");
    device_close(d);
    prints_not("ip link", "t0");
}

static void default_routes_follow_the_families_of_the_addresses(void **state)
{
    struct device *d;

    (void)state;
    options.addrs_count = 1;
    options.default_route = 1;
    d = tun_new();
    prints("ip -4 route", "default dev t0");
    prints_not("ip -6 route", "default");
    device_close(d);
}

static void default_route_of_another_is_not_replaced(void **state)
{
    struct device *first, *second = NULL;
    static const char *more[] = {"10.9.1.1/30"};

    (void)state;
    options.default_route = 1;
    first = tun_new();
    options.addrs = more;
    options.addrs_count = 1;
    assert_int_equal(tun_open(&second, &options, &g.bufs, &g.log, &g.err), ADIT_EEXIST);
    assert_string_equal(g.err.op, "RTM_NEWROUTE");
    assert_true(g.err.hint[0] != '\0');
    prints("ip -4 route", "default dev t0");
    prints_not("ip link", "t1");
    device_close(first);
}

static void device_that_exists_is_adopted_as_it_is(void **state)
{
    struct device *d;

    (void)state;
    output_of("ip tuntap add dev own mode tun; ip addr add 10.9.0.1/30 dev own; ip addr add "
              "10.8.0.1/24 dev own;"
              "ip addr add fd00:9::1/126 dev own nodad; ip link set own up; ip route add default "
              "dev own");
    options.name = "own";
    options.default_route = 1;
    d = tun_new();
    assert_string_equal(d->ifname, "own");
    prints("ip -4 addr show own", "10.8.0.1/24");
    device_close(d);
    prints("ip link", "own"); /* it is persistent */

    output_of("ip tuntap del dev own mode tun; ip tuntap add dev own mode tun multi_queue");
    d = tun_new();
    device_close(d);
}

/* Takes CAP_NET_ADMIN out of use, or back. */
static void set_net_admin(bool on)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    assert_int_equal(syscall(SYS_capget, &head, data), 0);
    if (on)
        data[0].effective |= 1u << CAP_NET_ADMIN;
    else
        data[0].effective &= ~(1u << CAP_NET_ADMIN);
    assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

static void device_that_was_prepared_needs_no_privilege(void **state)
{
    static const char *more[] = {"10.9.0.1/30", "10.7.0.1/24"};
    struct device *d = NULL;
    adit_error err = {0};

    (void)state;
    output_of("ip tuntap add dev own mode tun user 0; ip addr add 10.9.0.1/30 dev own; ip link set "
              "own mtu 1400;"
              "ip link set own txqueuelen 1000; ip link set own up; ip route add default dev own");
    options.name = "own";
    options.mtu_bytes = 1400;
    options.addrs_count = 1;
    options.default_route = 1;
    set_net_admin(false);
    d = tun_new();
    device_close(d);
    options.addrs = more;
    options.addrs_count = 2;
    assert_int_equal(tun_open(&d, &options, &g.bufs, &g.log, &err), ADIT_EPERM);
    assert_string_equal(err.op, "RTM_NEWADDR");
    assert_non_null(strstr(err.hint, "CAP_NET_ADMIN"));
    err = (adit_error){0};
    options.name = "fresh";
    assert_int_equal(tun_open(&d, &options, &g.bufs, &g.log, &err), ADIT_EPERM);
    assert_string_equal(err.op, "TUNSETIFF");
    assert_non_null(strstr(err.hint, "CAP_NET_ADMIN"));
    set_net_admin(true);
}

static void other_namespace_holds_the_device_and_the_caller_stays(void **state)
{
    struct stat before, after;
    struct device *d;
    int there;

    (void)state;
    stat("/proc/self/ns/net", &before);
    there = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    stat("/proc/self/ns/net", &after);
    assert_true(before.st_ino != after.st_ino);
    before = after;

    options.netns_fd = there;
    d = tun_new();
    stat("/proc/self/ns/net", &after);
    assert_true(before.st_ino == after.st_ino);
    prints_not("ip link", "t0");
    assert_int_equal(setns(there, CLONE_NEWNET), 0);
    prints("ip -j addr show t0", "\"local\":\"10.9.0.1\"");
    prints("ip -j link show t0", "\"UP\"");
    device_close(d);

    options.netns_fd = ADIT_NO_SOCKET;
    options.netns = "/proc/self/ns/net";
    d = tun_new();
    device_close(d);
    close(there);
}

static void what_cannot_be_is_refused_with_a_hint(void **state)
{
    static const char *bad_addr[] = {"10.9.0.1/33"}, *no_addr[] = {"example.org/8"};
    static const struct {
        const char *name, *netns;
        const char *const *addrs;
        uint32_t mtu_bytes;
        const char *op;
    } rows[] = {
        {"lo", NULL, NULL, 0, "TUNSETIFF"},
        {"a-name-much-too-long", NULL, NULL, 0, "name"},
        {"t%s", NULL, NULL, 0, "name"},
        {"", NULL, NULL, 0, "name"},
        {"t0", NULL, bad_addr, 0, "addrs"},
        {"t0", NULL, no_addr, 0, "addrs"},
        {"t0", NULL, NULL, 1279, "mtu_bytes"},
        {"t0", NULL, NULL, 65536, "mtu_bytes"},
        {"t0", "no-such-namespace", NULL, 0, "netns"},
        {"t0", "/dev/null", NULL, 0, "setns"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_error err = {0};
        struct device *d = NULL;

        options.name = rows[i].name;
        options.netns = rows[i].netns;
        options.addrs = rows[i].addrs;
        options.addrs_count = rows[i].addrs ? 1 : 0;
        options.mtu_bytes = rows[i].mtu_bytes;
        assert_true(tun_open(&d, &options, &g.bufs, &g.log, &err) < 0);
        assert_string_equal(err.op, rows[i].op);
        assert_true(err.msg[0] != '\0' && err.hint[0] != '\0');
        prints_not("ip link", "t0");
    }
}

static void name_in_use_is_refused_with_a_hint(void **state)
{
    struct device *d, *second = NULL;

    (void)state;
    options.name = "taken";
    d = tun_new();
    assert_int_equal(tun_open(&second, &options, &g.bufs, &g.log, &g.err), ADIT_EEXIST);
    assert_int_equal(g.err.os, EBUSY);
    assert_true(g.err.hint[0] != '\0');
    device_close(d);
}

static bool kernel_is_at_least(int major, int minor)
{
    struct utsname kernel;
    int is_major = 0, is_minor = 0;

    uname(&kernel);
    assert_int_equal(sscanf(kernel.release, "%d.%d", &is_major, &is_minor), 2);
    return is_major > major || (is_major == major && is_minor >= minor);
}

static void descriptor_of_a_device_can_be_given_to_another(void **state)
{
    struct device *d;
    adit_options given = {0};
    int fd, vnet_hdr;
    char name[16];

    (void)state;
    assert_int_equal(tun_open_fds(&options, &fd, &vnet_hdr, name, &g.err), ADIT_OK);
    assert_string_equal(name, "t0");
    assert_true(vnet_hdr & 1);
    given.fds = &fd;
    given.fds_count = 1;
    assert_int_equal(fd_open(&d, &given, 0, &g.bufs, &g.log, &g.err),
                     ADIT_EINVAL); /* vnet_hdr is not said */
    given.fd_vnet_hdr = vnet_hdr;
    given.take_fds = 1;
    g.err = (adit_error){0};
    assert_int_equal(fd_open(&d, &given, 0, &g.bufs, &g.log, &g.err), ADIT_OK);
    assert_string_equal(d->ifname, "t0");
    assert_true(d->tso && d->partial_csum);
    assert_int_equal(d->big_tcp4, kernel_is_at_least(6, 3)); /* as found out before */
    device_close(d);
}

/* ------------------------------------------------------------------------------------------ offloads -- */

static void offloads_of_this_kernel_work_and_nobody_is_told_otherwise(void **state)
{
    struct device *d = tun_new();

    (void)state;
    print_message("%s\n", d->describe);
    assert_true(d->tso && d->partial_csum);
    assert_int_equal(d->uso, kernel_is_at_least(6, 2));
    assert_int_equal(d->big_tcp4, kernel_is_at_least(6, 3));
    assert_int_equal(g.notices, d->uso ? 0 : 1);
    device_close(d);
}

static long tun_new_ms(struct device **out)
{
    struct timespec begin, end;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    *out = tun_new();
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
}

static void self_test_leaves_nothing_to_read_and_takes_no_time(void **state)
{
    struct device *d;
    struct packet p;
    long took_ms = tun_new_ms(&d);

    (void)state;
    for (int i = 0; i < 5 && took_ms >= 500; i++) { /* another process may have had the processor */
        device_close(d);
        took_ms = tun_new_ms(&d);
    }
    assert_true(took_ms < 500);
    while (device_recv(d, &p, 1, 0) == 1) {
        struct offload_layout l;

        assert_false(offload_layout_parse(&l, p.data, p.len_bytes)); /* neither TCP nor UDP */
        buf_unref(p.buf);
    }
    prints("cat /proc/net/snmp",
           "Udp: 4 "); /* one datagram and three of a train arrived, over IPv4 */
    device_close(d);
}

static void without_offload_packets_come_one_by_one_and_complete(void **state)
{
    struct device *d;
    struct packet p;
    int fd;

    (void)state;
    options.no_offload = 1;
    d = tun_new();
    assert_string_equal(d->describe, "one packet a call");
    assert_false(d->tso || d->uso || d->partial_csum);
    fd = connecting_socket("10.9.0.2");
    p = next_packet(d, TCP);
    assert_int_equal(p.csum, PACKET_CSUM_UNKNOWN);
    assert_true(checksums_are_right(p.data, p.len_bytes, 20, TCP));
    buf_unref(p.buf);
    close(fd);
    device_close(d);
    assert_int_equal(g.notices, 0);
}

/* ------------------------------------------------------------------------------------------- traffic -- */

static void connecting_kernel_sends_a_syn(void **state)
{
    struct device *d = tun_new();
    struct ip_header ip;
    struct tcp_segment s;
    struct packet p;
    int fd = connecting_socket("10.9.0.2");

    (void)state;
    p = next_packet(d, TCP);
    assert_int_equal(p.csum, PACKET_CSUM_PARTIAL);
    assert_int_equal(p.gso_bytes, 0);
    assert_int_equal(ip_parse(&ip, p.data, p.len_bytes, true), DROP_NONE);
    assert_int_equal(tcp_parse(&s, p.data + ip.header_bytes, ip.payload_bytes), DROP_NONE);
    assert_int_equal(s.flags, TCP_SYN);
    assert_int_equal(s.dst_port, 80);
    assert_int_equal(s.mss_bytes, 1460);
    buf_unref(p.buf);
    close(fd);
    device_close(d);
}

/* A segment without payload from 10.9.0.2:80 to what sent `to`. */
static void answer(struct device *d, const struct packet *to, uint8_t flags, uint32_t seq,
                   uint32_t ack, uint32_t payload)
{
    struct packet_out p = {.csum_start = 20, .csum_offset = 16, .payload_bytes = payload};
    struct ip_header ip, back;
    struct tcp_segment s;

    ip_parse(&ip, to->data, to->len_bytes, true);
    tcp_parse(&s, to->data + ip.header_bytes, ip.payload_bytes);
    s = (struct tcp_segment){.src_port = 80,
                             .dst_port = s.src_port,
                             .seq = seq,
                             .ack = ack,
                             .wnd = 65535,
                             .flags = flags,
                             .has_wscale = flags & TCP_SYN,
                             .wscale_log2 = 7,
                             .mss_bytes = 1460,
                             .has_mss = flags & TCP_SYN};
    back = (struct ip_header){.version = 4,
                              .proto = TCP,
                              .ttl = 64,
                              .payload_bytes = (uint32_t)tcp_emit_bytes(&s) + payload};
    memcpy(back.src, ip.dst, 16);
    memcpy(back.dst, ip.src, 16);
    ip_emit(p.headers, &back);
    p.headers_bytes = (uint8_t)(20 + tcp_emit(p.headers + 20, &s));
    put_be16(p.headers + 36, slow_pseudo(p.headers, TCP, back.payload_bytes));
    if (payload) {
        p.slices[0] = (adit_iov){made.octets, payload};
        p.slices_count = 1;
        p.gso_bytes = 1460;
    }
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
}

static uint32_t seq_of(const struct packet *p)
{
    return get_be32(p->data + 20 + 4);
}

/* A connection to 10.9.0.2:80, established. *next: what the kernel's next octet has as its number. */
static int establish(struct device *d, struct packet *syn, uint32_t *next)
{
    int fd = connecting_socket("10.9.0.2");
    struct packet ack;

    *syn = next_packet(d, TCP);
    *next = seq_of(syn) + 1;
    answer(d, syn, TCP_SYN | TCP_ACK, 1000, *next, 0);
    ack = next_packet(d, TCP);
    assert_int_equal(seq_of(&ack), *next);
    buf_unref(ack.buf);
    return fd;
}

static void large_write_of_the_kernel_arrives_whole(void **state)
{
    static uint8_t data[60000];
    struct device *d = tun_new();
    struct packet syn, p;
    uint32_t next, largest = 0, at = 0;
    int fd = establish(d, &syn, &next);

    (void)state;
    fill(data, sizeof(data), &rnd);
    for (size_t put = 0; at < sizeof(data);) {
        ssize_t rc = write(fd, data + put, sizeof(data) - put);

        put += rc > 0 ? (size_t)rc : 0;
        p = next_packet(d, TCP);
        if (seq_of(&p) == next + at) {
            uint32_t header_bytes = 20 + (p.data[32] >> 4) * 4u, len = p.len_bytes - header_bytes;

            assert_int_equal(p.gso_bytes, len > 1460 ? 1460 : 0);
            assert_int_equal(p.csum, PACKET_CSUM_PARTIAL);
            assert_memory_equal(p.data + header_bytes, data + at, len);
            at += len;
            largest = len > largest ? len : largest;
        }
        answer(d, &syn, TCP_ACK, 1001, next + at, 0);
        buf_unref(p.buf);
    }
    assert_true(largest >= 10 * 1460); /* the first window */
    buf_unref(syn.buf);
    close(fd);
    device_close(d);
}

static void large_segment_of_ours_arrives_at_the_kernel_whole(void **state)
{
    static uint8_t got[70000];
    struct device *d = tun_new();
    struct packet syn;
    uint32_t next;
    size_t at = 0;
    int fd = establish(d, &syn, &next);

    (void)state;
    fill(made.octets, 60000, &rnd);
    for (int i = 0; i < 2; i++) {
        uint64_t writes = d->writes;

        answer(d, &syn, TCP_ACK, (uint32_t)(1001 + at), next, 30000);
        assert_int_equal(d->writes, writes + 1);
        for (uint32_t want = 30000; want > 0;) {
            ssize_t rc = read(fd, got + at, want);

            assert_true(rc > 0);
            assert_memory_equal(got + at, made.octets + 30000 - want, (size_t)rc);
            at += (size_t)rc;
            want -= (uint32_t)rc;
        }
    }
    buf_unref(syn.buf);
    close(fd);
    device_close(d);
}

static void train_of_a_kernel_arrives_whole(void **state)
{
    static uint8_t data[12000];
    struct device *d = tun_new();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(443)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), gso = 1200;
    struct packet p;

    (void)state;
    if (!d->uso)
        skip();
    inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    assert_int_equal(setsockopt(fd, 17, 103, &gso, sizeof(gso)), 0); /* SOL_UDP, UDP_SEGMENT */
    assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)),
                     sizeof(data));
    p = next_packet(d, UDP);
    assert_int_equal(p.gso_bytes, 1200);
    assert_int_equal(p.len_bytes, 28 + 12000);
    buf_unref(p.buf);
    close(fd);
    device_close(d);
}

/* ------------------------------------------------------------------------------------------- endings -- */

static void deleted_device_is_gone(void **state)
{
    struct device *d = tun_new();
    struct packet p;
    struct packet_out out;
    int rc;

    (void)state;
    output_of("ip link del t0");
    while ((rc = device_recv(d, &p, 1, 0)) == 1)
        buf_unref(p.buf);
    assert_int_equal(rc, ADIT_ENODEV);
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    made_out(&made, &out, 0, &rnd);
    assert_int_equal(device_send(d, &out, 0), ADIT_ENODEV);
    device_close(d);
}

static void device_that_is_down_loses_packets_and_lives(void **state)
{
    struct device *d = tun_new();
    struct packet_out out;
    struct packet p;

    (void)state;
    output_of("ip link set t0 down");
    make_packet(&made, 4, UDP, 0, 100, &rnd);
    made_out(&made, &out, 0, &rnd);
    assert_int_equal(device_send(d, &out, 0), ADIT_ESYS);
    while (device_recv(d, &p, 1, 0) == 1)
        buf_unref(p.buf);
    output_of("ip link set t0 up");
    assert_int_equal(device_send(d, &out, 0), ADIT_OK);
    device_close(d);
}

/* ------------------------------------------------------------------------------------------- capture -- */

static void append(void *ctx, const void *bytes, size_t len)
{
    assert_int_equal(fwrite(bytes, 1, len, ctx), len);
}

static void tcpdump_reads_a_capture(void **state)
{
    char path[] = "/tmp/adit-test-XXXXXX", command[128];
    struct device *d = tun_new(), *captured;
    FILE *file = fdopen(mkstemp(path), "w");
    uint32_t next;
    struct packet syn;
    int fd;

    (void)state;
    assert_int_equal(pcap_open(&captured, d, append, file, 0, 0), ADIT_OK);
    fd = establish(captured, &syn, &next);
    fill(made.octets, 3000, &rnd);
    answer(captured, &syn, TCP_ACK, 1001, next, 3000);
    fclose(file);
    buf_unref(syn.buf);
    close(fd);
    device_close(captured);
    snprintf(command, sizeof(command), "tcpdump -nvr %s tcp 2>&1", path);
    prints(command, "10.9.0.2.80: Flags [S], cksum 0x");
    prints(command, "10.9.0.2.80 > 10.9.0.1");
    prints(command, "seq 1:3001");
    prints(command, "(correct)");
    prints_not(command, "incorrect");
    unlink(path);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(new_device_is_configured_as_asked),
        TEST(default_routes_follow_the_families_of_the_addresses),
        TEST(default_route_of_another_is_not_replaced),
        TEST(device_that_exists_is_adopted_as_it_is),
        TEST(device_that_was_prepared_needs_no_privilege),
        TEST(other_namespace_holds_the_device_and_the_caller_stays),
        TEST(what_cannot_be_is_refused_with_a_hint),
        TEST(name_in_use_is_refused_with_a_hint),
        TEST(descriptor_of_a_device_can_be_given_to_another),
        TEST(offloads_of_this_kernel_work_and_nobody_is_told_otherwise),
        TEST(self_test_leaves_nothing_to_read_and_takes_no_time),
        TEST(without_offload_packets_come_one_by_one_and_complete),
        TEST(connecting_kernel_sends_a_syn),
        TEST(large_write_of_the_kernel_arrives_whole),
        TEST(large_segment_of_ours_arrives_at_the_kernel_whole),
        TEST(train_of_a_kernel_arrives_whole),
        TEST(deleted_device_is_gone),
        TEST(device_that_is_down_loses_packets_and_lives),
        TEST(tcpdump_reads_a_capture),
    };

    if (geteuid() != 0) {
        fprintf(stderr, "skipped: needs root\n");
        return 77;
    }
    return cmocka_run_group_tests_name("tun", tests, NULL, NULL);
}
