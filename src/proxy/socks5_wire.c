/* SPDX-License-Identifier: MIT */
/* socks5_wire: see socks5_wire.h.
 *
 * Lenient where servers are known to be careless and nothing hangs on it: the reserved octets, the version of the
 * account's verdict, and everything that follows the code of a refusal (some servers send nothing after it). Strict
 * in everything that decides where the stream begins. */
#include "socks5_wire.h"
#include <assert.h>
#include <string.h>

enum {
    VERSION = 5,
    METHOD_NONE = 0,
    METHOD_ACCOUNT = 2,
    METHOD_REFUSED = 0xff,
    ACCOUNT_VERSION = 1,
    ADDRESS_4 = 1,
    ADDRESS_NAME = 3,
    ADDRESS_6 = 4,
    METHOD_BYTES = 2,
    VERDICT_BYTES = 2,
    REPLY_CODE_BYTES = 2,        /* version and code: what is needed of a refusal */
    REPLY_MIN_BYTES = 4 + 1 + 2, /* with a name of no octets */
};

/* ----------------------------------------------------------------------------------- destinations -- */

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

size_t socks5_dest_emit(uint8_t out[SOCKS5_DEST_MAX], const adit_dest *to)
{
    size_t name_bytes = to->host ? strlen(to->host) : 0, n = 0;

    out[n++] = name_bytes ? ADDRESS_NAME : to->addr.family == 4 ? ADDRESS_4 : ADDRESS_6;
    if (name_bytes > UINT8_MAX || (name_bytes == 0 && to->addr.family != 4 && to->addr.family != 6))
        return 0;
    if (name_bytes) {
        out[n++] = (uint8_t)name_bytes;
        memcpy(out + n, to->host, name_bytes);
        n += name_bytes;
    } else if (to->addr.family == 4) {
        memcpy(out + n, to->addr.ip + 12, 4);
        n += 4;
    } else {
        memcpy(out + n, to->addr.ip, 16);
        n += 16;
    }
    out[n++] = (uint8_t)(to->addr.port >> 8);
    out[n++] = (uint8_t)to->addr.port;
    return n;
}

/* The length of type, address and port; 0: not known yet; -1: no such type. */
static int dest_bytes(const uint8_t *data, size_t len_bytes)
{
    if (len_bytes == 0)
        return 0;
    switch (data[0]) {
    case ADDRESS_4:
        return 1 + 4 + 2;
    case ADDRESS_6:
        return 1 + 16 + 2;
    case ADDRESS_NAME:
        return len_bytes < 2 ? 0 : 1 + 1 + data[1] + 2;
    default:
        return -1;
    }
}

/* All of it is there. The family is 0 for a name. */
static adit_addr dest_addr(const uint8_t *data)
{
    const uint8_t *port = data + dest_bytes(data, 2) - 2;
    adit_addr a = {.port = (uint16_t)(port[0] << 8 | port[1])};

    if (data[0] == ADDRESS_4) {
        memcpy(a.ip, mapped_prefix, 12);
        memcpy(a.ip + 12, data + 1, 4);
        a.family = 4;
    } else if (data[0] == ADDRESS_6) {
        memcpy(a.ip, data + 1, 16);
        a.family = memcmp(a.ip, mapped_prefix, 12) == 0 ? 4 : 6; /* one host has one adit_addr */
    }
    return a;
}

/* -------------------------------------------------------------------------------------- handshake -- */

static void put(struct socks5_handshake *h, const void *data, size_t len_bytes)
{
    assert(h->out_bytes + len_bytes <= sizeof(h->out));
    memcpy(h->out + h->out_bytes, data, len_bytes);
    h->out_bytes = (uint16_t)(h->out_bytes + len_bytes);
}

static void put_octet(struct socks5_handshake *h, uint8_t octet)
{
    put(h, &octet, 1);
}

/* With an account a stepwise handshake offers both methods: not every server that we have one for asks for it. */
static void put_methods(struct socks5_handshake *h)
{
    uint8_t one = h->has_account ? METHOD_ACCOUNT : METHOD_NONE;

    put_octet(h, VERSION);
    if (h->has_account && !h->is_pipelined) {
        put_octet(h, 2);
        put_octet(h, METHOD_NONE);
        put_octet(h, METHOD_ACCOUNT);
        return;
    }
    put_octet(h, 1);
    put_octet(h, one);
}

int socks5_handshake_init(struct socks5_handshake *h, const struct url_account *account,
                          enum socks5_command command, const adit_dest *to, bool is_pipelined)
{
    uint8_t dest[SOCKS5_DEST_MAX];
    size_t dest_len_bytes = socks5_dest_emit(dest, to);

