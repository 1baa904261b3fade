/* SPDX-License-Identifier: MIT */
/* worker: see worker.h. */
#include "worker.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <uv.h>
#include "base/error.h"

#define WORKER_CACHED_BYTES_MAX 67108864ull /* of free buffers; what nobody needs of it decays */

/* ----------------------------------------------------------------------------------- the device's -- */

static void worker_fail(struct worker *w, int code, const char *msg)
{
    if (w->fatal.code || w->is_ended)
        return;
    error_set(&w->fatal, code, 0, "device", msg, "make a new instance");
    log_write(w->log, ADIT_LOG_ERROR, "worker", 0, msg, "device", w->device->ifname, NULL);
    adit_stop(w->stack.config.engine); /* the others end too */
}

static void worker_watch_device(struct worker *w)
{
    unsigned ev = 0;

    if (!w->is_watched)
        return;
    if (!w->is_stopping && w->retry_ns == WHEEL_NEVER && !w->fatal.code)
        ev |= ADIT_READ;
    if (w->is_output_full)
        ev |= ADIT_WRITE;
    if (ev != w->device_watch.events && watch_set(&w->device_watch, ev))
        worker_fail(w, ADIT_ESYS, "the device can no longer be watched");
}

/* Receives until the device is empty, or as much as is served together, or the turn's budget is spent. */
static void worker_receive(struct worker *w, uint64_t now_ns)
{
    struct packet p[WORKER_BATCH_PACKETS];
    int packets = 0, n;

    do {
        n = device_recv(w->device, p, WORKER_BATCH_PACKETS, now_ns);
        for (int i = 0; i < n; i++) {
            w->turn_bytes += p[i].len_bytes;
            net_input(&w->net, &p[i], now_ns);
            buf_unref(p[i].buf);
        }
        packets += n;
    } while (n == WORKER_BATCH_PACKETS && packets < WORKER_PASS_PACKETS && w->turn_bytes < WORKER_TURN_BYTES);
    w->input_waits = n == WORKER_BATCH_PACKETS;
    if (n >= 0 || n == ADIT_EAGAIN)
        return;
    if (n == ADIT_ENODEV) {
        worker_fail(w, n, "the device is gone");
        return;
    }
    /* No memory for a packet, most likely: the device is left alone for a moment, lest the loop spin. */
    w->retry_ns = now_ns + WORKER_RETRY_NS;
    worker_watch_device(w);
}

static void worker_device_ready(struct watch *watch, unsigned events)
{
    struct worker *w = LIST_ENTRY(watch, struct worker, device_watch);

    if (events & ADIT_WRITE)
        w->is_output_full = false;
    if (!w->is_stopping)
        worker_receive(w, loop_now_ns(w->loop));
    worker_watch_device(w);
}

/* net_env.output */
static bool worker_output(void *ctx, const struct packet_out *p)
{
    struct worker *w = ctx;
    uint64_t now_ns = adit_loop_now_ns(w->loop);
    int err;

    if (w->is_output_full)
        return false;
    err = device_send(w->device, p, now_ns);
    if (err == ADIT_EAGAIN) {
        w->is_output_full = true;
        if (w->is_watched)
            worker_watch_device(w);
        else
            w->retry_ns = now_ns + WORKER_RETRY_NS;
        return false;
    }
    if (err == ADIT_ENODEV)
        worker_fail(w, err, "the device is gone");
    if (err)
        net_drop(&w->net, DROP_DEVICE_FULL);
    return true;
}

/* ------------------------------------------------------------------------- what the core asks for -- */

static void worker_prepare(void *ctx, const adit_flow *f, adit_decision *d)
{
    struct worker *w = ctx;

    stack_prepare(&w->stack, f, d);
}

static int worker_echo(void *ctx, struct echo *e, const struct ip_header *ip, const struct icmp_message *m)
{
    struct worker *w = ctx;

    return stack_echo(&w->stack, e, ip, m);
}

