/* SPDX-License-Identifier: MIT */
/* shortcut_map: what the tc program (shortcut.bpf.c) and the process share: the keys and values of its maps. Addresses are of 16
 * octets, IPv4 mapped, and ports as they are in packets. Compiled for two machines, so every gap is spelled out. */
#pragma once
#include <linux/types.h>

struct shortcut_ends { /* of a packet as it leaves the kernel: the key */
    __u32 src[4], dst[4];
    __be16 src_port, dst_port;
};

enum { SHORTCUT_FIN = 1 };

/* One direction of a flow. A diff is what a ones' complement sum changes by: of the addresses, of the ports. The last two members
 * are written by the program only. */
struct shortcut_entry {
    struct shortcut_ends to;
    __u32 addrs_diff, ports_diff;
    __u32 seen;     /* SHORTCUT_* */
    __u64 heard_ns; /* CLOCK_MONOTONIC_COARSE of the last packet; 0: none yet */
};

struct shortcut_count {
    __u64 packets, bytes;
};
