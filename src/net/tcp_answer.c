/* SPDX-License-Identifier: MIT */
/* tcp_answer: what TCP says without a connection (tcp_answer.h). Our own TCP and the translator to the kernel's
 * (nat.c) both refuse by it, so a refusal looks the same whoever terminates. RFC 9293 3.10.7.1. */
#include "net/tcp_answer.h"
#include <string.h>
#include "base/bytes.h"
#include "wire/checksum.h"

enum { TCP_CSUM_OFFSET = 16 };

void tcp_out_begin(struct net *net, struct packet_out *p, struct ip_header *ip, const struct tcp_segment *s)
{
    uint8_t *header;
    uint32_t header_bytes = (uint32_t)tcp_emit_bytes(s);
    uint16_t pseudo;

    ip->payload_bytes = header_bytes + p->payload_bytes;
    ip->proto = IP_PROTO_TCP;
    ip->dont_fragment = true;
    header = net_ip_header(net, p, ip);
    (void)tcp_emit(header, s);
    p->csum_start = p->headers_bytes;
    p->csum_offset = TCP_CSUM_OFFSET;
    pseudo = checksum_fold(checksum_pseudo(ip->src, ip->dst, IP_PROTO_TCP, ip->payload_bytes));
    put_be16(header + p->csum_offset, pseudo);
    p->headers_bytes = (uint8_t)(p->headers_bytes + header_bytes);
}

void tcp_answer_reset(struct net *net, const struct ip_header *about, const struct tcp_segment *s)
{
    struct packet_out p;
    struct ip_header ip = {.version = ip_is_mapped4(about->src) ? 4 : 6};
    struct tcp_segment rst = {.src_port = s->dst_port, .dst_port = s->src_port, .flags = TCP_RST};

    if (s->flags & TCP_ACK) {
        rst.seq = s->ack;
    } else {
        rst.flags |= TCP_ACK;
        rst.ack = s->seq + tcp_segment_span(s);
    }
    memcpy(ip.src, about->dst, 16);
    memcpy(ip.dst, about->src, 16);
    p.slices_count = 0;
    p.payload_bytes = p.gso_bytes = 0;
    tcp_out_begin(net, &p, &ip, &rst);
    (void)net_send(net, &p);
}

void tcp_answer_unreachable(struct net *net, const struct flow_key *key, uint32_t isn, int verdict, uint64_t now_ns)
{
    uint8_t packet[PACKET_HEADERS_MAX];
    struct ip_header ip = {.version = ip_is_mapped4(key->client) ? 4 : 6, .proto = IP_PROTO_TCP, .ttl = 64};
    struct tcp_segment syn = {
        .src_port = key->client_port,
        .dst_port = key->remote_port,
        .seq = isn,
        .flags = TCP_SYN,
    };
    size_t len;

    memcpy(ip.src, key->client, 16);
    memcpy(ip.dst, key->remote, 16);
    ip.payload_bytes = TCP_HEADER_BYTES;
    len = ip_emit(packet, &ip);
    ip.header_bytes = (uint32_t)len;
    len += tcp_emit(packet + len, &syn);
    (void)icmp_error(net, &ip, packet, len, icmp_kind_of_verdict(verdict), 0, NULL, now_ns);
}

bool tcp_checksum_is_right(const struct net *net, const struct ip_header *ip, const struct packet *p)
{
    uint64_t sum;

    if (net_trusts_checksum(net, p))
        return true;
    sum = checksum_pseudo(ip->src, ip->dst, IP_PROTO_TCP, ip->payload_bytes);
    sum = checksum_add(sum, p->data + ip->header_bytes, ip->payload_bytes);
    return checksum_finish(sum) == 0;
}
