/* SPDX-License-Identifier: MIT */
/* socks5_wire: the client's side of SOCKS5 as octets: RFC 1928, and RFC 1929 for the account. No I/O, no clock.
 *
 *                  stepwise                                 pipelined
 *     us:   methods          account   request     methods account request
 *     them:         method ->       ok ->      reply                       method ok reply
 *
 * A handshake says what is to be sent now, where to read to and how much at most, and what follows from what was
 * read. It never asks for an octet beyond the reply: what comes after it belongs to the stream. It knows the shortest
 * answers that may still come, so that a reply is read in two pieces and not octet by octet.
 *
 * Pipelining saves a round trip or two, and is possible where only one method makes sense. Not every server bears it: there
 * are those that throw away what came together with the methods. Whether to try is the caller's knowledge; SOCKS5_RETRY
 * says that a pipelined handshake went wrong in a way that a stepwise one may not. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "adit/base.h"
#include "url.h"

enum socks5_command { SOCKS5_CONNECT = 1, SOCKS5_ASSOCIATE = 3 };

enum socks5_phase {
    SOCKS5_METHOD, /* waits for the method */
    SOCKS5_AUTH,   /* ... for the verdict on the account */
    SOCKS5_REPLY,  /* ... for the reply to the request */
    SOCKS5_DONE,   /* the reply was "succeeded"; bound is set */
    SOCKS5_FAILED, /* error and why are set */
    SOCKS5_RETRY,  /* once more, stepwise */
};

enum {
    SOCKS5_DEST_MAX = 1 + 1 + 255 + 2, /* type, length, name, port */
    SOCKS5_OUT_MAX = 4 + 3 + 255 + 255 + 3 + SOCKS5_DEST_MAX,
    SOCKS5_IN_MAX = 2 + 2 + 3 + SOCKS5_DEST_MAX,
    SOCKS5_UDP_HEADER_MAX = 3 + SOCKS5_DEST_MAX,
};

struct socks5_handshake {
    enum socks5_phase phase;
    int error;       /* SOCKS5_FAILED: an adit_code */
    int reply;       /* the reply's code; -1: none was read */
    const char *why; /* SOCKS5_FAILED: a sentence */
    adit_addr bound; /* SOCKS5_DONE; family 0: the server gave a name, or nothing */
    bool has_account, is_pipelined;
    uint16_t out_sent, out_until;    /* what may be sent now is [out_sent, out_until) */
    uint16_t account_at, request_at; /* where these begin in out */
    uint16_t out_bytes;
    uint16_t in_at, in_bytes; /* what is not understood yet is [in_at, in_bytes) */
    uint8_t out[SOCKS5_OUT_MAX], in[SOCKS5_IN_MAX];
};

/* account: NULL for none. 0, or ADIT_EINVAL for a destination that SOCKS5 cannot express. */
int socks5_handshake_init(struct socks5_handshake *h, const struct url_account *account,
                          enum socks5_command command, const adit_dest *to, bool is_pipelined);
bool socks5_handshake_is_over(const struct socks5_handshake *h);
/* What to send now; *len_bytes may be 0. Then how much of it was sent. */
const uint8_t *socks5_handshake_output(const struct socks5_handshake *h, size_t *len_bytes);
void socks5_handshake_sent(struct socks5_handshake *h, size_t len_bytes);
/* Where to read to, and how much at most: not 0 before it is over. Then how much was read. */
uint8_t *socks5_handshake_room(struct socks5_handshake *h, size_t *len_bytes);
void socks5_handshake_input(struct socks5_handshake *h, size_t len_bytes);
/* The connection ended. */
void socks5_handshake_end(struct socks5_handshake *h);

/* Address type, address and port. Returns its length; 0: neither a name of 1 to 255 octets nor an address. */
size_t socks5_dest_emit(uint8_t out[SOCKS5_DEST_MAX], const adit_dest *to);

/* The header of a datagram (RFC 1928 section 7). Returns its length; 0 as above. */
size_t socks5_udp_emit(uint8_t out[SOCKS5_UDP_HEADER_MAX], const adit_dest *to);
struct socks5_datagram {
    adit_addr from;      /* family 0: host instead; the port is always here */
    const uint8_t *host; /* not terminated */
    uint8_t host_bytes;
    const uint8_t *payload;
    size_t payload_bytes;
};
/* False: no such datagram, or a fragment, which is not supported. The views are of `data`. */
bool socks5_udp_parse(struct socks5_datagram *out, const uint8_t *data, size_t len_bytes);

/* An adit_code and a sentence for the code of a reply that is not 0. */
int socks5_reply_error(uint8_t code, const char **why);
