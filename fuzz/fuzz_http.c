/* SPDX-License-Identifier: MIT */
/* The head of a request, octet by octet: once it is told that it is none, or that it is whole, no more octets change that. */
#include <assert.h>
#include <stdint.h>
#include "proxy/http_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    enum http_parse before = HTTP_MORE;
    struct http_request r;

    for (size_t n = 0; n <= len_bytes && n <= 512; n++) {
        enum http_parse now = http_request_parse(&r, (const char *)data, n);

        assert(before == HTTP_MORE || now == before);
        before = now;
    }
    return 0;
}
