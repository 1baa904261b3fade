/* SPDX-License-Identifier: MIT */
/* adit/adit.h: the public API of libadit. C11, also valid C++17.
 *
 *   adit       one tunnel: device + stack + workers. No globals; make as many as you like.
 *   adit_conn  one TCP flow (conn.h). Starts PENDING: SYN seen, nothing answered yet.
 *   adit_udp   one UDP mapping (udp.h): all datagrams of one client address and port.
 *   handler    the functions you supply. They never block.
 *   loop       every object lives on one loop (loop.h); call its functions only there. adit_post() crosses threads.
 */
#ifndef ADIT_H
#define ADIT_H
#include "base.h"
#include "conn.h"
#include "loop.h"
#include "udp.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------------------------------------- handler -- */

enum adit_verdict {          /* from prepare(), and for the reject functions */
    ADIT_DEFER = 0,          /* hand it over PENDING: you answer the SYN when you know (default) */
    ADIT_ACCEPT = 1,         /* answer now, hand it over when established */
    ADIT_RESET = 2,          /* TCP RST; ICMP port unreachable */
    ADIT_UNREACH_HOST = 3,   /* ICMP host, net, administratively prohibited */
    ADIT_UNREACH_NET = 4,
    ADIT_UNREACH_ADMIN = 5,
    ADIT_DROP = 6,           /* silence */
    ADIT_ECHO_REPLY = 8,     /* icmp() only: answer here */
    ADIT_ECHO_FORWARD = 9    /* icmp() only: by a ping socket to the real destination */
};

enum { ADIT_STACK_DEFAULT = 0, ADIT_STACK_USERSPACE = 1, ADIT_STACK_SYSTEM = 2 };

typedef struct adit_decision { /* preset to: defer, the configured stack, mark and timeouts */
    size_t size;
    int verdict;      /* enum adit_verdict */
    int stack;        /* ADIT_STACK_*: who terminates this TCP flow where the stack is mixed; default: userspace */
    uint32_t mark;    /* of the upstream socket (SO_MARK); 0: the option's */
    uint32_t idle_ms; /* 0: the option's */
} adit_decision;

typedef struct adit_echo { /* an ICMP or ICMPv6 echo request */
    adit_flow flow;
    uint16_t id, seq;
    const uint8_t *data; /* borrowed until the callback returns */
    size_t len;
} adit_echo;

/* Every member may be NULL. All are called on the worker that owns the flow, with the context of adit_new() (or
 * of worker_ctx). They must not block and must not call adit_free(). */
typedef struct adit_handler {
    size_t size; /* sizeof(adit_handler) */
    /* Asked once per TCP flow, per (UDP mapping, remote) and per ICMP (source, destination); the answer is cached
     * as long as that entry lives. A mapping opened toward one remote is no licence for another. NULL: defer. */
    void (*prepare)(void *ctx, adit *a, const adit_flow *f, adit_decision *out);
    void (*tcp)(void *ctx, adit_conn *c);                     /* NULL: ADIT_RESET */
    void (*udp)(void *ctx, adit_udp *u);                      /* NULL: ADIT_RESET */
    int (*icmp)(void *ctx, adit *a, const adit_echo *e);      /* a verdict. NULL: ADIT_ECHO_FORWARD */
    void (*stopped)(void *ctx, adit *a, const adit_error *why); /* the device is gone, or another fatal error */
} adit_handler;

/* ----------------------------------------------------------------------------------------- options -- */

enum { ADIT_PRESET_DESKTOP, ADIT_PRESET_MOBILE, ADIT_PRESET_ROUTER, ADIT_PRESET_SERVER };
enum {
    ADIT_DEV_CREATE,  /* create (or adopt) a TUN by name */
    ADIT_DEV_FD,      /* descriptors of a TUN that the caller opened */
    ADIT_DEV_EXTERNAL /* the caller moves packets: adit_input() and `output` */
};
enum { ADIT_FILTER_ENDPOINT, ADIT_FILTER_ADDRESS, ADIT_FILTER_ADDRESS_PORT }; /* RFC 4787 section 5 */
enum adit_socket_purpose { ADIT_SOCKET_TCP, ADIT_SOCKET_UDP, ADIT_SOCKET_PING };

/* Packets toward the caller of an external device. Borrowed until it returns; returns how many were taken: the
 * others are offered again later (TCP), or dropped and counted (the rest). */
typedef size_t (*adit_output_fn)(void *ctx, const adit_packet *p, size_t n);

/* Destinations that are seen under another address inside the tunnel. A flow to `seen` gets `real` as its
 * destination, and what comes back is rewritten. Port 0 in both: every port. */
typedef struct adit_alias {
    adit_addr seen, real;
} adit_alias;

