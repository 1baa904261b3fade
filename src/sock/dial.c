/* SPDX-License-Identifier: MIT */
/* dial: sockets on their way to a destination.
 *
 *   name --> resolve (libuv's threads) --> addresses, families interleaved --+
 *   address -----------------------------------------------------------------+--> attempt, attempt ... --> the first
 *                                                                                  250 ms apart              that connects
 *
 * The next attempt starts when 250 ms have passed or the last running one has failed. The deadline ends all of it.
 * A socket is told as soon as the loop sees it connected. What is known at once is told by a task of the loop, so that the
 * caller is never called from inside its own call; until it is told the dial can be cancelled.
 *
 * A resolution cannot be taken back from the system, so it is an object of its own that outlives the dial: a cancelled
 * dial leaves it without an owner, and it frees itself when the answer comes. */
#include "sock/dial.h"
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include "base/error.h"
#include "sock/loop_private.h"
#include "sock/spare.h"

enum { DIAL_ADDRS_MAX = 8, DIAL_HOST_BYTES_MAX = 255 };
#define DIAL_STAGGER_NS ((uint64_t)250 * 1000000)

struct dial_attempt {
    adit_addr addr;
    struct watch watch;
    struct dial *dial;
    bool is_open;
};

struct resolve {
    uv_getaddrinfo_t request;
    struct adit_loop *loop;
    struct dial *dial; /* NULL: cancelled */
};

struct dial {
    struct adit_loop *loop;
    const struct sock_config *config;
    dial_fn fn;
    void *arg;
    struct resolve *resolve; /* NULL: not, or no longer, running */
    struct loop_task task;   /* tells an outcome that was known at once */
    struct loop_timer deadline, stagger;
    uint32_t mark;
    int proto;
    int err;       /* of the last attempt */
    adit_socket s; /* the winner */
    struct watch *keep; /* where its registration goes; NULL: nowhere */
    watch_fn keep_ready;
    bool is_settled;
    uint16_t port; /* of a name */
    unsigned addrs_count, tried, running;
    size_t len_bytes;  /* of all of this */
    const char *host;  /* behind the attempts; NULL: only an address was given */
    struct dial_attempt attempts[]; /* one for an address, DIAL_ADDRS_MAX for a name */
};

/* ---------------------------------------------------------------------------------------- outcome -- */

static void attempt_close(struct dial_attempt *a)
{
    if (!a->is_open)
        return;
    a->is_open = false;
    a->dial->running--;
    watch_forget(&a->watch);
    sock_close(a->watch.fd);
}

/* Stops everything that runs. */
static void dial_halt(struct dial *d)
{
    unsigned i;

    for (i = 0; i < d->tried; i++)
        attempt_close(&d->attempts[i]);
    loop_timer_stop(d->loop, &d->deadline);
    loop_timer_stop(d->loop, &d->stagger);
    loop_task_stop(&d->task);
    if (d->resolve) {
        d->resolve->dial = NULL;
        (void)uv_cancel((uv_req_t *)&d->resolve->request);
        d->resolve = NULL;
    }
}

static void dial_settle(struct dial *d, int err, adit_socket s)
{
    dial_halt(d);
    d->is_settled = true;
    d->err = err;
    d->s = s;
    loop_task_start(d->loop, &d->task);
}

/* Ends it. */
static void dial_tell(struct dial *d, int err, adit_socket s)
{
    dial_fn fn = d->fn;
    void *arg = d->arg;

    dial_halt(d);
    loop_release(d->loop, d, d->len_bytes);
    fn(arg, err, s);
}

static void dial_tell_settled(struct loop_task *t)
{
    struct dial *d = LIST_ENTRY(t, struct dial, task);

    dial_tell(d, d->err, d->s);
}

/* --------------------------------------------------------------------------------------- attempts -- */

static void dial_next(struct dial *d);

static void attempt_ready(struct watch *w, unsigned events)
{
    struct dial_attempt *a = LIST_ENTRY(w, struct dial_attempt, watch);
    struct dial *d = a->dial;
    int err = events & WATCH_HANGUP ? sock_error(w->fd) : 0;

    if (err < 0) {
        d->err = err;
        attempt_close(a);
        dial_next(d);
        return;
    }
    if (!(events & ADIT_WRITE))
        return;
    a->is_open = false;
    d->running--;
    if (d->keep) {
        watch_move(d->keep, w, d->keep_ready);
        d->keep_ready(d->keep, events);
    } else {
        watch_remove(w);
    }
    dial_tell(d, 0, w->fd);
}

