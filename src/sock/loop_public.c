/* SPDX-License-Identifier: MIT */
/* loop_public: the timers, watches and memory of adit/loop.h: objects around the loop's own, on its budget. */
#include "sock/loop.h"

struct adit_timer {
    struct loop_leftover leftover;
    struct loop_timer timer;
    struct adit_loop *loop;
    void (*fn)(void *arg);
    void *arg;
};

struct adit_watch {
    struct loop_leftover leftover;
    struct watch watch;
    adit_watch_fn fn;
    void *arg;
};

struct host_memory {
    struct loop_leftover leftover;
    struct adit_loop *loop;
    size_t len_bytes; /* with this head */
    uint64_t octets[];
};

static void memory_release(struct loop_leftover *o)
{
    adit_loop_free(LIST_ENTRY(o, struct host_memory, leftover)->octets);
}

void *adit_loop_alloc(adit_loop *l, size_t len)
{
    struct host_memory *m = len < SIZE_MAX / 2 ? loop_alloc(l, sizeof(*m) + len) : NULL;

    if (!m)
        return NULL;
    m->loop = l;
    m->len_bytes = sizeof(*m) + len;
    m->leftover.release = memory_release;
    loop_keep_leftover(l, &m->leftover);
    return m->octets;
}

void adit_loop_free(void *p)
{
    struct host_memory *m;

    if (!p)
        return;
    m = LIST_ENTRY(p, struct host_memory, octets);
    list_remove(&m->leftover.node);
    loop_release(m->loop, m, m->len_bytes);
}

static void timer_expire(struct loop_timer *lt)
{
    struct adit_timer *t = LIST_ENTRY(lt, struct adit_timer, timer);
    void (*fn)(void *arg) = t->fn;
    void *arg = t->arg;

    list_remove(&t->leftover.node);
    loop_release(t->loop, t, sizeof(*t));
    fn(arg);
}

static void timer_release(struct loop_leftover *o)
{
    adit_timer_stop(LIST_ENTRY(o, struct adit_timer, leftover));
}

adit_timer *adit_timer_start(adit_loop *l, uint64_t ms, void (*fn)(void *arg), void *arg)
{
    struct adit_timer *t = loop_alloc(l, sizeof(*t));
    uint64_t now_ns = adit_loop_now_ns(l);

    if (!t)
        return NULL;
    t->loop = l;
    t->fn = fn;
    t->arg = arg;
    t->leftover.release = timer_release;
    loop_keep_leftover(l, &t->leftover);
    loop_timer_init(&t->timer, timer_expire);
    /* Beyond what 64 bits of nanoseconds hold, 584 years, "never" is the same. */
    loop_timer_set(l, &t->timer,
                   ms >= (WHEEL_NEVER - now_ns) / 1000000 ? WHEEL_NEVER - 1
                                                          : now_ns + ms * 1000000);
    return t;
}

void adit_timer_stop(adit_timer *t)
{
    if (!t)
        return;
    loop_timer_stop(t->loop, &t->timer);
    list_remove(&t->leftover.node);
    loop_release(t->loop, t, sizeof(*t));
}

static void watch_ready(struct watch *lw, unsigned events)
{
    struct adit_watch *w = LIST_ENTRY(lw, struct adit_watch, watch);

    events &= lw->events;
    if (events)
        w->fn(w->arg, lw->fd, events);
}

static void watch_release(struct loop_leftover *o)
{
    adit_watch_stop(LIST_ENTRY(o, struct adit_watch, leftover));
}

adit_watch *adit_watch_start(adit_loop *l, adit_socket s, unsigned ev, adit_watch_fn fn, void *arg)
{
    struct adit_watch *w = loop_alloc(l, sizeof(*w));

    if (!w)
        return NULL;
    w->fn = fn;
    w->arg = arg;
    if (watch_add(l, &w->watch, s, ev & (ADIT_READ | ADIT_WRITE), false, watch_ready) < 0) {
        loop_release(l, w, sizeof(*w));
        return NULL;
    }
    w->leftover.release = watch_release;
    loop_keep_leftover(l, &w->leftover);
    return w;
}

void adit_watch_set(adit_watch *w, unsigned ev)
{
    (void)watch_set(&w->watch, ev & (ADIT_READ | ADIT_WRITE));
}

void adit_watch_stop(adit_watch *w)
{
    struct adit_loop *l = w->watch.loop;

    watch_remove(&w->watch);
    list_remove(&w->leftover.node);
    loop_release(l, w, sizeof(*w));
}
