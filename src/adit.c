/* SPDX-License-Identifier: MIT */
/* adit: the composition root: an instance is options, a log, one or several workers, and whatever runs their loops: threads of
 * ours; for the first one also the caller's thread, or the host's own loop where it is the only one.
 *
 * Limits of flows, of clients and of memory are divided by the workers: nothing is counted together on the packet path. A
 * client's flows spread over the workers by the kernel's hash, so that it may meet its limit a little before it has all. */
#include "adit/adit.h"
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "instance.h"
#include "options.h"
#include "sock/sock.h"

static void *instance_alloc(const adit_allocator *alloc)
{
    struct memory m;
    void *a;

    memory_init(&m, UINT64_MAX, alloc);
    a = memory_alloc(&m, sizeof(struct adit));
    if (a)
        memset(a, 0, sizeof(struct adit));
    return a;
}

static void instance_free(adit *a)
{
    struct memory m;

    memory_init(&m, UINT64_MAX, a->options.alloc);
    m.used_bytes = sizeof(*a);
    memory_free(&m, a, sizeof(*a));
}

static uint32_t share_of(uint32_t limit, unsigned workers)
{
    return (uint32_t)(((uint64_t)limit + workers - 1) / workers);
}

/* options.capture of each of several workers. */
static void instance_capture(void *ctx, const void *bytes, size_t len)
{
    adit *a = ctx;

    uv_mutex_lock(&a->capture);
    a->options.capture(a->options.capture_ctx, bytes, len);
    uv_mutex_unlock(&a->capture);
}

static void instance_divide(adit *a)
{
    adit_options *o = &a->share;
    unsigned n = a->options.workers;

    *o = a->options;
    o->memory_bytes /= n;
    o->tcp_max = share_of(o->tcp_max, n);
    o->tcp_per_client_max = share_of(o->tcp_per_client_max, n);
    o->tcp_half_open_max = share_of(o->tcp_half_open_max, n);
    o->tcp_half_open_per_client_max = share_of(o->tcp_half_open_per_client_max, n);
    o->udp_max = share_of(o->udp_max, n);
    o->udp_per_client_max = share_of(o->udp_per_client_max, n);
    if (o->capture && n > 1) {
        o->capture = instance_capture;
        o->capture_ctx = a;
    }
}

static int instance_init_locks(adit *a, adit_error *err)
{
    if (uv_mutex_init(&a->mutex))
        return error_set(err, ADIT_ENOMEM, 0, "mutex", "the system gives no mutex", "");
    if (uv_mutex_init(&a->capture)) {
        uv_mutex_destroy(&a->mutex);
        return error_set(err, ADIT_ENOMEM, 0, "mutex", "the system gives no mutex", "");
    }
    if (uv_cond_init(&a->ended)) {
        uv_mutex_destroy(&a->capture);
        uv_mutex_destroy(&a->mutex);
        return error_set(err, ADIT_ENOMEM, 0, "condition", "the system gives no condition variable", "");
    }
    return 0;
}

static void instance_deinit_locks(adit *a)
{
    uv_cond_destroy(&a->ended);
    uv_mutex_destroy(&a->capture);
    uv_mutex_destroy(&a->mutex);
}

/* All hash flows alike. */
static int instance_init_key(adit *a, adit_error *err)
{
    struct sip_key *key = &a->crew.flow_key;

    if (a->options.random)
        a->options.random(a->options.sys_ctx, key, sizeof(*key));
    else if (uv_random(NULL, NULL, key, sizeof(*key), 0, NULL))
        return error_set(err, ADIT_ESYS, 0, "uv_random", "the system gives no random numbers", "set options.random");
    return 0;
}

