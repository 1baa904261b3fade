/* SPDX-License-Identifier: MIT */
/* adit/udp.h: a UDP mapping: everything of one client address and port, whatever the remote (RFC 4787
 * endpoint-independent mapping). All functions: on the mapping's loop only. */
#ifndef ADIT_UDP_H
#define ADIT_UDP_H
#include "loop.h"
#ifdef __cplusplus
extern "C" {
#endif

/* A datagram, or a train of datagrams of gso_bytes each (the last may be shorter) when gso_bytes > 0. */
typedef struct adit_dgram {
    adit_addr remote;    /* received: where the client sends it; sent: whom it comes from */
    void *data;
    size_t len;          /* of all of the train */
    uint16_t gso_bytes;
    uint8_t tos, ttl;    /* traffic class; hop limit. Sent with ttl 0: the default */
    uint8_t dont_fragment; /* received: it must leave whole or not at all (IPv4: DF; IPv6: it came whole); sent: ignored */
    uint8_t reserved[3];
} adit_dgram;

typedef struct adit_udp_ops {
    size_t size; /* sizeof(adit_udp_ops); what lies beyond it counts as NULL */
    void (*event)(adit_udp *u, void *user);            /* datagrams wait to be received */
    void (*closed)(adit_udp *u, int why, void *user);  /* exactly once, the last call: idle, evicted, closed */
} adit_udp_ops;

ADIT_API const adit_flow *adit_udp_flow(const adit_udp *u); /* dst: the first remote */
ADIT_API adit *adit_udp_engine(const adit_udp *u);
ADIT_API adit_loop *adit_udp_loop(const adit_udp *u);
ADIT_API void adit_udp_set_ops(adit_udp *u, const adit_udp_ops *ops, void *user); /* ops is borrowed for life */
ADIT_API void *adit_udp_user(const adit_udp *u);
/* Up to n datagrams that wait: views, valid until adit_udp_release() or the end of the callback, whichever is
 * first. Returns how many. Datagrams that the handler leaves in the queue beyond its limit are dropped and counted. */
ADIT_API int adit_udp_recv(adit_udp *u, adit_dgram *d, int n);
ADIT_API void adit_udp_release(adit_udp *u, int n); /* the oldest n that recv showed */
/* To the client, from any remote that the filtering option allows. Returns how many were taken. */
ADIT_API int adit_udp_send(adit_udp *u, const adit_dgram *d, int n);
/* An ICMP error (ADIT_RESET is port unreachable; ADIT_UNREACH_*) about what the client sent to `remote`. */
ADIT_API void adit_udp_unreach(adit_udp *u, const adit_addr *remote, int verdict);
ADIT_API void adit_udp_reject(adit_udp *u, int verdict); /* the same for the first remote, and closes */
ADIT_API void adit_udp_close(adit_udp *u);               /* closed() follows */
/* To the real destinations, one socket for each family, batched; errors come back as ICMP. u needs no ops then. */
ADIT_API int adit_udp_relay(adit_udp *u);
ADIT_API void adit_udp_set_timeout(adit_udp *u, uint32_t ms); /* idle timeout; 0: by the options again */

#ifdef __cplusplus
}
#endif
#endif
