/* SPDX-License-Identifier: MIT */
/* bench_udp up|down ADDRESS BASE_PORT SIZE SEGMENTS: datagrams a second. First as fast as the sender can, which gives what
 * arrives under overload; then the highest rate at which at most one datagram in a thousand is lost, found by halving.
 * SEGMENTS: datagrams in one UDP_SEGMENT send; 0: plain sends, in batches. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

enum { TRIAL_MS = 200, SETTLE_MS = 60, TRIALS = 7 };

struct run {
    struct sockaddr_in data, counts;
    int is_up, fd;
    uint64_t arrived; /* in all trials */
};

struct trial {
    double offered, arrived; /* datagrams a second */
    double lost;             /* a share */
};

static struct tool_udp_counts server_counts(const struct run *r)
{
    struct tool_udp_counts c;
    int fd = tool_connect(&r->counts);

    if (!tool_read_all(fd, &c, sizeof(c)))
        tool_fail("the server's counts");
    close(fd);
    return c;
}

static uint64_t receive_down(const struct run *r, const struct tool_udp_order *order)
{
    uint64_t got = 0, one, end_ns = tool_now_ns() + (order->duration_ms + SETTLE_MS) * 1000000ull;

    if (send(r->fd, order, sizeof(*order), 0) < 0)
        tool_fail("send");
    while (tool_now_ns() < end_ns) {
        one = tool_udp_receive(r->fd, SETTLE_MS);
        got += one;
    }
    return got;
}

static struct trial run_trial(struct run *r, struct tool_udp_order order, double rate)
{
    struct tool_udp_counts before = server_counts(r), after;
    uint64_t sent, got;

    order.rate = (uint32_t)rate;
    if (r->is_up) {
        sent = tool_udp_send(r->fd, &order);
        tool_sleep_until(tool_now_ns() + SETTLE_MS * 1000000ull);
        after = server_counts(r);
        got = after.received - before.received;
    } else {
        got = receive_down(r, &order);
        after = server_counts(r);
        sent = after.sent - before.sent;
    }
    r->arrived += got;
    if (sent == 0)
        return (struct trial){.lost = 1};
    return (struct trial){.offered = (double)sent * 1000 / order.duration_ms,
                          .arrived = (double)got * 1000 / order.duration_ms,
                          .lost = got < sent ? 1 - (double)got / (double)sent : 0};
}

static double find_rate(struct run *r, struct tool_udp_order order, double arrived)
{
    double low = 0, high = arrived * 1.25, best = 0;

    for (int i = 0; i < TRIALS; i++) {
        double rate = i == 0 ? arrived * 0.7 : (low + high) / 2;
        struct trial t = run_trial(r, order, rate);

        if (t.lost <= 0.001) {
            low = rate;
            best = t.arrived > best ? t.arrived : best;
        } else {
            high = rate;
        }
    }
    return best;
}

int main(int argc, char **argv)
{
    struct tool_udp_order order = {.duration_ms = TRIAL_MS};
    struct run r = {.arrived = 0};
    struct trial blast;
    double lossless;

    if (argc != 6) {
        fprintf(stderr, "usage: bench_udp up|down ADDRESS BASE_PORT SIZE SEGMENTS\n");
        return 1;
    }
    r.is_up = !strcmp(argv[1], "up");
    r.data = tool_address(argv[2], argv[3], r.is_up ? TOOL_UDP_SINK : TOOL_UDP_SOURCE);
    r.counts = tool_address(argv[2], argv[3], TOOL_COUNTS);
    order.size_bytes = tool_number(argv[4], 1, TOOL_UDP_BYTES_MAX);
    order.segments = tool_number(argv[5], 0, 44);
    r.fd = tool_udp();
    if (connect(r.fd, (struct sockaddr *)&r.data, sizeof(r.data)) < 0)
        tool_fail("connect");
    blast = run_trial(&r, order, 0);
    lossless = find_rate(&r, order, blast.arrived);
    printf("{\"offered_pps\": %.0f, \"overload_pps\": %.0f, \"lossless_pps\": %.0f, \"arrived\": %llu, "
           "\"cpu_seconds\": %.4f}\n", blast.offered, blast.arrived, lossless, (unsigned long long)r.arrived, tool_cpu_seconds());
    return 0;
}
