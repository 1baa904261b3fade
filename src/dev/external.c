/* SPDX-License-Identifier: MIT */
/* external: the host moves packets itself (a packet tunnel provider, a virtual machine's network card, a test).
 *
 *   host -> adit_input() -> external_push(): copied, checked, queued -> recv
 *   send -> one contiguous, complete, MTU-sized packet -> o->output()
 *
 * What the host claims about a packet is believed where the octets agree (offload_claim()): a segment size must fit
 * the packet; a partial checksum must be one, and is completed in the copy; ADIT_PACKET_CSUM_VALID is the host's
 * word. Anything else is dropped and counted, and verified above.
 *
 * The queue is bounded in packets and in octets. external_push() stops at the first packet that has no room, so that its
 * result is how many the host need not offer again; packets that were dropped for what they are count as taken.
 *
 * Toward the host super-segments are split and checksums completed, since no option says that it could do either. Where it
 * takes no more in the midst of a super-segment, the rest is lost and counted: offering the whole again would repeat
 * what it took. */
#include <string.h>
#include "base/error.h"
#include "base/memory.h"
#include "dev/dev.h"
#include "dev/offload.h"
#include "wire/ip.h"

enum {
    QUEUE_PACKETS_MAX = 1024, /* a power of two */
    QUEUE_BYTES_MAX = 4 * 1024 * 1024,
    EXTERNAL_MTU_DEFAULT = 1500,
};

struct external {
    struct device dev;
    adit_output_fn output;
    void *output_ctx;
    struct buf *flat; /* the packet on its way to the host */
    uint32_t queue_bytes;
    uint32_t head, tail; /* count on for ever; the difference is the length */
    struct packet queue[QUEUE_PACKETS_MAX];
};

static struct external *external_of(struct device *d)
{
    return (struct external *)(void *)d;
}

/* --------------------------------------------------------------------------------------------- in -- */

static bool external_is_full(const struct external *x, size_t len_bytes)
{
    return x->tail - x->head == QUEUE_PACKETS_MAX || x->queue_bytes + len_bytes > QUEUE_BYTES_MAX;
}

/* False: no memory for the copy. */
static bool external_queue(struct external *x, const adit_packet *p)
{
    struct packet copy = {.len_bytes = (uint32_t)p->len};
    enum drop why;

    copy.buf = buf_new(x->dev.bufs, p->len);
    if (!copy.buf)
        return false;
    copy.data = copy.buf->data;
    memcpy(copy.data, p->data, p->len);
    why = offload_claim(&copy, p->flags, p->gso_bytes);
    if (why != DROP_NONE) {
        x->dev.drops[why]++;
        buf_unref(copy.buf);
        return true;
    }
    x->queue[x->tail++ % QUEUE_PACKETS_MAX] = copy;
    x->queue_bytes += copy.len_bytes;
    return true;
}

static const struct device_ops external_ops;

size_t external_push(struct device *d, const adit_packet *p, size_t n)
{
    struct external *x;

    while (d->inner)
        d = d->inner;
    if (d->ops != &external_ops)
        return 0;
    x = external_of(d);
    for (size_t i = 0; i < n; i++) {
        if (p[i].len == 0 || p[i].len > IP_PACKET_BYTES_MAX) {
            d->drops[DROP_IP_TRUNCATED]++;
            continue;
        }
        if (external_is_full(x, p[i].len))
            return i;
        if (!external_queue(x, &p[i])) {
            d->drops[DROP_NO_MEMORY]++;
            return i;
        }
    }
    return n;
}

static int external_recv(struct device *d, struct packet *p, int n, uint64_t now_ns)
{
    struct external *x = external_of(d);
    int count = 0;

    (void)now_ns;
    for (; count < n && x->head != x->tail; count++) {
        p[count] = x->queue[x->head++ % QUEUE_PACKETS_MAX];
        x->queue_bytes -= p[count].len_bytes;
    }
    d->reads++;
    return count;
}

/* -------------------------------------------------------------------------------------------- out -- */

static int external_send_one(struct external *x, const struct packet_out *p)
{
    adit_packet out = {.data = x->flat->data};

    if (packet_out_bytes(p) > IP_PACKET_BYTES_MAX)
        return ADIT_EINVAL;
    out.len = offload_flatten(p, x->flat->data);
    x->dev.writes++;
    return x->output(x->output_ctx, &out, 1) == 1 ? ADIT_OK : ADIT_EAGAIN;
}

struct external_split {
    struct external *x;
    uint32_t sent;
};

static int external_part(void *ctx, const struct packet_out *part)
{
    struct external_split *s = ctx;
    int rc = external_send_one(s->x, part);

    if (rc == ADIT_OK)
        s->sent++;
    return rc;
}

static int external_send(struct device *d, const struct packet_out *p, uint64_t now_ns)
{
    struct external *x = external_of(d);
    struct external_split s = {.x = x};
    int rc;

    (void)now_ns;
    if (!offload_is_super(p))
        return external_send_one(x, p);
    rc = offload_split(p, p->gso_bytes, external_part, &s);
    if (rc != ADIT_EAGAIN || s.sent == 0)
        return rc;
    d->drops[DROP_DEVICE_FULL] += offload_parts_count(p, p->gso_bytes) - s.sent;
    return ADIT_OK;
}

/* ------------------------------------------------------------------------------------ open, close -- */

static void external_close(struct device *d)
{
    struct external *x = external_of(d);

    while (x->head != x->tail)
        buf_unref(x->queue[x->head++ % QUEUE_PACKETS_MAX].buf);
    buf_unref(x->flat);
    memory_free(d->bufs->memory, x, sizeof(*x));
}

static const struct device_ops external_ops = {
    .name = "external",
    .recv = external_recv,
    .send = external_send,
    .close = external_close,
};

int external_open(struct device **out, const adit_options *o, struct buf_pool *bufs,
                  const struct log *log, adit_error *err)
{
    struct external *x;
    struct buf *flat;

    if (!o->output)
        return error_set(err, ADIT_EINVAL, 0, "output", "an external device has no output function",
                         "set output, or another kind of device");
    x = memory_alloc(bufs->memory, sizeof(*x));
    flat = buf_new(bufs, BUF_PACKET_BYTES);
    if (!x || !flat) {
        if (x)
            memory_free(bufs->memory, x, sizeof(*x));
        buf_unref(flat);
        return error_set(err, ADIT_ENOMEM, 0, "device", "no memory for the device's queue",
                         "raise the memory budget (memory_bytes)");
    }
    x->dev = (struct device){.ops = &external_ops, .bufs = bufs, .log = log, .fd = ADIT_NO_SOCKET};
    x->dev.mtu_bytes = o->mtu_bytes ? o->mtu_bytes : EXTERNAL_MTU_DEFAULT;
    memcpy(x->dev.describe, "external", sizeof("external"));
    x->output = o->output;
    x->output_ctx = o->output_ctx;
    x->flat = flat;
    x->queue_bytes = x->head = x->tail = 0;
    *out = &x->dev;
    return ADIT_OK;
}
