/* SPDX-License-Identifier: MIT */
/* packet: any octets as a packet: IP, then what it carries, then its line of text. The input is the packet. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "wire/icmp.h"
#include "wire/ip.h"
#include "wire/print.h"
#include "wire/tcp.h"
#include "wire/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static void check_tcp(const uint8_t *data, size_t len_bytes)
{
    struct tcp_segment s;

    if (tcp_parse(&s, data, len_bytes) == DROP_NONE)
        assert(s.data + s.len_bytes == data + len_bytes);
}

static void check_udp(const uint8_t *data, size_t len_bytes)
{
    struct udp_header h;

    if (udp_parse(&h, data, len_bytes, 0) == DROP_NONE)
        assert(h.data_bytes + UDP_HEADER_BYTES == h.len_bytes && h.len_bytes <= len_bytes);
    if (udp_parse(&h, data, len_bytes, 100) == DROP_NONE)
        assert(h.data + h.data_bytes == data + len_bytes);
}

/* An ICMP error may quote a packet, which is parsed in turn; whether it is quoted is all that changes. */
static void check_icmp(const struct ip_header *ip, const uint8_t *data, size_t len_bytes)
{
    struct icmp_message m;
    struct ip_header quoted;

    icmp_parse(&m, ip, data, len_bytes, true);
    if (icmp_parse(&m, ip, data, len_bytes, false) != DROP_NONE || !icmp_is_error(m.kind))
        return;
    if (ip_parse_quoted(&quoted, m.data, m.data_bytes) == DROP_NONE)
        assert(quoted.header_bytes + quoted.payload_bytes <= m.data_bytes);
}

static void check_ip(const struct ip_header *h, const uint8_t *packet, size_t len_bytes)
{
    const uint8_t *data = packet + h->header_bytes;

    assert(h->header_bytes + h->payload_bytes <= len_bytes);
    assert(h->proto_at < h->header_bytes && h->unfragmentable_bytes < h->header_bytes);
    assert(ip_is_mapped4(h->src) == (h->version == 4));
    assert(ip_is_mapped4(h->dst) == (h->version == 4));
    check_tcp(data, h->payload_bytes);
    check_udp(data, h->payload_bytes);
    check_icmp(h, data, h->payload_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct ip_header h;
    char text[512];
    int length;

    if (ip_parse(&h, data, len_bytes, true) == DROP_NONE)
        assert(ip_parse(&h, data, len_bytes, false) == DROP_NONE);
    if (ip_parse(&h, data, len_bytes, false) == DROP_NONE) {
        check_ip(&h, data, len_bytes);
        assert(ip_parse_quoted(&h, data, len_bytes) == DROP_NONE);
    }
    if (ip_parse_quoted(&h, data, len_bytes) == DROP_NONE)
        check_ip(&h, data, len_bytes);
    length = packet_print(text, sizeof(text), data, len_bytes);
    assert(length > 0 && (size_t)length == strlen(text) && !strchr(text, '\n'));
    return 0;
}
