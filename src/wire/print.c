/* SPDX-License-Identifier: MIT */
/* print: a packet in one line.
 *
 *   4 10.0.0.2:40000 > 1.2.3.4:80 S seq 7 win 64240 <mss 1460,sackOK,ts 1/0,wscale 7>
 *   6 [fd00::2]:40000 > [2001:db8::1]:443 P. seq 8:108 ack 20 win 501 <ts 5/9> len 100
 *   4 10.0.0.2:5353 > 1.1.1.1:53 udp len 33
 *   4 10.0.0.2 > 1.1.1.1 echo request id 5 seq 1 len 56
 *   4 10.0.0.2 > 1.1.1.1 too big mtu 1280 len 548
 *   4 10.0.0.2 > 1.1.1.1 frag id 77 offset 1480+ proto 17 len 1480
 *   4 10.0.0.2 > 1.1.1.1 ip_options of 60 octets
 *
 * Flags are those of tcpdump (F S R P . U E W). A "+" says that more fragments follow. What cannot be parsed is named by
 * its drop reason. Checksums are not looked at: a packet on its way to the device has none yet. */
#include "wire/print.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "adit/base.h"
#include "wire/drop.h"
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/tcp.h"
#include "wire/udp.h"

struct line {
    char *text;
    size_t bytes;  /* of text */
    size_t length; /* what was wanted so far */
};

__attribute__((format(printf, 2, 3))) static void line_add(struct line *l, const char *format, ...)
{
    size_t at = l->length < l->bytes ? l->length : l->bytes;
    char *end = l->bytes > 0 ? l->text + at : NULL;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(end, l->bytes - at, format, args);
    va_end(args);
    l->length += n > 0 ? (size_t)n : 0;
}

static void line_add_address(struct line *l, const uint8_t ip[16], uint16_t port)
{
    adit_addr a = {.family = ip_is_mapped4(ip) ? 4 : 6, .port = port};
    char text[ADIT_ADDR_TEXT];

    memcpy(a.ip, ip, sizeof(a.ip));
    adit_addr_format(&a, text, sizeof(text));
    line_add(l, "%s", text);
}

/* Version, source and destination; ports of 0 are left out. */
static void print_ends(struct line *l, const struct ip_header *h, uint16_t src_port,
                       uint16_t dst_port)
{
    line_add(l, "%u ", h->version);
    line_add_address(l, h->src, src_port);
    line_add(l, " > ");
    line_add_address(l, h->dst, dst_port);
}

static void print_drop(struct line *l, const struct ip_header *h, enum drop why, size_t len_bytes)
{
    print_ends(l, h, 0, 0);
    line_add(l, " %s of %zu octets", drop_name(why), len_bytes);
}

static void print_length(struct line *l, uint32_t len_bytes)
{
    if (len_bytes > 0)
        line_add(l, " len %u", len_bytes);
}

static void print_tcp_flags(struct line *l, uint8_t flags)
{
    static const char letters[] = "FSRP.UEW";

    line_add(l, " ");
    for (unsigned i = 0; i < 8; i++) {
        if (flags & 1u << i)
            line_add(l, "%c", letters[i]);
    }
}

static void print_tcp_options(struct line *l, const struct tcp_segment *s)
{
    const char *comma = " <";

    if (s->has_mss) {
        line_add(l, "%smss %u", comma, s->mss_bytes);
        comma = ",";
    }
    if (s->sack_permitted) {
        line_add(l, "%ssackOK", comma);
        comma = ",";
    }
    if (s->has_ts) {
        line_add(l, "%sts %u/%u", comma, s->ts_val, s->ts_ecr);
        comma = ",";
    }
    if (s->has_wscale) {
        line_add(l, "%swscale %u", comma, s->wscale_log2);
        comma = ",";
    }
    for (unsigned i = 0; i < s->sacks_count; i++) {
        line_add(l, "%ssack %u:%u", comma, s->sacks[i].from, s->sacks[i].to);
        comma = ",";
    }
    if (*comma == ',')
        line_add(l, ">");
}

static void print_tcp(struct line *l, const struct ip_header *h, const uint8_t *data)
{
    struct tcp_segment s;
    enum drop why = tcp_parse(&s, data, h->payload_bytes);

    if (why != DROP_NONE) {
        print_drop(l, h, why, h->payload_bytes);
        return;
    }
    print_ends(l, h, s.src_port, s.dst_port);
    print_tcp_flags(l, s.flags);
    line_add(l, " seq %u", s.seq);
    if (s.len_bytes > 0)
        line_add(l, ":%u", s.seq + s.len_bytes);
    if (s.flags & TCP_ACK)
        line_add(l, " ack %u", s.ack);
    line_add(l, " win %u", s.wnd);
    print_tcp_options(l, &s);
    print_length(l, s.len_bytes);
}

