/* SPDX-License-Identifier: MIT */
/* ip_turn: addresses that mean whoever asks for them (options.loopbacks).
 *
 *   10.0.0.2:5000 -> X:80 ---+
 *                            | no flow, no handler: the client's own server sees somebody at X, and its answer turns too
 *   X:5000 -> 10.0.0.2:80 <--+
 *
 * TCP and UDP only. Ports stay what they are, and a checksum of both addresses does not change when these change places: so it is
 * passed on as it is, damage included, and super-segments stay whole. Nobody's state is touched, in any stack. */
#include <string.h>
#include "base/bytes.h"
#include "net/ip.h"
#include "net/net.h"
#include "wire/checksum.h"
#include "wire/tcp.h"
#include "wire/udp.h"

static bool is_loopback_of(const struct net *net, const uint8_t ip[16])
{
    for (size_t i = 0; i < net->config.loopbacks_count; i++)
        if (memcmp(net->config.loopbacks[i].ip, ip, 16) == 0)
            return true;
    return false;
}

bool ip_turns(const struct net *net, const struct ip_header *h)
{
    return (h->proto == IP_PROTO_TCP || h->proto == IP_PROTO_UDP) && is_loopback_of(net, h->dst);
}

/* Of the transport header; 0: it is none. */
static uint32_t header_bytes(const struct ip_header *h, const uint8_t *transport)
{
    uint32_t bytes = UDP_HEADER_BYTES;

    if (h->proto == IP_PROTO_TCP && h->payload_bytes >= TCP_HEADER_BYTES)
        bytes = (uint32_t)(transport[12] >> 4) * 4;
    if (h->proto == IP_PROTO_TCP && (h->payload_bytes < TCP_HEADER_BYTES || bytes < TCP_HEADER_BYTES))
        return 0;
    return bytes <= h->payload_bytes ? bytes : 0;
}

enum drop ip_turn(struct net *net, const struct ip_header *h, const struct packet *p)
{
    const uint8_t *transport = p->data + h->header_bytes;
    bool is_tcp = h->proto == IP_PROTO_TCP, is_partial = p->gso_bytes > 0 || p->csum == PACKET_CSUM_PARTIAL;
    uint32_t bytes = header_bytes(h, transport);
    struct ip_header back = {.version = h->version, .proto = h->proto, .ttl = h->ttl, .tos = h->tos,
                             .payload_bytes = h->payload_bytes, .dont_fragment = h->dont_fragment};
    struct packet_out out;
    uint8_t *to;

    if (is_loopback_of(net, h->src)) /* between two of them it would turn for ever */
        return DROP_IP_MARTIAN_SRC;
    if (bytes == 0)
        return is_tcp ? DROP_TCP_HEADER : DROP_UDP_HEADER;
    memcpy(back.src, h->dst, sizeof(back.src));
    memcpy(back.dst, h->src, sizeof(back.dst));
    to = net_ip_header(net, &out, &back);
    memcpy(to, transport, bytes);
    out.csum_start = is_partial ? out.headers_bytes : 0;
    out.csum_offset = is_tcp ? 16 : 6;
    if (is_partial)
        put_be16(to + out.csum_offset, checksum_fold(checksum_pseudo(back.src, back.dst, back.proto, back.payload_bytes)));
    out.headers_bytes = (uint8_t)(out.headers_bytes + bytes);
    out.gso_bytes = p->gso_bytes;
    out.payload_bytes = h->payload_bytes - bytes;
    out.slices_count = out.payload_bytes > 0;
    out.slices[0] = (adit_iov){.base = (uint8_t *)(uintptr_t)transport + bytes, .len = out.payload_bytes};
    (void)net_send_fragmented(net, &out, &back);
    return DROP_NONE;
}
