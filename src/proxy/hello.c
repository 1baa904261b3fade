/* SPDX-License-Identifier: MIT */
/* hello: answers by itself, so that a person sees what a flow was: a page at every address and port, the name
 * hello.adit.test at every name server, and every ping. Nothing leaves this host.
 *
 *   connection: accept -> a head of HTTP/1 (8 KiB, 10 s) -> the page, FIN -> what the client still says is thrown away
 *               until its FIN (10 s) -> closed
 *   datagram:   port 53: an answer; any other port is unreachable
 *
 * The page says nothing that the client said: there is nothing to be escaped. The end after the page waits for the client's,
 * since a close would answer the rest of a request with RST, and a client that sees RST may throw the page away. */
#include <stdio.h>
#include <string.h>
#include "dns_wire.h"
#include "http_wire.h"
#include "proxy.h"

enum {
    HEAD_BYTES = 8192,
    PAGE_BYTES = 2048,
    PATIENCE_MS = 10000,
    VIEWS_MAX = 16,
    DGRAMS_MAX = 16,
    DNS_PORT = 53,
    DNS_TTL_SECONDS = 10,
};

static const struct dns_record hello_record = {
    .name = "hello.adit.test",
    .a4 = {.ip = {[10] = 0xff, [11] = 0xff, 198, 18, 0, 1},
           .family = 4}, /* RFC 2544: of no network */
    .a6 = {.ip = {0xfd, 0x5a, [15] = 1}, .family = 6},
    .ttl_seconds = DNS_TTL_SECONDS,
};

/* ------------------------------------------------------------------------------------- connections -- */

struct visit {
    adit_conn *conn;
    adit_timer *timer;
    bool is_answered;
    size_t page_bytes, page_sent;
    size_t head_bytes;
    char page[PAGE_BYTES];
    char head[HEAD_BYTES];
};

static void visit_closed(adit_conn *c, int why, void *user)
{
    struct visit *v = user;

    (void)c, (void)why;
    adit_timer_stop(v->timer);
    adit_loop_free(v);
}

static void visit_expire(void *arg)
{
    struct visit *v = arg;

    v->timer = NULL;
    adit_conn_close(v->conn);
}

static void visit_bound_time(struct visit *v)
{
    adit_timer_stop(v->timer);
    v->timer = adit_timer_start(adit_conn_loop(v->conn), PATIENCE_MS, visit_expire, v);
    if (!v->timer)
        adit_conn_abort(v->conn);
}

static int visit_print_body(const struct visit *v, bool is_plain, char *out, size_t len_bytes)
{
    static const char plain[] =
        "Hello from adit %u.%u.%u.\n\n"
        "you       %s\n"
        "wanted    %s\n"
        "stack     %s\n"
        "flow      %llu\n\n"
        "No such host was asked: adit took the packets and answered itself.\n";
    static const char html[] =
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>adit</title>\n"
        "<h1>Hello from adit %u.%u.%u</h1>\n"
        "<table>\n<tr><th>you<td>%s\n<tr><th>wanted<td>%s\n<tr><th>stack<td>%s\n"
        "<tr><th>flow<td>%llu\n</table>\n"
        "<p>No such host was asked: adit took the packets and answered itself.</p></html>\n";
    const adit_flow *f = adit_conn_flow(v->conn);
    uint32_t version = adit_version();
    char src[ADIT_ADDR_TEXT], dst[ADIT_ADDR_TEXT];

    adit_addr_format(&f->src, src, sizeof(src));
    adit_addr_format(&f->dst.addr, dst, sizeof(dst));
    return snprintf(out, len_bytes, is_plain ? plain : html, version >> 24, version >> 16 & 0xff,
                    version >> 8 & 0xff, src, dst, adit_conn_stack(v->conn),
                    (unsigned long long)f->id);
}

static void visit_print(struct visit *v, const char *status, const struct http_request *r)
{
    char body[PAGE_BYTES / 2];
    int body_bytes = visit_print_body(v, r->is_plain, body, sizeof(body));
    int n = snprintf(v->page, sizeof(v->page),
                     "HTTP/1.1 %s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Length: %d\r\n"
                     "Cache-Control: no-store\r\nConnection: close\r\n\r\n%s",
                     status, r->is_plain ? "plain" : "html", body_bytes, r->is_head ? "" : body);

    v->page_bytes = (size_t)n;
}

/* Sends what is left of the page, then our FIN. */
static void visit_answer(struct visit *v)
{
    while (v->page_sent < v->page_bytes) {
        ptrdiff_t n = adit_conn_send(v->conn, v->page + v->page_sent, v->page_bytes - v->page_sent);

        if (n == ADIT_EAGAIN) {
            adit_conn_want(v->conn, ADIT_WRITE);
            return;
        }
        if (n < 0) {
            adit_conn_abort(v->conn);
            return;
        }
        v->page_sent += (size_t)n;
    }
    (void)adit_conn_shutdown(v->conn);
    v->is_answered = true;
    visit_bound_time(v);
    adit_conn_want(v->conn, ADIT_READ);
}

