/* SPDX-License-Identifier: MIT */
/* What a SOCKS5 server may say. The first octet of the input chooses the way to greet and the size of the pieces in
 * which the rest arrives. However it is cut, the handshake ends in the same place and takes the same octets; it never
 * has room for more than the longest answers. The same octets are then read as a datagram. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "proxy/socks5_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

enum { WITH_ACCOUNT = 1, PIPELINED = 2, CHUNK_SHIFT = 2 };

/* Returns how many octets were taken. */
static size_t greet(struct socks5_handshake *h, uint8_t way, const uint8_t *data, size_t len_bytes)
{
    static const struct url_account account = {.user_bytes = 1, .user = "u"};
    const adit_dest to = {.host = "host", .addr = {.port = 80}};
    size_t done_bytes = 0, chunk_bytes = (size_t)(way >> CHUNK_SHIFT) + 1;
    int err = socks5_handshake_init(h, way & WITH_ACCOUNT ? &account : NULL, SOCKS5_CONNECT, &to,
                                    way & PIPELINED);

    assert(err == 0);
    while (!socks5_handshake_is_over(h)) {
        size_t n;
        uint8_t *room;

        (void)socks5_handshake_output(h, &n);
        socks5_handshake_sent(h, n);
        room = socks5_handshake_room(h, &n);
        assert(n > 0);
        n = n < chunk_bytes ? n : chunk_bytes;
        n = n < len_bytes - done_bytes ? n : len_bytes - done_bytes;
        if (n == 0) {
            socks5_handshake_end(h);
            break;
        }
        memcpy(room, data + done_bytes, n);
        socks5_handshake_input(h, n);
        done_bytes += n;
    }
    assert(done_bytes <= SOCKS5_IN_MAX);
    return done_bytes;
}

static void compare_pieces(uint8_t way, const uint8_t *data, size_t len_bytes)
{
    struct socks5_handshake h, whole;
    size_t taken_bytes = greet(&h, way, data, len_bytes);
    size_t whole_bytes = greet(&whole, way | (uint8_t)(0xff << CHUNK_SHIFT), data, len_bytes);

    assert(h.phase == whole.phase && h.error == whole.error && h.reply == whole.reply);
    assert(h.phase != SOCKS5_DONE || taken_bytes == whole_bytes);
    assert(h.phase != SOCKS5_FAILED || (h.error < 0 && h.why));
}

static void read_datagram(const uint8_t *data, size_t len_bytes)
{
    uint8_t header[SOCKS5_UDP_HEADER_MAX];
    struct socks5_datagram d;
    adit_dest to;

    if (!socks5_udp_parse(&d, data, len_bytes))
        return;
    assert(d.payload + d.payload_bytes == data + len_bytes);
    to = (adit_dest){.addr = d.from};
    assert(d.from.family == 0 || socks5_udp_emit(header, &to) > 0);
    assert(d.from.family != 0 || d.host + d.host_bytes + 2 == d.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    if (len_bytes == 0)
        return 0;
    compare_pieces(data[0], data + 1, len_bytes - 1);
    read_datagram(data + 1, len_bytes - 1);
    return 0;
}
