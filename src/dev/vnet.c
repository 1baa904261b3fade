/* SPDX-License-Identifier: MIT */
/* vnet: reading and writing packets on a descriptor.
 *
 * Reading. One system call a packet, into the device's own slot of the largest size, with the frame header in the slot's
 * headroom so that the IP header is aligned and the system call has one address to fill:
 *
 *        headroom            data
 *     +---------+----------+-----------------------------------------+
 *     |         | vnet hdr | IP header, ... up to 64 KiB             |   slot
 *     +---------+----------+-----------------------------------------+
 *               ^ read()
 *
 * A small packet is copied to a buffer of its size and the slot, still warm in the cache, is read into again; a large
 * one is handed over as it is and replaced. The replacement is taken first, so that there is always a slot: with no
 * memory left packets are read, dropped and counted, and the descriptor does not stay readable for ever.
 *
 * Writing. One system call a packet: the frame header is put into the prefix that struct packet_out has in front of its
 * headers, so both are one piece, and payload is written from where it lies.
 *
 * What the other side does not take is done here: partial checksums are completed, super-segments split, in shorter ones where
 * they are longer than an IP packet and no kernel is known to take such. A kernel that
 * refuses a super-segment (EINVAL: some do where the last part is short, others are old) gets its parts, and after three
 * refusals of a kind none of that kind any more; the host is told. A UDP train of more parts than old kernels allow is
 * sent as several. When the descriptor is full in the midst of the parts, the rest is lost and counted: offering the whole
 * again would send the first parts twice.
 *
 * What fails how: EBADFD, ENODEV (the interface was deleted) and a peer that closed its end are ADIT_ENODEV, fatal. EIO on
 * reading is a deleted interface too, on writing one that is down: that packet is lost, no more. */
#include "dev/vnet.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/error.h"
#include "base/memory.h"
#include "dev/offload.h"
#include "wire/ip.h"

enum { COPY_BYTES_MAX = 2048, REFUSALS_MAX = 3, FAMILY_BYTES = 4 };

_Static_assert(sizeof(struct iovec) == sizeof(adit_iov), "adit_iov is a struct iovec");
_Static_assert(offsetof(struct iovec, iov_len) == offsetof(adit_iov, len),
               "adit_iov is a struct iovec");
_Static_assert(offsetof(struct packet_out, headers) == PACKET_PREFIX,
               "the prefix is in front of the headers");
_Static_assert((int)VNET_HEADER_BYTES <= (int)PACKET_PREFIX, "the frame header fits the prefix");

struct vnet {
    struct device dev;
    struct vnet_config config; /* .takes: what is left of it */
    struct buf *slot;          /* where the next packet is read into; always there */
    uint32_t frame_bytes;
    bool is_socket;      /* writing must not raise SIGPIPE */
    bool ends_with_zero; /* reading nothing is the end, not an empty datagram */
    uint8_t refused_tso, refused_uso;
};

static struct vnet *vnet_of(struct device *d)
{
    return (struct vnet *)(void *)d;
}

/* ------------------------------------------------------------------------------------- open, close -- */

static uint32_t frame_bytes(enum vnet_framing framing)
{
    switch (framing) {
    case VNET_FRAMING_NONE:
        return 0;
    case VNET_FRAMING_HEADER:
        return VNET_HEADER_BYTES;
    case VNET_FRAMING_FAMILY:
        return FAMILY_BYTES;
    }
    return 0;
}

int vnet_takes_print(char *text, size_t text_bytes, unsigned takes)
{
    return snprintf(text, text_bytes, "%s%s%s%s%s", takes & VNET_CSUM ? "csum " : "",
                    takes & VNET_TSO4 ? "tso4 " : "", takes & VNET_TSO6 ? "tso6 " : "",
                    takes & (VNET_USO4 | VNET_USO6) ? "uso " : "",
                    takes & VNET_BIG4 ? "big-tcp4 " : "");
}

/* Brings the public fields in line with what is taken. */
static void vnet_publish(struct vnet *v)
{
    unsigned takes = v->config.takes;
    char words[32];
    size_t len;

    v->dev.tso = takes & (VNET_TSO4 | VNET_TSO6);
    v->dev.uso = takes & (VNET_USO4 | VNET_USO6);
    v->dev.big_tcp4 = takes & VNET_BIG4;
    v->dev.partial_csum = takes & VNET_CSUM;
    vnet_takes_print(words, sizeof(words), takes & ~(unsigned)VNET_CSUM);
    snprintf(v->dev.describe, sizeof(v->dev.describe), "%s%s",
             v->config.framing == VNET_FRAMING_HEADER ? "vnet_hdr " : "one packet a call ", words);
    len = strlen(v->dev.describe);
    v->dev.describe[len - 1] = '\0'; /* the last space */
}

