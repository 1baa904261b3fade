/* SPDX-License-Identifier: MIT */
/* adit/conn.h: a TCP flow as its handler sees it.
 *
 *   PENDING --accept--> OPEN --both directions ended, close or abort--> closed()
 *      \--reject--> closed()
 *
 * A conn begins PENDING: the client's SYN has been seen and nothing was answered. Settle it: accept,
 * reject, relay, take_fd, close or abort. One that nobody settles is refused after the dial timeout.
 *
 * An open conn ends when both directions have ended and what was received has been read: closed() never overtakes octets. A
 * handler that will not read on must close or abort; shutdown alone leaves the other direction open.
 * All functions: on the conn's loop only. No function calls back before it returns. */
#ifndef ADIT_CONN_H
#define ADIT_CONN_H
#include "loop.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct adit_conn_ops {
    size_t size; /* sizeof(adit_conn_ops); what lies beyond it counts as NULL */
    /* Level-triggered, only what adit_conn_want() asked for. ADIT_READ: octets, the client's FIN or a reset
     * wait to be read. ADIT_WRITE: there is room, or a reset to be noticed. */
    void (*event)(adit_conn *c, unsigned ev, void *user);
    /* Exactly once, the last call; c is gone when it returns. why: 0 for a close in order, else an
     * adit_code (ADIT_ERESET, ADIT_ETIMEDOUT, ADIT_EREFUSED; ADIT_ECANCELED: your reject or abort, or adit_stop()). */
    void (*closed)(adit_conn *c, int why, void *user);
} adit_conn_ops;

/* Made for the asking, so that a flow does not carry it: it lives until the callback (or posted function) returns, and until
 * eight more were asked for. */
ADIT_API const adit_flow *adit_conn_flow(const adit_conn *c);
ADIT_API adit *adit_conn_engine(const adit_conn *c);
ADIT_API adit_loop *adit_conn_loop(const adit_conn *c);
/* ops is borrowed for the life of c. */
ADIT_API void adit_conn_set_ops(adit_conn *c, const adit_conn_ops *ops, void *user);
ADIT_API void *adit_conn_user(const adit_conn *c);
/* "userspace" or "system" (the host kernel): who terminates this flow. */
ADIT_API const char *adit_conn_stack(const adit_conn *c);

/* Answers the SYN. ADIT_ESTATE when not PENDING. */
ADIT_API int adit_conn_accept(adit_conn *c);
/* Answers it with a refusal (enum adit_verdict: ADIT_RESET, ADIT_UNREACH_*, ADIT_DROP); closed() follows.
 * After the accept this is adit_conn_abort(). */
ADIT_API void adit_conn_reject(adit_conn *c, int verdict);
/* The honest answer to a failed dial: ADIT_EREFUSED is ADIT_RESET, ADIT_EHOSTUNREACH is ADIT_UNREACH_HOST ... */
ADIT_API int adit_verdict_for(int err);

/* Which events to be told of: ADIT_READ | ADIT_WRITE. Not reading closes the window: back-pressure. */
ADIT_API void adit_conn_want(adit_conn *c, unsigned ev);

/* Reading. > 0: octets copied; 0: the client's FIN; ADIT_EAGAIN; ADIT_ERESET ... */
ADIT_API ptrdiff_t adit_conn_recv(adit_conn *c, void *buf, size_t len);
/* The same without a copy: up to iov_max views of the octets that wait, in order. Returns how many views; 0: the
 * client's FIN; ADIT_EAGAIN and other codes as above. They stay until consumed, and the views die when the
 * callback (event, or the function that was posted) returns, or at the next call that reads c or ends it. */
ADIT_API int adit_conn_peek(adit_conn *c, adit_iov *iov, int iov_max);
ADIT_API void adit_conn_consume(adit_conn *c, size_t len); /* at most what peek showed */

/* Writing. Octets taken (may be fewer than len), ADIT_EAGAIN: no room; ADIT_ECLOSED after shutdown. */
ADIT_API ptrdiff_t adit_conn_send(adit_conn *c, const void *buf, size_t len);
/* The same without a copy: up to iov_max pieces of the send queue to be filled in order. Returns how many;
 * ADIT_EAGAIN: no room. They die when the callback returns, or at the next call that writes to c or ends it. */
ADIT_API int adit_conn_reserve(adit_conn *c, adit_iov *iov, int iov_max);
ADIT_API void adit_conn_commit(adit_conn *c, size_t len); /* at most what reserve gave */

ADIT_API int adit_conn_shutdown(adit_conn *c); /* FIN after what is queued */
/* In order: what is queued is delivered, then FIN; what still arrives is answered with RST. closed() follows. */
ADIT_API void adit_conn_close(adit_conn *c);
ADIT_API void adit_conn_abort(adit_conn *c); /* RST; closed() follows */

/* Let the library do the work. All of these are tied to c: when the client leaves they are cancelled, and the
 * dialled socket belongs to c from the first moment (it is closed with c, whatever you do). One socket a conn. */
typedef void (*adit_conn_dial_fn)(adit_conn *c, int err, adit_socket s, void *user);
typedef void (*adit_conn_io_fn)(adit_conn *c, adit_socket s, unsigned ev, void *user);
/* As adit_dial_start() over TCP, within the dial timeout; fn is not called when c closes before. fn NULL: c is relayed, or
 * rejected with the verdict for the error. A socket that no fn has seen may serve a later dial to the same server. */
ADIT_API int adit_conn_dial(adit_conn *c, const adit_dest *to, adit_conn_dial_fn fn);
/* Level-triggered readiness of c's socket: for a greeting, say. ev = 0 stops. Not together with relay. */
ADIT_API int adit_conn_watch(adit_conn *c, adit_socket s, unsigned ev, adit_conn_io_fn fn);
/* Accepts c if it is PENDING, moves octets both ways with half-close, and closes both. c owns s from the call
 * on, also when it fails (for lack of memory or descriptors: c is aborted then). FIN, RST and errors are passed on as
 * what they are. */
ADIT_API int adit_conn_relay(adit_conn *c, adit_socket s);
ADIT_API int adit_conn_disown(adit_conn *c, adit_socket s); /* the socket is yours again */
/* Takes the flow away as a stream socket: the kernel's own one where the kernel terminates the flow, has accepted it (a read
 * event, say, came from it) and nothing that you peeked is unconsumed; else one end of a pair which the library relays, and a
 * PENDING flow is accepted. It does not block and is yours to close. c is gone for you: no callback comes any more. */
ADIT_API int adit_conn_take_fd(adit_conn *c, adit_socket *s);

typedef struct adit_conn_info {
    uint64_t rx_bytes, tx_bytes; /* from, to the client */
    uint64_t opened_ns;          /* loop time */
    const char *state;           /* "SYN-RECEIVED", "ESTABLISHED" ... */
    uint32_t srtt_us, rto_us, cwnd_bytes, mss_bytes, retransmits;
    uint32_t rx_queued_bytes, tx_queued_bytes;
} adit_conn_info;
ADIT_API int adit_conn_stat(const adit_conn *c, adit_conn_info *out);

#ifdef __cplusplus
}
#endif
#endif