static int instance_init_crew(adit *a, adit_error *err)
{
    const adit_options *o = &a->options;
    int e;

    e = crew_init(&a->crew, o->workers, (uint64_t)o->tcp_max + o->udp_max, o->alloc);
    if (e)
        return error_set(err, e, 0, "adit_new", "no memory for several workers", "take fewer workers, or fewer flows");
    e = a->crew.seats ? instance_init_key(a, err) : 0;
    if (e == 0) {
        a->workers = memory_alloc(&a->crew.memory, o->workers * sizeof(*a->workers));
        e = a->workers ? 0 : error_set(err, ADIT_ENOMEM, 0, "adit_new", "no memory", "");
    }
    if (e)
        crew_deinit(&a->crew);
    return e;
}

static void instance_deinit_workers(adit *a)
{
    while (a->workers_ready > 0)
        worker_deinit(&a->workers[--a->workers_ready]);
    memory_free(&a->crew.memory, a->workers, a->options.workers * sizeof(*a->workers));
    crew_deinit(&a->crew);
}

static int instance_init_workers(adit *a, const adit_handler *h, void *ctx, adit_error *err)
{
    const adit_options *o = &a->options;

    for (unsigned i = 0; i < o->workers; i++) {
        struct worker *w = &a->workers[i];
        int e;

        *w = (struct worker){.crew = &a->crew, .index = i, .options = &a->share, .log = &a->log};
        e = worker_init(w, a, err);
        if (e)
            return e;
        a->workers_ready++;
        worker_set_handler(w, h, o->worker_ctx ? o->worker_ctx(ctx, (uint16_t)i) : ctx);
    }
    return 0;
}

static int instance_init(adit *a, const adit_handler *h, void *ctx, adit_error *err)
{
    adit_options *o = &a->options;
    int e;

    a->log = (struct log){.fn = o->log, .ctx = o->log_ctx, .level = o->log_level};
    e = instance_init_locks(a, err);
    if (e)
        return e;
    instance_divide(a);
    e = instance_init_crew(a, err);
    if (e) {
        instance_deinit_locks(a);
        return e;
    }
    e = instance_init_workers(a, h, ctx, err);
    if (e) {
        instance_deinit_workers(a);
        instance_deinit_locks(a);
    }
    return e;
}

static int instance_new(adit **out, const adit_options *all, const adit_handler *h, void *ctx, adit_error *err)
{
    adit *a = instance_alloc(all->alloc);
    int e = ADIT_ENOMEM;

    if (!a)
        return error_set(err, e, 0, "adit_new", "no memory", "");
    a->options = *all;
    if (options_keep(&a->options)) {
        instance_free(a);
        return error_set(err, e, 0, "adit_new", "no memory", "");
    }
    e = instance_init(a, h, ctx, err);
    if (e) {
        options_forget(&a->options);
        instance_free(a);
        return e;
    }
    *out = a;
    return 0;
}

/* The device works on duplicates; what was given for good is closed here, however adit_new() ends: also where the host's
 * options could not be read any further. */
static void close_taken(const adit_options *o)
{
    if (!o || o->size < offsetof(adit_options, take_fds) + sizeof(o->take_fds))
        return;
    if (o->kind != ADIT_DEV_FD || !o->take_fds || !o->fds)
        return;
    for (size_t i = 0; i < o->fds_count; i++)
        sock_close(o->fds[i]);
    for (size_t i = 0; o->listeners && i < o->listeners_count; i++)
        sock_close(o->listeners[i]);
    if (o->size < offsetof(adit_options, shortcut_count) + sizeof(o->shortcut_count))
        return;
    for (size_t i = 0; o->shortcut && i < o->shortcut_count; i++)
        sock_close(o->shortcut[i]);
}

int adit_new(adit **out, const adit_options *o, const adit_handler *h, void *ctx, adit_error *err)
{
    adit_options all;
    int e;

    *out = NULL;
    if (err)
        *err = (adit_error){0};
    e = options_take(&all, o, err);
    if (e == 0 && (!h || h->size < offsetof(adit_handler, prepare)))
        e = error_set(err, ADIT_EINVAL, 0, "handler", "the handler has no size", "set size = sizeof(adit_handler)");
    if (e == 0)
        e = instance_new(out, &all, h, ctx, err);
    close_taken(o);
    return e;
}