/* Sockets have their own ways to end and to fail. */
static void vnet_learn_kind(struct vnet *v)
{
    int type = 0;
    socklen_t len = sizeof(type);

    v->is_socket = getsockopt(v->config.fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
    v->ends_with_zero = !v->is_socket || type != SOCK_DGRAM;
}

int vnet_open(struct device **out, const struct vnet_config *c, struct buf_pool *bufs,
              const struct log *log, adit_error *err)
{
    struct vnet *v = memory_alloc(bufs->memory, sizeof(*v));
    struct buf *slot = buf_new(bufs, BUF_PACKET_BYTES);

    assert(c->framing == VNET_FRAMING_HEADER || c->takes == 0);
    if (!v || !slot) {
        if (v)
            memory_free(bufs->memory, v, sizeof(*v));
        buf_unref(slot);
        close(c->fd);
        return error_set(err, ADIT_ENOMEM, 0, "device", "no memory for the device's first buffer",
                         "raise the memory budget (memory_bytes)");
    }
    *v = (struct vnet){.config = *c, .slot = slot, .frame_bytes = frame_bytes(c->framing)};
    v->dev.ops = c->ops;
    v->dev.bufs = bufs;
    v->dev.log = log;
    v->dev.fd = c->fd;
    v->dev.mtu_bytes = c->mtu_bytes;
    memcpy(v->dev.ifname, c->ifname, sizeof(v->dev.ifname));
    vnet_learn_kind(v);
    vnet_publish(v);
    *out = &v->dev;
    return ADIT_OK;
}

int vnet_open_like(struct device **out, const struct device *other, int fd, struct buf_pool *bufs,
                   const struct log *log, adit_error *err)
{
    struct vnet_config c = ((const struct vnet *)(const void *)other)->config;

    c.fd = fd;
    return vnet_open(out, &c, bufs, log, err);
}

void vnet_close(struct device *d)
{
    struct vnet *v = vnet_of(d);

    listen_close(d->queues, &d->queues_count);
    close(v->config.fd);
    buf_unref(v->slot);
    memory_free(d->bufs->memory, v, sizeof(*v));
}

/* --------------------------------------------------------------------------------------------- recv -- */

/* A code for a failed read, ADIT_EAGAIN where there is nothing. */
static int read_code(int os)
{
    switch (os) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
    case EINTR:
    case ENOBUFS:
    case ENOMEM:
    case ECONNREFUSED: /* of an earlier write */
        return ADIT_EAGAIN;
    default:
        return ADIT_ENODEV;
    }
}

/* The octets read, or a negative code. */
static int vnet_read(struct vnet *v)
{
    uint8_t *at = v->slot->data - v->frame_bytes;
    ssize_t got = read(v->config.fd, at, v->frame_bytes + (size_t)BUF_PACKET_BYTES);

    v->dev.reads++;
    if (got < 0)
        return read_code(errno);
    if (got == 0 && v->ends_with_zero)
        return ADIT_ENODEV;
    return (int)got;
}

/* The verdict on what was read into the slot, by its frame header; fills what it says about the packet. */
static enum drop vnet_check_frame(struct vnet *v, struct packet *p)
{
    const uint8_t *frame = v->slot->data - v->frame_bytes;
    struct vnet_header h;
    uint8_t version = p->data[0] >> 4;

    switch (v->config.framing) {
    case VNET_FRAMING_NONE:
        return DROP_NONE;
    case VNET_FRAMING_HEADER:
        memcpy(&h, frame, sizeof(h));
        return offload_input(p, &h);
    case VNET_FRAMING_FAMILY:
        if (get_be32(frame) != (uint32_t)(version == 4 ? AF_INET : AF_INET6))
            return DROP_IP_VERSION;
        return DROP_NONE;
    }
    return DROP_NONE;
}

/* The buffer that the caller gets for the packet in the slot; NULL: no memory. */
static struct buf *vnet_take(struct vnet *v, uint32_t len_bytes)
{
    struct buf *fresh, *full = v->slot;

