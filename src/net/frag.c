/* SPDX-License-Identifier: MIT */
/* frag: reassembly.
 *
 *   frag_table --hash--> datagram  (source, destination, identification, v4: protocol)
 *                           |
 *                           +-- parts by offset:  [0, 1480) [1480, 2960)      [4440, 5000)
 *                           |                                            hole
 *                           +-- ended: a part without "more fragments" came, so total_bytes is known
 *
 * A part is a copy in a buffer of its size, since a fragment may have to wait for 15 seconds and the packet's buffer is large.
 * The part at offset 0 is kept with its headers: they become those of the whole, and are what a time exceeded message
 * quotes. A datagram is complete when its parts add up to its length: they never overlap.
 *
 * A datagram that was found out (overlap, contradicting lengths, too many parts) is emptied and stays as `dead` until
 * its time is over, so that what is left of it cannot make a datagram of its own. One source can hold a quarter of the table at
 * most. The order of age is the order of arrival, for all wait equally long. */
#include "net/frag.h"
#include <assert.h>
#include <string.h>
#include "base/buf.h"
#include "base/bytes.h"
#include "net/net.h"
#include "wire/checksum.h"
#include "wire/tcp.h"
#include "wire/udp.h"

enum { IP6_LENGTH_AT = 4, IP6_NEXT_AT = 6, IP6_FRAGMENT_BYTES = 8 };

struct frag_key {
    uint8_t src[16], dst[16];
    uint32_t id;
    uint8_t proto; /* v4; of v6 fragments only the first one's counts (RFC 8200) */
    uint8_t zero[3];
};
static_assert(sizeof(struct frag_key) == 40, "no padding: hashed and compared as octets");

struct datagram {
    struct list node;  /* by age */
    struct list parts; /* by offset */
    struct frag_key key;
    struct client *client;
    uint64_t deadline_ns;
    uint32_t hash;
    uint32_t total_bytes; /* of the fragmentable part; valid once ended */
    uint32_t held_bytes, parts_count;
    bool ended;
    enum drop dead;         /* DROP_NONE: alive */
    struct ip_header first; /* of the part at offset 0; first.version 0: not there yet */
};

struct part {
    struct list node;
    struct buf *buf;
    const uint8_t *data;
    uint32_t offset_bytes, len_bytes;
};

void frag_init(struct frag_table *t, struct net *net)
{
    *t = (struct frag_table){0};
    hash_init(&t->datagrams, net->memory, FRAG_DATAGRAMS_MAX);
    pool_init(&t->datagram_pool, net->memory, sizeof(struct datagram), FRAG_DATAGRAMS_MAX);
    pool_init(&t->part_pool, net->memory, sizeof(struct part), FRAG_DATAGRAMS_MAX * FRAG_PARTS_MAX);
    list_init(&t->by_age);
}

/* -------------------------------------------------------------------------------------- datagrams -- */

static void part_free(struct frag_table *t, struct datagram *d, struct part *p)
{
    list_remove(&p->node);
    t->bytes -= p->buf->capacity;
    d->held_bytes -= p->len_bytes;
    d->parts_count--;
    buf_unref(p->buf);
    pool_put(&t->part_pool, p);
}

static void datagram_clear(struct frag_table *t, struct datagram *d)
{
    struct list *node;

    while ((node = list_first(&d->parts)) != NULL)
        part_free(t, d, LIST_ENTRY(node, struct part, node));
}

static void datagram_free(struct net *net, struct datagram *d)
{
    struct frag_table *t = &net->frags;

    datagram_clear(t, d);
    list_remove(&d->node);
    hash_remove(&t->datagrams, d->hash, d);
    d->client->datagrams_in_reassembly--;
    client_put(&net->flows, d->client);
    pool_put(&t->datagram_pool, d);
}

/* Nothing good will come of it any more. */
static enum drop datagram_kill(struct net *net, struct datagram *d, enum drop why)
{
    datagram_clear(&net->frags, d);
    d->dead = why;
    return why;
}

static void key_of(struct frag_key *key, const struct ip_header *h)
{
    *key = (struct frag_key){.id = h->fragment_id, .proto = h->version == 4 ? h->proto : 0};
    memcpy(key->src, h->src, sizeof(key->src));
    memcpy(key->dst, h->dst, sizeof(key->dst));
}