/* The same with a socket that has served before: false: there is none, or it does not do. */
static bool attempt_start_again(struct dial_attempt *a, uint32_t server)
{
    struct dial *d = a->dial;

    if (!spare_take(d->loop, &a->watch, server, attempt_ready))
        return false;
    if (sock_connect(a->watch.fd, &a->addr) != ADIT_EAGAIN) {
        watch_forget(&a->watch);
        sock_close(a->watch.fd);
        return false;
    }
    a->is_open = true;
    d->running++;
    return true;
}

/* 0: running or won; else why it failed at once. */
static int attempt_start(struct dial_attempt *a)
{
    const adit_addr *addr = &a->addr;
    struct dial *d = a->dial;
    adit_dest to = {.addr = *addr, .host = d->host};
    int purpose = d->proto == ADIT_PROTO_TCP ? ADIT_SOCKET_TCP : ADIT_SOCKET_UDP;
    uint32_t server = d->proto == ADIT_PROTO_TCP ? spare_server(d->loop, d->config, addr, d->mark) : 0;
    adit_socket s;
    int rc;

    if (attempt_start_again(a, server))
        return 0;
    rc = sock_open(&s, d->config, purpose, addr->family, d->mark, &to);
    if (rc < 0)
        return rc;
    rc = sock_connect(s, addr);
    if (rc == 0) {
        dial_settle(d, 0, s);
        return 0;
    }
    if (rc == ADIT_EAGAIN)
        rc = watch_add(d->loop, &a->watch, s, 0, true, attempt_ready);
    if (rc < 0) {
        sock_close(s);
        return rc;
    }
    a->watch.server = server;
    a->is_open = true;
    d->running++;
    return 0;
}

/* Starts the next attempt that does not fail at once; none left and none running: it has failed. */
static void dial_next(struct dial *d)
{
    struct dial_attempt *a;
    int rc;

    while (!d->is_settled && d->tried < d->addrs_count) {
        a = &d->attempts[d->tried++];
        a->dial = d;
        rc = attempt_start(a);
        if (rc == 0) {
            if (!d->is_settled && d->tried < d->addrs_count)
                loop_timer_set(d->loop, &d->stagger, loop_now_ns(d->loop) + DIAL_STAGGER_NS);
            return;
        }
        d->err = rc;
    }
    if (!d->is_settled && d->running == 0)
        dial_settle(d, d->err, ADIT_NO_SOCKET);
}

static void dial_stagger(struct loop_timer *t)
{
    dial_next(LIST_ENTRY(t, struct dial, stagger));
}

static void dial_expire(struct loop_timer *t)
{
    dial_settle(LIST_ENTRY(t, struct dial, deadline), ADIT_ETIMEDOUT, ADIT_NO_SOCKET);
}

/* ------------------------------------------------------------------------------------------ names -- */

/* The next address of `family` at or after `ai`. */
static const struct addrinfo *addrinfo_of_family(const struct addrinfo *ai, int family)
{
    while (ai && ai->ai_family != family)
        ai = ai->ai_next;
    return ai;
}

/* Alternates between the families, beginning with that of the first address, in the order of the resolver (RFC 6724). */
static void dial_take_addrs(struct dial *d, const struct addrinfo *list, uint16_t port)
{
    const struct addrinfo *next[2];
    int first = list->ai_family == AF_INET6 ? AF_INET6 : AF_INET, turn;

    next[0] = addrinfo_of_family(list, first);
    next[1] = addrinfo_of_family(list, first == AF_INET6 ? AF_INET : AF_INET6);
    for (turn = 0; d->addrs_count < DIAL_ADDRS_MAX && (next[0] || next[1]); turn ^= 1) {
        const struct addrinfo *ai = next[turn];
        adit_addr *addr = &d->attempts[d->addrs_count].addr;

        if (!ai)
            continue;
        next[turn] = addrinfo_of_family(ai->ai_next, ai->ai_family);
        if (adit_addr_from_sockaddr(addr, ai->ai_addr) == 0) {
            addr->port = port;
            d->addrs_count++;
        }
    }
}

