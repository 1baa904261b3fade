/* SPDX-License-Identifier: MIT */
/* ip_input: IP packets in.
 *
 *   parse --+--> served? --+--> fragment? --yes--> frag_input --whole--> parse again --+
 *           |              |        |                                                  |
 *           v              v        +--no--> land? --> by protocol: TCP, UDP, ICMP <---+
 *         reason         reason                             anything else: protocol unreachable
 *
 * What one header alone can show is checked by wire/ip.h; here is what depends on who we are. Addresses that cannot be on
 * a wire between a client and us are refused unless the host allows martians. What is refused silently and what is
 * answered follows RFC 1122 section 3.2.2 and RFC 8200 sections 3 and 4. */
#include "net/ip.h"
#include <string.h>
#include "net/net.h"
#include "net/udp.h"

/* 240/4 is served: some use it as if it were private. */
static bool src_is_martian(const uint8_t ip[16])
{
    return ip_is_unspecified(ip) || ip_is_loopback(ip) || ip_is_multicast(ip) ||
           ip_is_broadcast(ip) ||
           (!ip_is_mapped4(ip) && ip_is_reserved(ip));
}

static bool dst_is_martian(const uint8_t ip[16])
{
    return src_is_martian(ip); /* multicast needs a membership, which a flow has not */
}

static enum drop ip_check_addresses(const struct net *net, const struct ip_header *h)
{
    if (net->config.allow_martians)
        return DROP_NONE;
    if (src_is_martian(h->src))
        return DROP_IP_MARTIAN_SRC;
    return dst_is_martian(h->dst) ? DROP_IP_MARTIAN_DST : DROP_NONE;
}

/* RFC 8200 4.2, 4.4: some of what is refused must be told. Only IPv6 has it. */
static void ip_tell_problem(struct net *net, const struct ip_header *h, const struct packet *p,
                            enum drop why, uint64_t now_ns)
{
    if (why == DROP_IP_EXTENSION && h->problem_at > 0)
        (void)icmp_parameter(net, h, p, 2, h->problem_at, now_ns);
    else if (why == DROP_IP_ROUTING_HEADER)
        (void)icmp_parameter(net, h, p, 0, h->header_bytes + 2, now_ns); /* the routing type */
}

/* Source and destination are one: an answer would go to its sender for ever. */
static bool ip_is_land(const struct ip_header *h, const struct packet *p)
{
    const uint8_t *ports = p->data + h->header_bytes;

    if (memcmp(h->src, h->dst, sizeof(h->src)) != 0)
        return false;
    if ((h->proto != IP_PROTO_TCP && h->proto != IP_PROTO_UDP) || h->payload_bytes < 4)
        return true;
    return ports[0] == ports[2] && ports[1] == ports[3];
}

static enum drop ip_deliver(struct net *net, const struct ip_header *h, const struct packet *p,
                            uint64_t now_ns)
{
    if (ip_is_land(h, p))
        return DROP_IP_LAND;
    if (net->config.loopbacks_count > 0 && ip_turns(net, h))
        return ip_turn(net, h, p);
    if (h->proto == IP_PROTO_TCP)
        return net->tcp_ops ? net->tcp_ops->input(net->tcp, h, p, now_ns) : DROP_TCP_NO_FLOW;
    if (h->proto == IP_PROTO_UDP)
        return udp_input(net, h, p, now_ns);
    if (h->proto == (h->version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6))
        return icmp_input(net, h, p, now_ns);
    if (h->version == 4 || h->proto != IP6_NO_NEXT_HEADER)
        (void)icmp_error(net, h, p->data, p->len_bytes, ICMP_UNREACH_PROTOCOL, 0, NULL, now_ns);
    return DROP_IP_PROTOCOL;
}

/* All fragments of a datagram come together at one of the workers, which then knows whose it is. */
static unsigned ip_fragment_worker(const struct net *net, const struct ip_header *fragment)
{
    uint8_t pair[32];

    memcpy(pair, fragment->src, 16);
    memcpy(pair + 16, fragment->dst, 16);
    return (unsigned)(siphash13(&net->flows.key, pair, sizeof(pair)) % net->config.workers);
}

static enum drop ip_input_fragment(struct net *net, const struct ip_header *fragment,
                                   const struct packet *p, uint64_t now_ns)
{
    struct packet whole;
    struct ip_header h;
    enum drop why;

    if (net->config.owners && ip_fragment_worker(net, fragment) != net->config.worker)
        return net_hand_over_to(net, ip_fragment_worker(net, fragment), p);
    why = frag_input(net, fragment, p, &whole, now_ns);
    if (why != DROP_NONE || !whole.buf)
        return why;
    why = ip_parse(&h, whole.data, whole.len_bytes, true);
    h.dont_fragment = false; /* its sender did */
    /* A fragment header behind a fragment header: nobody honest sends it. */
    if (why == DROP_NONE && ip_is_fragment(&h))
        why = DROP_IP_EXTENSION;
    if (why == DROP_NONE)
        why = ip_deliver(net, &h, &whole, now_ns);
    else
        ip_tell_problem(net, &h, &whole, why, now_ns);
    buf_unref(whole.buf);
    return why;
}

enum drop ip_input(struct net *net, const struct packet *p, uint64_t now_ns)
{
    struct ip_header h;
    enum drop why = ip_parse(&h, p->data, p->len_bytes, p->csum != PACKET_CSUM_VALID);

    if (why != DROP_NONE) {
        ip_tell_problem(net, &h, p, why, now_ns);
        return why;
    }
    why = ip_check_addresses(net, &h);
    if (why != DROP_NONE)
        return why;
    return ip_is_fragment(&h) ? ip_input_fragment(net, &h, p, now_ns)
                              : ip_deliver(net, &h, p, now_ns);
}