static struct datagram *datagram_find(const struct frag_table *t, const struct frag_key *key,
                                      uint32_t hash)
{
    uint32_t pos;

    for (struct datagram *d = hash_first(&t->datagrams, hash, &pos); d;
         d = hash_next(&t->datagrams, hash, &pos)) {
        if (memcmp(&d->key, key, sizeof(*key)) == 0)
            return d;
    }
    return NULL;
}

static struct datagram *datagram_new(struct net *net, const struct frag_key *key, uint32_t hash,
                                     uint64_t now_ns, enum drop *why)
{
    struct frag_table *t = &net->frags;
    struct client *client = client_get(&net->flows, key->src);
    struct datagram *d = NULL;

    *why = DROP_FRAG_LIMIT;
    if (!client)
        return NULL;
    if (client->datagrams_in_reassembly >= FRAG_PER_SOURCE_MAX)
        *why = DROP_FRAG_SOURCE_LIMIT;
    else
        d = pool_get(&t->datagram_pool);
    if (d && !hash_insert(&t->datagrams, hash, d)) {
        pool_put(&t->datagram_pool, d);
        d = NULL;
    }
    if (!d) {
        client_put(&net->flows, client);
        return NULL;
    }
    d->key = *key;
    d->hash = hash;
    d->client = client;
    client->datagrams_in_reassembly++;
    d->deadline_ns = now_ns + FRAG_TIMEOUT_NS;
    list_init(&d->parts);
    list_push_back(&t->by_age, &d->node);
    return d;
}

/* ------------------------------------------------------------------------------------------ checks -- */

/* Lengths that one fragment alone shows to be wrong. RFC 8200 wants some of that told. */
static enum drop check_lengths(struct net *net, const struct ip_header *h, const struct packet *p,
                               uint64_t now_ns)
{
    uint32_t headers =
        h->version == 4 ? h->header_bytes : h->unfragmentable_bytes - IP6_HEADER_BYTES;
    uint32_t pointer = 0;

    if (h->payload_bytes == 0)
        return DROP_FRAG_BAD;
    if (h->more_fragments && h->payload_bytes % 8 != 0)
        pointer = IP6_LENGTH_AT;
    else if (headers + h->fragment_offset_bytes + h->payload_bytes > UINT16_MAX)
        pointer = h->header_bytes - IP6_FRAGMENT_BYTES + 2;
    else
        return DROP_NONE;
    if (h->version == 6)
        (void)icmp_parameter(net, h, p, 0, pointer, now_ns);
    return DROP_FRAG_BAD;
}

static bool is_extension(uint8_t proto)
{
    return proto == IP6_HOP_BY_HOP || proto == IP6_ROUTING || proto == IP6_DESTINATION;
}

/* Whether the first fragment holds all headers (RFC 7112): else ports could hide in the second. */
static bool first_is_whole(const struct ip_header *h, const uint8_t *data)
{
    uint8_t proto = h->proto;
    uint32_t at = 0, left = h->payload_bytes;

    while (h->version == 6 && is_extension(proto)) {
        if (left - at < 8)
            return false;
        proto = data[at];
        at += 8 + data[at + 1] * 8u;
        if (at > left)
            return false;
    }
    if (proto == IP_PROTO_TCP)
        return left - at >= TCP_HEADER_BYTES;
    if (proto == IP_PROTO_UDP || proto == IP_PROTO_ICMP || proto == IP_PROTO_ICMPV6)
        return left - at >= UDP_HEADER_BYTES;
    return true;
}

/* The same octets at the same place once more. */
static bool is_duplicate(const struct part *p, const struct ip_header *h, const uint8_t *data)
{
    return p->offset_bytes == h->fragment_offset_bytes && p->len_bytes == h->payload_bytes &&
           memcmp(p->data, data, p->len_bytes) == 0;
}

/* Where the fragment belongs: *before is the node in front of which it goes. */
static enum drop find_place(struct datagram *d, const struct ip_header *h, const uint8_t *data,
                            struct list **before, bool *duplicate)
{
    uint32_t from = h->fragment_offset_bytes, to = from + h->payload_bytes;
    struct list *node = d->parts.prev; /* they mostly come in order */