static int instance_claim(adit *a, const char *op, adit_error *err)
{
    bool is_free;

    uv_mutex_lock(&a->mutex);
    is_free = a->state == INSTANCE_NEW && !a->workers[0].is_ended;
    if (is_free)
        a->state = INSTANCE_RUNNING;
    uv_mutex_unlock(&a->mutex);
    return is_free ? 0 : error_set(err, ADIT_ESTATE, 0, op, "the instance runs already, or has run", "make a new one");
}

static void worker_run(void *arg)
{
    struct worker *w = arg;

    loop_run(w->loop);
}

static void instance_join_threads(adit *a)
{
    while (a->threads_count > 0)
        uv_thread_join(&a->threads[--a->threads_count]);
}

/* The first worker, until all have ended. */
static void instance_run(void *arg)
{
    adit *a = arg;

    loop_run(a->workers[0].loop);
    instance_join_threads(a);
    uv_mutex_lock(&a->mutex);
    a->state = INSTANCE_ENDED;
    uv_cond_broadcast(&a->ended);
    uv_mutex_unlock(&a->mutex);
}

/* What was claimed does not run: threads that were started already have ended when it returns. */
static int instance_fail_threads(adit *a, adit_error *err)
{
    bool has_begun = a->threads_count > 0;

    if (has_begun)
        adit_stop(a);
    instance_join_threads(a);
    uv_mutex_lock(&a->mutex);
    a->state = has_begun ? INSTANCE_ENDED : INSTANCE_NEW;
    uv_mutex_unlock(&a->mutex);
    return error_set(err, ADIT_ELIMIT, 0, "thread", "the system gives no thread",
                     "is the limit of threads (ulimit -u) or of memory (ulimit -v) reached?");
}

/* Of all workers but the first. */
static int instance_start_threads(adit *a, adit_error *err)
{
    for (unsigned i = 1; i < a->options.workers; i++) {
        if (uv_thread_create(&a->threads[a->threads_count], worker_run, &a->workers[i]))
            return instance_fail_threads(a, err);
        a->threads_count++;
    }
    return 0;
}

int adit_start(adit *a, adit_error *err)
{
    int e;

    if (err)
        *err = (adit_error){0};
    e = instance_claim(a, "adit_start", err);
    if (e == 0)
        e = instance_start_threads(a, err);
    if (e)
        return e;
    if (uv_thread_create(&a->thread, instance_run, a))
        return instance_fail_threads(a, err);
    a->has_thread = true;
    return 0;
}

int adit_run(adit *a, adit_error *err)
{
    int e;

    if (err)
        *err = (adit_error){0};
    e = instance_claim(a, "adit_run", err);
    if (e == 0)
        e = instance_start_threads(a, err);
    if (e)
        return e;
    instance_run(a);
    for (unsigned i = 0; i < a->options.workers; i++) {
        const adit_error *why = &a->workers[i].fatal;

        if (!why->code)
            continue;
        if (err)
            *err = *why;
        return why->code;
    }
    return 0;
}

void adit_stop(adit *a)
{
    for (unsigned i = 0; i < a->options.workers; i++)
        worker_stop(&a->workers[i]);
}

/* Until every worker has ended. Those whose loops nobody ran to their end, a host with a loop of its own, this thread runs. */
static void instance_wait(adit *a)
{
    if (a->has_thread)
        uv_thread_join(&a->thread);
    uv_mutex_lock(&a->mutex);
    while (a->state == INSTANCE_RUNNING) /* adit_run() in another thread */
        uv_cond_wait(&a->ended, &a->mutex);
    uv_mutex_unlock(&a->mutex);
    for (unsigned i = 0; i < a->options.workers; i++)
        if (!a->workers[i].is_ended)
            loop_run(a->workers[i].loop);
}

void adit_free(adit *a)
{
    if (!a)
        return;
    adit_stop(a);
    instance_wait(a);
    instance_deinit_workers(a);
    instance_deinit_locks(a);
    options_forget(&a->options);
    instance_free(a);
}

