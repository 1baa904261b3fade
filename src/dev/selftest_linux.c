/* SPDX-License-Identifier: MIT */
/* selftest_linux: two packets that tell whether super-segments may be written to this kernel.
 *
 * TSO. One TCP super-segment to our own address whose whole length leaves a rest smaller than its headers (Linux
 * 6.6.44 and its contemporaries refuse that with EINVAL, commit e269d79c61d3). It carries RST, to a port where nobody
 * is, so that the kernel has nothing to answer and no state to make. What it proves: such a write is accepted. What it
 * does not: that the octets arrive, for nobody sees them.
 *
 * UDP trains. A UDP socket is bound to our own address. First one ordinary datagram is written to the TUN for it: if
 * it does not arrive within 20 ms, something (a firewall, a source address check) is in the way and nothing
 * is concluded. Then one train of three datagrams, the last one short: all three must arrive within 30 ms in all, with
 * their lengths and octets. On a machine that is busy elsewhere they may be late, so that a second train has the last
 * word. What it proves: the kernel takes trains and takes them apart rightly at a socket without
 * UDP_GRO (Linux 7.0 to 7.1.4 corrupts them there). What it does not: that forwarding them is right.
 *
 * BIG TCP. A kernel that knows it (Linux 6.3) takes the length of a super-segment whose IPv4 header says 0 from the write;
 * an older one accepts the write and throws the packet away. So a raw socket looks on: it sees what is delivered to our own
 * address, and how long that was. The segment carries RST to a port where nobody is, too.
 *
 * None of them reads from the TUN, so packets of others that wait there are not disturbed, and nothing is sent to it by the
 * kernel in reply. The source address is a neighbour of ours within the prefix. */
#include "dev/selftest_linux.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "base/bytes.h"
#include "dev/offload.h"
#include "dev/vnet.h"
#include "wire/checksum.h"
#include "wire/ip.h"
#include "wire/tcp.h"
#include "wire/udp.h"

enum {
    TRAIN_BYTES = 400, /* of each datagram but the last */
    TRAIN_TAIL_BYTES = 90,
    TRAIN_COUNT = 3,
    TRAIN_TOTAL_BYTES = TRAIN_BYTES * (TRAIN_COUNT - 1) + TRAIN_TAIL_BYTES,
    TSO_BYTES = 1000,
    TSO_REST_BYTES = 20, /* what the whole length leaves after division by TSO_BYTES */
    PORT_DISCARD = 9,
    PLAIN_MS = 20,
    TRAIN_MS = 30,
};

struct probe {
    int fd;
    struct ip_header ip; /* from the neighbour to us */
};

/* The neighbour: .1 and .2 are each other's, as in a /30, where .0 and .3 are no hosts. */
static void probe_init(struct probe *t, int fd, const struct netlink_prefix *own)
{
    uint8_t low = own->addr.ip[15] & 3;

    *t = (struct probe){.fd = fd, .ip = {.ttl = 1, .dont_fragment = true}};
    memcpy(t->ip.dst, own->addr.ip, 16);
    memcpy(t->ip.src, own->addr.ip, 16);
    t->ip.src[15] ^= low == 1 || low == 2 ? 3 : 1;
}

/* Fills in the headers for a transport header of that kind and length already at headers + IP header. False: refused. */
static bool probe_write(struct probe *t, struct packet_out *p, uint8_t proto,
                        uint32_t transport_bytes)
{
    uint8_t *transport;
    struct vnet_header h;
    struct iovec iov[3];
    size_t ip_bytes;

    t->ip.proto = proto;
    t->ip.payload_bytes = transport_bytes + p->payload_bytes;
    ip_bytes = ip_emit(p->headers, &t->ip);
    transport = p->headers + ip_bytes;
    p->headers_bytes = (uint8_t)(ip_bytes + transport_bytes);
    p->csum_start = (uint8_t)ip_bytes;
    p->csum_offset = proto == IP_PROTO_UDP ? 6 : 16;
    put_be16(transport + p->csum_offset,
             checksum_fold(checksum_pseudo(t->ip.src, t->ip.dst, proto, t->ip.payload_bytes)));
    offload_output(&h, p);
    iov[0] = (struct iovec){&h, sizeof(h)};
    iov[1] = (struct iovec){p->headers, p->headers_bytes};
    iov[2] = (struct iovec){p->slices[0].base, p->slices[0].len};
    return writev(t->fd, iov, 3) >= 0 || errno != EINVAL;
}