static void resolve_done(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct resolve *r = request->data;
    struct dial *d = r->dial;

    if (d) {
        d->resolve = NULL;
        if (status == 0 && list)
            dial_take_addrs(d, list, d->port);
        d->err = ADIT_ENAME;
        dial_next(d);
    }
    uv_freeaddrinfo(list);
    loop_release(r->loop, r, sizeof(*r));
}

/* 0, or a code. */
static int dial_resolve(struct dial *d)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct resolve *r = loop_alloc(d->loop, sizeof(*r));

    if (!r)
        return ADIT_ENOMEM;
    *r = (struct resolve){.request.data = r, .loop = d->loop, .dial = d};
    if (uv_getaddrinfo(&d->loop->uv, &r->request, resolve_done, d->host, NULL, &hints) < 0) {
        loop_release(d->loop, r, sizeof(*r));
        return ADIT_ENAME;
    }
    d->resolve = r;
    return 0;
}

/* -------------------------------------------------------------------------------------- lifecycle -- */

/* An address, given as such or written out; else *addr is without a family. */
static void dest_addr(const adit_dest *to, adit_addr *addr)
{
    *addr = to->addr;
    if (addr->family == 4 || addr->family == 6)
        return;
    if (!to->host || adit_addr_parse(addr, to->host) < 0 || addr->port != 0)
        addr->family = 0;
    addr->port = to->addr.port;
}

/* Zeroed, with room for what `to` needs. NULL: no memory. */
static struct dial *dial_alloc(struct adit_loop *l, const adit_dest *to, unsigned attempts_max)
{
    size_t host_bytes = to->host ? strnlen(to->host, DIAL_HOST_BYTES_MAX) : 0;
    size_t attempts_bytes = attempts_max * sizeof(struct dial_attempt);
    size_t len_bytes = sizeof(struct dial) + attempts_bytes + host_bytes + 1;
    struct dial *d = loop_alloc(l, len_bytes);
    char *host;

    if (!d)
        return NULL;
    d->len_bytes = len_bytes;
    if (host_bytes == 0)
        return d;
    host = (char *)d->attempts + attempts_bytes;
    memcpy(host, to->host, host_bytes);
    d->host = host;
    return d;
}

/* Takes the address or begins to look for it. 0, or a code. */
static int dial_begin(struct dial *d, const adit_dest *to, const adit_addr *addr)
{
    d->port = addr->port;
    if (addr->family) {
        d->attempts[0].addr = *addr;
        d->addrs_count = 1;
        dial_next(d);
        return 0;
    }
    if (!d->host || strlen(to->host) > DIAL_HOST_BYTES_MAX)
        return ADIT_EINVAL;
    return dial_resolve(d);
}

struct dial *dial_start(struct adit_loop *l, const struct sock_config *c, int proto,
                        const adit_dest *to, uint32_t mark, uint64_t timeout_ns, dial_fn fn,
                        void *arg)
{
    adit_addr addr;
    struct dial *d;
    int rc;

    dest_addr(to, &addr);
    d = dial_alloc(l, to, addr.family ? 1 : DIAL_ADDRS_MAX);
    if (!d)
        return NULL;
    d->loop = l;
    d->config = c;
    d->proto = proto;
    d->mark = mark;
    d->fn = fn;
    d->arg = arg;
    d->s = ADIT_NO_SOCKET;
    loop_task_init(&d->task, dial_tell_settled);
    loop_timer_init(&d->deadline, dial_expire);
    loop_timer_init(&d->stagger, dial_stagger);
    if (timeout_ns > 0)
        loop_timer_set(l, &d->deadline, loop_now_ns(l) + timeout_ns);
    rc = dial_begin(d, to, &addr);
    if (rc < 0)
        dial_settle(d, rc, ADIT_NO_SOCKET);
    return d;
}

void dial_keep(struct dial *d, struct watch *w, watch_fn ready)
{
    w->loop = NULL;
    d->keep = w;
    d->keep_ready = ready;
}

void dial_cancel(struct dial *d)
{
    if (!d)
        return;
    dial_halt(d);
    if (d->keep && d->keep->loop)
        watch_forget(d->keep);
    if (d->is_settled && d->s != ADIT_NO_SOCKET)
        sock_close(d->s);
    loop_release(d->loop, d, d->len_bytes);
}