/* net_env.hand_over */
static bool worker_hand_over(void *ctx, unsigned worker, const struct packet *p)
{
    struct worker *w = ctx;

    return crew_send(w->crew, w->index, worker, p);
}

/* One that another worker handed over. */
static void worker_take(void *ctx, const struct packet *p)
{
    struct worker *w = ctx;

    if (p->data)
        net_input_handed_over(&w->net, p, loop_now_ns(w->loop));
    else
        net_drop(&w->net, DROP_NO_MEMORY);
}

/* A keyed function of a counter: no system call, and it cannot fail once it has its key. */
static void worker_random(void *ctx, void *buf, size_t len_bytes)
{
    struct worker *w = ctx;
    uint8_t *out = buf;

    if (w->options->random) {
        w->options->random(w->options->sys_ctx, buf, len_bytes);
        return;
    }
    while (len_bytes > 0) {
        uint64_t v = siphash24(&w->random_key, &w->random_count, sizeof(w->random_count));
        size_t part = len_bytes < sizeof(v) ? len_bytes : sizeof(v);

        w->random_count++;
        memcpy(out, &v, part);
        out += part;
        len_bytes -= part;
    }
}

/* ------------------------------------------------------------------------------------------ turns -- */

static void worker_begin_stop(struct worker *w, uint64_t now_ns)
{
    w->is_stopping = true;
    w->stop_by_ns = now_ns + WORKER_STOP_NS;
    worker_watch_device(w);
    stack_stop(&w->stack);
}

static void worker_try_end(struct worker *w, uint64_t now_ns)
{
    const adit_handler *h = &w->stack.config.handler;

    if (!stack_is_empty(&w->stack) || !list_is_empty(&w->net.ready))
        return;
    if (!list_is_empty(&w->net.output) && now_ns < w->stop_by_ns && !w->fatal.code)
        return;
    w->is_ended = true;
    report_update(w, now_ns, true);
    if (w->fatal.code && h->stopped && !atomic_exchange(&w->crew->has_ended, true))
        h->stopped(w->stack.config.handler_ctx, w->stack.config.engine, &w->fatal);
    loop_stop(w->loop);
}

/* A device that is not watched, or a wrapper that holds packets back. */
static void worker_poll_device(struct worker *w, uint64_t now_ns)
{
    bool is_due = device_next_ns(w->device) <= now_ns;

    if (w->retry_ns <= now_ns) {
        w->retry_ns = WHEEL_NEVER;
        w->is_output_full = false;
        worker_watch_device(w);
    }
    if (is_due)
        device_expire(w->device, now_ns);
    if ((is_due || !w->is_watched) && !w->is_stopping)
        worker_receive(w, now_ns);
}

/* What has come since the turn began: a turn may send more packets than are received at once, and each may be answered. */
static bool worker_receive_more(struct worker *w, uint64_t now_ns)
{
    if (!w->input_waits || w->is_stopping || w->turn_bytes >= WORKER_TURN_BYTES)
        return false;
    worker_receive(w, now_ns);
    return true;
}

static void worker_serve(struct worker *w)
{
    struct flow *f;

    for (int i = 0; i < WORKER_PASS_FLOWS && (f = net_next_ready(&w->net)) != NULL; i++)
        stack_serve(&w->stack, f);
}

static void worker_begin(void *ctx, uint64_t now_ns)
{
    struct worker *w = ctx;

    stack_set_now(&w->stack, now_ns);
}

/* While buffers are kept for reuse, those that nobody needed go back, twice a second; then no timer runs. */
static void worker_trim(struct worker *w, uint64_t now_ns)
{
    if (w->bufs.cached_bytes > 0 && w->trim_ns == WHEEL_NEVER) {
        w->trim_ns = now_ns + WORKER_TRIM_NS;
    } else if (w->trim_ns <= now_ns) {
        w->trim_ns = buf_pool_decay(&w->bufs) ? now_ns + WORKER_TRIM_NS : WHEEL_NEVER;
        net_trim(&w->net);
    }
}

