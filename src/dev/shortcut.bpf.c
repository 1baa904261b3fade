/* SPDX-License-Identifier: MIT */
/* shortcut: the tc program on the device's egress (shortcut.h): what leaves the kernel for us and belongs to a known flow gets
 * the addresses and ports of its other half and comes back in at once, so that its payload never leaves the kernel.
 *
 * Everything else goes on to the process: packets of no entry, SYNs (whether they may open a flow is decided there) and RSTs
 * (they end one), fragments, options, extension headers, all that is not TCP. It rewrites them itself, so an entry that is
 * missing costs time and nothing else.
 *
 * Super-segments pass whole. Their checksum is that of the pseudo-header only, which is what BPF_F_PSEUDO_HDR is for: it says
 * that a change concerns the addresses, and the helper knows which kind of sum the packet has. The time is written once a
 * tick, so that the entry is not written for every packet. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "dev/shortcut_map.h"

#define FRAGMENT_BITS 0x3fff /* more fragments, and the offset */

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 2); /* the process says how many */
    __type(key, struct shortcut_ends);
    __type(value, struct shortcut_entry);
} flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct shortcut_count);
} counts SEC(".maps");

static __always_inline void note(struct __sk_buff *skb, struct shortcut_entry *entry, int is_fin)
{
    __u64 now_ns = bpf_ktime_get_coarse_ns();
    __u32 zero = 0;
    struct shortcut_count *count = bpf_map_lookup_elem(&counts, &zero);

    if (entry->heard_ns != now_ns)
        entry->heard_ns = now_ns;
    if (is_fin)
        entry->seen = SHORTCUT_FIN;
    if (count) {
        count->packets++;
        count->bytes += skb->len;
    }
}

/* tcp_at: where the TCP header is. The helpers may move the packet: no pointer into it lives across them. */
static __always_inline int put_tcp(struct __sk_buff *skb, const struct shortcut_entry *entry, __u32 tcp_at)
{
    __u32 sum_at = tcp_at + offsetof(struct tcphdr, check);

    if (bpf_l4_csum_replace(skb, sum_at, 0, entry->addrs_diff, BPF_F_PSEUDO_HDR) < 0 ||
        bpf_l4_csum_replace(skb, sum_at, 0, entry->ports_diff, 0) < 0 ||
        bpf_skb_store_bytes(skb, tcp_at, &entry->to.src_port, 4, 0) < 0)
        return TC_ACT_SHOT;
    return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

static __always_inline int is_for_the_process(const struct tcphdr *tcp)
{
    return tcp->rst || (tcp->syn && !tcp->ack);
}

static __always_inline int turn_ip4(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    const struct iphdr *ip = data;
    const struct tcphdr *tcp = (const void *)(ip + 1);
    struct shortcut_ends key = {.src = {0, 0, bpf_htonl(0xffff), 0}, .dst = {0, 0, bpf_htonl(0xffff), 0}};
    struct shortcut_entry *entry;

    if ((const void *)(tcp + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_TCP ||
        ip->frag_off & bpf_htons(FRAGMENT_BITS) || is_for_the_process(tcp))
        return TC_ACT_OK;
    key.src[3] = ip->saddr;
    key.dst[3] = ip->daddr;
    key.src_port = tcp->source;
    key.dst_port = tcp->dest;
    entry = bpf_map_lookup_elem(&flows, &key);
    if (!entry)
        return TC_ACT_OK;
    note(skb, entry, tcp->fin);
    if (bpf_l3_csum_replace(skb, offsetof(struct iphdr, check), 0, entry->addrs_diff, 0) < 0 ||
        bpf_skb_store_bytes(skb, offsetof(struct iphdr, saddr), &entry->to.src[3], 4, 0) < 0 ||
        bpf_skb_store_bytes(skb, offsetof(struct iphdr, daddr), &entry->to.dst[3], 4, 0) < 0)
        return TC_ACT_SHOT;
    return put_tcp(skb, entry, sizeof(*ip));
}

static __always_inline int turn_ip6(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    const struct ipv6hdr *ip = data;
    const struct tcphdr *tcp = (const void *)(ip + 1);
    struct shortcut_ends key;
    struct shortcut_entry *entry;

    if ((const void *)(tcp + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_TCP || is_for_the_process(tcp))
        return TC_ACT_OK;
    __builtin_memcpy(key.src, &ip->saddr, 16);
    __builtin_memcpy(key.dst, &ip->daddr, 16);
    key.src_port = tcp->source;
    key.dst_port = tcp->dest;
    entry = bpf_map_lookup_elem(&flows, &key);
    if (!entry)
        return TC_ACT_OK;
    note(skb, entry, tcp->fin);
    if (bpf_skb_store_bytes(skb, offsetof(struct ipv6hdr, saddr), entry->to.src, 32, 0) < 0)
        return TC_ACT_SHOT;
    return put_tcp(skb, entry, sizeof(*ip));
}

SEC("tc")
int adit_shortcut(struct __sk_buff *skb)
{
    switch (skb->protocol) {
    case bpf_htons(ETH_P_IP):
        return turn_ip4(skb);
    case bpf_htons(ETH_P_IPV6):
        return turn_ip6(skb);
    default:
        return TC_ACT_OK;
    }
}

char shortcut_license[] SEC("license") = "MIT"; /* no helper that asks for more */