/* Takes what has come; false: the client's end, an error, or nothing more for now. */
static bool visit_read(struct visit *v)
{
    ptrdiff_t n;

    if (v->head_bytes == sizeof(v->head))
        return true;
    n = adit_conn_recv(v->conn, v->head + v->head_bytes, sizeof(v->head) - v->head_bytes);
    if (n > 0)
        v->head_bytes += (size_t)n;
    else if (n == 0)
        adit_conn_close(v->conn); /* a request that its client did not finish */
    else if (n != ADIT_EAGAIN)
        adit_conn_abort(v->conn);
    return n > 0;
}

static void visit_greet(struct visit *v)
{
    struct http_request r;

    if (!visit_read(v))
        return;
    switch (http_request_parse(&r, v->head, v->head_bytes)) {
    case HTTP_REQUEST:
        visit_print(v, "200 OK", &r);
        visit_answer(v);
        break;
    case HTTP_MORE:
        if (v->head_bytes < sizeof(v->head))
            break;
        visit_print(v, "431 Request Header Fields Too Large", &r);
        visit_answer(v);
        break;
    case HTTP_NO_HTTP:
        adit_conn_close(v->conn);
        break;
    }
}

static void visit_drain(struct visit *v)
{
    adit_iov views[VIEWS_MAX];
    int n;

    while ((n = adit_conn_peek(v->conn, views, VIEWS_MAX)) > 0)
        for (int i = 0; i < n; i++)
            adit_conn_consume(v->conn, views[i].len);
    if (n == 0)
        adit_conn_close(v->conn);
    else if (n != ADIT_EAGAIN)
        adit_conn_abort(v->conn);
}

static void visit_event(adit_conn *c, unsigned ev, void *user)
{
    struct visit *v = user;

    (void)c, (void)ev;
    if (v->is_answered)
        visit_drain(v);
    else if (v->page_bytes)
        visit_answer(v);
    else
        visit_greet(v);
}

static void hello_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {
        .size = sizeof(ops), .event = visit_event, .closed = visit_closed};
    struct visit *v = adit_loop_alloc(adit_conn_loop(c), sizeof(*v));

    (void)ctx;
    if (!v) {
        adit_conn_abort(c);
        return;
    }
    v->conn = c;
    adit_conn_set_ops(c, &ops, v);
    visit_bound_time(v);
    adit_conn_want(c, ADIT_READ);
}

/* --------------------------------------------------------------------------------------- datagrams -- */

static void hello_query(adit_udp *u, const adit_dgram *in)
{
    uint8_t answer[DNS_ANSWER_MAX];
    size_t piece_bytes = in->gso_bytes ? in->gso_bytes : in->len;

    for (size_t at = 0; at < in->len; at += piece_bytes) {
        size_t len_bytes = in->len - at < piece_bytes ? in->len - at : piece_bytes;
        adit_dgram out = {.remote = in->remote, .data = answer};

        out.len = dns_answer(answer, (const uint8_t *)in->data + at, len_bytes, &hello_record);
        if (out.len)
            adit_udp_send(u, &out, 1);
    }
}

static void hello_datagrams(adit_udp *u, void *user)
{
    adit_dgram d[DGRAMS_MAX];
    int n;

    (void)user;
    while ((n = adit_udp_recv(u, d, DGRAMS_MAX)) > 0) {
        for (int i = 0; i < n; i++) {
            if (d[i].remote.port == DNS_PORT)
                hello_query(u, &d[i]);
            else
                adit_udp_unreach(u, &d[i].remote, ADIT_RESET);
        }
        adit_udp_release(u, n);
    }
}

static void hello_udp(void *ctx, adit_udp *u)
{
    static const adit_udp_ops ops = {.size = sizeof(ops), .event = hello_datagrams};

    (void)ctx;
    adit_udp_set_ops(u, &ops, NULL);
}

/* ----------------------------------------------------------------------------------------- opening -- */

static void hello_prepare(void *ctx, adit *a, const adit_flow *f, adit_decision *out)
{
    (void)ctx, (void)a;
    if (f->proto == ADIT_PROTO_TCP)
        out->verdict = ADIT_ACCEPT;
}

static int hello_icmp(void *ctx, adit *a, const adit_echo *e)
{
    (void)ctx, (void)a, (void)e;
    return ADIT_ECHO_REPLY;
}

int hello_open(adit_proxy *p, const struct proxy_target *t, adit_error *err)
{
    static const adit_handler handler = {
        .size = sizeof(handler),
        .prepare = hello_prepare,
        .tcp = hello_tcp,
        .udp = hello_udp,
        .icmp = hello_icmp,
    };

    (void)t, (void)err;
    p->handler = &handler;
    return 0;
}