    *h = (struct socks5_handshake){
        .reply = -1, .has_account = account, .is_pipelined = is_pipelined};
    if (dest_len_bytes == 0)
        return ADIT_EINVAL;
    put_methods(h);
    h->account_at = h->out_bytes;
    if (account) {
        put_octet(h, ACCOUNT_VERSION);
        put_octet(h, account->user_bytes);
        put(h, account->user, account->user_bytes);
        put_octet(h, account->password_bytes);
        put(h, account->password, account->password_bytes);
    }
    h->request_at = h->out_bytes;
    put_octet(h, VERSION);
    put_octet(h, (uint8_t)command);
    put_octet(h, 0);
    put(h, dest, dest_len_bytes);
    h->out_until = is_pipelined ? h->out_bytes : h->account_at;
    return 0;
}

bool socks5_handshake_is_over(const struct socks5_handshake *h)
{
    return h->phase >= SOCKS5_DONE;
}

const uint8_t *socks5_handshake_output(const struct socks5_handshake *h, size_t *len_bytes)
{
    *len_bytes = socks5_handshake_is_over(h) ? 0 : (size_t)(h->out_until - h->out_sent);
    return h->out + h->out_sent;
}

void socks5_handshake_sent(struct socks5_handshake *h, size_t len_bytes)
{
    assert(len_bytes <= (size_t)(h->out_until - h->out_sent));
    h->out_sent = (uint16_t)(h->out_sent + len_bytes);
}

/* Of the reply, from its first octet on, as far as what is known of it tells. */
static size_t reply_bytes(const struct socks5_handshake *h)
{
    const uint8_t *reply = h->in + h->in_at;
    size_t got_bytes = (size_t)(h->in_bytes - h->in_at);
    int dest = got_bytes > 3 ? dest_bytes(reply + 3, got_bytes - 3) : 0;

    return dest > 0 ? 3 + (size_t)dest : REPLY_MIN_BYTES;
}

uint8_t *socks5_handshake_room(struct socks5_handshake *h, size_t *len_bytes)
{
    size_t end = h->in_at;

    switch (h->phase) {
    case SOCKS5_METHOD:
        end += METHOD_BYTES;
        if (h->is_pipelined)
            end += (h->has_account ? VERDICT_BYTES : 0) + REPLY_MIN_BYTES;
        break;
    case SOCKS5_AUTH:
        end += VERDICT_BYTES + (h->is_pipelined ? REPLY_MIN_BYTES : 0);
        break;
    case SOCKS5_REPLY:
        end += reply_bytes(h);
        break;
    case SOCKS5_DONE:
    case SOCKS5_FAILED:
    case SOCKS5_RETRY:
        end = h->in_bytes;
        break;
    }
    assert(end >= h->in_bytes && end <= sizeof(h->in));
    *len_bytes = end - h->in_bytes;
    return h->in + h->in_bytes;
}

static void fail(struct socks5_handshake *h, int error, const char *why)
{
    h->phase = SOCKS5_FAILED;
    h->error = error;
    h->why = why;
}

static void ask(struct socks5_handshake *h)
{
    h->phase = SOCKS5_REPLY;
    if (!h->is_pipelined)
        h->out_sent = h->request_at; /* the account may have been left out */
    h->out_until = h->out_bytes;
}

static void method_input(struct socks5_handshake *h, const uint8_t *answer)
{
    uint8_t wanted = h->has_account ? METHOD_ACCOUNT : METHOD_NONE;
    bool is_offered =
        answer[1] == wanted || (h->has_account && !h->is_pipelined && answer[1] == METHOD_NONE);

    if (answer[0] != VERSION) {
        fail(h, ADIT_EPROTO, "what answers is not a SOCKS5 server");
    } else if (!is_offered && h->has_account && h->is_pipelined) {
        h->phase = SOCKS5_RETRY;
    } else if (!is_offered && answer[1] == METHOD_REFUSED) {
        fail(h, ADIT_EPERM,
             h->has_account ? "the server has no use for a user and password"
                            : "the server wants a user and password");
    } else if (!is_offered) {
        fail(h, ADIT_EPROTO, "the server chose a method that it was not offered");
    } else if (answer[1] == METHOD_ACCOUNT) {
        h->phase = SOCKS5_AUTH;
        h->out_until = h->is_pipelined ? h->out_until : h->request_at;
    } else {
        ask(h);
    }
}

static void verdict_input(struct socks5_handshake *h, const uint8_t *answer)
{
    if (answer[0] != ACCOUNT_VERSION && answer[0] != VERSION)
        fail(h, ADIT_EPROTO, "the server's answer to the password is none");
    else if (answer[1] != 0)
        fail(h, ADIT_EPERM, "the server refuses the user or the password");
    else
        ask(h);
}

