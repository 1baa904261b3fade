/* SPDX-License-Identifier: MIT */
/* bench_bulk up|down ADDRESS BASE_PORT STREAMS MILLISECONDS: octets a second over TCP. Up: what the server says that it
 * received, until its last answer is here; down: what was read. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum { STREAMS_MAX = 256 };

static char chunk[TOOL_CHUNK_BYTES];

static uint64_t run_up(const struct pollfd *streams, uint32_t n, uint64_t end_ns)
{
    struct pollfd p[STREAMS_MAX];
    uint64_t total = 0, bytes;

    memcpy(p, streams, n * sizeof(p[0]));
    while (tool_now_ns() < end_ns) {
        if (n > 1)
            poll(p, n, 1000);
        for (uint32_t i = 0; i < n; i++)
            if ((n == 1 || p[i].revents) &&
                send(p[i].fd, chunk, sizeof(chunk), MSG_NOSIGNAL | (n > 1 ? MSG_DONTWAIT : 0)) == 0)
                tool_fail("send");
    }
    for (uint32_t i = 0; i < n; i++)
        shutdown(p[i].fd, SHUT_WR);
    for (uint32_t i = 0; i < n; i++) {
        if (!tool_read_all(p[i].fd, &bytes, sizeof(bytes)))
            tool_fail("the server's count");
        total += bytes;
    }
    return total;
}

static uint64_t run_down(struct pollfd *p, uint32_t n, uint64_t end_ns)
{
    uint64_t total = 0;

    while (tool_now_ns() < end_ns) {
        if (n > 1)
            poll(p, n, 1000);
        for (uint32_t i = 0; i < n; i++) {
            ssize_t got;

            if (n > 1 && !p[i].revents)
                continue;
            got = recv(p[i].fd, chunk, sizeof(chunk), 0);
            if (got <= 0)
                tool_fail("recv");
            total += (uint64_t)got;
        }
    }
    return total;
}

int main(int argc, char **argv)
{
    struct pollfd streams[STREAMS_MAX];
    struct sockaddr_in to;
    uint64_t start_ns, end_ns, total;
    uint32_t n;
    int is_up;

    if (argc != 6) {
        fprintf(stderr, "usage: bench_bulk up|down ADDRESS BASE_PORT STREAMS MILLISECONDS\n");
        return 1;
    }
    is_up = !strcmp(argv[1], "up");
    to = tool_address(argv[2], argv[3], is_up ? TOOL_SINK : TOOL_SOURCE);
    n = tool_number(argv[4], 1, STREAMS_MAX);
    for (uint32_t i = 0; i < n; i++)
        streams[i] = (struct pollfd){.fd = tool_connect(&to), .events = is_up ? POLLOUT : POLLIN};
    start_ns = tool_now_ns();
    end_ns = start_ns + tool_number(argv[5], 1, 600000) * 1000000ull;
    total = is_up ? run_up(streams, n, end_ns) : run_down(streams, n, end_ns);
    printf("{\"bytes\": %llu, \"seconds\": %.4f, \"cpu_seconds\": %.4f}\n", (unsigned long long)total,
           (double)(tool_now_ns() - start_ns) / 1e9, tool_cpu_seconds());
    return 0;
}
