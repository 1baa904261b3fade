/* SPDX-License-Identifier: MIT */
/* bench_server ADDRESS BASE_PORT: the far side of every measurement (tool.h lists the services). One thread serves TCP from
 * an epoll set; each of the two UDP services has a thread of its own, so that a stream of datagrams waits for nobody. Prints
 * "ready" once it listens, and ends with its standard input. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum { EVENTS_MAX = 256, BACKLOG = 4096 };

struct conn {
    int fd, service;
    int is_listener;
    uint64_t bytes;
};

static char chunk[TOOL_CHUNK_BYTES];
static atomic_ullong udp_received, udp_sent;

static void conn_watch(int set, int fd, int service, int is_listener, uint32_t events)
{
    struct conn *c = calloc(1, sizeof(*c));
    struct epoll_event e = {.events = events, .data.ptr = c};

    if (!c)
        tool_fail("conn");
    *c = (struct conn){.fd = fd, .service = service, .is_listener = is_listener};
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) < 0)
        tool_fail("epoll_ctl");
}

static void conn_free(struct conn *c)
{
    close(c->fd);
    free(c);
}

static void conn_accept(int set, const struct conn *listener)
{
    int fd;

    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (listener->service == TOOL_COUNTS) {
            struct tool_udp_counts counts = {udp_received, udp_sent};

            tool_write_all(fd, &counts, sizeof(counts));
            close(fd);
            continue;
        }
        if (listener->service == TOOL_PIECE)
            (void)send(fd, chunk, TOOL_PIECE_BYTES, MSG_NOSIGNAL);
        conn_watch(set, fd, listener->service, 0, listener->service == TOOL_SOURCE ? EPOLLOUT : EPOLLIN);
    }
}

static void conn_echo(struct conn *c)
{
    ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);

    if (n == 0 || (n < 0 && errno != EAGAIN) || (n > 0 && send(c->fd, chunk, (size_t)n, MSG_NOSIGNAL) != n))
        conn_free(c);
}

static void conn_sink(struct conn *c)
{
    ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);

    if (n > 0) {
        c->bytes += (uint64_t)n;
        return;
    }
    if (n == 0)
        (void)send(c->fd, &c->bytes, sizeof(c->bytes), MSG_NOSIGNAL);
    if (n == 0 || errno != EAGAIN)
        conn_free(c);
}

static void conn_source(struct conn *c)
{
    if (send(c->fd, chunk, sizeof(chunk), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        conn_free(c);
}

static void conn_serve(int set, struct conn *c)
{
    if (c->is_listener)
        conn_accept(set, c);
    else if (c->service == TOOL_ECHO || c->service == TOOL_PIECE)
        conn_echo(c);
    else if (c->service == TOOL_SINK)
        conn_sink(c);
    else
        conn_source(c);
}

/* ------------------------------------------------------------------------------------------- UDP -- */

static void *udp_sink(void *arg)
{
    int fd = *(int *)arg;

    for (;;)
        udp_received += tool_udp_receive(fd, -1);
    return NULL;
}

static void *udp_source(void *arg)
{
    int fd = *(int *)arg;

    for (;;) {
        struct tool_udp_order order;
        struct sockaddr_in from;
        struct sockaddr nobody = {.sa_family = AF_UNSPEC};
        socklen_t len = sizeof(from);

        if (recvfrom(fd, &order, sizeof(order), 0, (struct sockaddr *)&from, &len) != sizeof(order))
            continue;
        if (order.size_bytes == 0 || order.size_bytes > TOOL_UDP_BYTES_MAX || order.segments > 44)
            continue;
        if (connect(fd, (struct sockaddr *)&from, len) < 0)
            continue;
        udp_sent += tool_udp_send(fd, &order);
        connect(fd, &nobody, sizeof(nobody));
    }
    return NULL;
}

/* --------------------------------------------------------------------------------------- start -- */

static void listen_tcp(int set, char **argv, int service)
{
    struct sockaddr_in at = tool_address(argv[1], argv[2], service);
    int fd = tool_tcp(), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0)
        tool_fail("listen");
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        tool_fail("fcntl");
    conn_watch(set, fd, service, 1, EPOLLIN);
}

static void serve_udp(char **argv, int service, int *fd, void *(*run)(void *arg))
{
    struct sockaddr_in at = tool_address(argv[1], argv[2], service);
    pthread_t thread;

    *fd = tool_udp();
    if (bind(*fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        tool_fail("bind");
    if (pthread_create(&thread, NULL, run, fd) != 0)
        tool_fail("thread");
}

int main(int argc, char **argv)
{
    static const int tcp_services[] = {TOOL_ECHO, TOOL_SINK, TOOL_SOURCE, TOOL_COUNTS, TOOL_PIECE};
    struct epoll_event events[EVENTS_MAX], input = {.events = EPOLLIN};
    int set = epoll_create1(EPOLL_CLOEXEC), sink, source, n;

    if (argc != 3) {
        fprintf(stderr, "usage: bench_server ADDRESS BASE_PORT\n");
        return 1;
    }
    tool_raise_limits();
    for (size_t i = 0; i < sizeof(tcp_services) / sizeof(tcp_services[0]); i++)
        listen_tcp(set, argv, tcp_services[i]);
    serve_udp(argv, TOOL_UDP_SINK, &sink, udp_sink);
    serve_udp(argv, TOOL_UDP_SOURCE, &source, udp_source);
    if (epoll_ctl(set, EPOLL_CTL_ADD, 0, &input) < 0) /* data.ptr NULL: the end */
        tool_fail("standard input");
    puts("ready");
    fflush(stdout);
    for (;;) {
        n = epoll_wait(set, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                return 0;
            conn_serve(set, events[i].data.ptr);
        }
    }
}