/* Flat and append-only; `size` is what makes it grow safely. Strings and arrays are borrowed until adit_new()
 * returns, callbacks and their contexts until adit_free(). 0 or NULL means "the preset's default". */
typedef struct adit_options {
    size_t size; /* set by adit_options_init */
    int preset;  /* ADIT_PRESET_*, likewise: where the defaults come from */

    /* the device */
    int kind;                /* ADIT_DEV_* */
    const char *name;        /* to create or adopt; "tun%d" lets the kernel number it. NULL: "adit%d" */
    const char *const *addrs; /* "172.19.0.1/30", "fd00::1/126" */
    size_t addrs_count;
    uint32_t mtu_bytes;      /* 1280 to 65535; default 1500 */
    uint32_t txqueue_packets; /* length of the kernel's queue toward us; default 1000 */
    int default_route;       /* add default routes through the device (for a network namespace of its own) */
    const char *netns;       /* name or path of the network namespace the device lives in; sockets stay outside */
    adit_socket netns_fd;    /* the same, open; or ADIT_NO_SOCKET. Borrowed until adit_free() unless the stack is userspace */
    int no_offload;          /* no vnet header: one MTU-sized packet per read and write */
    const adit_socket *fds;  /* ADIT_DEV_FD: one per queue; several are queues of one device, and as many workers */
    size_t fds_count;
    int take_fds;            /* 0: duplicated, yours stay open; 1: ours from the call of adit_new on, also when it fails */
    int fd_vnet_hdr;         /* 1: each packet on the descriptors carries a 10-octet virtio-net header. Or what adit_device_open()
                                said: that, and what its self-tests found the kernel able of */
    int fd_family_prefix;    /* ... or the 4-octet address family of utun */
    adit_output_fn output;   /* ADIT_DEV_EXTERNAL */
    void *output_ctx;
    const char *fault;       /* fault injector, both ways: "loss=1%,delay=10ms,..." (docs/fault.md); NULL: none */
    void (*capture)(void *ctx, const void *pcap_bytes, size_t len); /* pcap file octets, header first; any worker */
    void *capture_ctx;
    uint32_t capture_snap_bytes; /* 0: whole packets */

    /* who terminates */
    const char *stack;       /* "" (auto), "userspace" (or "gvisor"), "system", "mixed": docs/stacks.md */
    int include_all_networks; /* the host routes everything to us (Apple): userspace only */
    const adit_alias *aliases;
    size_t aliases_count;
    int allow_martians;      /* accept loopback, multicast and other bogus addresses from the device */

    /* limits of the instance. Each of several workers gets an equal part, so that a client whose flows do not fall on all
     * alike meets its limit a little early */
    uint64_t memory_bytes;   /* budget for flows and buffers */
    /* Flows, mappings. Beyond udp_max (and udp_per_client_max) the mapping idle longest ends for a new one. What is relayed
     * also takes descriptors: a TCP flow one (two on the kernel's TCP), a mapping one for each IP version in use. Where the
     * process has none left, the relayed mapping idle longest gives up its own, for TCP too; with none of those a flow is
     * refused. */
    uint32_t tcp_max, udp_max;
    uint32_t tcp_per_client_max;
    uint32_t tcp_half_open_max, tcp_half_open_per_client_max; /* beyond, the oldest that does not answer ends: ADIT_ELIMIT */
    uint32_t udp_per_client_max;
    uint32_t rx_window_bytes; /* the most a TCP flow may queue toward its handler */
    uint32_t tx_buffer_bytes; /* the most it may hold toward the client; less where memory is short */
    uint32_t mss_clamp_bytes; /* 0: by the MTU */
    int udp_filtering;       /* ADIT_FILTER_* */

    /* timeouts */
    uint32_t tcp_idle_ms;    /* established and silent; default 2 h 4 min (RFC 5382) */
    uint32_t tcp_half_closed_ms;
    uint32_t tcp_keepalive_ms; /* probes to a silent client; 0: default 2 h */
    uint32_t tcp_time_wait_ms;
    uint32_t udp_unreplied_ms, udp_replied_ms, udp_dns_ms, icmp_ms;
    uint32_t dial_ms;        /* a PENDING flow that nobody settled is refused after it */

    /* sockets that adit opens */
    int (*protect)(void *ctx, adit_socket s, const adit_dest *to); /* before connect; not 0: the dial fails */
    void *protect_ctx;
    uint32_t mark;           /* SO_MARK; 0: none */
    const char *bind_iface;  /* SO_BINDTODEVICE */
    adit_socket (*socket)(void *ctx, int purpose, int family, int type); /* NULL: ours. family 4 or 6 */
    void *socket_ctx;

    /* what a host may replace */
    const adit_allocator *alloc;
    adit_log_fn log;
    void *log_ctx;
    int log_level;           /* ADIT_LOG_* */
    void (*notice)(void *ctx, const adit_error *e); /* degradations: an offload switched off, a fallback; any thread */
    void *notice_ctx;
    uint64_t (*now_ns)(void *ctx);
    void (*random)(void *ctx, void *buf, size_t len);
    void *sys_ctx;           /* of now_ns and random */

    /* threads */
    /* Threads, each with a queue of the device (IFF_MULTI_QUEUE), flows, timers, memory and upstream sockets of its own. 0: one,
     * or as many as fds_count; at most 16. Several: a device that is made here or several fds, the stack "userspace". */
    uint16_t workers;
    void *(*worker_ctx)(void *ctx, uint16_t worker); /* a context per worker for the handler; NULL: all share ctx */

    /* ADIT_DEV_FD with the stack "system" or "mixed": what adit_device_listen() gave; taken or duplicated as take_fds says */
    const adit_socket *listeners;
    size_t listeners_count;

    /* How the kernel's TCP gets packets, with the stacks "system" and "mixed". "": "bpf" where it can be had, else "nat"
     * (notice() and the status say why). "bpf": a tc program on the device, payload stays in the kernel; adit_new() fails
     * where that cannot be. "bpf-clsact": likewise, attached as kernels before 6.6 want it. "nat": in this process, which
     * capture and fault need. */
    const char *engine;
    /* ADIT_DEV_FD: what adit_device_shortcut() gave, taken or duplicated as take_fds says; or why it gave nothing */
    const adit_socket *shortcut;
    size_t shortcut_count;
    const char *shortcut_refused;

    /* Addresses that mean whoever sends to them: TCP and UDP to one comes back to the sender, from that address, and is never
     * a flow. Ports do not count. */
    const adit_addr *loopbacks;
    size_t loopbacks_count;
} adit_options;

