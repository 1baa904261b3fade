/* SPDX-License-Identifier: MIT */
/* dgram_linux: sendmmsg and recvmmsg with UDP_SEGMENT (Linux 4.18) and UDP_GRO (5.0), udp(7).
 *
 * Out, consecutive datagrams to one remote that are equally long (the last one may be shorter) go as one message that
 * the kernel cuts again, as late as it can, and so do trains of datagrams of that length. A message is at most 64 segments
 * (what older kernels take) and fits one IP packet; a train is divided among messages where it must be.
 *
 *     d:    [1200 A][1200 A][1200 A][300 A][80 B][train of 30 x 1200 A][train of 30 x 1200 A]
 *     msgs: [ UDP_SEGMENT 1200, 4 iovecs  ][    ][ UDP_SEGMENT 1200, 54 segments ][6 more    ]
 *
 * The kernel refuses segments that are larger than the path's MTU (EINVAL, EMSGSIZE) and devices that cannot compute checksums
 * (EIO): what was refused is sent datagram by datagram, which are fragmented where they must be, and the socket remembers
 * what not to try again.
 *
 * DF is the client's, whose path MTU discovery (RFC 1191, 8201, 8899) depends on it. What was sent with DF goes with
 * IP_PMTUDISC_PROBE: whole and with DF, or not at all, whatever this host believes of the path, so that the client may probe;
 * a datagram that the interface does not take fails with EMSGSIZE, one that a router does not take comes back as ICMP. All
 * else goes with IP_PMTUDISC_DONT and is fragmented where it must be. IPv4 has no control message for this, so the
 * socket is switched between messages that differ; a client rarely mixes them. Beyond DGRAM_WHOLE_PACKET_MAX DF means nothing:
 * a system sets it on whatever fits its interface, the tunnel's MTU may be far beyond that of any link behind it, and who
 * sends a long datagram once should not find out by losing it.
 *
 * TTL and TOS are the client's too, by control messages, where they differ from the system's default; TOS comes back the
 * other way, since ECN needs it. */
#include "sock/dgram.h"
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include "sock/failure.h"
#include "sock/loop.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    DGRAM_SEGMENTS_MAX = 64,
    DGRAM_BYTES_MAX = 65535 - 40 - 8, /* of one message, whatever the family */
    DGRAM_IOV_MAX = 2 * DGRAM_SEND_MAX,
    DGRAM_CONTROL_BYTES = 96,
    /* One datagram or train each. Not a power of two: buffers that lie 64 KiB apart are in the same sets of a cache. */
    DGRAM_BUFFER_BYTES = 64 * 1024 + 4096 + 64,
    DGRAM_SOCKET_BYTES = 4 * 1024 * 1024, /* wished for; the system's limits decide */
    DGRAM_TTL_DEFAULT = 64,
    DGRAM_WHOLE_PACKET_MAX = 1500, /* the largest packet whose DF is kept: Ethernet's */
};

/* Where in the datagrams a message begins: a train may be cut into several. */
struct dgram_place {
    int at;
    size_t offset;
};

struct dgram_control {
    _Alignas(struct cmsghdr) uint8_t room[DGRAM_CONTROL_BYTES];
};

struct dgram_out {
    struct mmsghdr msgs[DGRAM_SEND_MAX];
    struct sockaddr_storage names[DGRAM_SEND_MAX];
    struct dgram_control controls[DGRAM_SEND_MAX];
    struct dgram_place places[DGRAM_SEND_MAX + 1]; /* beginnings; the last: the plan's end */
    uint16_t segments[DGRAM_SEND_MAX];             /* UDP_SEGMENT; 0: none */
    bool dont_fragment[DGRAM_SEND_MAX];
    struct iovec iov[DGRAM_IOV_MAX];
    int msgs_count, iov_count;
};

struct dgram_in {
    uint8_t buffers[DGRAM_RECEIVE_MAX][DGRAM_BUFFER_BYTES];
    struct mmsghdr msgs[DGRAM_RECEIVE_MAX];
    struct sockaddr_storage names[DGRAM_RECEIVE_MAX];
    struct dgram_control controls[DGRAM_RECEIVE_MAX];
    struct iovec iov[DGRAM_RECEIVE_MAX];
};
static_assert(IP_PMTUDISC_PROBE == IPV6_PMTUDISC_PROBE && IP_PMTUDISC_DONT == IPV6_PMTUDISC_DONT,
              "both families discover by the same numbers");
static_assert(sizeof(struct dgram_in) <= LOOP_SCRATCH_BYTES, "the scratch memory holds a batch");
static_assert(sizeof(struct dgram_out) <= LOOP_SCRATCH_BYTES, "the scratch memory holds a batch");
static_assert(3 * CMSG_SPACE(sizeof(int)) <= DGRAM_CONTROL_BYTES, "segment, TOS and TTL fit");

