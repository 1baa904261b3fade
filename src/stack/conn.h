/* SPDX-License-Identifier: MIT */
/* conn: struct adit_conn, a TCP flow as its handler holds it. */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include "adit/conn.h"
#include "sock/dial.h"
#include "sock/loop.h"
#include "sock/relay.h"
#include "stack/stack.h"

/* What a conn needs until its relay runs, and not for the hours after. */
struct conn_search {
    adit_conn *conn;
    struct dial *dial; /* NULL: not, or no longer, under way */
    adit_conn_dial_fn dial_fn; /* NULL: relayed when it has connected */
    struct watch watch;
    adit_conn_io_fn watch_fn;
    bool is_watched;
    bool is_kept; /* by `watch`, since the dial: for the relay to take over */
    unsigned kept_events;
};

struct adit_conn {
    struct stack *stack;
    struct flow *flow;
    struct list node; /* on stack->touched_conns while is_touched, else on stack->conns */
    const adit_conn_ops *ops;
    void *user;

    /* the one way out: a dial, then its socket, perhaps watched, then a relay; never two at once */
    union {
        struct conn_search *search; /* NULL: neither a dial nor a watch */
        struct relay *relay;
    };
    adit_socket socket; /* ours while owns_socket; afterwards its number, so that it is not closed twice */
    int8_t why;         /* enum adit_code for closed(), where it is not the stream's; 0: the stream's */
    uint8_t want : 2;   /* ADIT_READ | ADIT_WRITE */
    bool owns_socket : 1;
    bool is_accepted : 1;
    bool is_ended : 1; /* rejected, closed or aborted: closed() is all that follows */
    bool is_taken : 1; /* take_fd: the handler has forgotten it */
    bool is_touched : 1; /* in this turn */
    bool is_relayed : 1; /* `relay` is valid, else `search` */
};
static_assert(sizeof(struct adit_conn) <= 64, "an idle flow costs little");

void conn_pool_init(struct stack *s);
/* The flow was on the ready list. */
void conn_serve(struct stack *s, struct flow *f);
/* The end of a turn in which it was served. */
void conn_settle(adit_conn *c);
/* RST, and closed(why) when it is next served. */
void conn_stop(adit_conn *c, int why);
