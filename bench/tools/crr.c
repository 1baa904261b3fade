/* SPDX-License-Identifier: MIT */
/* bench_crr ADDRESS BASE_PORT AT_ONCE MILLISECONDS: connect, request (one octet), response, close (FIN), again; AT_ONCE of
 * them at any time. A transaction is timed from connect() to the response. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum { AT_ONCE_MAX = 1024 };

struct slot {
    int fd;
    int is_connected;
    uint64_t start_ns;
};

struct run {
    struct sockaddr_in to;
    int set;
    uint64_t failed;
    struct tool_samples total, connect;
};

static void slot_connect(struct run *r, struct slot *s)
{
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = s};

    *s = (struct slot){.fd = tool_tcp(), .start_ns = tool_now_ns()};
    if (fcntl(s->fd, F_SETFL, O_NONBLOCK) < 0)
        tool_fail("fcntl");
    if (connect(s->fd, (const struct sockaddr *)&r->to, sizeof(r->to)) < 0 && errno != EINPROGRESS)
        tool_fail("connect");
    if (epoll_ctl(r->set, EPOLL_CTL_ADD, s->fd, &e) < 0)
        tool_fail("epoll_ctl");
}

/* True: the transaction is over. */
static int slot_step(struct run *r, struct slot *s)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    char octet = 'x';

    if (!s->is_connected) {
        s->is_connected = 1;
        tool_samples_add(&r->connect, tool_now_ns() - s->start_ns);
        if (send(s->fd, &octet, 1, MSG_NOSIGNAL) != 1) {
            r->failed++;
            return 1;
        }
        if (epoll_ctl(r->set, EPOLL_CTL_MOD, s->fd, &e) < 0)
            tool_fail("epoll_ctl");
        return 0;
    }
    if (recv(s->fd, &octet, 1, 0) == 1)
        tool_samples_add(&r->total, tool_now_ns() - s->start_ns);
    else
        r->failed++;
    return 1;
}

int main(int argc, char **argv)
{
    static struct slot slots[AT_ONCE_MAX];
    struct run r = {.set = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event events[AT_ONCE_MAX];
    uint64_t start_ns = tool_now_ns(), end_ns;
    uint32_t at_once;
    double seconds;

    if (argc != 5) {
        fprintf(stderr, "usage: bench_crr ADDRESS BASE_PORT AT_ONCE MILLISECONDS\n");
        return 1;
    }
    r.to = tool_address(argv[1], argv[2], TOOL_ECHO);
    at_once = tool_number(argv[3], 1, AT_ONCE_MAX);
    end_ns = start_ns + tool_number(argv[4], 1, 600000) * 1000000ull;
    for (uint32_t i = 0; i < at_once; i++)
        slot_connect(&r, &slots[i]);
    while (tool_now_ns() < end_ns) {
        int n = epoll_wait(r.set, events, AT_ONCE_MAX, 1000);

        for (int i = 0; i < n; i++) {
            struct slot *s = events[i].data.ptr;

            if (!slot_step(&r, s))
                continue;
            close(s->fd);
            slot_connect(&r, s);
        }
    }
    seconds = (double)(tool_now_ns() - start_ns) / 1e9;
    printf("{\"count\": %zu, \"failed\": %llu, \"seconds\": %.4f, \"cpu_seconds\": %.4f", r.total.count,
           (unsigned long long)r.failed, seconds, tool_cpu_seconds());
    tool_samples_print(&r.total, "");
    tool_samples_print(&r.connect, "connect_");
    printf("}\n");
    return 0;
}