static void dgram_set_fragmenting(struct dgram_socket *s, bool dont_fragment)
{
    int discover = dont_fragment ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DONT;

    if (s->family == 4)
        (void)setsockopt(s->fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof(discover));
    else
        (void)setsockopt(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &discover, sizeof(discover));
    s->dont_fragment = dont_fragment;
}

void dgram_init(struct dgram_socket *s, adit_socket fd, int family)
{
    int level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
    int on = 1, size = DGRAM_SOCKET_BYTES;

    *s = (struct dgram_socket){
        .fd = fd, .segment_bytes_max = UINT16_MAX, .family = (uint8_t)family};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
    dgram_set_fragmenting(s, false);
    (void)setsockopt(fd, level, family == 4 ? IP_RECVTOS : IPV6_RECVTCLASS, &on, sizeof(on));
    (void)sock_want_failures(fd, family);
}

/* -------------------------------------------------------------------------------------------- out -- */

static void control_put(struct msghdr *m, int level, int type, const void *value, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)((uint8_t *)m->msg_control + m->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), value, len);
    m->msg_controllen += CMSG_SPACE(len);
}

static void dgram_put_controls(const struct dgram_socket *s, struct msghdr *m, const adit_dgram *d,
                               uint16_t segment)
{
    int level = s->family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
    int tos = d->tos, ttl = d->ttl;

    if (segment)
        control_put(m, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
    if (tos)
        control_put(m, level, s->family == 4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof(tos));
    if (ttl && ttl != DGRAM_TTL_DEFAULT)
        control_put(m, level, s->family == 4 ? IP_TTL : IPV6_HOPLIMIT, &ttl, sizeof(ttl));
    if (m->msg_controllen == 0)
        m->msg_control = NULL;
}

static bool dgram_is_train(const adit_dgram *d)
{
    return d->gso_bytes > 0 && d->len > d->gso_bytes;
}

static bool dgram_stays_whole(const struct dgram_socket *s, const adit_dgram *d)
{
    size_t headers = (s->family == 4 ? 20 : 40) + 8;
    size_t len = dgram_is_train(d) ? d->gso_bytes : d->len;

    return d->dont_fragment && headers + len <= DGRAM_WHOLE_PACKET_MAX;
}

/* Whether b may continue a message of segments like those of a. */
static bool dgram_may_follow(const adit_dgram *a, const adit_dgram *b, size_t segment)
{
    size_t unit = dgram_is_train(b) ? b->gso_bytes : b->len;

    return unit > 0 && (unit == segment || (unit < segment && !dgram_is_train(b))) &&
           a->tos == b->tos && a->ttl == b->ttl && a->dont_fragment == b->dont_fragment &&
           memcmp(&a->remote, &b->remote, sizeof(a->remote)) == 0;
}

/* How many octets one message takes: whole segments, or a single one. */
static size_t dgram_message_bytes(const struct dgram_socket *s, size_t segment)
{
    size_t segments;

    if (segment == 0 || segment > s->segment_bytes_max)
        return segment;
    segments = DGRAM_BYTES_MAX / segment;
    segments = segments < DGRAM_SEGMENTS_MAX ? segments : DGRAM_SEGMENTS_MAX;
    return segments > 0 ? segments * segment : segment;
}

/* Adds what of the datagrams and trains from *p on goes with one message; returns its segment size, 0 for a lone datagram. */
static uint16_t dgram_gather(const struct dgram_socket *s, struct dgram_out *o, const adit_dgram *d,
                             int n, struct dgram_place *p)
{
    const adit_dgram *first = &d[p->at];
    size_t segment = dgram_is_train(first) ? first->gso_bytes : first->len;
    size_t most = dgram_message_bytes(s, segment), total = 0;

    do {
        size_t left = d[p->at].len - p->offset;
        size_t piece = left < most - total ? left : most - total;

        o->iov[o->iov_count++] = (struct iovec){(uint8_t *)d[p->at].data + p->offset, piece};
        total += piece;
        p->offset += piece;
        if (piece == left)
            *p = (struct dgram_place){.at = p->at + 1};
    } while (total < most && total % segment == 0 && p->at < n && o->iov_count < DGRAM_IOV_MAX &&
             dgram_may_follow(first, &d[p->at], segment));
    return total > segment ? (uint16_t)segment : 0;
}

/* Plans messages from *p on, as many as there is room for. */
static void dgram_plan(const struct dgram_socket *s, struct dgram_out *o, const adit_dgram *d,
                       int n, struct dgram_place p)
{
    o->msgs_count = o->iov_count = 0;
    while (p.at < n && o->msgs_count < DGRAM_SEND_MAX && o->iov_count < DGRAM_IOV_MAX) {
        int i = o->msgs_count++, first = o->iov_count, name_bytes = 0;
        const adit_dgram *begin = &d[p.at];
        struct msghdr *m = &o->msgs[i].msg_hdr;

        o->places[i] = p;
        o->dont_fragment[i] = dgram_stays_whole(s, begin);
        o->segments[i] = dgram_gather(s, o, d, n, &p);
        (void)adit_addr_to_sockaddr(&begin->remote, &o->names[i], &name_bytes);
        *m = (struct msghdr){.msg_name = &o->names[i],
                             .msg_namelen = (socklen_t)name_bytes,
                             .msg_iov = &o->iov[first],
                             .msg_iovlen = (size_t)(o->iov_count - first),
                             .msg_control = o->controls[i].room};
        dgram_put_controls(s, m, begin, o->segments[i]);
    }
    o->places[o->msgs_count] = p;
}

/* Segments of this size were refused. True: planned anew without them, it may work. */
static bool dgram_learn(struct dgram_socket *s, uint16_t segment, int os)
{
    if (!segment || (os != EINVAL && os != EMSGSIZE && os != EIO && os != EOPNOTSUPP))
        return false;
    s->segment_bytes_max = os == EIO || os == EOPNOTSUPP ? 0 : (uint32_t)segment - 1;
    return true;
}

/* Sends planned messages from `first` on that want the socket set alike. How many went, or -1 with errno. */
static int dgram_send_alike(struct dgram_socket *s, struct dgram_out *o, int first)
{
    int end = first + 1;

    while (end < o->msgs_count && o->dont_fragment[end] == o->dont_fragment[first])
        end++;
    if (s->dont_fragment != o->dont_fragment[first])
        dgram_set_fragmenting(s, o->dont_fragment[first]);
    return sendmmsg(s->fd, o->msgs + first, (unsigned)(end - first), MSG_NOSIGNAL | MSG_DONTWAIT);
}

int dgram_send(struct dgram_socket *s, void *scratch, const adit_dgram *d, int n, int *os)
{
    struct dgram_out *o = scratch;
    struct dgram_place p = {0};
    int sent, count;

    while (p.at < n) {
        dgram_plan(s, o, d, n, p);
        for (sent = 0; sent < o->msgs_count; sent += count) {
            count = dgram_send_alike(s, o, sent);
            if (count < 0 && errno == EINTR)
                count = 0;
            if (count < 0)
                break;
        }
        p = o->places[sent];
        if (sent == o->msgs_count)
            continue;
        *os = errno;
        if (!dgram_learn(s, o->segments[sent], *os))
            return p.at;
    }
    return n;
}

/* --------------------------------------------------------------------------------------------- in -- */

static void dgram_take_controls(struct msghdr *m, adit_dgram *d)
{
    struct cmsghdr *c;
    int value;

    for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            d->tos = *CMSG_DATA(c);
            continue;
        }
        if (c->cmsg_len < CMSG_LEN(sizeof(value)))
            continue;
        memcpy(&value, CMSG_DATA(c), sizeof(value));
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
            d->tos = (uint8_t)value;
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && value > 0 &&
            (size_t)value < d->len)
            d->gso_bytes = (uint16_t)value;
    }
}