static void worker_turn(void *ctx, uint64_t now_ns)
{
    struct worker *w = ctx;

    if (w->is_ended)
        return;
    w->in_turn = true;
    w->turns++;
    if (!w->is_stopping && (atomic_load(&w->stop_wanted) || w->fatal.code))
        worker_begin_stop(w, now_ns);
    worker_poll_device(w, now_ns);
    crew_receive(w->crew, w->index, &w->bufs, worker_take, w);
    for (int pass = 0; pass < WORKER_PASSES; pass++) {
        if (pass > 0 && !worker_receive_more(w, now_ns) && list_is_empty(&w->net.ready))
            break;
        worker_serve(w);
        net_expire(&w->net, now_ns);
        net_output(&w->net, now_ns);
    }
    w->turn_bytes = 0;
    stack_settle(&w->stack);
    worker_trim(w, now_ns);
    if (memory_pressure(&w->memory) >= MEMORY_HIGH)
        buf_pool_trim(&w->bufs);
    report_update(w, now_ns, false);
    w->in_turn = false;
    if (w->is_stopping)
        worker_try_end(w, now_ns);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t worker_next_ns(void *ctx)
{
    const struct worker *w = ctx;
    uint64_t at_ns;

    if (w->is_ended)
        return WHEEL_NEVER;
    if (!list_is_empty(&w->net.ready) || (!w->is_watched && w->input_waits))
        return 0;
    if (!list_is_empty(&w->net.output) && !w->is_output_full)
        return 0;
    if (!w->is_stopping && (atomic_load(&w->stop_wanted) || w->fatal.code))
        return 0;
    at_ns = earlier(net_next_ns(&w->net), device_next_ns(w->device));
    at_ns = earlier(at_ns, report_next_ns(&w->report));
    at_ns = earlier(at_ns, w->retry_ns);
    at_ns = earlier(at_ns, w->trim_ns);
    return w->is_stopping ? earlier(at_ns, w->stop_by_ns) : at_ns;
}

/* The turn that a wake brings sees the flag itself. */
static void worker_woken(void *arg)
{
    (void)arg;
}

void worker_stop(struct worker *w)
{
    atomic_store(&w->stop_wanted, true);
    loop_wake(w->loop);
}

size_t worker_input(struct worker *w, const adit_packet *p, size_t n)
{
    size_t taken;

    if (w->is_stopping || w->is_ended)
        return 0;
    taken = external_push(w->device, p, n);
    if (taken == 0 || w->input_waits)
        return taken;
    w->input_waits = true;
    if (!w->in_turn)
        loop_wake(w->loop);
    return taken;
}

/* ------------------------------------------------------------------------------- making and undoing -- */

static uint64_t ms_to_ns(uint32_t ms)
{
    return ms * 1000000ull;
}

static int worker_init_loop(struct worker *w, adit_error *err)
{
    struct loop_config config = {
        .now_ns = w->options->now_ns,
        .now_ctx = w->options->sys_ctx,
        .log = w->log,
        .memory = &w->memory,
        .needs_thread = w->crew->count > 1,
        .saves_power = w->options->preset == ADIT_PRESET_MOBILE,
        .hooks = {.ctx = w, .begin = worker_begin, .turn = worker_turn, .next_ns = worker_next_ns},
    };
    int e;

    if (!w->options->random && uv_random(NULL, NULL, &w->random_key, sizeof(w->random_key), 0, NULL))
        return error_set(err, ADIT_ESYS, 0, "uv_random", "the system gives no random numbers", "set options.random");
    e = loop_new(&w->loop, &config, err);
    if (e == 0)
        loop_set_wake(w->loop, worker_woken, w);
    return e;
}

/* stack_config.listen; the instance closes them. */
static int worker_listen(void *ctx, adit_socket out[LISTEN_MAX], size_t *count, adit_error *err)
{
    struct worker *w = ctx;
    int e = tun_listen(w->options, w->device->ifname, w->listeners, &w->listeners_count, err);

    memcpy(out, w->listeners, sizeof(w->listeners));
    *count = w->listeners_count;
    return e;
}

/* Those that came with a device's descriptor: the host's stay open. */
static int worker_copy_listeners(struct worker *w, adit_error *err)
{
    const adit_options *o = w->options;

    for (size_t i = 0; i < o->listeners_count; i++) {
        int os, fd = fcntl(o->listeners[i], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            os = errno;
            return error_setf(err, error_from_errno(os), os, "listeners",
                              os == EMFILE ? "the limit of open files (ulimit -n) is reached"
                                           : "pass on what adit_device_listen() gave",
                              "a listening socket cannot be duplicated: %s", strerror(os));
        }
        w->listeners[w->listeners_count++] = fd;
    }
    return 0;
}

/* What came with a device that was given. The host's array and text are its own again once adit_new() has returned, and the
 * stack `mixed` asks later than that. */
static void worker_copy_shortcut(struct worker *w)
{
    const adit_options *o = w->options;

    snprintf(w->shortcut_refused, sizeof(w->shortcut_refused), "%s",
             o->shortcut_refused && *o->shortcut_refused ? o->shortcut_refused
                                                         : "the device came without what it needs");
    for (size_t i = 0; i < o->shortcut_count && i < SHORTCUT_FDS_MAX; i++) {
        int fd = fcntl(o->shortcut[i], F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
            break;
        w->shortcut[w->shortcut_count++] = fd;
    }
}

/* Where the kernel accepts: beside a device of ours, or from whoever opened the one that was given. */
static int worker_init_listeners(struct worker *w, const struct stack_ops *ops, adit_error *err)
{
    size_t count;
    adit_socket sockets[LISTEN_MAX];

    if (ops->listeners == STACK_LISTENERS_NONE)
        return 0;
    if (w->options->kind == ADIT_DEV_FD) {
        worker_copy_shortcut(w);
        return worker_copy_listeners(w, err);
    }
    return ops->listeners == STACK_LISTENERS_FIRST ? worker_listen(w, sockets, &count, err) : 0;
}

/* Beside a device of ours; what came with one of the host's is here already. */
static void worker_open_shortcut(struct worker *w, adit_error *err)
{
    const adit_options *o = w->options;

    if (o->kind == ADIT_DEV_CREATE)
        (void)tun_shortcut(o, w->device->ifname, w->shortcut, &w->shortcut_count, err);
    if (w->shortcut_count > SHORTCUT_COUNTS)
        return;
    shortcut_close(w->shortcut, &w->shortcut_count);
    if (o->kind == ADIT_DEV_FD)
        error_set(err, ADIT_ENOTSUP, 0, "engine", w->shortcut_refused, "");
}

/* While the device is open, and so still ours; one that is gone may be another's by now. A program without a link is on the
 * device itself. */
static void worker_close_shortcut(struct worker *w)
{
    if (w->options->kind == ADIT_DEV_CREATE && w->shortcut_count == SHORTCUT_LINK && !w->fatal.code)
        tun_sweep(w->options, w->device->ifname);
    shortcut_close(w->shortcut, &w->shortcut_count);
}

/* stack_config.shortcut: the engine "bpf" where everything for it is there; else "nat" is told of, or it is a failure. */
static int worker_shortcut(void *ctx, adit_socket *flows, const char **why)
{
    struct worker *w = ctx;
    const adit_options *o = w->options;
    adit_error refusal = {0};
    const char *against;

    *flows = ADIT_NO_SOCKET;
    *why = "";
    if (strcmp(o->engine, "nat") == 0)
        return 0;
    if (shortcut_is_allowed(o, &against)) {
        worker_open_shortcut(w, &refusal);
    } else {
        shortcut_close(w->shortcut, &w->shortcut_count);
        error_set(&refusal, ADIT_ENOTSUP, 0, "engine", against, "");
    }
    if (w->shortcut_count > 0) {
        *flows = w->shortcut[SHORTCUT_FLOWS];
        return 0;
    }
    w->engine_err = (adit_error){0};
    error_setf(&w->engine_err, ADIT_ENOTSUP, refusal.os, "engine", "the engine \"nat\" needs nothing of the kind",
               "the engine \"bpf\" cannot be had: %.128s", refusal.msg);
    *why = w->engine_err.msg;
    if (*o->engine)
        return ADIT_ENOTSUP;
    if (o->notice)
        o->notice(o->notice_ctx, &w->engine_err);
    return 0;
}

/* The device, or a queue of the one that the first worker made. */
static int worker_open_queue(struct worker *w, struct device **d, adit_error *err)
{
    const adit_options *o = w->options;
    struct crew *c = w->crew;
    int e;

    if (o->kind == ADIT_DEV_FD)
        return fd_open(d, o, w->index, &w->bufs, w->log, err);
    if (o->kind == ADIT_DEV_EXTERNAL)
        return external_open(d, o, &w->bufs, w->log, err);
    if (w->index > 0)
        return tun_open_queue(d, c->first_device, c->queues[--c->queues_count], &w->bufs, w->log, err);
    e = tun_open(d, o, &w->bufs, w->log, err);
    if (e)
        return e;
    memcpy(c->queues, (*d)->queues, sizeof(c->queues));
    c->queues_count = (*d)->queues_count;
    (*d)->queues_count = 0;
    return 0;
}

static int worker_open_capture(struct worker *w, struct device **d, adit_error *err)
{
    const adit_options *o = w->options;
    uint64_t now_ns = loop_now_ns(w->loop);
    int e = w->index == 0 ? pcap_open(d, *d, o->capture, o->capture_ctx, o->capture_snap_bytes, now_ns)
                          : pcap_open_more(d, *d, w->crew->first_device);

    return e ? error_set(err, e, 0, "pcap", "the capture cannot be started", "") : 0;
}

/* The capture is nearest to the stack: it shows what the stack saw and sent, after the fault injector did its part. */
static int worker_open_device(struct worker *w, adit_error *err)
{
    const adit_options *o = w->options;
    struct device *d = NULL;
    uint64_t seed;
    int e = worker_open_queue(w, &d, err);

    if (e == 0 && o->fault) {
        worker_random(w, &seed, sizeof(seed));
        e = fault_open(&d, d, o->fault, seed, err);
    }
    if (e == 0 && o->capture)
        e = worker_open_capture(w, &d, err);
    w->device = e == 0 ? d : NULL;
    if (w->index == 0)
        w->crew->first_device = w->device;
    return e;
}

static int worker_init_net(struct worker *w, adit_error *err)
{
    const adit_options *o = w->options;
    struct net_config config = {
        .mtu_bytes = w->device->mtu_bytes,
        .tcp_max = o->tcp_max,
        .tcp_per_client_max = o->tcp_per_client_max,
        .tcp_half_open_max = o->tcp_half_open_max,
        .tcp_half_open_per_client_max = o->tcp_half_open_per_client_max,
        .udp_max = o->udp_max,
        .udp_per_client_max = o->udp_per_client_max,
        .rx_window_bytes = o->rx_window_bytes,
        .tx_buffer_bytes = o->tx_buffer_bytes,
        .mss_clamp_bytes = o->mss_clamp_bytes,
        .tcp_idle_ns = ms_to_ns(o->tcp_idle_ms),
        .tcp_half_closed_ns = ms_to_ns(o->tcp_half_closed_ms),
        .tcp_keepalive_ns = ms_to_ns(o->tcp_keepalive_ms),
        .tcp_time_wait_ns = ms_to_ns(o->tcp_time_wait_ms),
        .udp_unreplied_ns = ms_to_ns(o->udp_unreplied_ms),
        .udp_replied_ns = ms_to_ns(o->udp_replied_ms),
        .udp_dns_ns = ms_to_ns(o->udp_dns_ms),
        .icmp_ns = ms_to_ns(o->icmp_ms),
        /* A little more than the dial's own, whose verdict says more than "timed out". */
        .pending_ns = ms_to_ns(o->dial_ms) + ms_to_ns(500),
        .udp_filtering = o->udp_filtering,
        .allow_martians = o->allow_martians != 0,
        .device_big_tcp4 = w->device->big_tcp4,
        .device_splits = !w->device->tso,
        .device_uso = w->device->uso,
        .trust_partial_csum = w->device->partial_csum,
        .aliases = o->aliases,
        .aliases_count = o->aliases_count,
        .loopbacks = o->loopbacks,
        .loopbacks_count = o->loopbacks_count,
        .owners = w->crew->seats ? &w->crew->owners : NULL,
        .flow_key = &w->crew->flow_key,
        .worker = w->index,
        .workers = w->crew->count,
    };
    struct net_env env = {
        .ctx = w,
        .output = worker_output,
        .prepare = worker_prepare,
        .echo = worker_echo,
        .random = worker_random,
        .hand_over = worker_hand_over,
    };
    int e = net_init(&w->net, &config, &env, &w->memory, &w->bufs, w->log, loop_now_ns(w->loop));

    return e ? error_set(err, e, 0, "net", "no memory for the protocol core", "raise memory_bytes") : 0;
}

static int worker_init_stack(struct worker *w, adit *engine, const struct stack_ops *ops, adit_error *err)
{
    const adit_options *o = w->options;
    struct stack_config config = {
        .engine = engine,
        .loop = w->loop,
        .net = &w->net,
        .sockets =
            {
                .socket = o->socket,
                .socket_ctx = o->socket_ctx,
                .protect = o->protect,
                .protect_ctx = o->protect_ctx,
                .bind_iface = o->bind_iface,
                .mark = o->mark,
                .log = w->log,
                .log_limit = &w->sock_log_limit,
            },
        .dial_ns = ms_to_ns(o->dial_ms),
        .half_closed_ns = ms_to_ns(o->tcp_half_closed_ms),
        .conns_max = o->tcp_max,
        .mappings_max = o->udp_max,
        .listeners_count = w->listeners_count,
        .listen = worker_listen,
        .listen_ctx = w,
        .shortcut = worker_shortcut,
        .shortcut_ctx = w,
        .notice = o->notice,
        .notice_ctx = o->notice_ctx,
    };
    int e;

    memcpy(config.listeners, w->listeners, sizeof(config.listeners));
    /* The ping sockets keep a pointer: to the copy that stack_init() makes, which lives as long as they do. */
    w->ping = ping_new(w->loop, &w->stack.config.sockets, &w->net, ms_to_ns(o->icmp_ms));
    if (!w->ping)
        return error_set(err, ADIT_ENOMEM, 0, "ping", "no memory to forward echo requests", "");
    config.ping = w->ping;
    e = stack_init(&w->stack, ops, &config);
    if (e) {
        if (*o->engine && w->engine_err.code)
            error_set(err, e, w->engine_err.os, w->engine_err.op, w->engine_err.msg, w->engine_err.hint);
        error_set(err, e, 0, "stack", e == ADIT_ENOMEM ? "no memory for the stack" : "the stack cannot be started",
                  e == ADIT_ENOMEM ? "raise memory_bytes" : "are the listeners sockets of adit_device_listen()?");
        ping_free(w->ping);
    }
    return e;
}

static int worker_init_watch(struct worker *w, adit_error *err)
{
    int e;

    if (w->device->fd == ADIT_NO_SOCKET)
        return 0;
    e = watch_add(w->loop, &w->device_watch, w->device->fd, ADIT_READ, false, worker_device_ready);
    if (e)
        return error_set(err, e, 0, "device", "its descriptor cannot be watched", "give a descriptor that can be polled");
    w->is_watched = true;
    return 0;
}

/* By default it is one that runs so many workers; where one is named that does not, that is said. */
static int worker_choose_stack(const struct worker *w, const struct stack_ops **ops, adit_error *err)
{
    const adit_options *o = w->options;
    struct stack_wish wish = {.name = o->stack, .all_networks = o->include_all_networks != 0};
    bool has_kernel = (o->kind == ADIT_DEV_CREATE && o->addrs_count > 0) || (o->kind == ADIT_DEV_FD && o->listeners_count > 0);
    int e;

    wish.has_kernel = w->crew->count == 1 ? has_kernel : *o->stack != '\0';
    e = stack_choose(ops, &wish, err);
    if (e == 0 && w->crew->count > 1 && (*ops)->listeners != STACK_LISTENERS_NONE)
        e = error_setf(err, ADIT_ENOTSUP, 0, "options", "take one worker, or the stack \"userspace\"",
                       "workers: the stack \"%s\" runs one worker: the kernel accepts at one place", (*ops)->name);
    return e;
}

int worker_init(struct worker *w, adit *engine, adit_error *err)
{
    const adit_options *options = w->options;
    const struct stack_ops *ops;
    uint64_t cached_bytes = options->memory_bytes / 2; /* where MEMORY_EASY ends */
    int e;

    w->retry_ns = w->trim_ns = WHEEL_NEVER;
    w->sock_log_limit.burst = 5;
    e = worker_choose_stack(w, &ops, err);
    if (e)
        return e;
    e = report_init(&w->report);
    if (e)
        return error_set(err, e, 0, "mutex", "the system gives no mutex", "");
    memory_init(&w->memory, options->memory_bytes, options->alloc);
    if (cached_bytes > WORKER_CACHED_BYTES_MAX)
        cached_bytes = WORKER_CACHED_BYTES_MAX;
    buf_pool_init(&w->bufs, &w->memory, cached_bytes);
    e = worker_init_loop(w, err);
    if (e)
        goto undo_bufs;
    e = worker_open_device(w, err);
    if (e)
        goto undo_loop;
    e = worker_init_listeners(w, ops, err);
    if (e)
        goto undo_device;
    e = worker_init_net(w, err);
    if (e)
        goto undo_device;
    e = worker_init_stack(w, engine, ops, err);
    if (e)
        goto undo_net;
    e = worker_init_watch(w, err);
    if (e)
        goto undo_stack;
    crew_join(w->crew, w->index, w->loop, &w->memory);
    report_update(w, loop_now_ns(w->loop), true);
    return 0;

undo_stack:
    stack_deinit(&w->stack);
    ping_free(w->ping);
undo_net:
    net_deinit(&w->net);
undo_device:
    worker_close_shortcut(w);
    device_close(w->device);
undo_loop:
    loop_free(w->loop);
    listen_close(w->listeners, &w->listeners_count);
    shortcut_close(w->shortcut, &w->shortcut_count);
undo_bufs:
    buf_pool_deinit(&w->bufs);
    report_deinit(&w->report);
    return e;
}

void worker_set_handler(struct worker *w, const adit_handler *h, void *ctx)
{
    size_t size = h->size < sizeof(*h) ? h->size : sizeof(*h);

    memcpy(&w->stack.config.handler, h, size);
    w->stack.config.handler_ctx = ctx;
}

void worker_deinit(struct worker *w)
{
    stack_deinit(&w->stack);
    ping_free(w->ping);
    if (w->is_watched)
        watch_remove(&w->device_watch);
    /* Runs what was posted: nothing of the stack is there for it any more, and it says so. */
    loop_free(w->loop);
    net_deinit(&w->net);
    worker_close_shortcut(w);
    device_close(w->device);
    listen_close(w->listeners, &w->listeners_count);
    crew_leave(w->crew, w->index);
    buf_pool_deinit(&w->bufs);
    assert(w->memory.used_bytes == 0);
    report_deinit(&w->report);
}
