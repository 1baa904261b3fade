/* SPDX-License-Identifier: MIT */
/* summary: flows, octets, time and CPU in one line; the stack in the next; what was dropped, and why, in the last.
 *
 * "in" and "out" are as the command sees them: octets of IP packets that it received and sent. */
#include "summary.h"
#include <inttypes.h>
#include <time.h>

static double clock_seconds(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double summary_cpu_seconds(pid_t pid)
{
    clockid_t clock;
    return clock_getcpuclockid(pid, &clock) ? 0 : clock_seconds(clock);
}

double summary_clock_seconds(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

const char *summary_bytes(uint64_t bytes, char buf[16])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double n = (double)bytes;
    unsigned unit = 0;
    for (; n >= 999.95 && unit < 4; unit++)
        n /= 1000;
    snprintf(buf, 16, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
    return buf;
}

static void drops_print(FILE *to, const adit_stats *s)
{
    uint64_t total = 0;
    for (unsigned i = 1; i < ADIT_DROPS_MAX && adit_drop_name(i); i++)
        total += s->drops[i];
    if (total == 0) {
        fputs("adit: nothing dropped\n", to);
        return;
    }
    fprintf(to, "adit: dropped %" PRIu64 ":", total);
    const char *separator = " ";
    for (unsigned i = 1; i < ADIT_DROPS_MAX && adit_drop_name(i); i++) {
        if (s->drops[i] == 0)
            continue;
        fprintf(to, "%s%s %" PRIu64, separator, adit_drop_name(i), s->drops[i]);
        separator = ", ";
    }
    fputc('\n', to);
}

void summary_print(FILE *to, const adit_stats *s, const char *stack, double seconds, double cpu_seconds)
{
    char in[16], out[16];
    fprintf(to,
            "adit: %" PRIu64 " flows (%" PRIu64 " tcp, %" PRIu64 " udp, %" PRIu64
            " icmp), %s in, %s out, %.1f s, %.2f s of CPU\n",
            s->tcp_total + s->udp_total + s->icmp_total, s->tcp_total, s->udp_total, s->icmp_total,
            summary_bytes(s->tx_bytes, in), summary_bytes(s->rx_bytes, out), seconds, cpu_seconds);
    fprintf(to, "adit: stack %s\n", stack);
    if (s->shortcut_packets > 0)
        fprintf(to, "adit: %s in %" PRIu64 " packets turned round in the kernel\n",
                summary_bytes(s->shortcut_bytes, in), s->shortcut_packets);
    if (s->tcp_evicted > 0)
        fprintf(to, "adit: %" PRIu64 " half-open tcp flows made room for others\n", s->tcp_evicted);
    if (s->handed_over > 0)
        fprintf(to, "adit: %" PRIu64 " packets handed over from worker to worker\n", s->handed_over);
    if (s->udp_evicted > 0)
        fprintf(to, "adit: %" PRIu64 " udp flows made room for others\n", s->udp_evicted);
    drops_print(to, s);
}