int dgram_receive(struct dgram_socket *s, void *scratch, adit_dgram *d)
{
    struct dgram_in *in = scratch;
    int i, n, count = 0;

    for (i = 0; i < DGRAM_RECEIVE_MAX; i++) {
        in->iov[i] = (struct iovec){in->buffers[i], sizeof(in->buffers[i])};
        in->msgs[i].msg_hdr = (struct msghdr){.msg_name = &in->names[i],
                                              .msg_namelen = sizeof(in->names[i]),
                                              .msg_iov = &in->iov[i],
                                              .msg_iovlen = 1,
                                              .msg_control = in->controls[i].room,
                                              .msg_controllen = sizeof(in->controls[i].room)};
    }
    n = recvmmsg(s->fd, in->msgs, DGRAM_RECEIVE_MAX, MSG_DONTWAIT, NULL);
    for (i = 0; i < n; i++) {
        d[count] = (adit_dgram){.data = in->buffers[i], .len = in->msgs[i].msg_len};
        if ((in->msgs[i].msg_hdr.msg_flags & MSG_TRUNC) ||
            adit_addr_from_sockaddr(&d[count].remote, &in->names[i]) < 0)
            continue;
        dgram_take_controls(&in->msgs[i].msg_hdr, &d[count]);
        count++;
    }
    return n < 0 ? -1 : count;
}
