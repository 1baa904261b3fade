/* SPDX-License-Identifier: MIT */
/* system: TCP that ends in the host's kernel.
 *
 *   device --> net/nat.c: rewritten, back into the device --> kernel --> listener --accept4--> kernel_stream.c --> conn.c
 *
 * This file makes the translator and accepts. A SYN waits in the translator until its handler has answered (nat_accept), then the
 * kernel gets it and hands over a socket whose peer is the fake one that stands for the flow. A socket whose peer stands
 * for nothing is reset at once.
 *
 * A flow of the kernel's needs a descriptor when its client has been answered already, and by then upstream sockets may have
 * taken the last. One is kept in reserve for that: with it the flow is accepted and reset, which makes its handler give up the
 * upstream socket, and that is the descriptor of the next one. So the rest goes on, where flows that wait for each other's
 * descriptors would all time out. Where not even that is to be had, the listener is left alone for a moment, lest the loop spin.
 *
 * The listening sockets are the worker's: they live in the device's network namespace and may have been made by another
 * process. A probe tells early whether the kernel answers there at all. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "net/nat.h"
#include "sock/reclaim.h"
#include "sock/sock.h"
#include "stack/kernel_stream.h"
#include "stack/stack.h"
#include "stack/system_shortcut.h"

enum { SYSTEM_ACCEPTS = 64 /* of one listener in one call */, SYSTEM_PROBES = 4 };
#define SYSTEM_PAUSE_NS 100000000ull
#define SYSTEM_PROBE_NS 100000000ull /* between two SYNs of the probe */

struct system;

struct system_listener {
    struct system *system;
    struct watch watch;
};

struct system {
    struct stack *stack;
    struct nat nat;
    struct system_listener listeners[STACK_KERNEL_LISTENERS_MAX];
    size_t listeners_count; /* watched */
    struct loop_timer pause, probe;
    int probes;     /* sent */
    bool has_taken; /* a flow: no probe need show that it works */
    int spare;      /* a descriptor in reserve: a copy of a listener's; negative: none */
    adit_socket shortcut; /* the map of its flows; ADIT_NO_SOCKET: none */
    struct log_limit log_limit;
};

/* --------------------------------------------------------------------------------------- accepting -- */

static void system_watch(struct system *y, unsigned events)
{
    for (size_t i = 0; i < y->listeners_count; i++)
        (void)watch_set(&y->listeners[i].watch, events);
}

static void system_resume(struct loop_timer *t)
{
    system_watch(LIST_ENTRY(t, struct system, pause), ADIT_READ);
}

static void system_complain_of_files(struct system *y, const char *msg)
{
    if (log_limit_allows(&y->log_limit, loop_now_ns(y->stack->config.loop)))
        log_write(y->stack->config.net->log, ADIT_LOG_WARN, "system", 0, msg, NULL);
}

static void system_pause(struct system *y)
{
    system_watch(y, 0);
    loop_timer_set(y->stack->config.loop, &y->pause, loop_now_ns(y->stack->config.loop) + SYSTEM_PAUSE_NS);
    system_complain_of_files(y, "the kernel hands over no flow: the limit of open files (ulimit -n) may be reached");
}

/* Resets the next flow of the kernel's by means of the spare descriptor, if one waits: accept4() looks for a descriptor first.
 * False: there is no spare one. */
