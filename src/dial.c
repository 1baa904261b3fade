/* SPDX-License-Identifier: MIT */
/* dial: adit_dial, a dial that a host starts for itself (adit/loop.h). It is a struct dial and a place among the loop's
 * leftovers, so that one that is under way when the instance ends is cancelled. */
#include "adit/loop.h"
#include "instance.h"
#include "sock/dial.h"

struct adit_dial {
    struct loop_leftover leftover;
    struct adit_loop *loop;
    struct dial *dial;
    adit_dial_fn fn;
    void *arg;
};

static void host_dial_done(void *arg, int err, adit_socket s)
{
    adit_dial *d = arg;
    adit_dial_fn fn = d->fn;
    void *fn_arg = d->arg;

    list_remove(&d->leftover.node);
    loop_release(d->loop, d, sizeof(*d));
    fn(fn_arg, err, s);
}

static void host_dial_release(struct loop_leftover *o)
{
    adit_dial_cancel(LIST_ENTRY(o, adit_dial, leftover));
}

static const struct sock_config *sockets_of(const adit *a, const adit_loop *l)
{
    for (unsigned i = 1; i < a->options.workers; i++)
        if (a->workers[i].loop == l)
            return &a->workers[i].stack.config.sockets;
    return &a->workers[0].stack.config.sockets;
}

adit_dial *adit_dial_start(adit *a, adit_loop *l, int proto, const adit_dest *to, adit_dial_fn fn, void *arg)
{
    adit_dial *d = loop_alloc(l, sizeof(*d));

    if (!d)
        return NULL;
    *d = (adit_dial){.leftover = {.release = host_dial_release}, .loop = l, .fn = fn, .arg = arg};
    d->dial = dial_start(l, sockets_of(a, l), proto, to, 0, a->options.dial_ms * 1000000ull,
                         host_dial_done, d);
    if (!d->dial) {
        loop_release(l, d, sizeof(*d));
        return NULL;
    }
    loop_keep_leftover(l, &d->leftover);
    return d;
}

void adit_dial_cancel(adit_dial *d)
{
    if (!d)
        return;
    dial_cancel(d->dial);
    list_remove(&d->leftover.node);
    loop_release(d->loop, d, sizeof(*d));
}
