/* SPDX-License-Identifier: MIT */
/* flow: what every flow has in common, whatever its protocol: key, place in the flow table, id, timer, and its places
 * in the two queues of a turn (ready: its handler has something to do; output: it has something to send).
 *
 * struct tcp, struct udp and struct echo begin with a struct flow. The key of a TCP flow is the 5-tuple as it is on the
 * wire; of a UDP mapping only the client's side (remote all zero); of an echo flow both addresses and the identifier
 * (as client_port). A client is one source address: it counts what that address holds, so that one client
 * cannot take everything. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "adit/adit.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/wheel.h"
#include "net/owners.h"
#include "net/stream.h"
#include "wire/ip.h"

struct net;

struct flow_key {
    uint8_t client[16], remote[16];
    uint16_t client_port, remote_port; /* host order */
    uint8_t proto;
    uint8_t zero[3];
};

struct client {
    uint8_t ip[16];
    uint32_t hash;
    uint32_t refs;      /* flows, datagrams in reassembly; freed at 0 */
    uint32_t tcp;       /* TCP flows, whatever their state */
    uint32_t half_open; /* TCP flows that are not established */
    uint32_t mappings;  /* UDP */
    uint32_t echoes;    /* ICMP */
    uint32_t datagrams_in_reassembly;
    uint32_t remotes;   /* of its mappings */
    uint8_t udp_class;  /* which of table->udp_holders it is on; 0: none */
    struct list holder_node;
    struct list handshakes;    /* struct handshake of its TCP flows, oldest first */
    struct list udp_idle;      /* its mappings, least recently used first */
    struct list udp_remotes;   /* those remotes, most recently used first */
    uint64_t udp_queued_bytes; /* what its datagrams that wait cost */
};

struct flow {
    struct flow_key key;
    uint64_t id;
    struct list ready_node;  /* on net->ready */
    struct list output_node; /* on net->output */
    struct wheel_timer timer;
    struct client *client;
    void *owner;             /* what stands above: an adit_conn, an adit_udp; NULL: nobody (yet, or any more) */
    struct stream stream;    /* TCP: how those above use it */
    uint32_t mark;           /* from prepare() */
    uint8_t dscp;
    bool is_kernel;          /* TCP that the host's kernel terminates: a struct nat_flow */
};

enum { FLOW_HOLDER_CLASSES = 33 };

struct flow_table {
    struct hash flows, clients;
    struct pool client_pool;
    struct sip_key key;
    uint64_t next_id, id_step;
    struct owners *owners; /* where there are several workers; NULL: everything is ours */
    unsigned worker;       /* who we are there */
    /* Clients by how many mappings and remotes they hold together: [n] has those with 2^(n-1) to 2^n - 1. */
    struct list udp_holders[FLOW_HOLDER_CLASSES];
};

void flow_table_init(struct flow_table *t, struct memory *memory, uint32_t flows_max, const struct sip_key *key);
/* One of several workers: its flows of TCP and UDP are entered in *owners, and their ids are unique among all. */
void flow_table_share(struct flow_table *t, struct owners *owners, unsigned worker, unsigned workers);
void flow_table_deinit(struct flow_table *t);
uint32_t flow_hash(const struct flow_table *t, const struct flow_key *key);
/* NULL: none. hash: flow_hash(t, key). */
struct flow *flow_find(const struct flow_table *t, const struct flow_key *key, uint32_t hash);
/* Initializes f (which must be zeroed), gives it an id, finds or makes its client, and enters it. False: no memory, full, or
 * its place among the owners is another worker's; f is untouched then. */
bool flow_insert(struct flow_table *t, struct flow *f, const struct flow_key *key, uint32_t hash);
/* Removes it from table, wheel and queues, and releases the client. The caller frees f. */
void flow_remove(struct net *net, struct flow *f);
/* The client of an address, one reference more; NULL: no memory. */
struct client *client_get(struct flow_table *t, const uint8_t ip[16]);
void client_put(struct flow_table *t, struct client *c);
/* Its mappings or remotes have become more or fewer: it goes where it belongs of t->udp_holders. */
void client_weigh(struct flow_table *t, struct client *c);
/* The flow as a handler sees it: dst is the real destination (aliases applied; of a mapping, its first one). */
void flow_describe(const struct net *net, const struct flow *f, adit_flow *out);

/* 16 octets of a header, and a port, as an address. */
static inline adit_addr flow_addr(const uint8_t ip[16], uint16_t port)
{
    adit_addr a = {.port = port, .family = ip_is_mapped4(ip) ? 4 : 6};

    memcpy(a.ip, ip, sizeof(a.ip));
    return a;
}

/* The same host and port; what the scope is does not count on a wire. */
static inline bool flow_addr_is_same(const adit_addr *a, const adit_addr *b)
{
    return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}
