/* SPDX-License-Identifier: MIT */
/* bench_rr ADDRESS BASE_PORT CONNECTIONS MILLISECONDS: an octet goes and comes back, on each of so many connections. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "tool.h"

enum { CONNECTIONS_MAX = 1024 };

struct slot {
    int fd;
    uint64_t sent_ns;
};

static void slot_send(struct slot *s)
{
    s->sent_ns = tool_now_ns();
    tool_write_all(s->fd, "x", 1);
}

int main(int argc, char **argv)
{
    static struct slot slots[CONNECTIONS_MAX];
    struct epoll_event events[CONNECTIONS_MAX];
    struct tool_samples samples = {0};
    struct sockaddr_in to;
    uint64_t start_ns, end_ns;
    uint32_t count;
    double seconds;
    int set = epoll_create1(EPOLL_CLOEXEC);

    if (argc != 5) {
        fprintf(stderr, "usage: bench_rr ADDRESS BASE_PORT CONNECTIONS MILLISECONDS\n");
        return 1;
    }
    to = tool_address(argv[1], argv[2], TOOL_ECHO);
    count = tool_number(argv[3], 1, CONNECTIONS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &slots[i]};

        slots[i].fd = tool_connect(&to);
        if (epoll_ctl(set, EPOLL_CTL_ADD, slots[i].fd, &e) < 0)
            tool_fail("epoll_ctl");
    }
    start_ns = tool_now_ns();
    end_ns = start_ns + tool_number(argv[4], 1, 600000) * 1000000ull;
    for (uint32_t i = 0; i < count; i++)
        slot_send(&slots[i]);
    while (tool_now_ns() < end_ns) {
        int n = epoll_wait(set, events, CONNECTIONS_MAX, 1000);

        for (int i = 0; i < n; i++) {
            struct slot *s = events[i].data.ptr;
            char octet;

            if (!tool_read_all(s->fd, &octet, 1))
                tool_fail("recv");
            tool_samples_add(&samples, tool_now_ns() - s->sent_ns);
            slot_send(s);
        }
    }
    seconds = (double)(tool_now_ns() - start_ns) / 1e9;
    printf("{\"count\": %zu, \"seconds\": %.4f, \"cpu_seconds\": %.4f", samples.count, seconds, tool_cpu_seconds());
    tool_samples_print(&samples, "");
    printf("}\n");
    return 0;
}
