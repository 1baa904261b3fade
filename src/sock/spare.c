/* SPDX-License-Identifier: MIT */
/* spare: see spare.h. */
#include "sock/spare.h"
#include <string.h>
#include "sock/loop_private.h"

struct spare {
    struct list node;
    struct watch watch;
    uint64_t iteration; /* in which it was given */
    bool is_told;       /* the set has told that it hangs up: no event of its past is under way any more */
};

static void spares_expire(struct loop_timer *t);

void spares_init(struct spares *s)
{
    list_init(&s->idle);
    loop_timer_init(&s->timer, spares_expire);
    /* Without a key (it is never refused where systems are sound) a stranger could aim at a slot, and gain nothing by it. */
    (void)uv_random(NULL, NULL, &s->key, sizeof(s->key), 0, NULL);
}

static void spares_close_all(struct adit_loop *l)
{
    struct list *node;

    while ((node = list_pop_front(&l->spares.idle))) {
        struct spare *s = LIST_ENTRY(node, struct spare, node);

        watch_forget(&s->watch);
        sock_close(s->watch.fd);
        loop_release(l, s, sizeof(*s));
    }
    l->spares.count = 0;
}

static void spares_expire(struct loop_timer *t)
{
    spares_close_all(LIST_ENTRY(t, struct adit_loop, spares.timer));
}

void spares_deinit(struct adit_loop *l)
{
    spares_close_all(l);
    loop_timer_stop(l, &l->spares.timer);
}

uint32_t spare_server(struct adit_loop *l, const struct sock_config *c, const adit_addr *to, uint32_t mark)
{
    uint32_t slot = (uint32_t)(siphash13(&l->spares.key, to, sizeof(*to)) % SPARES_SEEN);
    struct spare_server *seen = &l->spares.seen[slot];

    if (c->socket || c->protect || c->bind_iface)
        return 0;
    if (seen->config == c && seen->mark == mark && memcmp(&seen->to, to, sizeof(*to)) == 0)
        return seen->generation * SPARES_SEEN + slot;
    *seen = (struct spare_server){.to = *to, .mark = mark, .generation = seen->generation % SPARE_GENERATIONS + 1, .config = c};
    return 0;
}

bool spare_take(struct adit_loop *l, struct watch *w, uint32_t server, watch_fn fn)
{
    struct list *node;

    if (server == 0)
        return false;
    for (node = l->spares.idle.next; node != &l->spares.idle; node = node->next) {
        struct spare *s = LIST_ENTRY(node, struct spare, node);

        if (s->watch.server != server || !s->is_told)
            continue;
        list_remove(&s->node);
        l->spares.count--;
        l->spares.reused++;
        watch_move(w, &s->watch, fn);
        loop_release(l, s, sizeof(*s));
        return true;
    }
    return false;
}

/* It hangs up, as a socket without a connection does. What is told in the iteration in which it was given may be older. */
static void spare_ready(struct watch *w, unsigned events)
{
    struct spare *s = LIST_ENTRY(w, struct spare, watch);

    if ((events & WATCH_HANGUP) && s->iteration != w->loop->iterations)
        s->is_told = true;
}

bool spare_give(struct watch *w)
{
    struct adit_loop *l = w->loop;
    struct spare *s;

    if (w->server == 0 || l->spares.count >= SPARES_MAX || !sock_disconnect(w->fd))
        return false;
    s = loop_alloc(l, sizeof(*s));
    if (!s)
        return false; /* it is closed as well without its connection */
    watch_move(&s->watch, w, spare_ready);
    w->loop = l;
    s->iteration = l->iterations;
    list_push_front(&l->spares.idle, &s->node);
    if (l->spares.count++ == 0)
        loop_timer_set(l, &l->spares.timer, loop_now_ns(l) + SPARE_IDLE_NS);
    return true;
}
