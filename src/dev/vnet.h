/* SPDX-License-Identifier: MIT */
/* vnet: a descriptor that carries packets, one per read and write. What the TUN that we make and the descriptor of a host
 * have in common. */
#pragma once
#include <stdint.h>
#include "dev/dev.h"

enum vnet_framing { /* what stands in front of each packet */
                    VNET_FRAMING_NONE,
                    VNET_FRAMING_HEADER, /* a virtio-net header of 10 octets */
                    VNET_FRAMING_FAMILY, /* the address family in 4 octets, big-endian, as on utun */
};

enum { /* what the other side of the descriptor takes whole */
       VNET_TSO4 = 1,
       VNET_TSO6 = 2,
       VNET_USO4 = 4,
       VNET_USO6 = 8,
       VNET_CSUM = 16,
       VNET_OFFLOADS = 31, /* all that a kernel can be asked about */
       VNET_BIG4 = 32,     /* TSO4 beyond 64 KiB ("BIG TCP", Linux 6.3): of this only the self-test can tell */
};

/* What goes into fd_vnet_hdr for a descriptor of which this is known, self-tests included; and what is known by one:
 * 0: nothing, the kernel is to be asked. */
static inline int fd_vnet_hdr_of(unsigned takes)
{
    return (int)(1u | takes << 1);
}

static inline unsigned fd_vnet_hdr_takes(int fd_vnet_hdr)
{
    return (unsigned)fd_vnet_hdr >> 1;
}

struct vnet_config {
    const struct device_ops *ops; /* with vnet_recv, vnet_send, vnet_close */
    int fd;                       /* non-blocking; taken, also on failure */
    enum vnet_framing framing;
    unsigned takes; /* VNET_*; without VNET_FRAMING_HEADER it must be 0 */
    uint32_t mtu_bytes;
    char ifname[16];
    void (*notice)(void *ctx, const adit_error *e);
    void *notice_ctx;
};

int vnet_open(struct device **out, const struct vnet_config *c, struct buf_pool *bufs,
              const struct log *log, adit_error *err);
/* On another descriptor of the same kind, another queue of that device say. fd is taken, also on failure. */
int vnet_open_like(struct device **out, const struct device *other, int fd, struct buf_pool *bufs,
                   const struct log *log, adit_error *err);
int vnet_recv(struct device *d, struct packet *p, int n, uint64_t now_ns);
int vnet_send(struct device *d, const struct packet_out *p, uint64_t now_ns);
void vnet_close(struct device *d);

/* "tso4 tso6 uso": what `takes` says, for the status and for notices. */
int vnet_takes_print(char *text, size_t text_bytes, unsigned takes);
/* Tells the host, and the log, that these (VNET_*) are switched off. notice may be NULL. */
void vnet_notice_refused(const struct vnet_config *c, const struct log *log, const char *op,
                         unsigned refused, int os);
