/* SPDX-License-Identifier: MIT */
/* version: what this build is, and what it can do. */
#include <stdlib.h>
#include "adit/base.h"

uint32_t adit_version(void)
{
    const char *text = ADIT_VERSION; /* "major.minor.patch" */
    uint32_t version = 0;

    for (int i = 0; i < 3; i++) {
        char *end;

        version = version << 8 | (uint32_t)(strtoul(text, &end, 10) & 0xff);
        text = *end ? end + 1 : end;
    }
    return version << 8;
}

const char *adit_features(void)
{
    return "tun vnet_hdr fd external pcap fault"
#ifdef ADIT_USERSPACE
           " userspace mixed"
#endif
           " system"
#ifdef ADIT_BPF
           " bpf"
#endif
        ;
}
