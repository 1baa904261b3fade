/* SPDX-License-Identifier: MIT */
/* A core without TCP, given packets and time. The input is a row of records:
 *
 *   0  flags  gso (2)  length (2)  octets    a packet; flags: its checksum state
 *   1  ms (2)                                time passes
 *   2  reply                                 what is ready is taken, and answered or refused
 *   3  verdict  device_full                  what prepare() and echo say, and whether the device takes anything */
#include "base/bytes.h"
#include "core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static void give(struct core *c, struct bytes *in)
{
    uint8_t flags = bytes_u8(in);
    uint16_t gso_bytes = bytes_be16(in), len = bytes_be16(in);
    size_t left = bytes_left(in);
    const uint8_t *packet = bytes_take(in, len < left ? len : left);

    /* A device has checked that trains are UDP or TCP, and what they are long. */
    core_input(c, packet, len < left ? len : left, flags & 4 ? gso_bytes : 0, flags % 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct core c;
    struct bytes in = bytes_of(data, len_bytes);

    core_begin(&c);
    while (bytes_left(&in) > 0) {
        switch (bytes_u8(&in) % 4) {
        case 0:
            give(&c, &in);
            break;
        case 1:
            core_sleep(&c, bytes_be16(&in) * 1000000ull);
            break;
        case 2:
            core_serve(&c, bytes_u8(&in) & 1);
            break;
        case 3:
            c.verdict = bytes_u8(&in);
            c.device_full = bytes_u8(&in) & 1;
            break;
        }
    }
    core_end(&c);
    return 0;
}
