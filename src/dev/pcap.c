/* SPDX-License-Identifier: MIT */
/* pcap: a wrapper that writes every packet, both ways, as a pcapng file (draft-ietf-opsawg-pcapng), which tcpdump and
 * Wireshark read.
 *
 *   section header | interface description (LINKTYPE_RAW, nanoseconds) | enhanced packet block, ...
 *
 * Direction is in epb_flags: inbound is what comes out of the device toward us, outbound what we send into it.
 *
 * Times are those that the packets carry through adit (now_ns, a monotonic or a simulated clock), moved by an offset that
 * is taken from the real-time clock at the start: differences are exact, the date is right at the start, and a step of
 * the real-time clock does not show. The queues of several workers have one offset and one file; in it a block may stand
 * behind one of another queue that is younger, by the length of a turn.
 *
 * Super-segments are written whole, as they cross the device; a partial checksum is completed in what is written, for a
 * super-segment as if it were one packet. So a checksum that a reader calls wrong is wrong.
 *
 * A block is put together in one buffer, with the block's head in the headroom, and handed over in one call. Above
 * snap_bytes the packet is cut; its true length stays in the block. */
#include <assert.h>
#include <string.h>
#include <time.h>
#include "base/memory.h"
#include "dev/dev.h"
#include "dev/offload.h"
#include "dev/wrapper.h"
#include "wire/ip.h"

enum {
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 6,
    BYTE_ORDER_MAGIC = 0x1a2b3c4d,
    LINKTYPE_RAW = 101,
    OPTION_END = 0,
    OPTION_IF_NAME = 2,
    OPTION_IF_TSRESOL = 9,
    OPTION_EPB_FLAGS = 2,
    FLAG_INBOUND = 1,
    FLAG_OUTBOUND = 2,
};

struct block_head { /* of an enhanced packet block */
    uint32_t type, total_bytes, interface, time_high, time_low, captured_bytes, original_bytes;
};

struct block_tail {
    uint16_t flags_option, flags_bytes;
    uint32_t flags;
    uint16_t end_option, end_bytes;
    uint32_t total_bytes;
};

_Static_assert(sizeof(struct block_head) == 28 && sizeof(struct block_head) <= BUF_HEADROOM,
               "fits the headroom");
_Static_assert(sizeof(struct block_tail) == 16, "as in the file");
_Static_assert(IP_PACKET_BYTES_MAX + 3 + sizeof(struct block_tail) <= BUF_PACKET_BYTES,
               "a block fits the buffer");

struct pcap {
    struct device dev;
    void (*write)(void *ctx, const void *bytes, size_t len);
    void *ctx;
    uint32_t snap_bytes;
    struct buf *block;
    uint64_t offset_ns; /* real time less now_ns */
};

static const uint64_t pcap_no_drops[DROP_COUNT];

static struct pcap *pcap_of(struct device *d)
{
    return (struct pcap *)(void *)d;
}

/* ------------------------------------------------------------------------------------------ blocks -- */

struct octets { /* a short block being put together, in our own byte order */
    uint8_t bytes[96];
    uint32_t len_bytes;
};

static void put(struct octets *o, const void *value, uint32_t len_bytes)
{
    if (len_bytes == 0)
        return;
    assert(o->len_bytes + len_bytes <= sizeof(o->bytes));
    memcpy(o->bytes + o->len_bytes, value, len_bytes);
    o->len_bytes += len_bytes;
}

static void put16(struct octets *o, uint16_t value)
{
    put(o, &value, sizeof(value));
}

static void put32(struct octets *o, uint32_t value)
{
    put(o, &value, sizeof(value));
}

static void put_option(struct octets *o, uint16_t option, const void *value, uint16_t len_bytes)
{
    static const uint8_t padding[3];

    put16(o, option);
    put16(o, len_bytes);
    put(o, value, len_bytes);
    put(o, padding, (4u - len_bytes % 4u) % 4u);
}

/* Fills in the length, at both ends, and hands the block over. */
static void pcap_write_short(struct pcap *c, struct octets *o)
{
    uint32_t total_bytes = o->len_bytes + 4;

    put32(o, total_bytes);
    memcpy(o->bytes + 4, &total_bytes, sizeof(total_bytes));
    c->write(c->ctx, o->bytes, o->len_bytes);
}

static void pcap_write_start(struct pcap *c)
{
    static const uint8_t nanoseconds = 9; /* 10^-9 s */
    const char *name = c->dev.ifname[0] ? c->dev.ifname : c->dev.inner->ops->name;
    struct octets section = {0}, interface = {0};

    put32(&section, BLOCK_SECTION);
    put32(&section, 0);
    put32(&section, BYTE_ORDER_MAGIC);
    put16(&section, 1); /* version 1.0 */
    put16(&section, 0);
    put32(&section, UINT32_MAX); /* 64 bits: the section's length is not known */
    put32(&section, UINT32_MAX);
    pcap_write_short(c, &section);

    put32(&interface, BLOCK_INTERFACE);
    put32(&interface, 0);
    put16(&interface, LINKTYPE_RAW);
    put16(&interface, 0);
    put32(&interface, c->snap_bytes);
    put_option(&interface, OPTION_IF_NAME, name, (uint16_t)strlen(name));
    put_option(&interface, OPTION_IF_TSRESOL, &nanoseconds, 1);
    put_option(&interface, OPTION_END, NULL, 0);
    pcap_write_short(c, &interface);
}