/* A socket bound to our own address. port: NULL, or what it was given. */
static int socket_at(const struct netlink_prefix *own, int type, int protocol, uint16_t *port)
{
    struct sockaddr_storage at;
    adit_addr bound = own->addr;
    int len, fd;
    socklen_t bound_bytes = sizeof(at);

    if (adit_addr_to_sockaddr(&own->addr, &at, &len) != ADIT_OK)
        return -1;
    fd = socket(at.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&at, (socklen_t)len) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &bound_bytes) != 0 ||
        adit_addr_from_sockaddr(&bound, &at) != ADIT_OK) {
        close(fd);
        return -1;
    }
    if (port)
        *port = bound.port;
    return fd;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void put_payload(struct packet_out *p, uint8_t *payload, uint32_t len_bytes)
{
    p->slices_count = 1;
    p->slices[0] = (adit_iov){payload, len_bytes};
    p->payload_bytes = len_bytes;
}

static bool tso_is_accepted(struct probe *t, size_t ip_bytes)
{
    uint8_t payload[2 * TSO_BYTES + TSO_REST_BYTES] = {0};
    struct packet_out p = {.gso_bytes = TSO_BYTES};
    const struct tcp_segment s = {
        .src_port = PORT_DISCARD, .dst_port = PORT_DISCARD, .flags = TCP_RST};

    put_payload(&p, payload, (uint32_t)(sizeof(payload) - ip_bytes - TCP_HEADER_BYTES));
    tcp_emit(p.headers + ip_bytes, &s);
    return probe_write(t, &p, IP_PROTO_TCP, TCP_HEADER_BYTES);
}

/* A reset of that much payload from the neighbour to us, by a port pair that nobody uses. False: the kernel refused the write. */
static bool write_reset(struct probe *t, uint8_t *payload, uint32_t len_bytes)
{
    struct packet_out p = {.gso_bytes = TSO_BYTES};
    const struct tcp_segment s = {
        .src_port = PORT_DISCARD, .dst_port = PORT_DISCARD, .flags = TCP_RST};

    put_payload(&p, payload, len_bytes);
    tcp_emit(p.headers + IP4_HEADER_BYTES, &s);
    return probe_write(t, &p, IP_PROTO_TCP, TCP_HEADER_BYTES);
}

/* The raw socket sees the neighbour's segment of that length. What else it sees meanwhile is not meant. */
static bool is_seen(int raw, const struct probe *t, uint32_t len_bytes)
{
    uint64_t end_ns = now_ns() + PLAIN_MS * 1000000ull;
    struct pollfd readable = {.fd = raw, .events = POLLIN};
    uint8_t head[IP4_HEADER_BYTES];

    while (now_ns() < end_ns && poll(&readable, 1, PLAIN_MS) == 1) {
        ssize_t got = recv(raw, head, sizeof(head), MSG_TRUNC | MSG_DONTWAIT);

        if (got == (ssize_t)(IP4_HEADER_BYTES + TCP_HEADER_BYTES + len_bytes) &&
            memcmp(head + 12, t->ip.src + 12, 4) == 0)
            return true;
    }
    return false;
}

bool selftest_big4(int fd, const struct netlink_prefix *own)
{
    int raw = socket_at(own, SOCK_RAW, IPPROTO_TCP, NULL);
    uint8_t *payload = calloc(1, PACKET_BIG_PAYLOAD_BYTES_MAX);
    struct probe t;
    bool ok;

    probe_init(&t, fd, own);
    ok = raw >= 0 && payload && write_reset(&t, payload, 2 * TSO_BYTES) && is_seen(raw, &t, 2 * TSO_BYTES) &&
         write_reset(&t, payload, PACKET_BIG_PAYLOAD_BYTES_MAX) && is_seen(raw, &t, PACKET_BIG_PAYLOAD_BYTES_MAX);
    free(payload);
    if (raw >= 0)
        close(raw);
    return ok;
}

