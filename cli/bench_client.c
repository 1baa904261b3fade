/* SPDX-License-Identifier: MIT */
/* bench_client: a transfer each way, connections, and round trips (bench_client.h).
 *
 * What counts as sent is what the server has received, not what went into a buffer. Percentiles are of the last SAMPLES_MAX
 * transactions. There are at most CONNECTIONS_MAX connections: each leaves a port in TIME-WAIT, at both of adit's ends, and a
 * run that used them all up would measure nothing but that. */
#include "bench_client.h"
#include "bench_server.h"
#include "summary.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 5, SAMPLES_MAX = 1 << 16, CONNECTIONS_MAX = 10000 };

struct samples {
    uint64_t count;
    float us[SAMPLES_MAX]; /* the newest, by count modulo its size */
};

static void samples_add(struct samples *s, double seconds)
{
    s->us[s->count++ % SAMPLES_MAX] = (float)(seconds * 1e6);
}

static int float_compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static void samples_report(struct samples *s, struct bench_result *r)
{
    size_t n = s->count < SAMPLES_MAX ? (size_t)s->count : SAMPLES_MAX;
    r->count = s->count;
    r->ok = n > 0;
    if (n == 0)
        return;
    qsort(s->us, n, sizeof(s->us[0]), float_compare);
    r->p50_us = (double)s->us[(n - 1) / 2];
    r->p99_us = (double)s->us[(n - 1) * 99 / 100];
}

static void result_fail(struct bench_result *r, const char *op)
{
    r->ok = 0;
    snprintf(r->text, sizeof(r->text), "%s: %s", op,
             errno == EAGAIN || errno == EINPROGRESS ? "no answer" : strerror(errno));
}

/* Connected and told what for; `first` goes with it (NULL: nothing). -1 with r->text. */
static int client_open(const struct bench_order *o, enum bench_service service, const char *first,
                       struct bench_result *r)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    char hello[2] = {(char)service, first ? *first : 0};
    int on = 1;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0) {
        result_fail(r, "socket");
        return -1;
    }
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(s, (const struct sockaddr *)&o->to, sizeof(o->to)) == 0 &&
        send(s, hello, first ? 2 : 1, MSG_NOSIGNAL) > 0)
        return s;
    result_fail(r, "connect");
    close(s);
    return -1;
}

void bench_up(const struct bench_order *o, struct bench_result *r)
{
    static const char block[BENCH_BLOCK_BYTES];
    int s = client_open(o, BENCH_SINK, NULL, r);
    if (s < 0)
        return;
    ssize_t n = 1;
    double start = summary_clock_seconds();
    while (n > 0 && summary_clock_seconds() - start < o->seconds)
        n = send(s, block, sizeof(block), MSG_NOSIGNAL);
    shutdown(s, SHUT_WR);
    if (n > 0)
        n = recv(s, &r->bytes, sizeof(r->bytes), MSG_WAITALL);
    r->seconds = summary_clock_seconds() - start;
    r->ok = n == (ssize_t)sizeof(r->bytes) && r->bytes > 0;
    if (!r->ok)
        result_fail(r, "upload");
    close(s);
}

void bench_down(const struct bench_order *o, struct bench_result *r)
{
    static char block[BENCH_BLOCK_BYTES];
    int s = client_open(o, BENCH_SOURCE, NULL, r);
    if (s < 0)
        return;
    ssize_t n = 1;
    double start = summary_clock_seconds();
    while (n > 0 && summary_clock_seconds() - start < o->seconds) {
        n = recv(s, block, sizeof(block), 0);
        r->bytes += n > 0 ? (uint64_t)n : 0;
    }
    r->seconds = summary_clock_seconds() - start;
    r->ok = n > 0;
    if (!r->ok)
        result_fail(r, "download");
    close(s);
}

/* Sends nothing: the octet that comes back has gone with the connection's first. */
static bool connection_take(const struct bench_order *o, struct samples *samples,
                            struct bench_result *r)
{
    char octet = 'x';
    double start = summary_clock_seconds();
    int s = client_open(o, BENCH_ECHO, &octet, r);
    if (s < 0)
        return false;
    ssize_t n = recv(s, &octet, 1, 0);
    samples_add(samples, summary_clock_seconds() - start);
    if (n != 1)
        result_fail(r, "echo");
    close(s);
    return n == 1;
}

void bench_connect(const struct bench_order *o, struct bench_result *r)
{
    static struct samples samples;
    double start = summary_clock_seconds();
    bool ok = true;
    samples.count = 0;
    while (ok && samples.count < CONNECTIONS_MAX && summary_clock_seconds() - start < o->seconds)
        ok = connection_take(o, &samples, r);
    r->seconds = summary_clock_seconds() - start;
    if (ok)
        samples_report(&samples, r);
}

void bench_ping_pong(const struct bench_order *o, struct bench_result *r)
{
    static struct samples samples;
    char octet = 'x';
    int s = client_open(o, BENCH_ECHO, &octet, r);
    if (s < 0)
        return;
    bool ok = recv(s, &octet, 1, 0) == 1;
    double start = summary_clock_seconds(), now = start;
    samples.count = 0;
    while (ok && now - start < o->seconds) {
        double before = now;
        ok = send(s, &octet, 1, MSG_NOSIGNAL) == 1 && recv(s, &octet, 1, 0) == 1;
        now = summary_clock_seconds();
        samples_add(&samples, now - before);
    }
    r->seconds = now - start;
    if (ok)
        samples_report(&samples, r);
    else
        result_fail(r, "echo");
    close(s);
}
