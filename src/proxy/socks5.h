/* SPDX-License-Identifier: MIT */
/* socks5: what the files of this handler share.
 *
 *   socks5.c       opening, the table of functions; what is known of the server; the handshake over a socket
 *   socks5_wire.c  octets of the protocol; pure
 *   socks5_tcp.c   a connection: CONNECT, then a relay
 *   socks5_udp.c   a mapping: UDP ASSOCIATE, one for all its remotes
 *   socks5_dns.c   a query over a connection of its own, where the server carries no UDP
 *   socks5_link.c  a connection to the server that belongs to no client's connection; the last two use it, and the probe
 *   socks5_probe.c finds out whether the server bears a pipelined greeting
 *
 * What is known of the server is shared by all workers, so it is atomic; every other object is one flow's. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"
#include "socks5_wire.h"
#include "url.h"

enum socks5_pipelining { PIPELINING_UNKNOWN, PIPELINING_PROBED, PIPELINING_YES, PIPELINING_NO };

enum {
    SOCKS5_HANDSHAKE_MS =
        10000, /* of a link; a client's connection has the dial timeout of the options */
    SOCKS5_PROBE_MS = 3000,
    SOCKS5_DOUBT_MS = 1500, /* a pipelined request without a reply for so long asks for a probe */
    SOCKS5_QUERY_MS = 10000,
    SOCKS5_UDP_RETRY_MS = 60000, /* until a server that refused UDP is asked again */
    SOCKS5_QUERIES_MAX = 256,    /* DNS over TCP at once */
};

struct socks5 {
    adit_dest server;
    char host[URL_HOST_MAX + 1];
    char name[URL_HOST_MAX + 16]; /* host and port, for people */
    bool has_account;
    struct url_account account;
    atomic_int pipelining;      /* enum socks5_pipelining */
    atomic_bool has_complained; /* until something succeeds again */
    atomic_bool has_told_udp_refused;
    _Atomic uint64_t udp_refused_ns; /* when; 0: it was not */
    atomic_uint queries;
    _Atomic(uint8_t *)
        spare_batch; /* of socks5_udp.c: kept for whoever needs it next; NULL: in use, or none */
};

void socks5_tcp(void *ctx, adit_conn *c);
void socks5_udp(void *ctx, adit_udp *u);

bool socks5_bears_pipelining(const struct socks5 *p); /* as far as is known */
/* *h: of adit_loop_alloc(), NULL where that had none. 0, or a code: then it is freed, and NULL. */
int socks5_handshake_begin(struct socks5_handshake **h, const struct socks5 *p, enum socks5_command command,
                           const adit_dest *to, bool is_pipelined);
/* Sends and reads as far as the socket goes. Returns which events to wait for; 0: it is over. */
unsigned socks5_handshake_drive(struct socks5_handshake *h, adit_socket s);
/* What a handshake that is over says about the server. h: NULL when no connection came about, for the reason err.
 * is_retry: a pipelined one had gone wrong before. */
void socks5_learn(struct socks5 *p, adit *engine, const struct socks5_handshake *h, bool is_retry,
                  int err);

/* A handshake takes long: if it is pipelined, whether the server bears that is no longer known. h: NULL is allowed. */
void socks5_doubt(struct socks5 *p, const struct socks5_handshake *h);

/* ------------------------------------------------------------------------------------------- link -- */

/* A connection to the server, through its handshake. In the owner's memory. */
struct socks5_link {
    struct socks5 *proxy;
    adit *engine;
    adit_loop *loop;
    enum socks5_command command;
    adit_dest to;
    adit_dial *dial;
    adit_timer *timer; /* the handshake's */
    adit_watch *watch; /* there while socket is */
    adit_socket socket;
    struct socks5_handshake *handshake; /* until it is over */
    bool is_probe;                      /* pipelined, whatever is known */
    bool is_retry;
    /* Once: err 0, socket is through; else it is closed. h is borrowed; NULL: no connection came about, or it took too
     * long. May close the link, and free it. */
    void (*opened)(struct socks5_link *l, int err, const struct socks5_handshake *h);
    /* From then on, level-triggered: ADIT_READ unless adit_watch_set(watch) says otherwise. Likewise. */
    void (*ready)(struct socks5_link *l, unsigned ev);
};

/* l: proxy, engine, loop, command, to, opened, ready are set, the rest is zero. 0, or a code: then nothing happens. */
int socks5_link_start(struct socks5_link *l, uint32_t timeout_ms);
void socks5_link_close(struct socks5_link *l); /* whatever its state; nothing is called any more */

/* ------------------------------------------------------------------------------------------ probe -- */

struct socks5_probe;
/* Starts one if it is not known whether the server bears pipelining and nobody is finding out. *owner is set to it, and
 * to NULL again when it has ended by itself. */
void socks5_probe_start(struct socks5_probe **owner, struct socks5 *p, adit *engine, adit_loop *l);
void socks5_probe_cancel(struct socks5_probe *probe); /* NULL is allowed */

/* ---------------------------------------------------------------------------------------- queries -- */

/* DNS queries of one mapping that are on their way over TCP. Zero is empty. */
struct socks5_queries {
    struct socks5_query *first;
    unsigned count;
};
/* Takes one datagram. What is no query, one too many, or there already, is dropped. */
void socks5_query_start(struct socks5_queries *q, struct socks5 *p, adit_udp *u,
                        const adit_dgram *d);
void socks5_queries_cancel(struct socks5_queries *q);
