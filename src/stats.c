/* SPDX-License-Identifier: MIT */
/* stats: counters, status, and the names of drop reasons. */
#include "stats.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "instance.h"
#include "wire/drop.h"
#include "worker.h"

static_assert(sizeof(adit_stats) % sizeof(uint64_t) == 0 && offsetof(adit_stats, rx_bytes) % sizeof(uint64_t) == 0,
              "counters only, behind the size: they are summed as an array");
static_assert(DROP_COUNT <= ADIT_DROPS_MAX, "adit_stats.drops has room for each reason");

int report_init(struct report *r)
{
    *r = (struct report){0};
    return uv_mutex_init(&r->mutex) ? ADIT_ENOMEM : 0;
}

void report_deinit(struct report *r)
{
    uv_mutex_destroy(&r->mutex);
}

/* On the worker's thread. */
static void stats_collect(const struct worker *w, adit_stats *s)
{
    const struct net_stats *n = &w->net.stats;

    *s = (adit_stats){
        .size = sizeof(*s),
        .rx_bytes = n->rx_bytes,
        .tx_bytes = n->tx_bytes,
        .rx_packets = n->rx_packets,
        .tx_packets = n->tx_packets,
        .tcp_open = n->tcp_open,
        .tcp_kernel_open = n->tcp_kernel_open,
        .tcp_kernel_total = n->tcp_kernel_total,
        .tcp_half_open = n->tcp_half_open,
        .tcp_time_wait = n->tcp_time_wait,
        .tcp_total = n->tcp_total,
        .tcp_rejected = n->tcp_rejected,
        .tcp_segments_retransmitted = n->tcp_segments_retransmitted,
        .tcp_fast_retransmits = n->tcp_fast_retransmits,
        .tcp_timeouts = n->tcp_timeouts,
        .udp_open = n->udp_open,
        .udp_total = n->udp_total,
        .udp_evicted = n->udp_evicted,
        .icmp_total = n->icmp_total,
        .handed_over = n->handed_over,
        .tcp_evicted = n->tcp_evicted,
        .memory_used_bytes = w->memory.used_bytes,
        .memory_peak_bytes = w->memory.peak_bytes,
        .memory_budget_bytes = w->memory.budget_bytes,
        .memory_starved = w->memory.starved,
        .turns = w->turns,
        .device_reads = w->device->reads,
        .device_writes = w->device->writes,
    };
    if (w->shortcut_count > 0) {
        struct shortcut_count turned = shortcut_counted(w->shortcut[SHORTCUT_COUNTS]);

        s->shortcut_packets = turned.packets;
        s->shortcut_bytes = turned.bytes;
    }
    for (int i = 0; i < DROP_COUNT; i++)
        s->drops[i] = n->drops[i] + w->device->drops[i];
}

void report_update(struct worker *w, uint64_t now_ns, bool last)
{
    struct report *r = &w->report;

    if (!last && now_ns - r->copied_ns < REPORT_NS) {
        r->is_stale = true;
        return;
    }
    uv_mutex_lock(&r->mutex);
    stats_collect(w, &r->stats);
    memcpy(r->device, w->device->describe, sizeof(r->device));
    memcpy(r->fallback, w->stack.fallback, sizeof(r->fallback));
    r->engine = w->stack.engine;
    uv_mutex_unlock(&r->mutex);
    r->copied_ns = now_ns;
    r->is_stale = false;
}

uint64_t report_next_ns(const struct report *r)
{
    return r->is_stale ? r->copied_ns + REPORT_NS : WHEEL_NEVER;
}

/* Sums, and highest values that are summed too: that of all workers at one time is not known. */
static void stats_add(adit_stats *sum, const adit_stats *s)
{
    uint64_t *to = (uint64_t *)(void *)((uint8_t *)sum + offsetof(adit_stats, rx_bytes));
    const uint64_t *from = (const uint64_t *)(const void *)((const uint8_t *)s + offsetof(adit_stats, rx_bytes));
    size_t count = (sizeof(*s) - offsetof(adit_stats, rx_bytes)) / sizeof(*to);

    for (size_t i = 0; i < count; i++)
        to[i] += from[i];
}

int adit_get_stats(adit *a, adit_stats *s)
{
    size_t size = s->size;
    adit_stats all = {0}, one;

    if (size < sizeof(size))
        return ADIT_EINVAL;
    for (unsigned i = 0; i < a->options.workers; i++) {
        struct worker *w = &a->workers[i];

        uv_mutex_lock(&w->report.mutex);
        one = w->report.stats;
        uv_mutex_unlock(&w->report.mutex);
        if (loop_is_own_thread(w->loop) && (i == 0 || w == instance_worker(a)))
            stats_collect(w, &one);
        stats_add(&all, &one);
    }
    /* A host of a newer header finds zeros in what this library does not count. */
    memset(s, 0, size);
    memcpy(s, &all, size < sizeof(all) ? size : sizeof(all));
    s->size = size;
    return 0;
}

int adit_status(adit *a, char *text, size_t len)
{
    struct worker *w = &a->workers[0];
    adit_stats s = {.size = sizeof(s)};
    uint32_t v = adit_version();
    const char *engine;
    char device[sizeof(w->report.device)], fallback[sizeof(w->report.fallback)];

    (void)adit_get_stats(a, &s);
    uv_mutex_lock(&w->report.mutex);
    memcpy(device, w->report.device, sizeof(device));
    memcpy(fallback, w->report.fallback, sizeof(fallback));
    engine = w->report.engine;
    uv_mutex_unlock(&w->report.mutex);
    return snprintf(text, len,
                    "version: %u.%u.%u\n"
                    "device: %s\n"
                    "device-kind: %s\n"
                    "device-offloads: %s\n"
                    "mtu: %u\n"
                    "workers: %u\n"
                    "stack: %s\n"
                    "engine: %s\n"
                    "%s%s%s"
                    "tcp: %" PRIu64 " open, %" PRIu64 " half-open, %" PRIu64 " in all\n"
                    "tcp-kernel: %" PRIu64 " open, %" PRIu64 " in all\n"
                    "udp: %" PRIu64 " open, %" PRIu64 " in all\n"
                    "memory: %" PRIu64 " of %" PRIu64 " bytes\n",
                    v >> 24, v >> 16 & 0xff, v >> 8 & 0xff, w->device->ifname, w->device->ops->name, device,
                    w->device->mtu_bytes, (unsigned)a->options.workers, w->stack.ops->name, engine ? engine : "none",
                    *fallback ? "fallback: " : "", fallback, *fallback ? "\n" : "", s.tcp_open, s.tcp_half_open, s.tcp_total,
                    s.tcp_kernel_open, s.tcp_kernel_total, s.udp_open, s.udp_total, s.memory_used_bytes,
                    s.memory_budget_bytes);
}

const char *adit_drop_name(unsigned reason)
{
    return drop_name(reason);
}

const char *adit_drop_text(unsigned reason)
{
    return drop_text(reason);
}
