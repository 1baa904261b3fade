/* SPDX-License-Identifier: MIT */
/* Sequences of fragments. Each record of eight octets is one of them, or a pause:
 *
 *   family and more-fragments bit   id   offset/8 (2)   length (2)   protocol   ms/64 to wait before it
 *
 * Their octets are those of one valid UDP datagram of each family, so that some of what is put together is right. */
#include "base/bytes.h"
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

enum { WHOLE_BYTES = 65535 };

struct fragment {
    bool is6, more;
    uint8_t id, proto;
    uint16_t offset, len;
};

static uint32_t emit4(uint8_t *out, const struct fragment *f, const uint8_t *whole)
{
    struct ip_header h = {.proto = f->proto, .ttl = 64, .payload_bytes = f->len, .fragment_id = f->id};

    ip_map4(h.src, (const uint8_t[]){10, 0, 0, 2});
    ip_map4(h.dst, (const uint8_t[]){1, 2, 3, 4});
    (void)ip_emit(out, &h);
    put_be16(out + 6, (uint16_t)(f->offset % 0x2000 | (f->more ? 0x2000 : 0)));
    put_be16(out + 10, 0);
    put_be16(out + 10, checksum_finish(checksum_add(0, out, IP4_HEADER_BYTES)));
    memcpy(out + IP4_HEADER_BYTES, whole, f->len);
    return IP4_HEADER_BYTES + f->len;
}

static uint32_t emit6(uint8_t *out, const struct fragment *f, const uint8_t *whole)
{
    struct ip_header h = {.proto = 44, .ttl = 64, .payload_bytes = 8u + f->len, .src = {0xfd, 1}, .dst = {0xfd, 2}};
    uint8_t *fragment = out + ip_emit(out, &h);

    fragment[0] = f->proto;
    fragment[1] = 0;
    put_be16(fragment + 2, (uint16_t)(f->offset << 3 | f->more));
    put_be32(fragment + 4, f->id);
    memcpy(fragment + 8, whole, f->len);
    return IP6_HEADER_BYTES + 8u + f->len;
}

static void give(struct core *c, struct bytes *in, const uint8_t *whole)
{
    static uint8_t packet[2 * WHOLE_BYTES];
    struct fragment f;
    uint8_t kind = bytes_u8(in);
    uint32_t at, n;

    f.is6 = kind & 1;
    f.more = kind & 2;
    f.id = bytes_u8(in);
    f.offset = bytes_be16(in) % 0x2000;
    f.len = bytes_be16(in) % 9000;
    f.proto = bytes_u8(in);
    core_sleep(c, bytes_u8(in) * 64000000ull);
    at = f.offset * 8u;
    if (at + f.len > WHOLE_BYTES)
        at = WHOLE_BYTES - f.len; /* beyond what there is: any octets will do */
    n = f.is6 ? emit6(packet, &f, whole + at) : emit4(packet, &f, whole + at);
    core_input(c, packet, n, 0, PACKET_CSUM_UNKNOWN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct core c;
    static uint8_t whole[WHOLE_BYTES];
    struct bytes in = bytes_of(data, len_bytes);

    for (uint32_t i = 0; i < WHOLE_BYTES; i++)
        whole[i] = (uint8_t)(i * 7);
    put_be16(whole, 1000);
    put_be16(whole + 2, 2000);
    put_be16(whole + 4, 64);
    put_be16(whole + 6, 0);
    core_begin(&c);
    while (bytes_left(&in) >= 8)
        give(&c, &in, whole);
    core_end(&c);
    return 0;
}