const char *adit_device_name(const adit *a)
{
    return a->workers[0].device->ifname;
}

int adit_device_open(const adit_options *o, adit_socket *fd, int *vnet_hdr, char *name, adit_error *err)
{
    adit_options all;
    int e;

    *fd = ADIT_NO_SOCKET;
    if (err)
        *err = (adit_error){0};
    e = options_take(&all, o, err);
    all.workers = 1;
    return e ? e : tun_open_fds(&all, fd, vnet_hdr, name, err);
}

int adit_device_open_queues(const adit_options *o, adit_socket *fds, size_t count, int *vnet_hdr, char *name,
                            adit_error *err)
{
    adit_options all;
    int e;

    for (size_t i = 0; i < count; i++)
        fds[i] = ADIT_NO_SOCKET;
    if (err)
        *err = (adit_error){0};
    e = options_take(&all, o, err);
    if (e == 0 && (count == 0 || count > DEVICE_QUEUES_MAX))
        e = error_set(err, ADIT_EINVAL, 0, "count", "a device has 1 to 16 queues", "as many as there will be workers");
    all.workers = (uint16_t)count;
    return e ? e : tun_open_fds(&all, fds, vnet_hdr, name, err);
}

int adit_device_listen(const adit_options *o, const char *name, adit_socket listeners[2], size_t *count,
                       adit_error *err)
{
    adit_options all;
    int e;

    *count = 0;
    if (err)
        *err = (adit_error){0};
    e = options_take(&all, o, err);
    return e ? e : listen_open(&all, name, listeners, count, err);
}

int adit_device_shortcut(const adit_options *o, const char *name, adit_socket shortcut[ADIT_SHORTCUT_FDS_MAX],
                         size_t *count, adit_error *err)
{
    adit_options all;
    int e;

    *count = 0;
    if (err)
        *err = (adit_error){0};
    e = options_take(&all, o, err);
    return e ? e : shortcut_open(&all, name, shortcut, count, err);
}

void adit_log(adit *a, int level, const char *module, uint64_t flow, const char *msg)
{
    log_write(&a->log, level, module, flow, msg, NULL);
}

size_t adit_input(adit *a, const adit_packet *p, size_t n)
{
    return a->options.kind == ADIT_DEV_EXTERNAL ? worker_input(&a->workers[0], p, n) : 0;
}

adit_loop *adit_main_loop(adit *a)
{
    return a->workers[0].loop;
}

struct worker *instance_worker(adit *a)
{
    for (unsigned i = 1; i < a->options.workers; i++)
        if (loop_runs_here(a->workers[i].loop))
            return &a->workers[i];
    return &a->workers[0];
}

int adit_stack_dial(adit *a, const adit_addr *from, const adit_addr *to, const adit_conn_ops *ops, void *user,
                    adit_conn **out)
{
    return stack_dial(&instance_worker(a)->stack, from, to, ops, user, out);
}

/* A listener that is still to be told to another worker. */
struct listen_order {
    struct worker *worker;
    adit_addr at;
    stack_listen_fn fn;
    void *ctx;
};

/* The first worker has allowed it, and the others' lists are copies of its list. */
static void listen_order_run(void *arg)
{
    struct listen_order *o = arg;

    (void)stack_listen(&o->worker->stack, &o->at, o->fn, o->ctx);
    free(o);
}

/* What the first worker cannot do the others are not told; what cannot be told leaves them without it. */
int adit_stack_listen(adit *a, const adit_addr *at, void (*fn)(void *ctx, adit_conn *c), void *ctx)
{
    int e = stack_listen(&a->workers[0].stack, at, fn, ctx);

    for (unsigned i = 1; i < a->options.workers && e == 0; i++) {
        struct listen_order *o = malloc(sizeof(*o));

        if (!o)
            return ADIT_ENOMEM;
        *o = (struct listen_order){.worker = &a->workers[i], .at = *at, .fn = fn, .ctx = ctx};
        e = adit_post(o->worker->loop, listen_order_run, o);
        if (e)
            free(o);
    }
    return e;
}
