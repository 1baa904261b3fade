/* SPDX-License-Identifier: MIT */
/* loop: one iteration and what it is made of, posts, tasks, watches, and the loop's part of the public API.
 *
 * The order within an iteration is fixed: events, posts, tasks that were put off before it began, timers, turn. Whatever
 * a callback puts off runs in the next iteration, which then does not block, after the events that arrived meanwhile:
 * nobody can keep the others from their turn.
 *
 * An own-thread post from a callback needs no wake-up: has_posts is looked at before the loop blocks. All others go
 * through uv_async_send(), which is one write to a descriptor of libuv's and safe in a signal handler. */
#include "sock/loop_private.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/error.h"

#define LOOP_NO_SLOT UINT32_MAX
#define LOOP_UV_TOKEN UINT64_MAX
enum { LOOP_SLOTS_FIRST = 64 };

/* ----------------------------------------------------------------------------------------- time -- */

static uint64_t loop_clock_ns(const struct adit_loop *l)
{
    struct timespec t;

    if (l->config.now_ns)
        return l->config.now_ns(l->config.now_ctx);
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Between iterations the time of the last one may be long ago: a host that runs the loop itself calls from anywhere. */
uint64_t loop_now_ns(const struct adit_loop *l)
{
    return l->is_iterating ? l->now_ns : loop_clock_ns(l);
}

uint64_t adit_loop_now_ns(const adit_loop *l)
{
    return loop_now_ns(l);
}

void loop_timer_init(struct loop_timer *t, void (*fn)(struct loop_timer *t))
{
    wheel_timer_init(&t->timer);
    t->fn = fn;
}

void loop_timer_set(struct adit_loop *l, struct loop_timer *t, uint64_t deadline_ns)
{
    wheel_set(&l->wheel, &t->timer, deadline_ns);
}

void loop_timer_stop(struct adit_loop *l, struct loop_timer *t)
{
    wheel_stop(&l->wheel, &t->timer);
}

/* ---------------------------------------------------------------------------------------- tasks -- */

void loop_task_init(struct loop_task *t, void (*fn)(struct loop_task *t))
{
    list_init(&t->node);
    t->fn = fn;
}

void loop_task_start(struct adit_loop *l, struct loop_task *t)
{
    if (!list_is_linked(&t->node))
        list_push_back(&l->tasks, &t->node);
}

void loop_task_stop(struct loop_task *t)
{
    list_remove(&t->node);
}

static struct memory *loop_memory(struct adit_loop *l)
{
    return l->config.memory ? l->config.memory : &l->own_memory;
}

void *loop_alloc(struct adit_loop *l, size_t len_bytes)
{
    return bins_alloc(&l->bins, len_bytes);
}

void loop_release(struct adit_loop *l, void *p, size_t len_bytes)
{
    bins_free(&l->bins, p, len_bytes);
}

void loop_keep_leftover(struct adit_loop *l, struct loop_leftover *o)
{
    list_push_back(&l->leftovers, &o->node);
}

static void loop_release_leftovers(struct adit_loop *l)
{
    struct list *node;

    while ((node = list_pop_front(&l->leftovers))) {
        struct loop_leftover *o = LIST_ENTRY(node, struct loop_leftover, node);

        o->release(o);
    }
}

void *loop_scratch(struct adit_loop *l)
{
    if (!l->scratch)
        l->scratch = memory_alloc(&l->own_memory, LOOP_SCRATCH_BYTES);
    return l->scratch;
}

struct pipe_pool *loop_pipes(struct adit_loop *l)
{
    return &l->pipes;
}

/* -------------------------------------------------------------------------------- posts and wakes -- */

bool loop_is_own_thread(const struct adit_loop *l)
{
    uintptr_t thread = atomic_load_explicit(&l->thread, memory_order_relaxed);

    return thread == 0 || thread == (uintptr_t)uv_thread_self();
}

bool loop_runs_here(const struct adit_loop *l)
{
    return atomic_load_explicit(&l->thread, memory_order_relaxed) == (uintptr_t)uv_thread_self();
}

/* In a callback of the loop: it looks at posts before it blocks. A loop that nobody runs yet is nobody's own here: another
 * thread may be about to. */
static bool loop_is_inside(const struct adit_loop *l)
{
    return loop_runs_here(l) && l->is_iterating;
}

int adit_post(adit_loop *l, void (*fn)(void *arg), void *arg)
{
    struct loop_post *post = malloc(sizeof(*post));
    bool is_first, is_closing;

    if (!post)
        return ADIT_ENOMEM;
    *post = (struct loop_post){.fn = fn, .arg = arg};
    uv_mutex_lock(&l->lock);
    is_closing = l->is_closing;
    is_first = !l->posts;
    if (!is_closing) {
        *l->posts_end = post;
        l->posts_end = &post->next;
        atomic_store(&l->has_posts, true);
    }
    uv_mutex_unlock(&l->lock);
    if (is_closing) {
        free(post);
        return ADIT_ECLOSED;
    }
    if (is_first && !loop_is_inside(l))
        uv_async_send(&l->async);
    return 0;
}

static void loop_run_posts(struct adit_loop *l)
{
    struct loop_post *post, *next;

    if (!atomic_load_explicit(&l->has_posts, memory_order_relaxed))
        return;
    uv_mutex_lock(&l->lock);
    post = l->posts;
    l->posts = NULL;
    l->posts_end = &l->posts;
    atomic_store(&l->has_posts, false);
    uv_mutex_unlock(&l->lock);
    for (; post; post = next) {
        next = post->next;
        post->fn(post->arg);
        free(post);
    }
}

void loop_wake(struct adit_loop *l)
{
    atomic_store(&l->is_woken, true);
    uv_async_send(&l->async);
}

void loop_set_wake(struct adit_loop *l, void (*fn)(void *arg), void *arg)
{
    l->wake_fn = fn;
    l->wake_arg = arg;
}

/* Posts are run by the iteration itself: it looks at them anyway. */
static void loop_on_async(uv_async_t *async)
{
    struct adit_loop *l = async->data;

    if (atomic_exchange(&l->is_woken, false) && l->wake_fn)
        l->wake_fn(l->wake_arg);
}

/* -------------------------------------------------------------------------------------- watches -- */

static uint64_t loop_token(const struct adit_loop *l, uint32_t slot)
{
    return (uint64_t)l->slots[slot].generation << 32 | slot;
}

static bool loop_grow_slots(struct adit_loop *l)
{
    uint32_t i, count = l->slots_count ? l->slots_count * 2 : LOOP_SLOTS_FIRST;
    struct loop_slot *slots = realloc(l->slots, count * sizeof(*slots));

    if (!slots)
        return false;
    l->slots = slots;
    for (i = l->slots_count; i < count; i++)
        slots[i] = (struct loop_slot){.next_free = i + 1 < count ? i + 1 : LOOP_NO_SLOT};
    l->slots_free = l->slots_count;
    l->slots_count = count;
    return true;
}

static void loop_put_slot(struct adit_loop *l, uint32_t slot)
{
    l->slots[slot].watch = NULL;
    l->slots[slot].generation++;
    l->slots[slot].next_free = l->slots_free;
    l->slots_free = slot;
}

int watch_add(struct adit_loop *l, struct watch *w, int fd, unsigned events, bool edge, watch_fn fn)
{
    uint32_t slot;
    int rc = 0;

    if (l->slots_free == LOOP_NO_SLOT && !loop_grow_slots(l))
        return ADIT_ENOMEM;
    slot = l->slots_free;
    if (edge || events)
        rc = ready_add(&l->ready, fd, events, edge, loop_token(l, slot));
    if (rc < 0)
        return rc;
    l->slots_free = l->slots[slot].next_free;
    l->slots[slot].watch = w;
    *w = (struct watch){
        .loop = l, .fn = fn, .fd = fd, .events = (uint8_t)events, .edge = edge, .slot = slot};
    return 0;
}

int watch_set(struct watch *w, unsigned events)
{
    struct ready *ready = &w->loop->ready;
    uint64_t token = loop_token(w->loop, w->slot);
    int rc = 0;

    assert(!w->edge);
    if (events == w->events)
        return 0;
    if (!events)
        ready_remove(ready, w->fd);
    else if (w->events)
        rc = ready_set(ready, w->fd, events, token);
    else
        rc = ready_add(ready, w->fd, events, false, token);
    if (rc == 0)
        w->events = (uint8_t)events;
    return rc;
}

void watch_remove(struct watch *w)
{
    if (w->edge || w->events)
        ready_remove(&w->loop->ready, w->fd);
    watch_forget(w);
}

void watch_move(struct watch *to, struct watch *from, watch_fn fn)
{
    assert(from->edge && from->loop->slots[from->slot].watch == from);
    *to = *from;
    to->fn = fn;
    to->loop->slots[to->slot].watch = to;
    from->loop = NULL;
}

void watch_forget(struct watch *w)
{
    assert(w->loop->slots[w->slot].watch == w);
    loop_put_slot(w->loop, w->slot);
}

static void loop_deliver(struct adit_loop *l, const struct ready_event *e)
{
    uint32_t slot = (uint32_t)e->token;
    unsigned events = e->events;
    struct watch *w;

    if (e->token == LOOP_UV_TOKEN) {
        uv_run(&l->uv, UV_RUN_NOWAIT);
        return;
    }
    if (slot >= l->slots_count || l->slots[slot].generation != (uint32_t)(e->token >> 32))
        return;
    w = l->slots[slot].watch;
    if (!w)
        return;
    if (!w->edge) {
        if (!(events & w->events)) /* paused or changed by a callback of this very batch */
            return;
        events &= w->events | WATCH_HANGUP | WATCH_URGENT;
    }
    w->fn(w, events);
}

/* -------------------------------------------------------------------------------------- iteration -- */

/* How long the loop may block; -1: for ever. */
static int64_t loop_timeout_ns(const struct adit_loop *l)
{
    uint64_t due_ns = wheel_next_ns(&l->wheel), now_ns;

    if (l->is_fresh || !list_is_empty(&l->tasks) || atomic_load(&l->has_posts))
        return 0;
    if (l->config.hooks.next_ns) {
        uint64_t turn_ns = l->config.hooks.next_ns(l->config.hooks.ctx);

        due_ns = turn_ns < due_ns ? turn_ns : due_ns;
    }
    if (due_ns == WHEEL_NEVER)
        return -1;
    now_ns = loop_clock_ns(l);
    if (due_ns <= now_ns)
        return 0;
    return due_ns - now_ns > INT64_MAX ? INT64_MAX : (int64_t)(due_ns - now_ns);
}

static unsigned list_count(const struct list *head)
{
    unsigned n = 0;

    for (const struct list *node = head->next; node != head; node = node->next)
        n++;
    return n;
}

static unsigned larger(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

size_t loop_share(const struct adit_loop *l, size_t whole, size_t least)
{
    size_t share = whole / l->served;

    return share > least ? share : least;
}

static void loop_run_tasks(struct list *tasks)
{
    struct list *node;

    while ((node = list_pop_front(tasks))) {
        struct loop_task *t = LIST_ENTRY(node, struct loop_task, node);

        t->fn(t);
    }
}

static void loop_run_timers(struct adit_loop *l)
{
    struct wheel_timer *w;

    while ((w = wheel_expire(&l->wheel, l->now_ns))) {
        struct loop_timer *t = LIST_ENTRY(w, struct loop_timer, timer);

        t->fn(t);
    }
}

/* Looks for events without blocking: by the system's clock, since a host's may stand still. */
static int loop_spin(struct adit_loop *l, uint64_t began_ns)
{
    bool is_in_time;
    int n;

    do {
        n = ready_wait(&l->ready, l->events, LOOP_EVENTS_MAX, 0);
        is_in_time = uv_hrtime() - began_ns < l->spin.window_ns;
    } while (n == 0 && is_in_time);
    /* What came too late came because somebody else had the processor: there is none to spare. */
    spin_ended(&l->spin, n > 0 && is_in_time);
    return n;
}

static int loop_wait_after_events(struct adit_loop *l, int64_t timeout_ns)
{
    uint64_t began_ns = uv_hrtime();
    int n = spin_begins(&l->spin) ? loop_spin(l, began_ns) : 0;

    if (n == 0) {
        n = ready_wait(&l->ready, l->events, LOOP_EVENTS_MAX, timeout_ns);
        spin_blocked(&l->spin, uv_hrtime() - began_ns);
    }
    return n;
}

static int loop_wait(struct adit_loop *l, int64_t timeout_ns)
{
    int n;

    if (timeout_ns != 0 && l->is_busy)
        n = loop_wait_after_events(l, timeout_ns);
    else
        n = ready_wait(&l->ready, l->events, LOOP_EVENTS_MAX, timeout_ns);
    l->is_busy = n > 0;
    return n;
}

static void loop_iterate(struct adit_loop *l, int64_t timeout_ns)
{
    struct list tasks;
    int i, n;

    n = loop_wait(l, timeout_ns);
    l->now_ns = loop_clock_ns(l);
    l->is_iterating = true;
    l->is_fresh = false;
    l->iterations++;
    if (l->config.hooks.begin)
        l->config.hooks.begin(l->config.hooks.ctx, l->now_ns);
    list_init(&tasks);
    list_splice_back(&tasks, &l->tasks);
    l->served = larger(1, larger((unsigned)n, list_count(&tasks)));
    for (i = 0; i < n; i++)
        loop_deliver(l, &l->events[i]);
    loop_run_posts(l);
    loop_run_tasks(&tasks);
    loop_run_timers(l);
    if (l->config.hooks.turn)
        l->config.hooks.turn(l->config.hooks.ctx, l->now_ns);
    l->is_iterating = false;
}

void loop_run(struct adit_loop *l)
{
    atomic_store(&l->thread, (uintptr_t)uv_thread_self());
    while (!l->is_stopped)
        loop_iterate(l, loop_timeout_ns(l));
}

void loop_stop(struct adit_loop *l)
{
    l->is_stopped = true;
}

adit_socket adit_loop_pollfd(adit_loop *l)
{
    return l->ready.fd;
}

int64_t adit_loop_timeout_ns(adit_loop *l)
{
    return loop_timeout_ns(l);
}

int adit_loop_dispatch(adit_loop *l)
{
    if (l->config.needs_thread)
        return ADIT_ENOTSUP;
    if (l->is_stopped)
        return ADIT_ECLOSED;
    atomic_store(&l->thread, (uintptr_t)uv_thread_self());
    loop_iterate(l, 0);
    return l->is_stopped ? ADIT_ECLOSED : 0;
}

/* --------------------------------------------------------------------------------------- lifecycle -- */

static int loop_open_uv(struct adit_loop *l, adit_error *err)
{
    int rc = uv_async_init(&l->uv, &l->async, loop_on_async);

    if (rc < 0)
        return error_set(err, error_from_errno(-rc), -rc, "uv_async_init",
                         "cannot make a wake-up descriptor", NULL);
    l->async.data = l;
    /* libuv registers a descriptor with its own set when it next polls, not before. */
    uv_run(&l->uv, UV_RUN_NOWAIT);
    rc = ready_add(&l->ready, uv_backend_fd(&l->uv), ADIT_READ, false, LOOP_UV_TOKEN);
    if (rc < 0)
        return error_set(err, rc, errno, "epoll_ctl", "cannot watch the wake-up descriptor", NULL);
    return 0;
}

static void loop_close_uv(struct adit_loop *l)
{
    int rc;

    if (l->async.data)
        uv_close((uv_handle_t *)&l->async, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    rc = uv_loop_close(&l->uv);
    assert(rc == 0);
    (void)rc;
}

/* libuv makes a pipe once for the process, which it ends where there is no descriptor for that, and takes two for a loop. */
static int descriptors_probe(void)
{
    int first[2], second[2], rc;

    if (pipe(first))
        return -errno;
    rc = pipe(second) ? -errno : 0;
    close(first[0]);
    close(first[1]);
    if (rc == 0) {
        close(second[0]);
        close(second[1]);
    }
    return rc;
}

int loop_new(struct adit_loop **out, const struct loop_config *c, adit_error *err)
{
    struct adit_loop *l = calloc(1, sizeof(*l));
    int rc;

    *out = NULL;
    if (!l)
        return error_set(err, ADIT_ENOMEM, 0, "loop", "no memory for an event loop", NULL);
    l->config = *c;
    memory_init(&l->own_memory, UINT64_MAX, c->memory ? c->memory->allocator : NULL);
    l->slots_free = LOOP_NO_SLOT;
    l->posts_end = &l->posts;
    l->is_fresh = true;
    l->served = 1;
    spin_init(&l->spin, ready_cpus() > 1 && !c->saves_power);
    bins_init(&l->bins, loop_memory(l));
    pipe_pool_init(&l->pipes, loop_memory(l));
    spares_init(&l->spares);
    list_init(&l->reclaimables);
    list_init(&l->tasks);
    list_init(&l->leftovers);
    l->now_ns = loop_clock_ns(l);
    wheel_init(&l->wheel, l->now_ns);
    rc = ready_open(&l->ready);
    if (rc < 0) {
        error_set(err, rc, errno, "epoll_create1", "cannot make a readiness set",
                  "the limit of open files (ulimit -n) may be reached");
        goto fail_memory;
    }
    rc = descriptors_probe();
    if (rc == 0)
        rc = uv_loop_init(&l->uv);
    if (rc < 0) {
        rc = error_set(err, error_from_errno(-rc), -rc, "uv_loop_init", "cannot make an event loop",
                       "the limit of open files (ulimit -n) may be reached");
        goto fail_ready;
    }
    uv_mutex_init(&l->lock);
    rc = loop_open_uv(l, err);
    if (rc < 0)
        goto fail_uv;
    *out = l;
    return 0;

fail_uv:
    loop_close_uv(l);
    uv_mutex_destroy(&l->lock);
fail_ready:
    ready_close(&l->ready);
fail_memory:
    free(l);
    return rc;
}

void loop_free(struct adit_loop *l)
{
    if (!l)
        return;
    uv_mutex_lock(&l->lock);
    l->is_closing = true;
    uv_mutex_unlock(&l->lock);
    loop_run_posts(l);
    loop_release_leftovers(l);
    spares_deinit(l);
    loop_close_uv(l);
    assert(list_is_empty(&l->tasks) && list_is_empty(&l->reclaimables) && l->wheel.count == 0);
    uv_mutex_destroy(&l->lock);
    ready_close(&l->ready);
    free(l->slots);
    pipe_pool_deinit(&l->pipes);
    bins_deinit(&l->bins);
    memory_free(&l->own_memory, l->scratch, LOOP_SCRATCH_BYTES);
    free(l);
}