static void print_udp(struct line *l, const struct ip_header *h, const uint8_t *data)
{
    struct udp_header u;
    enum drop why = udp_parse(&u, data, h->payload_bytes, 0);

    if (why != DROP_NONE) {
        print_drop(l, h, why, h->payload_bytes);
        return;
    }
    print_ends(l, h, u.src_port, u.dst_port);
    line_add(l, " udp len %u", u.data_bytes);
}

static const char *icmp_kind_name(enum icmp_kind kind)
{
    switch (kind) {
    case ICMP_ECHO_REQUEST:
        return "echo request";
    case ICMP_ECHO_REPLY:
        return "echo reply";
    case ICMP_UNREACH_NET:
        return "net unreachable";
    case ICMP_UNREACH_HOST:
        return "host unreachable";
    case ICMP_UNREACH_PROTOCOL:
        return "protocol unreachable";
    case ICMP_UNREACH_PORT:
        return "port unreachable";
    case ICMP_UNREACH_ADMIN:
        return "prohibited";
    case ICMP_TOO_BIG:
        return "too big";
    case ICMP_TTL_EXCEEDED:
        return "ttl exceeded";
    case ICMP_REASSEMBLY_EXCEEDED:
        return "reassembly time exceeded";
    case ICMP_PARAMETER:
        return "parameter problem";
    case ICMP_OTHER:
        break;
    }
    return "icmp";
}

static void print_icmp(struct line *l, const struct ip_header *h, const uint8_t *data)
{
    struct icmp_message m;
    enum drop why = icmp_parse(&m, h, data, h->payload_bytes, false);

    if (why != DROP_NONE) {
        print_drop(l, h, why, h->payload_bytes);
        return;
    }
    print_ends(l, h, 0, 0);
    line_add(l, " %s", icmp_kind_name(m.kind));
    if (m.kind == ICMP_ECHO_REQUEST || m.kind == ICMP_ECHO_REPLY)
        line_add(l, " id %u seq %u", m.id, m.seq);
    else if (m.kind == ICMP_TOO_BIG)
        line_add(l, " mtu %u", m.mtu_bytes);
    else if (m.kind == ICMP_PARAMETER)
        line_add(l, " code %u at %u", m.code, m.pointer);
    else if (m.kind == ICMP_OTHER)
        line_add(l, " type %u code %u", m.type, m.code);
    print_length(l, m.data_bytes);
}

static void print_fragment(struct line *l, const struct ip_header *h)
{
    print_ends(l, h, 0, 0);
    line_add(l, " frag id %u offset %u%s proto %u", h->fragment_id, h->fragment_offset_bytes,
             h->more_fragments ? "+" : "", h->proto);
    print_length(l, h->payload_bytes);
}

static void print_protocol(struct line *l, const struct ip_header *h)
{
    print_ends(l, h, 0, 0);
    line_add(l, " proto %u", h->proto);
    print_length(l, h->payload_bytes);
}

/* Whether the reason leaves the addresses valid (see ip_parse). */
static bool print_knows_ends(enum drop why)
{
    return why != DROP_IP_TRUNCATED && why != DROP_IP_VERSION && why != DROP_IP_HEADER;
}

int packet_print(char *text, size_t text_bytes, const uint8_t *packet, size_t len_bytes)
{
    struct line l = {.text = text, .bytes = text_bytes};
    struct ip_header h;
    enum drop why = ip_parse(&h, packet, len_bytes, false);
    const uint8_t *data = why == DROP_NONE ? packet + h.header_bytes : packet;

    if (!print_knows_ends(why))
        line_add(&l, "%s of %zu octets", drop_name(why), len_bytes);
    else if (why != DROP_NONE)
        print_drop(&l, &h, why, len_bytes);
    else if (ip_is_fragment(&h))
        print_fragment(&l, &h);
    else if (h.proto == IP_PROTO_TCP)
        print_tcp(&l, &h, data);
    else if (h.proto == IP_PROTO_UDP)
        print_udp(&l, &h, data);
    else if (h.proto == (h.version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6))
        print_icmp(&l, &h, data);
    else
        print_protocol(&l, &h);
    return (int)l.length;
}
