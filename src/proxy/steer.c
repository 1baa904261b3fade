/* SPDX-License-Identifier: MIT */
/* steer: flows to some ports are the kernel's to terminate, whatever the handler (stack "mixed").
 *
 * A proxy with such ports shows a table of its own in front of its kind's: each function passes on with the kind's context,
 * and prepare() names the stack after the kind has said its word. */
#include "steer.h"
#include <stdlib.h>
#include <string.h>

enum { STEER_RANGES_MAX = 64 };

struct steer {
    adit_handler handler; /* of the kind; a function that it has not is NULL in ours too */
    void *ctx;
    size_t ranges_count;
    struct {
        uint16_t first, last;
    } ranges[STEER_RANGES_MAX];
};

static bool steer_has(const struct steer *s, uint16_t port)
{
    for (size_t i = 0; i < s->ranges_count; i++)
        if (port >= s->ranges[i].first && port <= s->ranges[i].last)
            return true;
    return false;
}

static void steer_prepare(void *ctx, adit *a, const adit_flow *f, adit_decision *out)
{
    const struct steer *s = ctx;

    if (s->handler.prepare)
        s->handler.prepare(s->ctx, a, f, out);
    if (f->proto == ADIT_PROTO_TCP && steer_has(s, f->dst.addr.port))
        out->stack = ADIT_STACK_SYSTEM;
}

static void steer_tcp(void *ctx, adit_conn *c)
{
    const struct steer *s = ctx;

    s->handler.tcp(s->ctx, c);
}

static void steer_udp(void *ctx, adit_udp *u)
{
    const struct steer *s = ctx;

    s->handler.udp(s->ctx, u);
}

static int steer_icmp(void *ctx, adit *a, const adit_echo *e)
{
    const struct steer *s = ctx;

    return s->handler.icmp(s->ctx, a, e);
}

static void steer_stopped(void *ctx, adit *a, const adit_error *why)
{
    const struct steer *s = ctx;

    s->handler.stopped(s->ctx, a, why);
}

/* A number from 0 to 65535 at *at, which moves behind it; -1: there is none. */
static long port_parse(const char **at)
{
    char *end;
    unsigned long n;

    if (**at < '0' || **at > '9')
        return -1;
    n = strtoul(*at, &end, 10);
    if (n > 65535)
        return -1;
    *at = end;
    return (long)n;
}

/* "80", "80,443,8000-8080", "all". */
static bool ports_parse(struct steer *s, const char *text)
{
    long first, last;

    if (strcmp(text, "all") == 0)
        text = "0-65535";
    for (;; text++) {
        first = last = port_parse(&text);
        if (*text == '-') {
            text++;
            last = port_parse(&text);
        }
        if (first < 0 || last < first || s->ranges_count == STEER_RANGES_MAX)
            return false;
        s->ranges[s->ranges_count].first = (uint16_t)first;
        s->ranges[s->ranges_count++].last = (uint16_t)last;
        if (*text == '\0')
            return true;
        if (*text != ',')
            return false;
    }
}

int steer_new(struct steer **out, const adit_handler *h, void *ctx, const char *ports, adit_error *err)
{
    struct steer *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (!s)
        return proxy_no_memory(err);
    if (!ports_parse(s, ports)) {
        free(s);
        return url_refuse(err, "80 or 80,443,8000-8080 or all; 64 ranges at most",
                          "\"%.64s\" is not a list of ports for the kernel", ports);
    }
    s->handler = *h;
    s->ctx = ctx;
    *out = s;
    return 0;
}

void steer_fill(const struct steer *s, adit_handler *h)
{
    const adit_handler *of = &s->handler;

    *h = (adit_handler){
        .size = sizeof(*h),
        .prepare = steer_prepare,
        .tcp = of->tcp ? steer_tcp : NULL,
        .udp = of->udp ? steer_udp : NULL,
        .icmp = of->icmp ? steer_icmp : NULL,
        .stopped = of->stopped ? steer_stopped : NULL,
    };
}

void steer_free(struct steer *s)
{
    free(s);
}
