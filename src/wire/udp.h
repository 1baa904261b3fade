/* SPDX-License-Identifier: MIT */
/* wire/udp: UDP headers (RFC 768). */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "wire/drop.h"

enum { UDP_HEADER_BYTES = 8 };

struct udp_header {
    uint16_t src_port, dst_port;
    uint16_t len_bytes;  /* of header and payload; in a train: as the kernel wrote it, not used */
    uint16_t checksum;   /* as on the wire; 0: none */
    const uint8_t *data; /* payload */
    uint32_t data_bytes; /* may end before the IP payload does; the checksum is over the datagram alone */
};

/* `gso_bytes` > 0: a train, whose length field may be that of the whole or of one datagram and is not checked. Port 0 as
 * source is allowed, as destination it is DROP_UDP_HEADER. */
enum drop udp_parse(struct udp_header *h, const uint8_t *data, size_t len_bytes, uint16_t gso_bytes);
/* Eight octets, checksum field 0. payload_bytes + 8 beyond 65535 emits length 0. */
void udp_emit(uint8_t *out, uint16_t src_port, uint16_t dst_port, uint32_t payload_bytes);
