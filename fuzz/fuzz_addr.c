/* SPDX-License-Identifier: MIT */
/* Text as an address: what is taken prints as text that is taken as the same address, and survives the way through
 * a sockaddr. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "adit/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    char in[200], text[ADIT_ADDR_TEXT];
    _Alignas(8) uint8_t storage[128];
    adit_addr a, again;
    int len;

    if (len_bytes >= sizeof(in))
        return 0;
    memcpy(in, data, len_bytes);
    in[len_bytes] = '\0';
    if (adit_addr_parse(&a, in) != ADIT_OK)
        return 0;
    assert(a.family == 4 || a.family == 6);
    assert(adit_addr_format(&a, text, sizeof(text)) < ADIT_ADDR_TEXT);
    assert(adit_addr_parse(&again, text) == ADIT_OK && memcmp(&a, &again, sizeof(a)) == 0);
    assert(adit_addr_to_sockaddr(&a, storage, &len) == ADIT_OK);
    assert(adit_addr_from_sockaddr(&again, storage) == ADIT_OK && memcmp(&a, &again, sizeof(a)) == 0);
    return 0;
}
