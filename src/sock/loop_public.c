/* SPDX-License-Identifier: MIT */
/* loop_public: the timers and watches of adit/loop.h, as heap objects around the loop's own. */
#include <stdlib.h>
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

static void timer_expire(struct loop_timer *lt)
{
    struct adit_timer *t = LIST_ENTRY(lt, struct adit_timer, timer);
    void (*fn)(void *arg) = t->fn;
    void *arg = t->arg;

    list_remove(&t->leftover.node);
    free(t);
    fn(arg);
}

static void timer_release(struct loop_leftover *o)
{
    adit_timer_stop(LIST_ENTRY(o, struct adit_timer, leftover));
}

adit_timer *adit_timer_start(adit_loop *l, uint64_t ms, void (*fn)(void *arg), void *arg)
{
    struct adit_timer *t = malloc(sizeof(*t));
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
    free(t);
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
    struct adit_watch *w = malloc(sizeof(*w));

    if (!w)
        return NULL;
    w->fn = fn;
    w->arg = arg;
    if (watch_add(l, &w->watch, s, ev & (ADIT_READ | ADIT_WRITE), false, watch_ready) < 0) {
        free(w);
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
    watch_remove(&w->watch);
    list_remove(&w->leftover.node);
    free(w);
}