/* ---------------------------------------------------------------------------------------- trains -- */

/* The next datagram is exactly these octets. *arrived: there was one at all. */
static bool arrives(int fd, int timeout_ms, const uint8_t *want, size_t want_bytes, bool *arrived)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    uint8_t got[TRAIN_BYTES * TRAIN_COUNT];
    ssize_t got_bytes;

    *arrived = false;
    if (poll(&readable, 1, timeout_ms) != 1)
        return false;
    got_bytes = recv(fd, got, sizeof(got), 0);
    if (got_bytes < 0)
        return false;
    *arrived = true;
    return (size_t)got_bytes == want_bytes && memcmp(got, want, want_bytes) == 0;
}

/* False: the kernel refused the write. */
static bool write_datagrams(struct probe *t, size_t ip_bytes, uint16_t port, uint8_t *payload,
                            uint32_t len_bytes)
{
    struct packet_out p = {.gso_bytes = TRAIN_BYTES};

    put_payload(&p, payload, len_bytes);
    udp_emit(p.headers + ip_bytes, PORT_DISCARD, port, len_bytes);
    return probe_write(t, &p, IP_PROTO_UDP, UDP_HEADER_BYTES);
}

/* One train, whole and in order. Datagrams of an earlier one that came late are thrown away before. */
static bool train_arrives(struct probe *t, int fd, size_t ip_bytes, uint16_t port, uint8_t *payload)
{
    uint64_t end_ns = now_ns() + TRAIN_MS * 1000000ull;
    uint8_t stale;

    while (recv(fd, &stale, sizeof(stale), 0) >= 0)
        ;
    if (!write_datagrams(t, ip_bytes, port, payload, TRAIN_TOTAL_BYTES))
        return false;
    for (uint32_t i = 0; i < TRAIN_COUNT; i++) {
        uint64_t at_ns = now_ns();
        int left_ms = at_ns < end_ns ? (int)((end_ns - at_ns + 999999) / 1000000) : 0;
        bool arrived;

        if (!arrives(fd, left_ms, payload + i * TRAIN_BYTES,
                     i + 1 < TRAIN_COUNT ? TRAIN_BYTES : TRAIN_TAIL_BYTES, &arrived))
            return false;
    }
    return true;
}

static bool trains_work(struct probe *t, size_t ip_bytes, const struct netlink_prefix *own)
{
    uint8_t payload[TRAIN_TOTAL_BYTES];
    uint16_t port;
    bool ok = true, arrived;
    int fd = socket_at(own, SOCK_DGRAM, 0, &port);

    if (fd < 0)
        return true;
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    if (!write_datagrams(t, ip_bytes, port, payload, TRAIN_TAIL_BYTES) ||
        !arrives(fd, PLAIN_MS, payload, TRAIN_TAIL_BYTES, &arrived))
        goto out; /* something is in the way */
    ok = train_arrives(t, fd, ip_bytes, port, payload) ||
         train_arrives(t, fd, ip_bytes, port, payload);
out:
    close(fd);
    return ok;
}

unsigned selftest_run(int fd, const struct netlink_prefix *own, unsigned takes)
{
    bool is_v4 = own->addr.family == 4;
    size_t ip_bytes = is_v4 ? IP4_HEADER_BYTES : IP6_HEADER_BYTES;
    unsigned tso = takes & (is_v4 ? VNET_TSO4 : VNET_TSO6);
    unsigned uso = takes & (is_v4 ? VNET_USO4 : VNET_USO6);
    unsigned failed = 0;
    struct probe t;

    probe_init(&t, fd, own);
    if (tso && !tso_is_accepted(&t, ip_bytes))
        failed |= tso;
    if (uso && !trains_work(&t, ip_bytes, own))
        failed |= uso;
    return failed;
}
