/* SPDX-License-Identifier: MIT */
/* mapping: struct adit_udp, a UDP mapping as its handler holds it. */
#pragma once
#include <stdbool.h>
#include "adit/udp.h"
#include "net/udp.h"
#include "sock/udp_relay.h"
#include "stack/stack.h"

struct adit_udp {
    struct stack *stack;
    struct udp *udp;
    struct list node;         /* on stack->mappings */
    struct list touched_node; /* on stack->touched_mappings */
    const adit_udp_ops *ops;
    void *user;
    struct udp_relay *relay;
    int shown; /* datagrams that the handler has received and not released */
};

void mapping_pool_init(struct stack *s);
void mapping_serve(struct stack *s, struct flow *f);
void mapping_settle(adit_udp *u);
void mapping_stop(adit_udp *u, int why);
