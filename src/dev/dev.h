/* SPDX-License-Identifier: MIT */
/* dev: what a device is: something that gives packets and takes packets.
 *
 * One contract for a TUN that we make, a descriptor that a host gives us, a host that moves packets itself, and for the
 * wrappers around any of them (a pcap writer, a fault injector), which are devices too and own what they wrap.
 *
 *   recv: fills up to n packets, each in a buffer of its own from the pool, one reference each for the caller. Their
 *         metadata has been validated against the octets (offload.c), so those above can trust gso_bytes and csum.
 *         0: nothing there now.
 *   send: one packet, copied or written before it returns. A device that takes no super-segments, or no partial
 *         checksums, splits and completes through offload.c: the caller never asks.
 *
 * Failures are codes: ADIT_EAGAIN (full, try again later), ADIT_ENODEV (the device is gone: fatal), others are counted as
 * drops by the caller. One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/buf.h"
#include "base/log.h"
#include "dev/listen.h"
#include "dev/shortcut.h"
#include "wire/drop.h"
#include "wire/packet.h"

#define DEVICE_NEVER UINT64_MAX
enum { DEVICE_QUEUES_MAX = 16 };

struct device;

struct device_ops {
    const char *name; /* "tun", "fd", "external", "pcap", "fault" */
    int (*recv)(struct device *d, struct packet *p, int n, uint64_t now_ns); /* count, or a negative code */
    int (*send)(struct device *d, const struct packet_out *p, uint64_t now_ns); /* 0, or a negative code */
    /* A wrapper that holds packets back: sends what is due, and says when something is next due, in either direction:
     * what is due on the way in is given by recv, which is to be called then too. NULL: holds nothing. */
    void (*expire)(struct device *d, uint64_t now_ns);
    uint64_t (*next_ns)(const struct device *d);
    void (*close)(struct device *d); /* frees it, with all that it wraps */
};

struct device {
    const struct device_ops *ops;
    struct buf_pool *bufs;
    const struct log *log;
    struct device *inner;    /* what a wrapper wraps; NULL: none */
    adit_socket fd;          /* readable when recv has something; ADIT_NO_SOCKET: the owner is told otherwise */
    uint32_t mtu_bytes;
    bool tso, uso;           /* takes TCP super-segments, UDP trains without splitting them here */
    bool big_tcp4;           /* super-segments of TCP over IPv4 may be longer than an IP packet can state: total length 0 */
    bool partial_csum;       /* gives and takes partial checksums, from a kernel */
    char ifname[16];         /* "" where there is none */
    char describe[64];       /* for the status: "vnet_hdr tso4 tso6 uso" */
    adit_socket queues[DEVICE_QUEUES_MAX - 1]; /* tun_open() with several workers: all but the first; for whoever takes them,
                                                  else closed with it */
    size_t queues_count;
    uint64_t reads, writes;  /* system calls */
    uint64_t drops[DROP_COUNT]; /* packets that recv refused (OFFLOAD_HEADER ...), added to the statistics */
};

static inline int device_recv(struct device *d, struct packet *p, int n, uint64_t now_ns)
{
    return d->ops->recv(d, p, n, now_ns);
}

static inline int device_send(struct device *d, const struct packet_out *p, uint64_t now_ns)
{
    return d->ops->send(d, p, now_ns);
}

static inline void device_expire(struct device *d, uint64_t now_ns)
{
    if (d->ops->expire)
        d->ops->expire(d, now_ns);
}

static inline uint64_t device_next_ns(const struct device *d)
{
    return d->ops->next_ns ? d->ops->next_ns(d) : DEVICE_NEVER;
}

/* NULL is allowed. */
static inline void device_close(struct device *d)
{
    if (d)
        d->ops->close(d);
}

/* Makes (or adopts) the TUN that the options describe and configures it: addresses, MTU, queue length, up, default routes;
 * in the named network namespace where there is one; with several workers a queue for each. notice: told of each offload that
 * the kernel, or its self-test, refused. Source: Documentation/networking/tuntap.rst. */
int tun_open(struct device **out, const adit_options *o, struct buf_pool *bufs, const struct log *log, adit_error *err);
/* For a device of tun_open(), in its namespace: shortcut_open(). */
int tun_shortcut(const adit_options *o, const char *ifname, adit_socket out[SHORTCUT_FDS_MAX], size_t *count, adit_error *err);
/* For such a device, before it is closed: shortcut_sweep(). One that is persistent keeps no program of ours. */
void tun_sweep(const adit_options *o, const char *ifname);
/* Another queue of the device that tun_open() made. fd is taken, also on failure. Wrapped devices are seen through. */
int tun_open_queue(struct device **out, const struct device *first, adit_socket fd, struct buf_pool *bufs,
                   const struct log *log, adit_error *err);
/* Only the descriptors, one for each of o->workers, opened and configured, without listeners: adit_device_open(). */
int tun_open_fds(const adit_options *o, adit_socket *fds, int *vnet_hdr, char name[16], adit_error *err);
/* listen_open() for such a TUN, in the network namespace that the options name. */
int tun_listen(const adit_options *o, const char *ifname, adit_socket out[LISTEN_MAX], size_t *count, adit_error *err);
/* A descriptor of the host's: o->fds[queue], taken or duplicated as o says. */
int fd_open(struct device **out, const adit_options *o, size_t queue, struct buf_pool *bufs, const struct log *log,
            adit_error *err);
/* The host moves packets: o->output, and external_push() for the other direction. */
int external_open(struct device **out, const adit_options *o, struct buf_pool *bufs, const struct log *log, adit_error *err);
/* Queues copies for recv; returns how many were accepted. Wrapped devices are seen through. */
size_t external_push(struct device *d, const adit_packet *p, size_t n);
/* Wrappers. They take `inner` also when they fail (it is closed then). */
int pcap_open(struct device **out, struct device *inner, void (*write)(void *ctx, const void *bytes, size_t len), void *ctx,
              uint32_t snap_bytes, uint64_t now_ns);
/* The same for a further queue, which writes into the file of the first one, a device of pcap_open(): write is called from
 * wherever each of them is used. */
int pcap_open_more(struct device **out, struct device *inner, const struct device *first);
/* spec: see docs/fault.md. The random numbers come from the spec's seed, else from `seed`. */
int fault_open(struct device **out, struct device *inner, const char *spec, uint64_t seed, adit_error *err);
