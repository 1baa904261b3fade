/* SPDX-License-Identifier: MIT */
/* wire/udp: UDP headers (RFC 768).
 *
 * A datagram may be shorter than what IP carries: the octets behind it are not part of it (RFC 9868 puts options
 * there), nor of its checksum. A length of 0, which RFC 2675 gives to jumbograms, is refused. */
#include "wire/udp.h"
#include "base/bytes.h"

enum drop udp_parse(struct udp_header *h, const uint8_t *data, size_t len_bytes, uint16_t gso_bytes)
{
    size_t datagram_bytes = len_bytes;

    *h = (struct udp_header){0};
    if (len_bytes < UDP_HEADER_BYTES)
        return DROP_UDP_HEADER;
    h->src_port = get_be16(data);
    h->dst_port = get_be16(data + 2);
    h->len_bytes = get_be16(data + 4);
    h->checksum = get_be16(data + 6);
    if (h->dst_port == 0)
        return DROP_UDP_HEADER;
    if (gso_bytes == 0) {
        if (h->len_bytes < UDP_HEADER_BYTES || h->len_bytes > len_bytes)
            return DROP_UDP_HEADER;
        datagram_bytes = h->len_bytes;
    }
    h->data = data + UDP_HEADER_BYTES;
    h->data_bytes = (uint32_t)(datagram_bytes - UDP_HEADER_BYTES);
    return DROP_NONE;
}

void udp_emit(uint8_t *out, uint16_t src_port, uint16_t dst_port, uint32_t payload_bytes)
{
    uint64_t len_bytes = (uint64_t)payload_bytes + UDP_HEADER_BYTES;

    put_be16(out, src_port);
    put_be16(out + 2, dst_port);
    put_be16(out + 4, len_bytes > UINT16_MAX ? 0 : (uint16_t)len_bytes);
    put_be16(out + 6, 0);
}
