/* SPDX-License-Identifier: MIT */
/* adit: the composition root: an instance is options, a log, a worker, and whatever runs the worker's loop (a thread of
 * ours, the caller's thread, or the host's own loop). */
#include "adit/adit.h"
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

static int instance_init(adit *a, const adit_handler *h, void *ctx, adit_error *err)
{
    adit_options *o = &a->options;
    int e;

    a->log = (struct log){.fn = o->log, .ctx = o->log_ctx, .level = o->log_level};
    if (uv_mutex_init(&a->mutex))
        return error_set(err, ADIT_ENOMEM, 0, "mutex", "the system gives no mutex", "");
    if (uv_cond_init(&a->ended)) {
        uv_mutex_destroy(&a->mutex);
        return error_set(err, ADIT_ENOMEM, 0, "condition", "the system gives no condition variable", "");
    }
    e = worker_init(&a->worker, a, o, &a->log, err);
    if (e) {
        uv_cond_destroy(&a->ended);
        uv_mutex_destroy(&a->mutex);
        return e;
    }
    worker_set_handler(&a->worker, h, o->worker_ctx ? o->worker_ctx(ctx, 0) : ctx);
    return 0;
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
    is_free = a->state == INSTANCE_NEW && !a->worker.is_ended;
    if (is_free)
        a->state = INSTANCE_RUNNING;
    uv_mutex_unlock(&a->mutex);
    return is_free ? 0 : error_set(err, ADIT_ESTATE, 0, op, "the instance runs already, or has run", "make a new one");
}

static void instance_run(void *arg)
{
    adit *a = arg;

    loop_run(a->worker.loop);
    uv_mutex_lock(&a->mutex);
    a->state = INSTANCE_ENDED;
    uv_cond_broadcast(&a->ended);
    uv_mutex_unlock(&a->mutex);
}

int adit_start(adit *a, adit_error *err)
{
    int e;

    if (err)
        *err = (adit_error){0};
    e = instance_claim(a, "adit_start", err);
    if (e)
        return e;
    if (uv_thread_create(&a->thread, instance_run, a)) {
        uv_mutex_lock(&a->mutex);
        a->state = INSTANCE_NEW;
        uv_mutex_unlock(&a->mutex);
        return error_set(err, ADIT_ELIMIT, 0, "thread", "the system gives no thread", "");
    }
    a->has_thread = true;
    return 0;
}

int adit_run(adit *a, adit_error *err)
{
    int e;

    if (err)
        *err = (adit_error){0};
    e = instance_claim(a, "adit_run", err);
    if (e)
        return e;
    instance_run(a);
    if (err)
        *err = a->worker.fatal;
    return a->worker.fatal.code;
}

void adit_stop(adit *a)
{
    worker_stop(&a->worker);
}

static void instance_wait(adit *a)
{
    bool is_driven;

    if (a->has_thread) {
        uv_thread_join(&a->thread);
        return;
    }
    uv_mutex_lock(&a->mutex);
    while (a->state == INSTANCE_RUNNING) /* adit_run() in another thread */
        uv_cond_wait(&a->ended, &a->mutex);
    is_driven = a->state == INSTANCE_NEW && !a->worker.is_ended;
    uv_mutex_unlock(&a->mutex);
    if (is_driven) /* by the host's loop, or by nobody: this thread brings it to its end */
        loop_run(a->worker.loop);
}

void adit_free(adit *a)
{
    if (!a)
        return;
    adit_stop(a);
    instance_wait(a);
    worker_deinit(&a->worker);
    uv_cond_destroy(&a->ended);
    uv_mutex_destroy(&a->mutex);
    options_forget(&a->options);
    instance_free(a);
}

const char *adit_device_name(const adit *a)
{
    return a->worker.device->ifname;
}

int adit_device_open(const adit_options *o, adit_socket *fd, int *vnet_hdr, char *name, adit_error *err)
{
    adit_options all;
    int e;

    *fd = ADIT_NO_SOCKET;
    if (err)
        *err = (adit_error){0};
    e = options_take(&all, o, err);
    return e ? e : tun_open_fd(&all, fd, vnet_hdr, name, err);
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
    return a->options.kind == ADIT_DEV_EXTERNAL ? worker_input(&a->worker, p, n) : 0;
}

adit_loop *adit_main_loop(adit *a)
{
    return a->worker.loop;
}

int adit_stack_dial(adit *a, const adit_addr *from, const adit_addr *to, const adit_conn_ops *ops, void *user,
                    adit_conn **out)
{
    return stack_dial(&a->worker.stack, from, to, ops, user, out);
}

int adit_stack_listen(adit *a, const adit_addr *at, void (*fn)(void *ctx, adit_conn *c), void *ctx)
{
    return stack_listen(&a->worker.stack, at, fn, ctx);
}