    for (; node != &d->parts; node = node->prev) {
        const struct part *p = LIST_ENTRY(node, struct part, node);

        if (p->offset_bytes + p->len_bytes <= from)
            break;
        *duplicate = is_duplicate(p, h, data);
        if (*duplicate)
            return DROP_NONE;
        if (p->offset_bytes < to)
            return DROP_FRAG_OVERLAP;
    }
    *before = node->next;
    return DROP_NONE;
}

/* Lengths that contradict those of other fragments. */
static enum drop check_end(struct datagram *d, const struct ip_header *h)
{
    uint32_t to = h->fragment_offset_bytes + h->payload_bytes;
    const struct part *last =
        list_is_empty(&d->parts) ? NULL : LIST_ENTRY(d->parts.prev, struct part, node);

    if (h->more_fragments)
        return d->ended && to >= d->total_bytes ? DROP_FRAG_BAD : DROP_NONE;
    if (d->ended || (last && last->offset_bytes >= to))
        return DROP_FRAG_BAD;
    d->ended = true;
    d->total_bytes = to;
    return DROP_NONE;
}

/* ----------------------------------------------------------------------------------------- assembly -- */

static enum drop part_add(struct net *net, struct datagram *d, const struct ip_header *h,
                          const uint8_t *packet, struct list *before)
{
    struct frag_table *t = &net->frags;
    bool is_first = h->fragment_offset_bytes == 0;
    uint32_t headers_bytes = is_first ? h->header_bytes : 0;
    struct buf *b = buf_new(net->bufs, headers_bytes + h->payload_bytes);
    struct part *p = b && t->bytes + b->capacity <= FRAG_BYTES_MAX ? pool_get(&t->part_pool) : NULL;

    if (!p) {
        buf_unref(b);
        return DROP_FRAG_LIMIT;
    }
    memcpy(b->data, packet + h->header_bytes - headers_bytes, headers_bytes + h->payload_bytes);
    p->buf = b;
    p->data = b->data + headers_bytes;
    p->offset_bytes = h->fragment_offset_bytes;
    p->len_bytes = h->payload_bytes;
    list_insert_before(before, &p->node);
    t->bytes += b->capacity;
    d->held_bytes += p->len_bytes;
    d->parts_count++;
    if (is_first)
        d->first = *h;
    return DROP_NONE;
}

/* The headers of the first fragment become those of a packet that never was in pieces. Returns their length. */
static uint32_t emit_headers4(uint8_t *out, const uint8_t *packet, const struct datagram *d)
{
    uint32_t bytes = d->first.header_bytes;

    memcpy(out, packet, bytes);
    put_be16(out + 2, (uint16_t)(bytes + d->total_bytes));
    put_be16(out + 6, 0);
    put_be16(out + 10, 0);
    put_be16(out + 10, checksum_finish(checksum_add(0, out, bytes)));
    return bytes;
}

static uint32_t emit_headers6(uint8_t *out, const uint8_t *packet, const struct datagram *d)
{
    uint32_t bytes = d->first.unfragmentable_bytes, names_next = IP6_NEXT_AT;

    memcpy(out, packet, bytes);
    put_be16(out + IP6_LENGTH_AT, (uint16_t)(bytes - IP6_HEADER_BYTES + d->total_bytes));
    for (uint32_t at = IP6_HEADER_BYTES; at < bytes; at += 8 + out[at + 1] * 8u)
        names_next = at;
    out[names_next] = packet[bytes]; /* the fragment header's own next header */
    return bytes;
}

static enum drop assemble(struct net *net, struct datagram *d, struct packet *whole)
{
    const struct part *first = LIST_ENTRY(d->parts.next, struct part, node);
    bool is4 = d->first.version == 4;
    uint32_t headers = is4 ? d->first.header_bytes : d->first.unfragmentable_bytes, at;
    struct buf *b;

