/* SPDX-License-Identifier: MIT */
/* echo: what becomes of an ICMP echo request: the handler's verdict, or a ping socket to the real destination. */
#include "net/icmp.h"
#include "stack/stack.h"

static int echo_forward(struct stack *s, const struct echo *e, const struct ip_header *ip, const adit_addr *real,
                        const struct icmp_message *m)
{
    int err = s->config.ping
                  ? ping_request(s->config.ping, &e->flow.key, real, m, ip->ttl, e->flow.mark)
                  : ADIT_EPERM;

    if (err == 0)
        return ADIT_ECHO_FORWARD;
    /* Nobody lets us ping, or there is no way: the client is told so. A limit or a passing failure is silence, as on a real
     * network. */
    if (err == ADIT_EPERM || err == ADIT_ENETUNREACH || err == ADIT_EHOSTUNREACH)
        return adit_verdict_for(err);
    return ADIT_DROP;
}

int stack_echo(void *stack, struct echo *e, const struct ip_header *ip, const struct icmp_message *m)
{
    struct stack *s = stack;
    const adit_handler *h = &s->config.handler;
    adit_echo info = {.id = m->id, .seq = m->seq, .data = m->data, .len = m->data_bytes};
    int verdict = ADIT_ECHO_FORWARD;

    if (s->is_stopping)
        return ADIT_DROP;
    flow_describe(s->config.net, &e->flow, &info.flow);
    if (h->icmp)
        verdict = h->icmp(s->config.handler_ctx, s->config.engine, &info);
    switch ((enum adit_verdict)verdict) {
    case ADIT_ECHO_FORWARD:
        return echo_forward(s, e, ip, &info.flow.dst.addr, m);
    case ADIT_ECHO_REPLY:
    case ADIT_RESET:
    case ADIT_UNREACH_HOST:
    case ADIT_UNREACH_NET:
    case ADIT_UNREACH_ADMIN:
    case ADIT_DROP:
        return verdict;
    case ADIT_DEFER:
    case ADIT_ACCEPT:
        break; /* no answer to an echo request */
    }
    return ADIT_DROP;
}
