/* SPDX-License-Identifier: MIT */
/* stack: choosing who terminates TCP, handing ready flows to conns and mappings, prepare(), listeners, and the end. */
#include "stack/stack.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "stack/conn.h"
#include "stack/mapping.h"

/* The stacks of this build, the best first. */
static const struct stack_ops *const stacks_built[] = {
#ifdef ADIT_USERSPACE
    &stack_mixed,
    &stack_userspace,
#endif
    &stack_system,
    NULL,
};

static int stack_not_built(const char *name, adit_error *err)
{
    const char *hint = stacks_built[1] ? "this build has: userspace, system, mixed" : "this build has: system";

    return error_setf(err, ADIT_ENOTBUILT, 0, "stack", hint, "the stack \"%s\" is not built in", name);
}

static bool name_is(const char *name, const char *word)
{
    return strcmp(name, word) == 0;
}

/* What no stack of that name can do here. */
static int stack_check(const char *name, const struct stack_wish *w, adit_error *err)
{
    bool is_kernel = name_is(name, "system") || name_is(name, "mixed");

    if (*name && !is_kernel && !name_is(name, "userspace"))
        return error_setf(err, ADIT_EINVAL, 0, "stack",
                          "\"\" takes the best that there is, \"userspace\" our own TCP, \"system\" the kernel's, "
                          "\"mixed\" either by decision",
                          "there is no stack called \"%.64s\"", name);
    if (is_kernel && w->all_networks)
        return error_setf(err, ADIT_EINVAL, 0, "stack", "use the stack \"userspace\"",
                          "the stack \"%s\" cannot work with include_all_networks: what it gives back to the kernel would enter "
                          "the tunnel again",
                          name);
    if (is_kernel && !w->has_kernel)
        return error_setf(err, ADIT_EINVAL, 0, "stack",
                          "give the device an address (addrs), or set listeners to what adit_device_listen() gives; "
                          "\"userspace\" needs neither",
                          "the stack \"%s\" needs sockets at which the kernel accepts, in the device's network namespace", name);
    return 0;
}

static bool stack_suits(const struct stack_ops *o, const char *name, const struct stack_wish *w)
{
    if (*name)
        return name_is(o->name, name);
    return o->listeners == STACK_LISTENERS_NONE || (w->has_kernel && !w->all_networks);
}

int stack_choose(const struct stack_ops **out, const struct stack_wish *w, adit_error *err)
{
    const char *name = name_is(w->name, "gvisor") ? "userspace" : w->name;
    int e = stack_check(name, w, err);

    *out = NULL;
    if (e)
        return e;
    for (const struct stack_ops *const *o = stacks_built; *o; o++) {
        if (stack_suits(*o, name, w)) {
            *out = *o;
            return 0;
        }
    }
    if (*name)
        return stack_not_built(name, err);
    return error_set(err, ADIT_ENOTBUILT, 0, "stack",
                     w->all_networks ? "this build has the stack \"system\" only, which cannot work with include_all_networks"
                                     : "this build has the stack \"system\" only, which needs sockets to accept at",
                     "use a build with the stack \"userspace\", or give the device an address or listeners");
}

int stack_init(struct stack *s, const struct stack_ops *ops, const struct stack_config *config)
{
    *s = (struct stack){.config = *config, .ops = ops};
    s->config.sockets.loop = config->loop;
    list_init(&s->conns);
    list_init(&s->mappings);
    list_init(&s->listeners);
    list_init(&s->touched_conns);
    list_init(&s->touched_mappings);
    conn_pool_init(s);
    mapping_pool_init(s);
    pool_init(&s->listener_pool, config->net->memory, sizeof(struct listener), STACK_LISTENERS_MAX);
    return ops->start(s);
}

void stack_deinit(struct stack *s)
{
    struct list *node;

    assert(stack_is_empty(s));
    while ((node = list_pop_front(&s->listeners)) != NULL)
        pool_put(&s->listener_pool, LIST_ENTRY(node, struct listener, node));
    if (s->tcp)
        s->ops->stop(s);
    pool_deinit(&s->conn_pool);
    pool_deinit(&s->mapping_pool);
    pool_deinit(&s->listener_pool);
}

