/* SPDX-License-Identifier: MIT */
/* fault: a wrapper that does to packets what a bad link does: docs/fault.md is its manual.
 *
 *   packet -> too long for mtu? -> lost? -> corrupted? -> twice? -> queue with a time when it is due -> the other side
 *                  |                |                                 | full
 *                  v FAULT_LOSS     v FAULT_LOSS                      v DEVICE_FULL
 *
 * Each direction is a path of its own with its own random numbers, so what happens to the n-th packet of a direction
 * depends on the seed only, not on what the other direction does.
 *
 * The unit is the packet of a wire: super-segments are split first and their checksums completed, so that a loss is one
 * segment and a flipped bit is one that a checksum can tell. (A super-segment whose checksum nobody has verified
 * stays whole, since a split would write new, right, checksums over a wrong one.)
 *
 * Time is what callers say. A packet is due when the rate has let it through and the delay has passed; packets stay in
 * order, except those chosen to be reordered, which come late by a random time while others pass them. Packets toward
 * the device leave in send and expire, those from it in recv. What the device does not take at its time is lost. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/bytes.h"
#include "base/error.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/pool.h"
#include "dev/dev.h"
#include "dev/offload.h"
#include "dev/wrapper.h"
#include "wire/ip.h"

enum {
    BILLION = 1000000000,
    QUEUE_DEFAULT = 1000,
    REORDER_NS_MIN = 500000, /* how late a reordered packet comes */
    REORDER_NS_MAX = 4000000,
    BATCH = 32,
};

/* --------------------------------------------------------------------------------- the specification -- */

enum fault_dir { DIR_BOTH, DIR_IN, DIR_OUT };

struct fault_spec { /* chances in parts of a billion */
    uint64_t loss, burst, dup, reorder, corrupt;
    uint64_t delay_ns, jitter_ns;
    uint64_t rate_bits; /* a second; 0: no limit */
    uint64_t queue_packets, seed, mtu_bytes;
    uint64_t dir; /* enum fault_dir */
};

enum fault_kind { KIND_CHANCE, KIND_COUNT, KIND_TIME, KIND_RATE, KIND_DIR };

struct fault_word {
    const char *name;
    enum fault_kind kind;
    size_t at; /* in struct fault_spec */
    uint64_t min, max;
    const char *hint;
};

#define WORD(name, member, kind, min, max, hint)                                                   \
    {                                                                                              \
        name, kind, offsetof(struct fault_spec, member), min, max, hint                            \
    }

static const struct fault_word fault_words[] = {
    WORD("loss", loss, KIND_CHANCE, 0, BILLION, "loss=1% : 0% to 100%"),
    WORD("burst", burst, KIND_COUNT, 1, 1000,
         "burst=3 : losses come this many in a row on average, 1 to 1000"),
    WORD("dup", dup, KIND_CHANCE, 0, BILLION, "dup=0.5% : 0% to 100%"),
    WORD("reorder", reorder, KIND_CHANCE, 0, BILLION, "reorder=1% : 0% to 100%"),
    WORD("corrupt", corrupt, KIND_CHANCE, 0, BILLION, "corrupt=0.1% : 0% to 100%"),
    WORD("delay", delay_ns, KIND_TIME, 0, 60ull * BILLION, "delay=10ms : us, ms or s, at most 60s"),
    WORD("jitter", jitter_ns, KIND_TIME, 0, 60ull * BILLION,
         "jitter=2ms : us, ms or s, at most 60s"),
    WORD("rate", rate_bits, KIND_RATE, 1000, 1000ull * BILLION,
         "rate=100mbit : kbit, mbit or gbit a second"),
    WORD("queue", queue_packets, KIND_COUNT, 1, 100000,
         "queue=100 : packets held each way, 1 to 100000"),
    WORD("seed", seed, KIND_COUNT, 0, UINT64_MAX, "seed=7 : a number"),
    WORD("mtu", mtu_bytes, KIND_COUNT, 68, 65535, "mtu=1400 : longer packets vanish, 68 to 65535"),
    WORD("dir", dir, KIND_DIR, 0, 0, "dir=in : in (toward adit), out (toward the device) or both"),
};