    if (len_bytes <= COPY_BYTES_MAX) {
        fresh = buf_new(v->dev.bufs, len_bytes);
        if (fresh)
            memcpy(fresh->data, v->slot->data, len_bytes);
        return fresh;
    }
    fresh = buf_new(v->dev.bufs, BUF_PACKET_BYTES);
    if (!fresh)
        return NULL;
    v->slot = fresh;
    return full;
}

static enum drop vnet_packet(struct vnet *v, struct packet *p, uint32_t got_bytes)
{
    enum drop why;

    if (got_bytes <= v->frame_bytes)
        return DROP_IP_TRUNCATED;
    *p = (struct packet){.data = v->slot->data, .len_bytes = got_bytes - v->frame_bytes};
    why = vnet_check_frame(v, p);
    if (why != DROP_NONE)
        return why;
    p->buf = vnet_take(v, p->len_bytes);
    if (!p->buf)
        return DROP_NO_MEMORY;
    p->data = p->buf->data;
    return DROP_NONE;
}

int vnet_recv(struct device *d, struct packet *p, int n, uint64_t now_ns)
{
    struct vnet *v = vnet_of(d);
    int count = 0;

    (void)now_ns;
    for (int i = 0; i < n; i++) { /* dropped packets are part of the budget */
        int got = vnet_read(v);
        enum drop why;

        if (got == ADIT_EAGAIN)
            break;
        if (got < 0)
            return count > 0 ? count : got;
        why = vnet_packet(v, &p[count], (uint32_t)got);
        if (why == DROP_NONE)
            count++;
        else
            d->drops[why]++;
    }
    return count;
}

/* --------------------------------------------------------------------------------------------- send -- */

static int write_code(int os)
{
    switch (os) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
    case EINTR:
    case ENOBUFS:
    case ENOMEM:
        return ADIT_EAGAIN;
    case EINVAL:
        return ADIT_EINVAL;
    case EBADFD:
    case EBADF:
    case ENODEV:
    case ENXIO:
    case EPIPE:
    case ENOTCONN:
    case ECONNRESET:
    case ECONNREFUSED:
        return ADIT_ENODEV;
    default:
        return ADIT_ESYS;
    }
}

/* Puts the frame header in front of the packet's headers. The prefix is the device's to write, whoever holds the packet. */
static uint8_t *put_frame(const struct vnet *v, const struct packet_out *p)
{
    uint8_t *frame = (uint8_t *)(uintptr_t)p + PACKET_PREFIX - v->frame_bytes;
    const uint8_t *first = p->headers_bytes ? p->headers : p->slices[0].base;
    struct vnet_header h;

    switch (v->config.framing) {
    case VNET_FRAMING_NONE:
        break;
    case VNET_FRAMING_HEADER:
        offload_output(&h, p);
        memcpy(frame, &h, sizeof(h));
        break;
    case VNET_FRAMING_FAMILY:
        put_be32(frame, first[0] >> 4 == 4 ? AF_INET : AF_INET6);
        break;
    }
    return frame;
}

static int vnet_write(struct vnet *v, const struct packet_out *p)
{
    struct iovec iov[1 + PACKET_SLICES_MAX];
    ssize_t put;

    iov[0].iov_base = put_frame(v, p);
    iov[0].iov_len = v->frame_bytes + p->headers_bytes;
    memcpy(iov + 1, p->slices, p->slices_count * sizeof(iov[0]));
    if (v->is_socket) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = 1u + p->slices_count};

        put = sendmsg(v->config.fd, &m, MSG_NOSIGNAL);
    } else if (p->slices_count == 0) {
        put = write(v->config.fd, iov[0].iov_base, iov[0].iov_len);
    } else {
        put = writev(v->config.fd, iov, 1 + p->slices_count);
    }
    v->dev.writes++;
    return put < 0 ? write_code(errno) : ADIT_OK;
}

static int vnet_send_plain(struct vnet *v, const struct packet_out *p)
{
    struct packet_out whole;

    if (p->csum_start == 0 || v->config.takes & VNET_CSUM)
        return vnet_write(v, p);
    whole = *p;
    offload_complete_out(&whole);
    return vnet_write(v, &whole);
}

static unsigned super_kind(const struct packet_out *p)
{
    bool is_v4 = p->headers[0] >> 4 == 4;

    if (p->csum_offset == 6) /* UDP */
        return is_v4 ? VNET_USO4 : VNET_USO6;
    return is_v4 ? VNET_TSO4 : VNET_TSO6;
}