/* Fills *o with the preset's defaults. */
ADIT_API void adit_options_init_(adit_options *o, int preset, size_t size);
#define adit_options_init(o, preset) adit_options_init_((o), (preset), sizeof(adit_options))

/* --------------------------------------------------------------------------------------- lifecycle -- */

/* Checks the options, opens the device and makes everything ready; no packet is read yet. On failure *out is NULL
 * and err (may be NULL) says why. h is copied; ctx is passed to its functions. */
ADIT_API int adit_new(adit **out, const adit_options *o, const adit_handler *h, void *ctx, adit_error *err);
/* Runs it in threads of its own. Once. */
ADIT_API int adit_start(adit *a, adit_error *err);
/* Runs it in this thread; returns after adit_stop(). Once. */
ADIT_API int adit_run(adit *a, adit_error *err);
/* Any thread, any callback, a signal handler. Returns at once; every flow is aborted by its worker (closed(ADIT_ECANCELED)),
 * new ones are refused, and packets still to be sent get 200 ms to leave. */
ADIT_API void adit_stop(adit *a);
/* Not from a callback. Stops if need be, waits; every closed() has been called when it returns. NULL is allowed. */
ADIT_API void adit_free(adit *a);
ADIT_API const char *adit_device_name(const adit *a); /* "" for an external device */

/* Opens and configures a TUN as the options say (name, addresses, MTU, routes; in the calling thread's network
 * namespace) and hands over its descriptor, for a process that passes it to another one. *vnet_hdr: what to set
 * fd_vnet_hdr to there. name: the device's name, at least 16 octets. */
ADIT_API int adit_device_open(const adit_options *o, adit_socket *fd, int *vnet_hdr, char *name, adit_error *err);

/* The same with several queues, one for each worker of whoever gets the descriptors: fds has count of them (1 to 16). */
ADIT_API int adit_device_open_queues(const adit_options *o, adit_socket *fds, size_t count, int *vnet_hdr, char *name,
                                     adit_error *err);

/* For the stacks "system" and "mixed" on a device whose descriptor is passed on: opens the sockets at which the kernel
 * accepts, on the first IPv4 and IPv6 address among o->addrs (the device must have them), reachable through the device `name`
 * only, and routes the addresses that stand for clients (198.19.255.0/24, fd61:6469:7470:6565:7200::/120) to it. In the
 * calling thread's network namespace. Closing them is the caller's. */
ADIT_API int adit_device_listen(const adit_options *o, const char *name, adit_socket listeners[2], size_t *count,
                                adit_error *err);

/* The engine "bpf" on a device whose descriptor is passed on: loads its program and attaches it to the device `name`, in the
 * calling thread's network namespace, for o->tcp_max flows and o->workers. What it does is decided by whoever gets the
 * descriptors: until then every packet passes. Closing them is the caller's; it ends with the last one. A code, with the reason
 * in *err ("no CAP_BPF", "in a user namespace"): what to set shortcut_refused to. */
