/* SPDX-License-Identifier: MIT */
/* tunfd: what a system knows about a descriptor of its own tunnel devices. */
#pragma once
#include <stdbool.h>

struct tunfd {
    bool is_tun;     /* a tunnel device, or a tap, at all */
    bool is_tap;     /* carries Ethernet frames */
    bool has_info;   /* four octets of packet information in front (no IFF_NO_PI) */
    bool has_header; /* a virtio-net header in front; its length: */
    int header_bytes;
    char ifname[16];
};

struct tunfd tunfd_query(int fd);
/* Has the kernel hand over, and take, as much unsplit and unsummed as it can. Returns VNET_* (dev/vnet.h), 0: nothing. */
unsigned tunfd_set_offloads(int fd);
/* Makes the virtio-net header 10 octets. */
bool tunfd_set_header(int fd);