/* 0: more is needed. */
static size_t reply_input(struct socks5_handshake *h, const uint8_t *reply, size_t len_bytes)
{
    int dest;

    if (len_bytes < REPLY_CODE_BYTES)
        return 0;
    if (reply[0] != VERSION) {
        fail(h, ADIT_EPROTO, "the server's reply is none");
        return REPLY_CODE_BYTES;
    }
    h->reply = reply[1];
    if (h->reply) {
        h->phase = SOCKS5_FAILED;
        h->error = socks5_reply_error(reply[1], &h->why);
        return REPLY_CODE_BYTES;
    }
    dest = len_bytes > 3 ? dest_bytes(reply + 3, len_bytes - 3) : 0;
    if (dest < 0)
        fail(h, ADIT_EPROTO, "the server's reply has an address of no known type");
    if (dest <= 0 || len_bytes < 3 + (size_t)dest)
        return 0;
    h->bound = dest_addr(reply + 3);
    h->phase = SOCKS5_DONE;
    if (h->out_sent <
        h->out_bytes) /* the rest would be taken for the stream, on one side or the other */
        fail(h, ADIT_EPROTO, "the server replied before it was asked");
    return 3 + (size_t)dest;
}

/* One answer, if all of it is there. Returns its length. */
static size_t answer_input(struct socks5_handshake *h, const uint8_t *answer, size_t len_bytes)
{
    switch (h->phase) {
    case SOCKS5_METHOD:
        if (len_bytes < METHOD_BYTES)
            return 0;
        method_input(h, answer);
        return METHOD_BYTES;
    case SOCKS5_AUTH:
        if (len_bytes < VERDICT_BYTES)
            return 0;
        verdict_input(h, answer);
        return VERDICT_BYTES;
    case SOCKS5_REPLY:
        return reply_input(h, answer, len_bytes);
    case SOCKS5_DONE:
    case SOCKS5_FAILED:
    case SOCKS5_RETRY:
        break;
    }
    return 0;
}

void socks5_handshake_input(struct socks5_handshake *h, size_t len_bytes)
{
    size_t used_bytes;

    assert(h->in_bytes + len_bytes <= sizeof(h->in));
    h->in_bytes = (uint16_t)(h->in_bytes + len_bytes);
    do {
        used_bytes = answer_input(h, h->in + h->in_at, (size_t)(h->in_bytes - h->in_at));
        h->in_at = (uint16_t)(h->in_at + used_bytes);
    } while (used_bytes);
}

void socks5_handshake_end(struct socks5_handshake *h)
{
    if (socks5_handshake_is_over(h))
        return;
    if (h->is_pipelined)
        h->phase = SOCKS5_RETRY;
    else
        fail(h, ADIT_ECLOSED, "the server ended the connection in the middle of the greeting");
}

int socks5_reply_error(uint8_t code, const char **why)
{
    static const struct {
        int error;
        const char *why;
    } rows[] = {
        [1] = {ADIT_EREFUSED, "general failure of the server"},
        [2] = {ADIT_EPERM, "the server's rules do not allow it"},
        [3] = {ADIT_ENETUNREACH, "the server cannot reach the network"},
        [4] = {ADIT_EHOSTUNREACH, "the server cannot reach the host"},
        [5] = {ADIT_EREFUSED, "the destination refused the connection"},
        [6] = {ADIT_EHOSTUNREACH, "the server's packets expired on their way"},
        [7] = {ADIT_ENOTSUP, "the server does not know the command"},
        [8] = {ADIT_ENETUNREACH, "the server does not know the type of address"},
    };
    bool is_known = code > 0 && code < sizeof(rows) / sizeof(rows[0]);

    *why = is_known ? rows[code].why : "the server failed with a code of its own";
    return is_known ? rows[code].error : ADIT_EPROTO;
}

/* -------------------------------------------------------------------------------------- datagrams -- */

size_t socks5_udp_emit(uint8_t out[SOCKS5_UDP_HEADER_MAX], const adit_dest *to)
{
    size_t dest_len_bytes;

    memset(out, 0, 3); /* reserved, and fragment 0: all of it */
    dest_len_bytes = socks5_dest_emit(out + 3, to);
    return dest_len_bytes ? 3 + dest_len_bytes : 0;
}

bool socks5_udp_parse(struct socks5_datagram *out, const uint8_t *data, size_t len_bytes)
{
    int dest = len_bytes > 3 && data[2] == 0 ? dest_bytes(data + 3, len_bytes - 3) : -1;

    *out = (struct socks5_datagram){0};
    if (dest <= 0 || len_bytes < 3 + (size_t)dest)
        return false;
    out->from = dest_addr(data + 3);
    if (data[3] == ADDRESS_NAME) {
        out->host = data + 5;
        out->host_bytes = data[4];
    }
    out->payload = data + 3 + dest;
    out->payload_bytes = len_bytes - 3 - (size_t)dest;
    return true;
}
