/* SPDX-License-Identifier: MIT */
/* adit/base.h: the words that every other header of libadit uses: errors, addresses, flows, packets, and
 * what a host may replace (allocator, log). No function here has state; all may be called on any thread. */
#ifndef ADIT_BASE_H
#define ADIT_BASE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#if defined(ADIT_BUILDING) && defined(__GNUC__)
#define ADIT_API __attribute__((visibility("default")))
#else
#define ADIT_API
#endif

#ifdef _WIN32
typedef uintptr_t adit_socket;
#else
typedef int adit_socket;
#endif
#define ADIT_NO_SOCKET ((adit_socket)-1)

typedef struct adit adit;
typedef struct adit_loop adit_loop;
typedef struct adit_conn adit_conn;
typedef struct adit_udp adit_udp;

/* ------------------------------------------------------------------------------------------ errors -- */

enum adit_code { /* 0 is success, every failure is negative */
    ADIT_OK = 0,
    ADIT_EAGAIN = -1,
    ADIT_EINVAL = -2,
    ADIT_ENOMEM = -3,
    ADIT_ELIMIT = -4, /* a limit of ours: flows, half-open flows, mappings, descriptors */
    ADIT_EPERM = -5,
    ADIT_ENODEV = -6,
    ADIT_EEXIST = -7,
    ADIT_ENOTSUP = -8,
    ADIT_ESTATE = -9, /* not in this state of the object */
    ADIT_ECLOSED = -10,
    ADIT_ERESET = -11,
    ADIT_ETIMEDOUT = -12,
    ADIT_EREFUSED = -13,
    ADIT_ENETUNREACH = -14,
    ADIT_EHOSTUNREACH = -15,
    ADIT_EPROTO = -16, /* a peer (a proxy, say) broke its protocol */
    ADIT_ECANCELED = -17,
    ADIT_ENOTBUILT = -18, /* left out at build time */
    ADIT_ENAME = -19,     /* a name that does not resolve */
    ADIT_ESYS = -99       /* anything else; adit_error.os has the system's code */
};

/* Filled by calls that fail for reasons that a person must mend. */
typedef struct adit_error {
    int code;       /* enum adit_code */
    int os;         /* errno or GetLastError(); 0: none */
    char op[32];    /* "TUNSETIFF", "RTM_NEWADDR" */
    char msg[256];  /* what happened */
    char hint[256]; /* what to do about it; may be empty */
} adit_error;

/* A short lower-case sentence for a code; never NULL. */
ADIT_API const char *adit_strerror(int code);
ADIT_API uint32_t adit_version(void); /* 0xMMmmpp00 */
/* What this build can do, in words: "tun vnet_hdr userspace ...". */
ADIT_API const char *adit_features(void);

/* --------------------------------------------------------------------------------------- addresses -- */

/* The one address type. ip is always 16 octets in network order, IPv4 mapped (::ffff:a.b.c.d); port is in
 * host order; family says which it is: 4, 6, or 0 for "none". scope is the interface index of a link-local
 * IPv6 address. Two addresses are equal when all their octets are (there is no padding in use). */
typedef struct adit_addr {
    uint8_t ip[16];
    uint32_t scope;
    uint16_t port;
    uint8_t family, reserved;
} adit_addr;

/* "1.2.3.4", "1.2.3.4:5", "::1", "[::1]:5". 0 or ADIT_EINVAL. */
ADIT_API int adit_addr_parse(adit_addr *out, const char *text);
/* Writes "1.2.3.4:5" or "[::1]:5" (without the port where it is 0), always terminated. Returns the length
 * that it wanted, as snprintf does. ADIT_ADDR_TEXT octets always suffice. */
#define ADIT_ADDR_TEXT 64
ADIT_API int adit_addr_format(const adit_addr *a, char *buf, size_t len_bytes);
/* `sockaddr_storage`: at least 128 octets. *len receives the length. 0 or ADIT_EINVAL. */
ADIT_API int adit_addr_to_sockaddr(const adit_addr *a, void *sockaddr_storage, int *len);
ADIT_API int adit_addr_from_sockaddr(adit_addr *a, const void *sockaddr);

/* Where a flow wants to go. host: NULL, or a name of at most 255 octets that lives as long as what it came
 * with; then addr.family may be 0 (only the name is known) and addr.port holds the port. */
typedef struct adit_dest {
    adit_addr addr;
    const char *host;
} adit_dest;

/* -------------------------------------------------------------------------------------------- flow -- */

enum { ADIT_PROTO_ICMP = 1, ADIT_PROTO_TCP = 6, ADIT_PROTO_UDP = 17, ADIT_PROTO_ICMPV6 = 58 };

typedef struct adit_flow {
    uint64_t id;    /* unique within the instance, never reused */
    uint8_t proto;  /* ADIT_PROTO_* */
    uint8_t dscp;   /* of the first packet */
    uint8_t reserved[6];
    adit_addr src;
    adit_dest dst;  /* the real destination */
} adit_flow;

/* ----------------------------------------------------------------------------- packets and octets -- */

typedef struct adit_iov { /* laid out as struct iovec */
    void *base;
    size_t len;
} adit_iov;

/* One IP packet, or a super-segment (flags). */
enum {
    ADIT_PACKET_CSUM_VALID = 1,   /* the transport checksum was verified by whoever gives the packet */
    ADIT_PACKET_CSUM_PARTIAL = 2, /* only the pseudo-header sum is in it: to be completed before a wire */
};
typedef struct adit_packet {
    const uint8_t *data; /* from the IP header on */
    size_t len;
    uint32_t flags;
    uint16_t gso_bytes; /* 0: one packet; else: a TCP super-segment or a UDP train of datagrams this long */
} adit_packet;

/* ---------------------------------------------------------------------------- what a host replaces -- */

typedef struct adit_allocator {
    size_t size; /* sizeof(adit_allocator) */
    /* align: a power of two, at most 16 KiB, perhaps more than len. What is not aligned so goes back at once: no memory. */
    void *(*alloc)(void *ctx, size_t len, size_t align);
    void (*free)(void *ctx, void *p, size_t len);
    void *ctx;
} adit_allocator;

enum { ADIT_LOG_ERROR = 1, ADIT_LOG_WARN = 2, ADIT_LOG_INFO = 3, ADIT_LOG_DEBUG = 4, ADIT_LOG_TRACE = 5 };
typedef struct adit_log_record { /* its strings live until the callback returns */
    int level;
    const char *module; /* "dev", "tcp", "socks5" */
    uint64_t flow;      /* 0: not about one flow */
    const char *msg;
    const char *const *kv; /* key, value, key, value ... */
    size_t kv_count;       /* strings in kv: twice the number of pairs */
} adit_log_record;
typedef void (*adit_log_fn)(void *ctx, const adit_log_record *r); /* any thread; must not call adit */

#ifdef __cplusplus
}
#endif
#endif
