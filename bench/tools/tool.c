/* SPDX-License-Identifier: MIT */
/* tool: see tool.h. */
#include "tool.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    UDP_BATCH = 64,
    UDP_BURST_NS = 200000, /* a paced sender sends what is due every so often */
    UDP_BUFFER_BYTES = 16 * 1024 * 1024,
};

void tool_fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

uint32_t tool_number(const char *text, uint32_t least, uint32_t most)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || n < least || n > most) {
        fprintf(stderr, "%s: a number from %u to %u is wanted\n", text, least, most);
        exit(1);
    }
    return (uint32_t)n;
}

uint64_t tool_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void tool_sleep_until(uint64_t at_ns)
{
    struct timespec t = {.tv_sec = (time_t)(at_ns / 1000000000), .tv_nsec = (long)(at_ns % 1000000000)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

double tool_cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct sockaddr_in tool_address(const char *host, const char *base_port, enum tool_service service)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    uint32_t port = tool_number(base_port, 1, 65535 - TOOL_SERVICES) + service;

    a.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        fprintf(stderr, "%s: an IPv4 address is wanted\n", host);
        exit(1);
    }
    return a;
}

void tool_raise_limits(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

void tool_tcp_tune(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) < 0)
        tool_fail("cubic");
}

int tool_tcp(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        tool_fail("socket");
    tool_tcp_tune(fd);
    return fd;
}

int tool_connect(const struct sockaddr_in *to)
{
    int fd = tool_tcp();

    if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
        tool_fail("connect");
    return fd;
}

void tool_write_all(int fd, const void *bytes, size_t len_bytes)
{
    const char *at = bytes;

    while (len_bytes > 0) {
        ssize_t n = send(fd, at, len_bytes, MSG_NOSIGNAL);

        if (n < 0)
            tool_fail("send");
        at += n;
        len_bytes -= (size_t)n;
    }
}

int tool_read_all(int fd, void *bytes, size_t len_bytes)
{
    char *at = bytes;

    while (len_bytes > 0) {
        ssize_t n = recv(fd, at, len_bytes, 0);

        if (n <= 0)
            return 0;
        at += n;
        len_bytes -= (size_t)n;
    }
    return 1;
}

/* -------------------------------------------------------------------------------------- latencies -- */

void tool_samples_add(struct tool_samples *s, uint64_t ns)
{
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 65536;
        s->us = realloc(s->us, s->room * sizeof(*s->us));
        if (!s->us)
            tool_fail("samples");
    }
    s->us[s->count++] = (float)ns / 1000;
}

static int float_compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

void tool_samples_print(struct tool_samples *s, const char *name)
{
    static const struct {
        const char *name;
        double part;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};

    if (s->count == 0)
        return;
    qsort(s->us, s->count, sizeof(*s->us), float_compare);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        printf(", \"%s%s_us\": %.1f", name, points[i].name,
               (double)s->us[(size_t)((double)(s->count - 1) * points[i].part)]);
    free(s->us);
    *s = (struct tool_samples){0};
}

/* -------------------------------------------------------------------------------------------- UDP -- */

int tool_udp(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = UDP_BUFFER_BYTES;

    if (fd < 0)
        tool_fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    return fd;
}

/* n sends of one iovec each. Returns the sends that were taken; those refused are not counted as sent. */
static unsigned udp_send_batch(int fd, struct iovec *piece, unsigned n)
{
    struct mmsghdr m[UDP_BATCH];
    int sent;

    memset(m, 0, sizeof(m));
    for (unsigned i = 0; i < n; i++)
        m[i].msg_hdr = (struct msghdr){.msg_iov = piece, .msg_iovlen = 1};
    sent = sendmmsg(fd, m, n, 0);
    if (sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
        tool_fail("sendmmsg");
    return sent > 0 ? (unsigned)sent : 0;
}

uint64_t tool_udp_send(int fd, const struct tool_udp_order *order)
{
    static char payload[65536];
    uint32_t segments = order->segments ? order->segments : 1;
    struct iovec piece = {.iov_base = payload, .iov_len = (size_t)order->size_bytes * segments};
    uint64_t start_ns = tool_now_ns(), end_ns = start_ns + order->duration_ms * 1000000ull, sent = 0, now_ns;
    int segment_bytes = order->segments ? (int)order->size_bytes : 0;

    if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment_bytes, sizeof(segment_bytes)) < 0 && segment_bytes)
        tool_fail("UDP_SEGMENT");
    while ((now_ns = tool_now_ns()) < end_ns) {
        uint64_t due = UDP_BATCH;

        if (order->rate) {
            due = (uint64_t)((double)(now_ns - start_ns) / 1e9 * order->rate / segments) - sent;
            if ((int64_t)due <= 0) {
                tool_sleep_until(now_ns + UDP_BURST_NS);
                continue;
            }
        }
        sent += udp_send_batch(fd, &piece, due < UDP_BATCH ? (unsigned)due : UDP_BATCH);
    }
    return sent * segments;
}

uint64_t tool_udp_receive(int fd, int timeout_ms)
{
    static char payload[UDP_BATCH][TOOL_UDP_BYTES_MAX];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct mmsghdr m[UDP_BATCH];
    struct iovec piece[UDP_BATCH];
    uint64_t count = 0;
    int n;

    if (poll(&p, 1, timeout_ms) <= 0)
        return 0;
    memset(m, 0, sizeof(m));
    for (int i = 0; i < UDP_BATCH; i++) {
        piece[i] = (struct iovec){payload[i], TOOL_UDP_BYTES_MAX};
        m[i].msg_hdr = (struct msghdr){.msg_iov = &piece[i], .msg_iovlen = 1};
    }
    while ((n = recvmmsg(fd, m, UDP_BATCH, MSG_DONTWAIT, NULL)) > 0) {
        count += (unsigned)n;
        if (n < UDP_BATCH)
            break;
    }
    return count;
}