static uint64_t real_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Writes the packet of `len_bytes` that lies at the beginning of the block's buffer. */
static void pcap_write_block(struct pcap *c, uint32_t len_bytes, uint32_t flags, uint64_t now_ns)
{
    uint32_t captured = len_bytes < c->snap_bytes ? len_bytes : c->snap_bytes;
    uint32_t padded = (captured + 3) & ~3u;
    uint64_t time_ns = now_ns + c->offset_ns;
    struct block_head head = {.type = BLOCK_PACKET,
                              .total_bytes =
                                  (uint32_t)(sizeof(head) + padded + sizeof(struct block_tail)),
                              .time_high = (uint32_t)(time_ns >> 32),
                              .time_low = (uint32_t)time_ns,
                              .captured_bytes = captured,
                              .original_bytes = len_bytes};
    struct block_tail tail = {.flags_option = OPTION_EPB_FLAGS,
                              .flags_bytes = sizeof(flags),
                              .flags = flags,
                              .total_bytes = head.total_bytes};
    uint8_t *data = c->block->data;

    memset(data + captured, 0, padded - captured);
    memcpy(data - sizeof(head), &head, sizeof(head));
    memcpy(data + padded, &tail, sizeof(tail));
    c->write(c->ctx, data - sizeof(head), head.total_bytes);
}

static void pcap_write_in(struct pcap *c, const struct packet *p, uint64_t now_ns)
{
    struct packet copy = *p;

    if (p->len_bytes > IP_PACKET_BYTES_MAX)
        return;
    copy.data = c->block->data;
    memcpy(copy.data, p->data, p->len_bytes);
    offload_complete(&copy);
    pcap_write_block(c, p->len_bytes, FLAG_INBOUND, now_ns);
}

static void pcap_write_out(struct pcap *c, const struct packet_out *p, uint64_t now_ns)
{
    if (packet_out_bytes(p) <= IP_PACKET_BYTES_MAX)
        pcap_write_block(c, offload_flatten(p, c->block->data), FLAG_OUTBOUND, now_ns);
}

/* ------------------------------------------------------------------------------------------ device -- */

static int pcap_recv(struct device *d, struct packet *p, int n, uint64_t now_ns)
{
    int count = device_recv(d->inner, p, n, now_ns);

    for (int i = 0; i < count; i++)
        pcap_write_in(pcap_of(d), &p[i], now_ns);
    wrapper_count(d, pcap_no_drops);
    return count;
}

/* What the device did not take is not written. */
static int pcap_send(struct device *d, const struct packet_out *p, uint64_t now_ns)
{
    int rc = device_send(d->inner, p, now_ns);

    if (rc == ADIT_OK)
        pcap_write_out(pcap_of(d), p, now_ns);
    wrapper_count(d, pcap_no_drops);
    return rc;
}

static void pcap_expire(struct device *d, uint64_t now_ns)
{
    device_expire(d->inner, now_ns);
    wrapper_count(d, pcap_no_drops);
}

static uint64_t pcap_next_ns(const struct device *d)
{
    return device_next_ns(d->inner);
}

static void pcap_close(struct device *d)
{
    struct pcap *c = pcap_of(d);

    buf_unref(c->block);
    device_close(d->inner);
    memory_free(d->bufs->memory, c, sizeof(*c));
}

static const struct device_ops pcap_ops = {
    .name = "pcap",
    .recv = pcap_recv,
    .send = pcap_send,
    .expire = pcap_expire,
    .next_ns = pcap_next_ns,
    .close = pcap_close,
};

static int pcap_new(struct device **out, struct device *inner, const struct pcap *settings)
{
    struct buf_pool *bufs = inner->bufs;
    struct pcap *c = memory_alloc(bufs->memory, sizeof(*c));
    struct buf *block = buf_new(bufs, BUF_PACKET_BYTES);

    if (!c || !block) {
        if (c)
            memory_free(bufs->memory, c, sizeof(*c));
        buf_unref(block);
        device_close(inner);
        return ADIT_ENOMEM;
    }
    *c = *settings;
    c->block = block;
    wrapper_init(&c->dev, &pcap_ops, inner);
    c->dev.big_tcp4 = false; /* a file's packets are such as can state their length */
    *out = &c->dev;
    return ADIT_OK;
}

int pcap_open(struct device **out, struct device *inner,
              void (*write)(void *ctx, const void *bytes, size_t len), void *ctx,
              uint32_t snap_bytes, uint64_t now_ns)
{
    const struct pcap settings = {.write = write, .ctx = ctx,
                                  .snap_bytes = snap_bytes ? snap_bytes : IP_PACKET_BYTES_MAX,
                                  .offset_ns = real_ns() - now_ns};
    int rc = pcap_new(out, inner, &settings);

    if (rc == ADIT_OK)
        pcap_write_start(pcap_of(*out));
    return rc;
}

int pcap_open_more(struct device **out, struct device *inner, const struct device *first)
{
    const struct pcap *of = (const struct pcap *)(const void *)first;
    const struct pcap settings = {.write = of->write, .ctx = of->ctx, .snap_bytes = of->snap_bytes,
                                  .offset_ns = of->offset_ns};

    assert(first->ops == &pcap_ops);
    return pcap_new(out, inner, &settings);
}