static bool system_shed(struct system *y, int listener)
{
    bool had_spare = y->spare >= 0;
    int fd = -1;

    if (had_spare) {
        close(y->spare);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    if (fd >= 0) {
        sock_abort(fd);
        y->stack->config.net->stats.tcp_rejected++;
        system_complain_of_files(y, "a flow is reset: the limit of open files (ulimit -n) is reached");
    }
    y->spare = fcntl(listener, F_DUPFD_CLOEXEC, 0);
    return had_spare;
}

static void system_take(struct system *y, int fd, const struct sockaddr_storage *name)
{
    struct nat_flow *f = NULL;
    adit_addr peer;

    y->nat.now_ns = loop_now_ns(y->stack->config.loop);
    if (adit_addr_from_sockaddr(&peer, name) == 0)
        f = nat_accepted(&y->nat, &peer);
    if (!f) {
        sock_abort(fd);
        return;
    }
    y->has_taken = true;
    kernel_stream_attach(kernel_stream_of(y->stack->config.loop, &f->flow), fd);
}

static bool accept_may_go_on(int os)
{
    switch (os) {
    case EINTR:
    case ECONNABORTED: /* and what was wrong with one connection (accept(2)) */
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static void system_accept(struct watch *w, unsigned events)
{
    struct system *y = LIST_ENTRY(w, struct system_listener, watch)->system;

    (void)events;
    for (int i = 0; i < SYSTEM_ACCEPTS; i++) {
        struct sockaddr_storage name;
        socklen_t len = sizeof(name);
        int fd = accept4(w->fd, (struct sockaddr *)&name, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            system_take(y, fd, &name);
        else if (errno == EAGAIN)
            return;
        else if (reclaim_fd(y->stack->config.loop, errno))
            continue;
        else if (errno == EMFILE && system_shed(y, w->fd))
            return; /* its upstream socket goes next; if more flows wait, this is called again */
        else if (!accept_may_go_on(errno)) {
            system_pause(y);
            return;
        }
    }
}

/* -------------------------------------------------------------------------------------- the probe -- */

/* A firewall that drops what comes out of the device makes every flow time out, and nobody would know why. */
static void system_complain(const struct system *y)
{
    const struct stack_config *c = &y->stack->config;
    adit_error e = {0};

    error_set(&e, ADIT_ETIMEDOUT, 0, "stack",
              "the kernel does not answer flows out of the device: a firewall of this host may drop them, or a strict "
              "reverse path filter where another route leads to the same prefix",
              "accept what comes in through the device from 198.19.255.0/24 and fd61:6469:7470:6565:7200::/120; the stack "
              "\"userspace\" needs no such rule");
    log_write(c->net->log, ADIT_LOG_WARN, "system", 0, e.msg, "hint", e.hint, NULL);
    if (c->notice)
        c->notice(c->notice_ctx, &e);
}

/* The start does not wait for it, and flows go on as if it were well: it may be a slow machine. */
static void system_probe(struct loop_timer *t)
{
    struct system *y = LIST_ENTRY(t, struct system, probe);

    if (y->has_taken || nat_is_answered(&y->nat))
        return;
    if (y->probes++ == SYSTEM_PROBES) {
        system_complain(y);
        return;
    }
    nat_probe(&y->nat);
    loop_timer_set(y->stack->config.loop, t, loop_now_ns(y->stack->config.loop) + SYSTEM_PROBE_NS);
}

/* ------------------------------------------------------------------------------- making and undoing -- */

static int listener_addr(int fd, adit_addr *out)
{
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);

    if (getsockname(fd, (struct sockaddr *)&name, &len) < 0)
        return ADIT_EINVAL;
    return adit_addr_from_sockaddr(out, &name);
}

static void system_unwatch(struct system *y)
{
    while (y->listeners_count > 0)
        watch_remove(&y->listeners[--y->listeners_count].watch);
    loop_timer_stop(y->stack->config.loop, &y->pause);
    loop_timer_stop(y->stack->config.loop, &y->probe);
    if (y->spare >= 0)
        close(y->spare);
    y->spare = -1;
}

static int system_listen(struct system *y)
{
    const struct stack_config *c = &y->stack->config;
    int err;

    for (size_t i = 0; i < c->listeners_count; i++) {
        struct system_listener *l = &y->listeners[i];

        l->system = y;
        kernel_stream_listen(c->listeners[i], &c->net->config);
        err = watch_add(c->loop, &l->watch, c->listeners[i], ADIT_READ, false, system_accept);
        if (err)
            return err;
        y->listeners_count++;
    }
    y->spare = fcntl(c->listeners[0], F_DUPFD_CLOEXEC, 0);
    return 0;
}

static int system_take_shortcut(struct system *y)
{
    struct stack *s = y->stack;
    const char *why = "";
    struct nat_shortcut shortcut;
    int err = 0;

    s->engine = "nat";
    y->shortcut = ADIT_NO_SOCKET;
    if (s->config.shortcut)
        err = s->config.shortcut(s->config.shortcut_ctx, &y->shortcut, &why);
    if (err)
        return err;
    if (y->shortcut == ADIT_NO_SOCKET) {
        stack_set_fallback(s, why);
        return 0;
    }
    s->engine = "bpf";
    shortcut = system_shortcut(&y->shortcut);
    nat_set_shortcut(&y->nat, &shortcut);
    return 0;
}

static int system_init(struct system *y, struct stack *s)
{
    const struct stack_config *c = &s->config;
    adit_addr addrs[STACK_KERNEL_LISTENERS_MAX];
    int err;

    *y = (struct system){.stack = s, .spare = -1, .log_limit = {.burst = 5}};
    loop_timer_init(&y->pause, system_resume);
    loop_timer_init(&y->probe, system_probe);
    for (size_t i = 0; i < c->listeners_count; i++) {
        err = listener_addr(c->listeners[i], &addrs[i]);
        if (err)
            return err;
    }
    err = nat_init(&y->nat, c->net, sizeof(struct kernel_stream), addrs, c->listeners_count);
    if (err)
        return err;
    err = system_take_shortcut(y);
    if (err == 0)
        err = system_listen(y);
    if (err) {
        system_unwatch(y);
        nat_deinit(&y->nat);
        return err;
    }
    loop_timer_set(c->loop, &y->probe, loop_now_ns(c->loop));
    return 0;
}

static int system_start(struct stack *s)
{
    struct memory *memory = s->config.net->memory;
    struct system *y;
    int err;

    if (s->config.listeners_count == 0 || s->config.listeners_count > STACK_KERNEL_LISTENERS_MAX)
        return ADIT_EINVAL;
    y = memory_alloc(memory, sizeof(*y));
    if (!y)
        return ADIT_ENOMEM;
    err = system_init(y, s);
    if (err) {
        memory_free(memory, y, sizeof(*y));
        return err;
    }
    s->tcp = y;
    return 0;
}

static struct stream *system_stream(struct flow *f)
{
    const struct system *y = LIST_ENTRY(nat_of_flow(f)->nat, struct system, nat);

    return &kernel_stream_of(y->stack->config.loop, f)->nat.flow.stream;
}

/* Flows that nobody has been told of yet: prepare() accepted them and the kernel has not. */
static void system_abort_unowned(struct system *y)
{
    struct list *node = y->nat.all.next;

    while (node != &y->nat.all) {
        struct nat_flow *f = LIST_ENTRY(node, struct nat_flow, node);
        struct stream *stream;

        node = node->next;
        if (f->state == NAT_LINGER)
            continue;
        stream = system_stream(&f->flow);
        stream->ops->abort(stream);
        stream->ops->free(stream);
    }
}

static void system_stop(struct stack *s)
{
    struct system *y = s->tcp;

    system_unwatch(y);
    system_abort_unowned(y);
    nat_deinit(&y->nat);
    memory_free(s->config.net->memory, y, sizeof(*y));
    s->tcp = NULL;
}

static void system_set_now(struct stack *s, uint64_t now_ns)
{
    struct system *y = s->tcp;

    y->nat.now_ns = now_ns;
}

const struct stack_ops stack_system = {
    .name = "system",
    .listeners = STACK_LISTENERS_FIRST,
    .start = system_start,
    .stop = system_stop,
    .stream = system_stream,
    .set_now = system_set_now,
};
