/* SPDX-License-Identifier: MIT */
/* stack: between the protocol core and a handler. One per worker.
 *
 *     net (ready list) --> stack_serve --> conn.c     an adit_conn over a struct stream    --> handler->tcp, ops
 *                                     \--> mapping.c  an adit_udp over a struct udp        --> handler->udp, ops
 *     net_env.prepare  --> stack_prepare                                                   --> handler->prepare
 *     net_env.echo     --> stack_echo (echo.c)                                             --> handler->icmp, or a ping socket
 *
 * Who terminates TCP is a vtable, struct stack_ops: user.c is our own TCP, system.c the kernel's. conn.c sees streams only and
 * knows of neither.
 *
 * Everything here runs on the worker's loop. Handlers are called from stack_serve() and from the loop's own callbacks
 * (dials, watches), never from inside a call that they made: what a call changes shows on the ready list. An object is
 * freed in one place only, at the end of its closed(), so a handler may do anything to its own objects in any callback. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/adit.h"
#include "base/list.h"
#include "base/pool.h"
#include "net/net.h"
#include "net/stream.h"
#include "sock/loop.h"
#include "sock/ping.h"
#include "sock/sock.h"

struct stack;

enum stack_listeners { /* sockets at which the kernel accepts */
    STACK_LISTENERS_NONE,
    STACK_LISTENERS_FIRST, /* config.listeners, from the start on */
    STACK_LISTENERS_LATER, /* config.listeners if they are given, else config.listen() when they are needed */
};

struct stack_ops {
    const char *name; /* "userspace" */
    enum stack_listeners listeners;
    /* Makes what terminates TCP and plugs it into stack->config.net; may set stack->engine. 0, or a code. */
    int (*start)(struct stack *s);
    /* Every conn has been freed before. */
    void (*stop)(struct stack *s);
    struct stream *(*stream)(struct flow *f); /* of a TCP flow that is ready */
    /* An active open; NULL where that is not possible. It returns NULL: a limit, no memory, or the addresses are in use or
     * impossible. */
    struct flow *(*dial)(struct stack *s, const adit_addr *from, const adit_addr *to, uint64_t now_ns);
    /* The time of the calls that follow. */
    void (*set_now)(struct stack *s, uint64_t now_ns);
};

extern const struct stack_ops stack_userspace, stack_mixed; /* in builds that have it */
extern const struct stack_ops stack_system;

enum { STACK_KERNEL_LISTENERS_MAX = 2, STACK_DESCRIBED_MAX = 8 /* a power of two */ };

struct stack_config { /* copied; what it points at is borrowed for life */
    adit *engine;
    struct adit_loop *loop;
    struct net *net;
    struct ping *ping; /* NULL: nothing is forwarded */
    struct sock_config sockets; /* its loop is this one's */
    adit_handler handler;
    void *handler_ctx;
    uint64_t dial_ns, half_closed_ns;
    adit_socket listeners[STACK_KERNEL_LISTENERS_MAX]; /* where the kernel accepts; for a stack that needs them */
    size_t listeners_count;
    /* Makes them now; whoever made them closes them. NULL where that cannot be. 0, or a code with *err filled. */
    int (*listen)(void *ctx, adit_socket out[STACK_KERNEL_LISTENERS_MAX], size_t *count, adit_error *err);
    void *listen_ctx;
    /* After listeners: the map of dev/shortcut.h, the instance's, or ADIT_NO_SOCKET and why, "" if nobody wanted it. 0, or a code
     * where there has to be one. NULL: none. */
    int (*shortcut)(void *ctx, adit_socket *flows, const char **why);
    void *shortcut_ctx;
    void (*notice)(void *ctx, const adit_error *e); /* of the options; may be NULL */
    void *notice_ctx;
    uint32_t conns_max, mappings_max;
};

struct stack {
    struct stack_config config;
    const struct stack_ops *ops;
    void *tcp;              /* of ops */
    const char *engine;     /* how the kernel gets its flows: "bpf", "nat"; NULL: it gets none */
    char fallback[160];     /* why it is not the best that was asked for; "": it is */
    struct pool conn_pool, mapping_pool, listener_pool;
    struct list conns;      /* those that are not on touched_conns */
    struct list mappings;
    struct list listeners;
    struct list touched_conns, touched_mappings; /* served in this turn: to be settled at its end */
    adit_flow described[STACK_DESCRIBED_MAX]; /* what adit_conn_flow() showed lately */
    uint32_t described_count;
    bool is_stopping;
};

struct stack_wish {
    const char *name;  /* "": the best one there is */
    bool all_networks; /* the host routes everything into the tunnel: no packet of ours reaches its own kernel */
    bool has_kernel;   /* a kernel can accept there: listeners were given, or can be made */
};

/* The stack that is meant. 0, or ADIT_ENOTBUILT, ADIT_EINVAL with a hint. */
int stack_choose(const struct stack_ops **out, const struct stack_wish *w, adit_error *err);

int stack_init(struct stack *s, const struct stack_ops *ops, const struct stack_config *config);
/* After stack_stop(), once stack_is_empty(). */
void stack_deinit(struct stack *s);
void stack_set_now(struct stack *s, uint64_t now_ns);
/* Why something lesser than what was asked for is in use, for the status. */
void stack_set_fallback(struct stack *s, const char *why);
/* What a ready flow is ready for: its handler is called, or it is freed. */
void stack_serve(struct stack *s, struct flow *f);
/* At the end of a turn: views die, buffers that hold little are given up. */
void stack_settle(struct stack *s);
/* Aborts every flow with ADIT_ECANCELED and refuses new ones. They end when they are served. */
void stack_stop(struct stack *s);
bool stack_is_empty(const struct stack *s);

/* net_env's callbacks, with the stack as their context. */
void stack_prepare(void *stack, const adit_flow *f, adit_decision *d);
int stack_echo(void *stack, struct echo *e, const struct ip_header *ip, const struct icmp_message *m);

typedef void (*stack_listen_fn)(void *ctx, adit_conn *c);
/* 0, or ADIT_EINVAL (no port), ADIT_EEXIST, ADIT_ELIMIT. */
int stack_listen(struct stack *s, const adit_addr *at, stack_listen_fn fn, void *ctx);
/* NULL: nobody listens there; the flow is the handler's. */
struct listener *stack_listener(const struct stack *s, const adit_addr *to);
/* As adit_stack_dial(). */
int stack_dial(struct stack *s, const adit_addr *from, const adit_addr *to, const adit_conn_ops *ops, void *user,
               adit_conn **out);

struct listener {
    struct list node;
    adit_addr at; /* family 0: any address */
    stack_listen_fn fn;
    void *ctx;
};
enum { STACK_LISTENERS_MAX = 64 };
