/* SPDX-License-Identifier: MIT */
/* socks5: a handler that carries flows through a SOCKS5 server (RFC 1928).
 *
 * A client's connection is answered when the server has replied: what the server cannot reach looks unreachable, and a
 * server that is gone makes every port look closed. Octets are never read beyond the reply, so nothing of the stream is
 * ever in our hands.
 *
 * What is wrong with the server itself is said once, and again only after it has worked in between: thousands of
 * flows fail together. What a reply says about one destination is the client's to know, as the answer to its SYN.
 *
 * SOCKS5 has no word for ICMP echo. A ping is answered with "administratively prohibited": sent from this host it would go
 * round the server, which whoever chose one may not want. */
#include "socks5.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "endpoint.h"
#include "proxy.h"

/* -------------------------------------------------------------------------------------- handshake -- */

bool socks5_bears_pipelining(const struct socks5 *p)
{
    return atomic_load(&p->pipelining) == PIPELINING_YES;
}

int socks5_handshake_begin(struct socks5_handshake **h, const struct socks5 *p, enum socks5_command command,
                           const adit_dest *to, bool is_pipelined)
{
    int err;

    if (!*h)
        return ADIT_ENOMEM;
    err = socks5_handshake_init(*h, p->has_account ? &p->account : NULL, command, to, is_pipelined);
    if (err == 0)
        return 0;
    adit_loop_free(*h);
    *h = NULL;
    return err;
}

unsigned socks5_handshake_drive(struct socks5_handshake *h, adit_socket s)
{
    while (!socks5_handshake_is_over(h)) {
        size_t len_bytes;
        const uint8_t *out = socks5_handshake_output(h, &len_bytes);
        bool is_output = len_bytes > 0;
        uint8_t *room = is_output ? NULL : socks5_handshake_room(h, &len_bytes);
        ptrdiff_t n =
            is_output ? endpoint_send(s, out, len_bytes) : endpoint_recv(s, room, len_bytes);

        if (n == ADIT_EAGAIN)
            return is_output ? ADIT_WRITE : ADIT_READ;
        if (n <= 0) {
            socks5_handshake_end(h);
            return 0;
        }
        if (is_output)
            socks5_handshake_sent(h, (size_t)n);
        else
            socks5_handshake_input(h, (size_t)n);
        /* No answer is there at once, nor more than there was: a call to find that out is saved. */
        if ((is_output || (size_t)n < len_bytes) && !socks5_handshake_is_over(h)) {
            (void)socks5_handshake_output(h, &len_bytes);
            if (len_bytes == 0)
                return ADIT_READ;
        }
    }
    return 0;
}

static void socks5_complain(struct socks5 *p, adit *engine, const char *why)
{
    char text[512];

    if (atomic_exchange(&p->has_complained, true))
        return;
    snprintf(text, sizeof(text), "%s: %s", p->name, why);
    adit_log(engine, ADIT_LOG_ERROR, "socks5", 0, text);
}

void socks5_learn(struct socks5 *p, adit *engine, const struct socks5_handshake *h, bool is_retry,
                  int err)
{
    char text[128];

    if (!h) {
        snprintf(text, sizeof(text), "cannot be reached: %s", adit_strerror(err));
        socks5_complain(p, engine, text);
        return;
    }
    if (h->phase == SOCKS5_FAILED && h->reply < 0) {
        socks5_complain(p, engine, h->why);
        return;
    }
    if (h->phase == SOCKS5_RETRY)
        return;
    atomic_store(&p->has_complained, false);
    if (is_retry) /* what failed pipelined has succeeded stepwise */
        atomic_store(&p->pipelining, PIPELINING_NO);
}

/* A slow destination, or a server that bears pipelining no longer: that is to be found out again. */
void socks5_doubt(struct socks5 *p, const struct socks5_handshake *h)
{
    int yes = PIPELINING_YES;

    if (h && h->is_pipelined && h->phase == SOCKS5_REPLY)
        atomic_compare_exchange_strong(&p->pipelining, &yes, PIPELINING_UNKNOWN);
}

/* ------------------------------------------------------------------------------------------ opening -- */

static void socks5_close(void *ctx)
{
    struct socks5 *p = ctx;
    volatile uint8_t *secret = p->account.password;

    free(atomic_load(&p->spare_batch));
    for (size_t i = 0; i < sizeof(p->account.password); i++)
        secret[i] = 0;
    free(p);
}

static int socks5_icmp(void *ctx, adit *a, const adit_echo *e)
{
    (void)ctx, (void)a, (void)e;
    return ADIT_UNREACH_ADMIN;
}

int socks5_open(adit_proxy *proxy, const struct proxy_target *t, adit_error *err)
{
    static const adit_handler handler = {
        .size = sizeof(handler),
        .tcp = socks5_tcp,
        .udp = socks5_udp,
        .icmp = socks5_icmp,
    };
    const struct url_server *server = t->server;
    struct socks5 *p = calloc(1, sizeof(*p));

    if (!p)
        return proxy_no_memory(err);
    memcpy(p->host, server->host, sizeof(p->host));
    p->server = (adit_dest){.addr = server->addr, .host = p->host[0] ? p->host : NULL};
    if (p->host[0])
        snprintf(p->name, sizeof(p->name), "%s:%u", p->host, server->addr.port);
    else
        adit_addr_format(&server->addr, p->name, sizeof(p->name));
    p->has_account = server->has_account;
    p->account = server->account;
    proxy->handler = &handler;
    proxy->ctx = p;
    proxy->close = socks5_close;
    return 0;
}