    /* Only the first fragment's headers are those of the whole, and they may be longer than the others'. */
    if (headers - (is4 ? 0 : IP6_HEADER_BYTES) + d->total_bytes > UINT16_MAX)
        return DROP_FRAG_BAD;
    b = buf_new(net->bufs, headers + d->total_bytes);
    if (!b)
        return DROP_FRAG_LIMIT;
    at = is4 ? emit_headers4(b->data, first->buf->data, d)
             : emit_headers6(b->data, first->buf->data, d);
    for (struct list *node = d->parts.next; node != &d->parts; node = node->next) {
        const struct part *p = LIST_ENTRY(node, struct part, node);

        memcpy(b->data + at, p->data, p->len_bytes);
        at += p->len_bytes;
    }
    *whole = (struct packet){.buf = b, .data = b->data, .len_bytes = at};
    whole->csum = PACKET_CSUM_UNKNOWN;
    return DROP_NONE;
}

static enum drop datagram_add(struct net *net, struct datagram *d, const struct ip_header *h,
                              const uint8_t *packet)
{
    struct list *before = NULL;
    bool duplicate = false;
    enum drop why;

    if (d->dead != DROP_NONE)
        return d->dead;
    why = find_place(d, h, packet + h->header_bytes, &before, &duplicate);
    if (why == DROP_NONE && duplicate)
        return DROP_NONE;
    if (why == DROP_NONE)
        why = check_end(d, h);
    if (why == DROP_NONE && d->parts_count == FRAG_PARTS_MAX)
        why = DROP_FRAG_LIMIT;
    if (why != DROP_NONE)
        return datagram_kill(net, d, why);
    return part_add(net, d, h, packet, before);
}

enum drop frag_input(struct net *net, const struct ip_header *h, const struct packet *p,
                     struct packet *whole, uint64_t now_ns)
{
    struct frag_table *t = &net->frags;
    struct frag_key key;
    struct datagram *d;
    enum drop why = check_lengths(net, h, p, now_ns);
    uint32_t hash;

    *whole = (struct packet){0};
    if (why != DROP_NONE)
        return why;
    if (h->fragment_offset_bytes == 0 && !first_is_whole(h, p->data + h->header_bytes))
        return DROP_FRAG_FIRST_SHORT;
    key_of(&key, h);
    hash = (uint32_t)siphash13(&net->secret, &key, sizeof(key));
    d = datagram_find(t, &key, hash);
    if (!d)
        d = datagram_new(net, &key, hash, now_ns, &why);
    if (!d)
        return why;
    why = datagram_add(net, d, h, p->data);
    if (why == DROP_NONE && d->ended && d->held_bytes == d->total_bytes) {
        why = assemble(net, d, whole);
        datagram_free(net, d);
    } else if (d->parts_count == 0 && d->dead == DROP_NONE) {
        datagram_free(net, d); /* its first fragment found no room */
    }
    return why;
}

/* -------------------------------------------------------------------------------------------- time -- */

static void datagram_expire(struct net *net, struct datagram *d, uint64_t now_ns)
{
    if (d->dead == DROP_NONE)
        net_drop(net, DROP_FRAG_TIMEOUT);
    if (d->dead == DROP_NONE && d->first.version != 0) {
        const struct part *first = LIST_ENTRY(d->parts.next, struct part, node);

        (void)icmp_error(net, &d->first, first->buf->data, d->first.header_bytes + first->len_bytes,
                         ICMP_REASSEMBLY_EXCEEDED, 0, NULL, now_ns);
    }
    datagram_free(net, d);
}

void frag_expire(struct net *net, uint64_t now_ns)
{
    struct list *node;

    while ((node = list_first(&net->frags.by_age)) != NULL) {
        struct datagram *d = LIST_ENTRY(node, struct datagram, node);

        if (d->deadline_ns > now_ns)
            return;
        datagram_expire(net, d, now_ns);
    }
}

uint64_t frag_next_ns(const struct frag_table *t)
{
    const struct list *oldest = list_first(&t->by_age);

    return oldest ? LIST_ENTRY(oldest, struct datagram, node)->deadline_ns : WHEEL_NEVER;
}

void frag_deinit(struct frag_table *t, struct net *net)
{
    struct list *node;

    while ((node = list_first(&t->by_age)) != NULL)
        datagram_free(net, LIST_ENTRY(node, struct datagram, node));
    hash_deinit(&t->datagrams);
    pool_deinit(&t->datagram_pool);
    pool_deinit(&t->part_pool);
}