enum { ADIT_SHORTCUT_FDS_MAX = 3 };
ADIT_API int adit_device_shortcut(const adit_options *o, const char *name, adit_socket shortcut[ADIT_SHORTCUT_FDS_MAX],
                                  size_t *count, adit_error *err);

/* ADIT_DEV_EXTERNAL: packets from the caller, on the loop's thread. They are borrowed until it returns. Their flags
 * are believed only where the octets agree; checksums are verified unless ADIT_PACKET_CSUM_VALID is set. Returns how many
 * were accepted; drops are counted. */
ADIT_API size_t adit_input(adit *a, const adit_packet *p, size_t n);

/* The host's own loop, instead of adit_start or adit_run: watch the descriptor for reading, call dispatch when it is
 * ready or the timeout has passed. All on one thread. With several workers this is the first one's loop, for adit_post();
 * dispatch returns ADIT_ENOTSUP and does nothing: they are run by adit_start or adit_run. Once adit_stop() was called,
 * dispatch returns ADIT_ECLOSED when everything is closed. */
ADIT_API adit_loop *adit_main_loop(adit *a);
ADIT_API adit_socket adit_loop_pollfd(adit_loop *l);
ADIT_API int64_t adit_loop_timeout_ns(adit_loop *l); /* -1: none */
ADIT_API int adit_loop_dispatch(adit_loop *l);       /* never blocks */

/* --------------------------------------------------------------- the other way: out through the stack -- */

/* An active open toward a client behind the device, from the address `from`, both with their ports. On the loop's
 * thread; of several workers, on whichever calls. The conn is accepted from the start: events come once it is established,
 * closed() if it is refused. ADIT_EINVAL, ADIT_ELIMIT (also: the two addresses are in use), ADIT_ECANCELED after adit_stop(). */
ADIT_API int adit_stack_dial(adit *a, const adit_addr *from, const adit_addr *to, const adit_conn_ops *ops, void *user,
                             adit_conn **out);
/* Flows to this real destination (family 0: any address) and port go to fn instead of the handler, without prepare(). The
 * most particular one wins. On the thread of the main loop, or before the start; fn is called on the worker that has the flow.
 * ADIT_EINVAL, ADIT_EEXIST, ADIT_ELIMIT. */
ADIT_API int adit_stack_listen(adit *a, const adit_addr *at, void (*fn)(void *ctx, adit_conn *c), void *ctx);

/* ---------------------------------------------------------------------------------------- counters -- */

#define ADIT_DROPS_MAX 128
typedef struct adit_stats {
    size_t size; /* sizeof(adit_stats), set by the caller */
    uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets; /* at the device; a super-segment is one packet */
    uint64_t tcp_open, tcp_half_open, tcp_time_wait, tcp_total, tcp_rejected; /* tcp_open: the two after it included */
    uint64_t tcp_segments_retransmitted, tcp_fast_retransmits, tcp_timeouts; /* losses repaired, and how */
    uint64_t udp_open, udp_total, icmp_total;
    uint64_t memory_used_bytes, memory_peak_bytes, memory_budget_bytes, memory_starved;
    uint64_t turns, device_reads, device_writes;
    uint64_t drops[ADIT_DROPS_MAX]; /* by reason; adit_drop_name() */
    uint64_t tcp_kernel_open, tcp_kernel_total; /* of tcp_open and tcp_total: those that the host's kernel terminates */
    uint64_t shortcut_packets, shortcut_bytes; /* engine "bpf": what was turned round in the kernel, not in rx or tx */
    uint64_t handed_over; /* packets that came to another worker than their flow's */
    uint64_t tcp_evicted; /* half-open flows that made room for others, since their clients did not answer: SYNs were forged */
    uint64_t udp_evicted; /* mappings that ended early, for a limit: of mappings, memory or descriptors */
} adit_stats;
/* Any thread; never waits for a worker. On the loop's thread it is exact, elsewhere at most 10 ms old. The sum over the
 * workers, memory_peak_bytes too. */
ADIT_API int adit_get_stats(adit *a, adit_stats *s);
/* "tcp_checksum" and its sentence; NULL beyond the last reason. Reason 0 is "none". */
ADIT_API const char *adit_drop_name(unsigned reason);
ADIT_API const char *adit_drop_text(unsigned reason);
/* A handler's own record in the instance's log. module: "socks5"; flow: adit_flow.id, 0: about none. Any thread. */
ADIT_API void adit_log(adit *a, int level, const char *module, uint64_t flow, const char *msg);
/* Key: value lines: version, device and its offloads, stack, engine (how the kernel gets its flows), fallback (why it is not the
 * best that was asked for; only then), flows by who terminates them. Returns the length as snprintf does.
 * Any thread. */
ADIT_API int adit_status(adit *a, char *text, size_t len);

#ifdef __cplusplus
}
#endif
#endif
