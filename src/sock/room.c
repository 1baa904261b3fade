/* SPDX-License-Identifier: MIT */
/* room: see room.h. */
#include "sock/room.h"
#include <errno.h>
#include "sock/loop_private.h"

void tenant_init(struct tenant *t, void (*leave)(struct tenant *t))
{
    list_init(&t->node);
    t->leave = leave;
}

void tenant_use(struct adit_loop *l, struct tenant *t)
{
    list_remove(&t->node);
    list_push_back(&l->tenants, &t->node);
}

void tenant_end(struct tenant *t)
{
    list_remove(&t->node);
}

bool room_make(struct adit_loop *l, int os)
{
    struct list *node;

    if ((os != EMFILE && os != ENFILE) || !l)
        return false;
    if (l->spares.count > 0) {
        spares_deinit(l);
        return true;
    }
    node = list_pop_front(&l->tenants);
    if (!node)
        return false;
    LIST_ENTRY(node, struct tenant, node)->leave(LIST_ENTRY(node, struct tenant, node));
    return true;
}