enum { WORDS = sizeof(fault_words) / sizeof(fault_words[0]) };

struct unit {
    const char *name;
    int digits; /* the value is the number times ten to this power */
};

/* The units of each kind; the number without one only where "" is among them. */
static const struct unit units_chance[] = {{"%", 7}, {NULL, 0}};
static const struct unit units_count[] = {{"", 0}, {NULL, 0}};
static const struct unit units_time[] = {{"us", 3}, {"ms", 6}, {"s", 9}, {NULL, 0}};
static const struct unit units_rate[] = {{"kbit", 3}, {"mbit", 6}, {"gbit", 9}, {NULL, 0}};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* value = value * 10 + digit, unless that overflows. */
static bool push_digit(uint64_t *value, unsigned digit)
{
    if (*value > (UINT64_MAX - digit) / 10)
        return false;
    *value = *value * 10 + digit;
    return true;
}

/* "0.5%": digits, perhaps a point and digits (no more than the unit resolves), and a unit, nothing else. */
static bool parse_number(const char *text, const struct unit *units, uint64_t *out)
{
    const char *c = text, *fraction = NULL;
    uint64_t value = 0;
    int fraction_digits = 0;

    if (!is_digit(*c))
        return false;
    for (; is_digit(*c) || (*c == '.' && !fraction); c++) {
        if (*c == '.') {
            fraction = c + 1;
        } else if (!push_digit(&value, (unsigned)(*c - '0'))) {
            return false;
        }
    }
    if (fraction) {
        fraction_digits = (int)(c - fraction);
        if (fraction_digits == 0)
            return false;
    }
    while (units->name && strcmp(units->name, c) != 0)
        units++;
    if (!units->name || fraction_digits > units->digits)
        return false;
    for (int i = fraction_digits; i < units->digits; i++) {
        if (!push_digit(&value, 0))
            return false;
    }
    *out = value;
    return true;
}

