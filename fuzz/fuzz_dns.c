/* SPDX-License-Identifier: MIT */
/* A datagram to a name server. An answer fits, has the query's id, is marked as one, and is met with silence when it is
 * sent back; the same octets as somebody's answer are cut without growing. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/dns_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static const struct dns_record record = {
    .name = "hello.adit.test",
    .a4 = {.ip = {[10] = 0xff, [11] = 0xff, 198, 18, 0, 1}, .family = 4},
    .a6 = {.ip = {0xfd, 0x5a, [15] = 1}, .family = 6},
    .ttl_seconds = 10,
};

static void answer(const uint8_t *data, size_t len_bytes)
{
    uint8_t out[DNS_ANSWER_MAX], again[DNS_ANSWER_MAX];
    size_t n = dns_answer(out, data, len_bytes, &record);

    if (n == 0)
        return;
    assert(n >= DNS_HEADER_BYTES && n <= sizeof(out));
    assert(memcmp(out, data, 2) == 0 && (out[2] & 0x80));
    assert(dns_answer(again, out, n, &record) == 0);
}

static void cut(const uint8_t *data, size_t len_bytes)
{
    uint8_t *copy = malloc(len_bytes ? len_bytes : 1);
    size_t n;

    assert(copy);
    memcpy(copy, data, len_bytes);
    n = dns_truncate(copy, len_bytes);
    assert(n <= len_bytes);
    assert(n == 0 || (copy[2] & 0x02));
    assert(n == 0 || dns_truncate(copy, n) == n);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    answer(data, len_bytes);
    cut(data, len_bytes);
    return 0;
}