struct split_ctx {
    struct vnet *v;
    uint32_t sent;
};

static int vnet_send_super(struct vnet *v, const struct packet_out *p);

static int send_part(void *ctx, const struct packet_out *part)
{
    struct split_ctx *s = ctx;
    int rc = offload_is_super(part) ? vnet_send_super(s->v, part) : vnet_send_plain(s->v, part);

    if (rc == ADIT_OK)
        s->sent++;
    return rc;
}

static int vnet_send_split(struct vnet *v, const struct packet_out *p, uint32_t step_bytes)
{
    struct split_ctx s = {.v = v};
    int rc = offload_split(p, step_bytes, send_part, &s);

    if (rc != ADIT_EAGAIN || s.sent == 0)
        return rc;
    v->dev.drops[DROP_DEVICE_FULL] += offload_parts_count(p, step_bytes) - s.sent;
    return ADIT_OK;
}

void vnet_notice_refused(const struct vnet_config *c, const struct log *log, const char *op,
                         unsigned refused, int os)
{
    adit_error e = {0};
    char words[32];

    vnet_takes_print(words, sizeof(words), refused);
    error_setf(&e, ADIT_ENOTSUP, os, op, "a newer kernel is faster; nothing else is lost",
               "the kernel refuses an offload, which is done in software now: %s", words);
    log_write(log, ADIT_LOG_WARN, "dev", 0, e.msg, "ifname", c->ifname, "op", op, NULL);
    if (c->notice)
        c->notice(c->notice_ctx, &e);
}

/* The longest parts of a super-segment that an IP packet can state. */
static uint32_t whole_packet_bytes(const struct packet_out *p)
{
    uint32_t room = IP_PACKET_BYTES_MAX - p->headers_bytes;

    return room - room % p->gso_bytes;
}

static bool is_big(const struct packet_out *p)
{
    return p->headers[0] >> 4 == 4 && packet_out_bytes(p) > IP_PACKET_BYTES_MAX;
}

/* The kernel needs pages that lie together for so long a packet, and says ENOBUFS where there are too few: shorter ones pass. */
static int vnet_send_big(struct vnet *v, const struct packet_out *p)
{
    int rc = v->config.takes & VNET_BIG4 ? vnet_write(v, p) : ADIT_EINVAL;

    if (rc != ADIT_EINVAL && rc != ADIT_EAGAIN)
        return rc;
    if (rc == ADIT_EINVAL && v->config.takes & VNET_BIG4) {
        v->config.takes &= ~(unsigned)VNET_BIG4;
        vnet_publish(v);
        vnet_notice_refused(&v->config, v->dev.log, "writev", VNET_BIG4, EINVAL);
    }
    return vnet_send_split(v, p, whole_packet_bytes(p));
}

/* The kernel said EINVAL to a super-segment. */
static void vnet_count_refusal(struct vnet *v, unsigned kind)
{
    bool is_uso = kind & (VNET_USO4 | VNET_USO6);
    uint8_t *refused = is_uso ? &v->refused_uso : &v->refused_tso;
    unsigned family = is_uso ? VNET_USO4 | VNET_USO6 : VNET_TSO4 | VNET_TSO6;

    if (++*refused < REFUSALS_MAX)
        return;
    family &= v->config.takes;
    v->config.takes &= ~family;
    vnet_publish(v);
    vnet_notice_refused(&v->config, v->dev.log, "writev", family, EINVAL);
}

static int vnet_send_super(struct vnet *v, const struct packet_out *p)
{
    unsigned kind = super_kind(p);
    uint32_t train_bytes = OFFLOAD_TRAIN_MAX * (uint32_t)p->gso_bytes;
    int rc;

    if (!(v->config.takes & kind))
        return vnet_send_split(v, p, p->gso_bytes);
    if (is_big(p))
        return vnet_send_big(v, p);
    if (kind & (VNET_USO4 | VNET_USO6) && p->payload_bytes > train_bytes)
        return vnet_send_split(v, p, train_bytes);
    rc = vnet_write(v, p);
    if (rc != ADIT_EINVAL)
        return rc;
    vnet_count_refusal(v, kind);
    return vnet_send_split(v, p, p->gso_bytes);
}

int vnet_send(struct device *d, const struct packet_out *p, uint64_t now_ns)
{
    struct vnet *v = vnet_of(d);

    (void)now_ns;
    return offload_is_super(p) ? vnet_send_super(v, p) : vnet_send_plain(v, p);
}