void stack_set_now(struct stack *s, uint64_t now_ns)
{
    s->ops->set_now(s, now_ns);
}

void stack_set_fallback(struct stack *s, const char *why)
{
    snprintf(s->fallback, sizeof(s->fallback), "%s", why);
}

void stack_serve(struct stack *s, struct flow *f)
{
    if (f->key.proto == ADIT_PROTO_TCP)
        conn_serve(s, f);
    else if (f->key.proto == ADIT_PROTO_UDP)
        mapping_serve(s, f);
}

void stack_settle(struct stack *s)
{
    struct list *node;

    while ((node = list_pop_front(&s->touched_conns)) != NULL)
        conn_settle(LIST_ENTRY(node, adit_conn, node));
    while ((node = list_pop_front(&s->touched_mappings)) != NULL)
        mapping_settle(LIST_ENTRY(node, adit_udp, touched_node));
}

static void stop_conns(struct list *conns)
{
    for (struct list *node = conns->next; node != conns; node = node->next)
        conn_stop(LIST_ENTRY(node, adit_conn, node), ADIT_ECANCELED);
}

void stack_stop(struct stack *s)
{
    struct list *node;

    if (s->is_stopping)
        return;
    s->is_stopping = true;
    stop_conns(&s->conns);
    stop_conns(&s->touched_conns);
    for (node = s->mappings.next; node != &s->mappings; node = node->next)
        mapping_stop(LIST_ENTRY(node, adit_udp, node), ADIT_ECANCELED);
}

bool stack_is_empty(const struct stack *s)
{
    return list_is_empty(&s->conns) && list_is_empty(&s->touched_conns) && list_is_empty(&s->mappings);
}

void stack_prepare(void *stack, const adit_flow *f, adit_decision *d)
{
    struct stack *s = stack;
    const adit_handler *h = &s->config.handler;

    if (s->is_stopping) {
        d->verdict = ADIT_DROP;
        return;
    }
    if (f->proto == ADIT_PROTO_TCP && stack_listener(s, &f->dst.addr))
        return;
    if ((f->proto == ADIT_PROTO_TCP && !h->tcp) || (f->proto == ADIT_PROTO_UDP && !h->udp)) {
        d->verdict = ADIT_RESET;
        return;
    }
    if (h->prepare)
        h->prepare(s->config.handler_ctx, s->config.engine, f, d);
}

static bool listener_is_at(const struct listener *l, const adit_addr *to)
{
    return l->at.port == to->port && (l->at.family == 0 || !memcmp(l->at.ip, to->ip, sizeof(to->ip)));
}

struct listener *stack_listener(const struct stack *s, const adit_addr *to)
{
    for (struct list *node = s->listeners.next; node != &s->listeners; node = node->next) {
        struct listener *l = LIST_ENTRY(node, struct listener, node);

        if (listener_is_at(l, to))
            return l;
    }
    return NULL;
}

int stack_listen(struct stack *s, const adit_addr *at, stack_listen_fn fn, void *ctx)
{
    struct listener *l;

    if (s->is_stopping)
        return ADIT_ECANCELED;
    if (at->port == 0 || !fn)
        return ADIT_EINVAL;
    for (struct list *node = s->listeners.next; node != &s->listeners; node = node->next) {
        l = LIST_ENTRY(node, struct listener, node);
        if (l->at.family == at->family && listener_is_at(l, at))
            return ADIT_EEXIST;
    }
    l = pool_get(&s->listener_pool);
    if (!l)
        return ADIT_ELIMIT;
    l->at = *at;
    l->fn = fn;
    l->ctx = ctx;
    /* Those that name an address come first: the most particular one wins. */
    if (at->family)
        list_push_front(&s->listeners, &l->node);
    else
        list_push_back(&s->listeners, &l->node);
    return 0;
}
