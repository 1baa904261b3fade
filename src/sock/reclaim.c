/* SPDX-License-Identifier: MIT */
/* reclaim: see reclaim.h. */
#include "sock/reclaim.h"
#include <errno.h>
#include "sock/loop_private.h"

void reclaimable_init(struct reclaimable *t, void (*reclaim)(struct reclaimable *t))
{
    list_init(&t->node);
    t->reclaim = reclaim;
}

void reclaimable_use(struct adit_loop *l, struct reclaimable *t)
{
    list_remove(&t->node);
    list_push_back(&l->reclaimables, &t->node);
}

void reclaimable_end(struct reclaimable *t)
{
    list_remove(&t->node);
}

bool reclaim_fd(struct adit_loop *l, int os)
{
    struct list *node;
    struct reclaimable *t;

    if ((os != EMFILE && os != ENFILE) || !l)
        return false;
    if (l->spares.count > 0) {
        spares_deinit(l);
        return true;
    }
    node = list_pop_front(&l->reclaimables);
    if (!node)
        return false;
    t = LIST_ENTRY(node, struct reclaimable, node);
    t->reclaim(t);
    return true;
}
