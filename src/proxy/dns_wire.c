/* SPDX-License-Identifier: MIT */
/* dns_wire: see dns_wire.h. The name of a question is read without compression: there is nothing before it that it
 * could point to. The records behind the question are skipped over; only an OPT is looked into. */
#include "dns_wire.h"
#include <assert.h>
#include <string.h>

enum {
    FLAG_ANSWER = 0x8000,
    FLAGS_OPERATION = 0x7800,
    FLAG_AUTHORITATIVE = 0x0400,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSE = 0x0100, /* copied into the answer */
    RCODE_FORMAT = 1,
    RCODE_NO_NAME = 3,
    RCODE_NOT_IMPLEMENTED = 4,
    RCODE_REFUSED = 5,
    RCODE_VERSION_HIGH = 1, /* BADVERS is 16: its upper bits, in the OPT */
    LABEL_MAX = 63,
    RECORD_BYTES = 10, /* type, class, ttl, length: behind the name */
    RECORDS_MAX = 64,  /* behind the question; a query has two at most */
    OPT_BYTES = 11,
};

struct reader {
    const uint8_t *at, *end;
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static bool reader_has(const struct reader *r, size_t len_bytes)
{
    return (size_t)(r->end - r->at) >= len_bytes;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool read_name(struct reader *r, uint8_t name[DNS_NAME_MAX], uint8_t *name_bytes)
{
    size_t used_bytes = 0;

    for (;;) {
        size_t label_bytes = reader_has(r, 1) ? *r->at : LABEL_MAX + 1;

        if (label_bytes > LABEL_MAX || used_bytes + label_bytes + 1 > DNS_NAME_MAX ||
            !reader_has(r, label_bytes + 1))
            return false;
        name[used_bytes] = (uint8_t)label_bytes; /* up to 63, so not a letter */
        for (size_t i = 1; i <= label_bytes; i++)
            name[used_bytes + i] = lower(r->at[i]);
        r->at += label_bytes + 1;
        used_bytes += label_bytes + 1;
        if (label_bytes == 0)
            break;
    }
    *name_bytes = (uint8_t)used_bytes;
    return true;
}

/* A name that may end in a pointer. */
static bool skip_name(struct reader *r)
{
    for (size_t used_bytes = 0; used_bytes < DNS_NAME_MAX && reader_has(r, 1);) {
        size_t label_bytes = *r->at;

        if (label_bytes >= 0xc0) {
            if (!reader_has(r, 2))
                return false;
            r->at += 2;
            return true;
        }
        if (label_bytes > LABEL_MAX || !reader_has(r, label_bytes + 1))
            return false;
        r->at += label_bytes + 1;
        used_bytes += label_bytes + 1;
        if (label_bytes == 0)
            return true;
    }
    return false;
}

static void take_opt(struct dns_query *out, const uint8_t *record)
{
    uint16_t udp_bytes = get16(record + 2); /* the class */

    out->has_edns = true;
    out->edns_version = record[5]; /* of the ttl */
    if (udp_bytes > DNS_UDP_BYTES)
        out->udp_bytes = udp_bytes < DNS_UDP_MAX_BYTES ? udp_bytes : DNS_UDP_MAX_BYTES;
}

static bool read_records(struct dns_query *out, struct reader *r, unsigned count)
{
    if (count > RECORDS_MAX)
        return false;
    for (; count > 0; count--) {
        bool is_root = reader_has(r, 1) && *r->at == 0;
        const uint8_t *record;

        if (!skip_name(r) || !reader_has(r, RECORD_BYTES))
            return false;
        record = r->at;
        if (!reader_has(r, RECORD_BYTES + (size_t)get16(record + 8)))
            return false;
        r->at += RECORD_BYTES + (size_t)get16(record + 8);
        if (get16(record) != DNS_TYPE_OPT)
            continue;
        if (!is_root || out->has_edns)
            return false;
        take_opt(out, record);
    }
    return true;
}

enum dns_parse dns_query_parse(struct dns_query *out, const uint8_t *data, size_t len_bytes)
{
    struct reader r = {data, data + len_bytes};
    unsigned records;

    *out = (struct dns_query){.udp_bytes = DNS_UDP_BYTES};
    if (len_bytes < DNS_HEADER_BYTES || (get16(data + 2) & FLAG_ANSWER))
        return DNS_NO_QUERY;
    out->id = get16(data);
    out->flags = get16(data + 2);
    if (out->flags & FLAGS_OPERATION)
        return DNS_UNSUPPORTED;
    r.at += DNS_HEADER_BYTES;
    if (get16(data + 4) != 1 || !read_name(&r, out->name, &out->name_bytes) || !reader_has(&r, 4))
        return DNS_MALFORMED;
    out->type = get16(r.at);
    out->class = get16(r.at + 2);
    r.at += 4;
    out->question_bytes = (size_t)(r.at - data) - DNS_HEADER_BYTES;
    records = (unsigned)get16(data + 6) + get16(data + 8) + get16(data + 10);
    return read_records(out, &r, records) ? DNS_QUERY : DNS_MALFORMED;
}

/* ----------------------------------------------------------------------------------------- answers -- */

static bool name_is(const struct dns_query *q, const char *text)
{
    size_t at = 0;

    for (const char *label = text; *label;) {
        size_t label_bytes = strcspn(label, ".");

        if (at + label_bytes + 1 > q->name_bytes || q->name[at] != label_bytes ||
            memcmp(q->name + at + 1, label, label_bytes) != 0)
            return false;
        at += label_bytes + 1;
        label += label_bytes + (label[label_bytes] == '.');
    }
    return at + 1 == q->name_bytes; /* the root's label is left */
}

static void put_header(uint8_t *out, const struct dns_query *q, unsigned flags)
{
    memset(out, 0, DNS_HEADER_BYTES);
    put16(out, q->id);
    put16(out + 2, FLAG_ANSWER | (q->flags & (FLAGS_OPERATION | FLAG_RECURSE)) | flags);
}

static size_t put_address(uint8_t *out, const struct dns_query *q, const struct dns_record *record)
{
    bool is_4 = q->type == DNS_TYPE_A;
    size_t ip_bytes = is_4 ? 4 : 16;

    put16(out, 0xc000 | DNS_HEADER_BYTES); /* the name: that of the question */
    put16(out + 2, q->type);
    put16(out + 4, DNS_CLASS_IN);
    put16(out + 6, record->ttl_seconds >> 16);
    put16(out + 8, record->ttl_seconds);
    put16(out + 10, (unsigned)ip_bytes);
    memcpy(out + 12, is_4 ? record->a4.ip + 12 : record->a6.ip, ip_bytes);
    return 12 + ip_bytes;
}

static size_t put_opt(uint8_t *out, bool is_bad_version)
{
    memset(out, 0, OPT_BYTES); /* the root, version 0, no flags, no options */
    put16(out + 1, DNS_TYPE_OPT);
    put16(out + 3, DNS_UDP_MAX_BYTES);
    out[5] = is_bad_version ? RCODE_VERSION_HIGH : 0;
    return OPT_BYTES;
}

static size_t answer_query(uint8_t *out, const uint8_t *data, const struct dns_query *q,
                           const struct dns_record *record)
{
    bool is_bad_version = q->has_edns && q->edns_version != 0;
    bool is_ours = name_is(q, record->name);
    bool has_address = is_ours && (q->type == DNS_TYPE_A || q->type == DNS_TYPE_AAAA);
    unsigned flags = is_ours ? FLAG_AUTHORITATIVE : FLAG_AUTHORITATIVE | RCODE_NO_NAME;
    size_t n = DNS_HEADER_BYTES + q->question_bytes;

    if (q->class != DNS_CLASS_IN)
        flags = RCODE_REFUSED;
    if (is_bad_version)
        flags = 0;
    put_header(out, q, flags);
    put16(out + 4, 1);
    memcpy(out + DNS_HEADER_BYTES, data + DNS_HEADER_BYTES,
           q->question_bytes); /* in the client's own spelling */
    if (has_address && q->class == DNS_CLASS_IN && !is_bad_version) {
        put16(out + 6, 1);
        n += put_address(out + n, q, record);
    }
    if (q->has_edns) {
        put16(out + 10, 1);
        n += put_opt(out + n, is_bad_version);
    }
    assert(n <= DNS_ANSWER_MAX);
    return n;
}

size_t dns_answer(uint8_t out[DNS_ANSWER_MAX], const uint8_t *data, size_t len_bytes,
                  const struct dns_record *record)
{
    struct dns_query q;

    switch (dns_query_parse(&q, data, len_bytes)) {
    case DNS_NO_QUERY:
        break;
    case DNS_MALFORMED:
        put_header(out, &q, RCODE_FORMAT);
        return DNS_HEADER_BYTES;
    case DNS_UNSUPPORTED:
        put_header(out, &q, RCODE_NOT_IMPLEMENTED);
        return DNS_HEADER_BYTES;
    case DNS_QUERY:
        return answer_query(out, data, &q, record);
    }
    return 0;
}

size_t dns_truncate(uint8_t *answer, size_t len_bytes)
{
    uint8_t name[DNS_NAME_MAX], name_bytes;
    struct reader r = {answer, answer + len_bytes};
    bool has_question;

    if (len_bytes < DNS_HEADER_BYTES || !(get16(answer + 2) & FLAG_ANSWER))
        return 0;
    r.at += DNS_HEADER_BYTES;
    has_question = get16(answer + 4) == 1 && read_name(&r, name, &name_bytes) && reader_has(&r, 4);
    put16(answer + 2, get16(answer + 2) | FLAG_TRUNCATED);
    memset(answer + 4, 0, 8);
    if (!has_question)
        return DNS_HEADER_BYTES;
    put16(answer + 4, 1);
    return (size_t)(r.at + 4 - answer);
}