static bool parse_dir(const char *text, uint64_t *out)
{
    static const char *const names[] = {[DIR_BOTH] = "both", [DIR_IN] = "in", [DIR_OUT] = "out"};

    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool parse_value(const struct fault_word *w, const char *text, uint64_t *out)
{
    switch (w->kind) {
    case KIND_CHANCE:
        return parse_number(text, units_chance, out);
    case KIND_COUNT:
        return parse_number(text, units_count, out);
    case KIND_TIME:
        return parse_number(text, units_time, out);
    case KIND_RATE:
        return parse_number(text, units_rate, out);
    case KIND_DIR:
        return parse_dir(text, out);
    }
    return false;
}

/* One "name=value", terminated. *seen: a bit per word that came already. */
static int parse_word(struct fault_spec *s, char *word, unsigned *seen, adit_error *err)
{
    char *equals = strchr(word, '=');
    uint64_t value;

    for (unsigned i = 0; equals && i < WORDS; i++) {
        const struct fault_word *w = &fault_words[i];

        if (strlen(w->name) != (size_t)(equals - word) ||
            memcmp(w->name, word, strlen(w->name)) != 0)
            continue;
        if (*seen & 1u << i)
            return error_setf(err, ADIT_EINVAL, 0, "fault", w->hint, "\"%s\" is there twice",
                              w->name);
        *seen |= 1u << i;
        if (!parse_value(w, equals + 1, &value) ||
            (w->kind != KIND_DIR && (value < w->min || value > w->max)))
            return error_setf(err, ADIT_EINVAL, 0, "fault", w->hint, "\"%s\" is not understood",
                              word);
        memcpy((char *)s + w->at, &value, sizeof(value));
        return ADIT_OK;
    }
    return error_setf(
        err, ADIT_EINVAL, 0, "fault",
        "words are loss= burst= dup= reorder= corrupt= delay= jitter= rate= queue= mtu= dir= seed=",
        "\"%s\" is no word of a fault", word);
}

static int fault_spec_parse(struct fault_spec *s, const char *text, uint64_t seed, adit_error *err)
{
    unsigned seen = 0;
    int rc = ADIT_OK;

    *s = (struct fault_spec){.burst = 1, .queue_packets = QUEUE_DEFAULT, .seed = seed};
    while (rc == ADIT_OK) {
        char word[48];
        size_t len = strcspn(text, ",");

        if (len >= sizeof(word))
            return error_setf(err, ADIT_EINVAL, 0, "fault", "words are separated by commas",
                              "\"%.40s...\" is too long", text);
        memcpy(word, text, len);
        word[len] = '\0';
        rc = parse_word(s, word, &seen, err);
        if (text[len] == '\0')
            break;
        text += len + 1;
    }
    if (rc == ADIT_OK && s->jitter_ns > s->delay_ns)
        return error_set(err, ADIT_EINVAL, 0, "fault",
                         "jitter is more than delay, around which it varies",
                         "a longer delay, or less jitter");
    if (rc == ADIT_OK && s->burst > 1 && s->loss * (s->burst + 1) > s->burst * BILLION)
        return error_setf(err, ADIT_EINVAL, 0, "fault", "a longer burst, or less loss",
                          "loss=%u.%02u%% cannot be reached with bursts of %u",
                          (unsigned)(s->loss / 10000000), (unsigned)(s->loss / 100000 % 100),
                          (unsigned)s->burst);
    return rc;
}

/* -------------------------------------------------------------------------------------------- paths -- */

struct held {
    struct list node;
    struct packet packet; /* owns its reference; complete checksum, or whatever it arrived with */
    uint64_t due_ns;
};

struct path { /* one direction */
    bool is_on;
    bool in_burst;
    uint64_t random;        /* splitmix64 */
    uint64_t busy_until_ns; /* when the rate lets the next packet begin */
    uint64_t last_due_ns;   /* of the packets that stay in order */
    struct list held;       /* by due_ns */
    uint32_t held_count;
};

struct fault {
    struct device dev;
    struct fault_spec spec;
    struct pool helds;
    struct path in, out;
    uint64_t drops[DROP_COUNT]; /* our own */
};

static struct fault *fault_of(struct device *d)
{
    return (struct fault *)(void *)d;
}

static uint64_t path_random(struct path *h)
{
    uint64_t z = h->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Less than `below`, which is less than 2^32. */
static uint32_t path_random_below(struct path *h, uint32_t below)
{
    return (uint32_t)((path_random(h) >> 32) * below >> 32);
}

static bool path_chance(struct path *h, uint64_t billionths)
{
    return path_random_below(h, BILLION) < billionths;
}

/* Gilbert's model where losses come in bursts: the chance to begin one makes the average come out as asked. */
static bool path_loses(struct path *h, const struct fault_spec *s)
{
    if (s->burst <= 1)
        return path_chance(h, s->loss);
    if (h->in_burst)
        h->in_burst = !path_chance(h, BILLION / s->burst);
    else
        h->in_burst = path_chance(h, s->loss * BILLION / (s->burst * (BILLION - s->loss)));
    return h->in_burst;
}

/* When the packet comes out of the path. */
static uint64_t path_due(struct path *h, const struct fault_spec *s, uint32_t len_bytes,
                         uint64_t now_ns)
{
    uint64_t due_ns = now_ns;

    if (s->rate_bits) {
        uint64_t begin_ns = h->busy_until_ns > now_ns ? h->busy_until_ns : now_ns;

        due_ns = begin_ns + len_bytes * 8ull * BILLION / s->rate_bits;
        h->busy_until_ns = due_ns;
    }
    due_ns += s->delay_ns;
    if (s->jitter_ns)
        due_ns = due_ns - s->jitter_ns + path_random(h) % (2 * s->jitter_ns + 1);
    if (s->reorder && path_chance(h, s->reorder))
        return due_ns + REORDER_NS_MIN + path_random_below(h, REORDER_NS_MAX - REORDER_NS_MIN);
    if (due_ns < h->last_due_ns)
        due_ns = h->last_due_ns;
    h->last_due_ns = due_ns;
    return due_ns;
}

static void path_insert(struct path *h, struct held *fresh)
{
    struct list *at = &h->held;

    while (at->prev != &h->held && LIST_ENTRY(at->prev, struct held, node)->due_ns > fresh->due_ns)
        at = at->prev;
    list_insert_before(at, &fresh->node);
    h->held_count++;
}

/* The first one if it is due. */
static struct held *path_take_due(struct path *h, uint64_t now_ns)
{
    struct list *node = list_first(&h->held);

    if (!node || LIST_ENTRY(node, struct held, node)->due_ns > now_ns)
        return NULL;
    list_remove(node);
    h->held_count--;
    return LIST_ENTRY(node, struct held, node);
}

static uint64_t path_next_ns(const struct path *h)
{
    struct list *node = list_first(&h->held);

    return node ? LIST_ENTRY(node, struct held, node)->due_ns : DEVICE_NEVER;
}

/* --------------------------------------------------------------------------------------- one packet -- */

/* Flips one bit that a checksum covers: not the version; of IPv6 not what stands before the addresses; of UDP not the
 * length, and nothing of the payload where there is no checksum. */
static void path_corrupt(struct path *h, struct packet *p)
{
    uint32_t from = p->data[0] >> 4 == 4 ? 1 : 8, to = p->len_bytes, at;
    struct offload_layout l;
    bool known = offload_layout_parse(&l, p->data, p->len_bytes) && l.stated_bytes <= to;

    offload_complete(p);
    if (known) {
        uint32_t field = (uint32_t)l.transport_at + l.csum_offset;

        to = l.stated_bytes;
        if (l.proto == IP_PROTO_UDP && get_be16(p->data + field) == 0)
            to = l.transport_at;
    }
    if (to <= from)
        return;
    at = from + path_random_below(h, to - from);
    if (known && l.proto == IP_PROTO_UDP &&
        (at == l.transport_at + 4u || at == l.transport_at + 5u))
        at += 2;
    p->data[at] ^= (uint8_t)(1u << path_random_below(h, 8));
    p->csum = PACKET_CSUM_UNKNOWN;
}

/* Takes the reference of *p. */
static void fault_hold_take(struct fault *f, struct path *h, const struct packet *p,
                            uint64_t now_ns)
{
    struct held *fresh = NULL;

    if (h->held_count < f->spec.queue_packets)
        fresh = pool_get(&f->helds);
    if (!fresh) {
        f->drops[DROP_DEVICE_FULL]++;
        buf_unref(p->buf);
        return;
    }
    list_init(&fresh->node);
    fresh->packet = *p;
    fresh->due_ns = path_due(h, &f->spec, p->len_bytes, now_ns);
    path_insert(h, fresh);
}

/* Queues a copy of the packet as it is now. */
static void fault_hold_copy(struct fault *f, struct path *h, const struct packet *p,
                            uint64_t now_ns)
{
    struct packet copy = *p;

    copy.buf = buf_new(f->dev.bufs, p->len_bytes);
    if (!copy.buf) {
        f->drops[DROP_NO_MEMORY]++;
        return;
    }
    copy.data = copy.buf->data;
    memcpy(copy.data, p->data, p->len_bytes);
    fault_hold_take(f, h, &copy, now_ns);
}

/* One packet of a wire enters the path. Takes its reference. */
static void fault_enter_take(struct fault *f, struct path *h, struct packet *p, uint64_t now_ns)
{
    const struct fault_spec *s = &f->spec;
    bool lost = s->loss && path_loses(h, s);

    if (lost || (s->mtu_bytes && p->len_bytes > s->mtu_bytes)) {
        f->drops[DROP_FAULT_LOSS]++;
        buf_unref(p->buf);
        return;
    }
    if (s->corrupt && path_chance(h, s->corrupt))
        path_corrupt(h, p);
    if (s->dup && path_chance(h, s->dup))
        fault_hold_copy(f, h, p, now_ns);
    fault_hold_take(f, h, p, now_ns);
}

/* ----------------------------------------------------------------------------------------------- in -- */

/* Each part of a super-segment enters in a buffer of its own. False: it cannot be split. */
static bool fault_split_in(struct fault *f, const struct packet *p, uint64_t now_ns)
{
    struct offload_parts it;

    if (!offload_parts_begin(&it, p->data, p->len_bytes, p->len_bytes, p->gso_bytes))
        return false;
    while (offload_parts_next(&it)) {
        uint32_t headers_bytes = it.layout.payload_at;
        struct packet part = {.len_bytes = headers_bytes + it.len_bytes,
                              .csum = PACKET_CSUM_PARTIAL};

        part.buf = buf_new(f->dev.bufs, part.len_bytes);
        if (!part.buf) {
            f->drops[DROP_NO_MEMORY]++;
            continue;
        }
        part.data = part.buf->data;
        memcpy(part.data, p->data, headers_bytes);
        memcpy(part.data + headers_bytes, p->data + headers_bytes + it.at, it.len_bytes);
        offload_parts_headers(&it, part.data);
        offload_complete(&part);
        fault_enter_take(f, &f->in, &part, now_ns);
    }
    return true;
}

static int fault_take_due(struct fault *f, struct packet *p, int n, uint64_t now_ns)
{
    int count = 0;

    while (count < n) {
        struct held *due = path_take_due(&f->in, now_ns);

        if (!due)
            break;
        p[count++] = due->packet;
        pool_put(&f->helds, due);
    }
    return count;
}

static int fault_recv(struct device *d, struct packet *p, int n, uint64_t now_ns)
{
    struct fault *f = fault_of(d);
    struct packet batch[BATCH];
    int got, count;

    if (!f->in.is_on) {
        got = device_recv(d->inner, p, n, now_ns);
        wrapper_count(d, f->drops);
        return got;
    }
    got = device_recv(d->inner, batch, n < BATCH ? n : BATCH, now_ns);
    for (int i = 0; i < got; i++) {
        bool is_super = batch[i].gso_bytes != 0 && batch[i].csum != PACKET_CSUM_UNKNOWN;

        if (is_super && fault_split_in(f, &batch[i], now_ns))
            buf_unref(batch[i].buf);
        else
            fault_enter_take(f, &f->in, &batch[i], now_ns);
    }
    count = fault_take_due(f, p, n, now_ns);
    wrapper_count(d, f->drops);
    return count == 0 && got < 0 ? got : count;
}

/* ---------------------------------------------------------------------------------------------- out -- */

/* Sends what is due. A code where the device is gone. */
static int fault_flush(struct fault *f, uint64_t now_ns)
{
    struct held *due;
    int worst = ADIT_OK;

    while ((due = path_take_due(&f->out, now_ns))) {
        struct packet_out p = {.slices_count = 1, .payload_bytes = due->packet.len_bytes};
        int rc;

        p.slices[0] = (adit_iov){due->packet.data, due->packet.len_bytes};
        rc = device_send(f->dev.inner, &p, now_ns);
        if (rc == ADIT_ENODEV)
            worst = rc;
        else if (rc != ADIT_OK)
            f->drops[DROP_DEVICE_FULL]++;
        buf_unref(due->packet.buf);
        pool_put(&f->helds, due);
    }
    return worst;
}

struct fault_emit {
    struct fault *f;
    uint64_t now_ns;
};

static int fault_enter_out(void *ctx, const struct packet_out *part)
{
    struct fault_emit *e = ctx;
    struct packet p = {.len_bytes = packet_out_bytes(part), .csum = PACKET_CSUM_VALID};

    p.buf = buf_new(e->f->dev.bufs, p.len_bytes);
    if (!p.buf) {
        e->f->drops[DROP_NO_MEMORY]++;
        return ADIT_OK;
    }
    p.data = p.buf->data;
    offload_flatten(part, p.data);
    fault_enter_take(e->f, &e->f->out, &p, e->now_ns);
    return ADIT_OK;
}

static int fault_send(struct device *d, const struct packet_out *p, uint64_t now_ns)
{
    struct fault *f = fault_of(d);
    struct fault_emit e = {.f = f, .now_ns = now_ns};
    int rc;

    if (!f->out.is_on) {
        rc = device_send(d->inner, p, now_ns);
    } else {
        if (offload_is_super(p))
            offload_split(p, p->gso_bytes, fault_enter_out, &e);
        else
            fault_enter_out(&e, p);
        rc = fault_flush(f, now_ns);
    }
    wrapper_count(d, f->drops);
    return rc;
}

/* ------------------------------------------------------------------------------------------- device -- */

static void fault_expire(struct device *d, uint64_t now_ns)
{
    struct fault *f = fault_of(d);

    device_expire(d->inner, now_ns);
    (void)fault_flush(f, now_ns); /* a device that is gone says so in recv too */
    wrapper_count(d, f->drops);
}

static uint64_t fault_next_ns(const struct device *d)
{
    const struct fault *f = (const struct fault *)(const void *)d;
    uint64_t next_ns = device_next_ns(d->inner);
    uint64_t in_ns = path_next_ns(&f->in), out_ns = path_next_ns(&f->out);

    if (in_ns < next_ns)
        next_ns = in_ns;
    return out_ns < next_ns ? out_ns : next_ns;
}

static void fault_drop_held(struct fault *f, struct path *h)
{
    struct held *due;

    while ((due = path_take_due(h, DEVICE_NEVER))) {
        buf_unref(due->packet.buf);
        pool_put(&f->helds, due);
    }
}

static void fault_close(struct device *d)
{
    struct fault *f = fault_of(d);

    fault_drop_held(f, &f->in);
    fault_drop_held(f, &f->out);
    pool_deinit(&f->helds);
    device_close(d->inner);
    memory_free(d->bufs->memory, f, sizeof(*f));
}

static const struct device_ops fault_ops = {
    .name = "fault",
    .recv = fault_recv,
    .send = fault_send,
    .expire = fault_expire,
    .next_ns = fault_next_ns,
    .close = fault_close,
};

static void path_init(struct path *h, bool is_on, uint64_t seed)
{
    *h = (struct path){.is_on = is_on, .random = seed};
    list_init(&h->held);
}

int fault_open(struct device **out, struct device *inner, const char *spec, uint64_t seed,
               adit_error *err)
{
    struct memory *memory = inner->bufs->memory;
    struct fault *f = NULL;
    struct fault_spec s;
    int rc = fault_spec_parse(&s, spec, seed, err);

    if (rc == ADIT_OK) {
        f = memory_alloc(memory, sizeof(*f));
        if (!f)
            rc = error_set(err, ADIT_ENOMEM, 0, "fault", "no memory for the fault injector",
                           "raise the memory budget (memory_bytes)");
    }
    if (!f) {
        device_close(inner);
        return rc;
    }
    *f = (struct fault){.spec = s};
    wrapper_init(&f->dev, &fault_ops, inner);
    pool_init(&f->helds, memory, sizeof(struct held), (uint32_t)(2 * s.queue_packets));
    path_init(&f->in, s.dir != DIR_OUT, s.seed);
    path_init(&f->out, s.dir != DIR_IN, ~s.seed);
    *out = &f->dev;
    return ADIT_OK;
}
