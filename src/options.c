/* SPDX-License-Identifier: MIT */
/* options: the presets, and what adit_new() says about options that cannot be.
 *
 * One table holds every limit and timeout of every preset. An option of 0 means the preset's value, so a host sets only
 * what it cares about. What contradicts itself or cannot be done is refused with a sentence that names the option; a limit
 * that is part of another one (half-open flows of all flows) is cut to it instead. */
#include "options.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "dev/dev.h"

enum { SECONDS = 1000, MINUTES = 60 * SECONDS, HOURS = 60 * MINUTES, KIB = 1024, MIB = 1024 * 1024 };

struct preset {
    uint64_t memory_bytes;
    uint32_t tcp_max, udp_max;
    uint32_t tcp_per_client_max, half_open_max, half_open_per_client_max, udp_per_client_max;
    uint32_t rx_window_bytes, tx_buffer_bytes;
    uint32_t time_wait_ms;
};

static const struct preset presets[] = {
    /* one client, which is the machine itself */
    [ADIT_PRESET_DESKTOP] = {256ull * MIB, 65536, 32768, 65536, 8192, 8192, 32768, 4 * MIB, 4 * MIB, 60 * SECONDS},
    /* the same in 8 MiB, with the 1.9 MiB that are not on the budget, most of them the scratch memory of datagrams: system
     * extensions of phones are killed at a few dozen MB. Its workers never spin, whatever that costs in latency */
    [ADIT_PRESET_MOBILE] = {6272ull * KIB, 10000, 4096, 10000, 1024, 1024, 4096, 256 * KIB, 256 * KIB, 10 * SECONDS},
    /* many clients, none of which may take everything */
    [ADIT_PRESET_ROUTER] = {64ull * MIB, 32768, 16384, 16384, 4096, 512, 2048, 1 * MIB, 1 * MIB, 60 * SECONDS},
    [ADIT_PRESET_SERVER] = {1024ull * MIB, 262144, 131072, 131072, 65536, 8192, 16384, 4 * MIB, 4 * MIB, 60 * SECONDS},
};

/* The same for every preset. */
enum {
    MTU_BYTES = 1500,
    TXQUEUE_PACKETS = 1000,
    TCP_IDLE_MS = 2 * HOURS + 4 * MINUTES, /* RFC 5382 REQ-5 */
    TCP_HALF_CLOSED_MS = 4 * MINUTES,      /* likewise: the transitory timeout */
    TCP_KEEPALIVE_MS = 2 * HOURS,          /* RFC 1122 4.2.3.6 */
    UDP_UNREPLIED_MS = 30 * SECONDS,
    UDP_REPLIED_MS = 180 * SECONDS,        /* RFC 4787 REQ-5 wants two minutes or more */
    UDP_DNS_MS = 10 * SECONDS,
    ICMP_MS = 30 * SECONDS,
    DIAL_MS = 10 * SECONDS,

    MTU_MIN_BYTES = 1280, /* IPv6 needs it (RFC 8200 section 5) */
    MEMORY_MIN_BYTES = 1 * MIB,
    FLOWS_MAX = 1 << 24,
    WINDOW_MIN_BYTES = 4 * KIB,
    WINDOW_MAX_BYTES = 1 << 30, /* RFC 7323 2.2 */
    MSS_CLAMP_MIN_BYTES = 88,
    NAME_MAX_BYTES = 15,        /* of an interface: IFNAMSIZ */
    WORKERS_MAX = DEVICE_QUEUES_MAX,
};

static bool preset_is_known(int preset)
{
    return preset >= 0 && (size_t)preset < sizeof(presets) / sizeof(presets[0]);
}

static void set_default(uint32_t *value, uint32_t preset)
{
    if (*value == 0)
        *value = preset;
}

static void set_at_most(uint32_t *value, uint32_t max)
{
    if (*value > max)
        *value = max;
}

static void options_fill(adit_options *o)
{
    const struct preset *p = &presets[preset_is_known(o->preset) ? o->preset : ADIT_PRESET_DESKTOP];

    if (o->memory_bytes == 0)
        o->memory_bytes = p->memory_bytes;
    set_default(&o->mtu_bytes, MTU_BYTES);
    set_default(&o->txqueue_packets, TXQUEUE_PACKETS);
    set_default(&o->tcp_max, p->tcp_max);
    set_default(&o->tcp_per_client_max, p->tcp_per_client_max);
    set_default(&o->udp_max, p->udp_max);
    set_default(&o->tcp_half_open_max, p->half_open_max);
    set_default(&o->tcp_half_open_per_client_max, p->half_open_per_client_max);
    set_default(&o->udp_per_client_max, p->udp_per_client_max);
    set_default(&o->rx_window_bytes, p->rx_window_bytes);
    set_default(&o->tx_buffer_bytes, p->tx_buffer_bytes);
    set_default(&o->tcp_time_wait_ms, p->time_wait_ms);
    set_default(&o->tcp_idle_ms, TCP_IDLE_MS);
    set_default(&o->tcp_half_closed_ms, TCP_HALF_CLOSED_MS);
    set_default(&o->tcp_keepalive_ms, TCP_KEEPALIVE_MS);
    set_default(&o->udp_unreplied_ms, UDP_UNREPLIED_MS);
    set_default(&o->udp_replied_ms, UDP_REPLIED_MS);
    set_default(&o->udp_dns_ms, UDP_DNS_MS);
    set_default(&o->icmp_ms, ICMP_MS);
    set_default(&o->dial_ms, DIAL_MS);
    if (!o->stack)
        o->stack = "";
    if (!o->engine)
        o->engine = "";
    if (o->log_level == 0)
        o->log_level = ADIT_LOG_INFO;
}

/* One for each queue that is given; else one, which most hosts are best served by. */
static uint16_t workers_default(const adit_options *o)
{
    if (o->kind != ADIT_DEV_FD || o->fds_count <= 1)
        return 1;
    return o->fds_count < WORKERS_MAX ? (uint16_t)o->fds_count : WORKERS_MAX;
}

void adit_options_init_(adit_options *o, int preset, size_t size)
{
    adit_options all = {.size = size, .preset = preset, .netns_fd = ADIT_NO_SOCKET};

    options_fill(&all);
    memcpy(o, &all, size < sizeof(all) ? size : sizeof(all));
    if (size > sizeof(all))
        memset((uint8_t *)o + sizeof(all), 0, size - sizeof(all));
}

/* ---------------------------------------------------------------------------------------- checking -- */

static int bad(adit_error *err, const char *option, const char *msg, const char *hint)
{
    return error_setf(err, ADIT_EINVAL, 0, "options", hint, "%s: %s", option, msg);
}

static int check_range(adit_error *err, const char *option, uint64_t value, uint64_t min, uint64_t max)
{
    if (value >= min && value <= max)
        return 0;
    return error_setf(err, ADIT_EINVAL, 0, "options", "0 takes the preset's value",
                      "%s: %llu is not between %llu and %llu", option, (unsigned long long)value,
                      (unsigned long long)min, (unsigned long long)max);
}

static int check_interface_name(adit_error *err, const char *option, const char *name)
{
    if (!name)
        return 0;
    if (*name == '\0' || strlen(name) > NAME_MAX_BYTES || strpbrk(name, "/: \t\n"))
        return bad(err, option, "not a name that an interface can have",
                   "1 to 15 characters, no space, slash or colon");
    return 0;
}

static int check_device(const adit_options *o, adit_error *err)
{
    int e = check_range(err, "mtu_bytes", o->mtu_bytes, MTU_MIN_BYTES, 65535);

    if (e == 0)
        e = check_interface_name(err, "name", o->name);
    if (e)
        return e;
    if (o->kind < ADIT_DEV_CREATE || o->kind > ADIT_DEV_EXTERNAL)
        return bad(err, "kind", "no such kind of device", "ADIT_DEV_CREATE, ADIT_DEV_FD or ADIT_DEV_EXTERNAL");
    if (o->kind == ADIT_DEV_EXTERNAL && !o->output)
        return bad(err, "output", "an external device needs it", "set a function that takes packets");
    if (o->kind == ADIT_DEV_FD && (!o->fds || o->fds_count == 0))
        return bad(err, "fds", "a device made of descriptors needs one", "set fds and fds_count");
    if (o->listeners_count > 2 || (o->listeners_count > 0 && !o->listeners))
        return bad(err, "listeners", "one socket for each family", "pass on what adit_device_listen() gave");
    if (o->shortcut_count > ADIT_SHORTCUT_FDS_MAX || (o->shortcut_count > 0 && !o->shortcut))
        return bad(err, "shortcut", "three descriptors at most", "pass on what adit_device_shortcut() gave");
    if (o->fd_vnet_hdr && o->fd_family_prefix)
        return bad(err, "fd_vnet_hdr, fd_family_prefix", "a packet has one or the other in front", "set one of them");
    if (o->netns && o->netns_fd != ADIT_NO_SOCKET)
        return bad(err, "netns, netns_fd", "both name the device's namespace", "set one of them");
    if (o->addrs_count > 0 && !o->addrs)
        return bad(err, "addrs", "addrs_count without addrs", "set both");
    return 0;
}

static int check_engine(const adit_options *o, adit_error *err)
{
    static const char *const engines[] = {"", "bpf", "bpf-clsact", "nat"};

    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
        if (!strcmp(o->engine, engines[i]))
            return 0;
    }
    return bad(err, "engine", "no such engine", "\"\" takes the best that there is; or bpf, nat");
}

static int check_aliases(const adit_options *o, adit_error *err)
{
    if (o->aliases_count > 0 && !o->aliases)
        return bad(err, "aliases", "aliases_count without aliases", "set both");
    for (size_t i = 0; i < o->aliases_count; i++) {
        const adit_alias *a = &o->aliases[i];

        if (a->seen.family == 0 || a->real.family == 0)
            return bad(err, "aliases", "an alias without an address", "seen and real both need one");
        if ((a->seen.port == 0) != (a->real.port == 0))
            return bad(err, "aliases", "a port on one side only", "set both ports, or none for every port");
    }
    return 0;
}

static int check_loopbacks(const adit_options *o, adit_error *err)
{
    if (o->loopbacks_count > 0 && !o->loopbacks)
        return bad(err, "loopbacks", "loopbacks_count without loopbacks", "set both");
    for (size_t i = 0; i < o->loopbacks_count; i++)
        if (o->loopbacks[i].family == 0)
            return bad(err, "loopbacks", "one of them is no address", "each needs a family");
    return 0;
}

static int check_limits(const adit_options *o, adit_error *err)
{
    const struct {
        const char *option;
        uint64_t value, min, max;
    } ranges[] = {
        {"memory_bytes", o->memory_bytes, MEMORY_MIN_BYTES, SIZE_MAX / 2},
        {"tcp_max", o->tcp_max, 1, FLOWS_MAX},
        {"udp_max", o->udp_max, 1, FLOWS_MAX},
        {"rx_window_bytes", o->rx_window_bytes, WINDOW_MIN_BYTES, WINDOW_MAX_BYTES},
        {"tx_buffer_bytes", o->tx_buffer_bytes, WINDOW_MIN_BYTES, WINDOW_MAX_BYTES},
        {"udp_filtering", (uint64_t)o->udp_filtering, ADIT_FILTER_ENDPOINT, ADIT_FILTER_ADDRESS_PORT},
        {"log_level", (uint64_t)o->log_level, ADIT_LOG_ERROR, ADIT_LOG_TRACE},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        int e = check_range(err, ranges[i].option, ranges[i].value, ranges[i].min, ranges[i].max);

        if (e)
            return e;
    }
    if (o->mss_clamp_bytes == 0)
        return 0;
    return check_range(err, "mss_clamp_bytes", o->mss_clamp_bytes, MSS_CLAMP_MIN_BYTES, 65535);
}

static int check_workers(const adit_options *o, adit_error *err)
{
    int e = check_range(err, "workers", o->workers, 1, WORKERS_MAX);

    if (e)
        return e;
    if (o->kind == ADIT_DEV_EXTERNAL && o->workers > 1)
        return error_set(err, ADIT_ENOTSUP, 0, "options", "workers: an external device has one queue",
                         "set 0 or 1, or make several instances");
    if (o->kind == ADIT_DEV_FD && o->workers > o->fds_count)
        return error_setf(err, ADIT_EINVAL, 0, "options", "give a descriptor for each queue, opened with IFF_MULTI_QUEUE",
                          "workers: %u workers need as many queues, and there are %zu", o->workers, o->fds_count);
    if (o->kind == ADIT_DEV_FD && o->workers < o->fds_count)
        return error_setf(err, ADIT_EINVAL, 0, "options", "set 0, or as many as there are descriptors",
                          "workers: %zu queues need as many workers, and there are %u", o->fds_count, o->workers);
    if (o->memory_bytes / o->workers < MEMORY_MIN_BYTES)
        return bad(err, "memory_bytes", "less than 1 MiB for each worker", "raise it, or take fewer workers");
    return 0;
}

static int check_all(const adit_options *o, adit_error *err)
{
    int e = check_device(o, err);

    if (e == 0)
        e = check_engine(o, err);
    if (e == 0)
        e = check_aliases(o, err);
    if (e == 0)
        e = check_loopbacks(o, err);
    if (e == 0)
        e = check_limits(o, err);
    if (e == 0)
        e = check_interface_name(err, "bind_iface", o->bind_iface);
    if (e)
        return e;
    e = check_workers(o, err);
    if (e)
        return e;
    if (o->alloc && (!o->alloc->alloc || !o->alloc->free))
        return bad(err, "alloc", "an allocator without alloc or free", "set both, or NULL for the C library's");
    return 0;
}

int options_take(adit_options *out, const adit_options *in, adit_error *err)
{
    adit_options all = {.preset = ADIT_PRESET_DESKTOP, .netns_fd = ADIT_NO_SOCKET};

    *out = all;
    if (!in || in->size < offsetof(adit_options, kind))
        return bad(err, "size", "the options were not initialized", "call adit_options_init() first");
    for (size_t i = sizeof(all); i < in->size; i++)
        if (((const uint8_t *)in)[i] != 0)
            return bad(err, "size", "options that this library does not know are set", "use a newer libadit");
    memcpy(&all, in, in->size < sizeof(all) ? in->size : sizeof(all));
    all.size = sizeof(all);
    if (!preset_is_known(all.preset))
        return bad(err, "preset", "no such preset", "ADIT_PRESET_DESKTOP, _MOBILE, _ROUTER or _SERVER");
    options_fill(&all);
    if (all.workers == 0)
        all.workers = workers_default(&all);
    set_at_most(&all.tcp_half_open_max, all.tcp_max);
    set_at_most(&all.tcp_per_client_max, all.tcp_max);
    set_at_most(&all.tcp_half_open_per_client_max, all.tcp_half_open_max);
    set_at_most(&all.udp_per_client_max, all.udp_max);
    *out = all;
    return check_all(out, err);
}

/* A copy of count strings, in one piece. NULL: no memory. */
static const char *const *strings_keep(const char *const *from, size_t count)
{
    size_t bytes = count * sizeof(char *);
    char **copy, *at;

    for (size_t i = 0; i < count; i++)
        bytes += strlen(from[i]) + 1;
    copy = malloc(bytes);
    if (!copy)
        return NULL;
    at = (char *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        copy[i] = strcpy(at, from[i]);
        at += strlen(at) + 1;
    }
    return (const char *const *)copy;
}

int options_keep(adit_options *o)
{
    adit_alias *aliases = NULL;
    adit_addr *loopbacks = NULL;
    char *bind_iface = o->bind_iface ? strdup(o->bind_iface) : NULL;
    char *netns = o->netns ? strdup(o->netns) : NULL;
    const char *const *addrs = o->addrs_count > 0 ? strings_keep(o->addrs, o->addrs_count) : NULL;

    if (o->aliases_count > 0)
        aliases = malloc(o->aliases_count * sizeof(*aliases));
    if (o->loopbacks_count > 0)
        loopbacks = malloc(o->loopbacks_count * sizeof(*loopbacks));
    if ((o->bind_iface && !bind_iface) || (o->netns && !netns) || (o->addrs_count > 0 && !addrs) ||
        (o->aliases_count > 0 && !aliases) || (o->loopbacks_count > 0 && !loopbacks)) {
        free(bind_iface);
        free(netns);
        free((void *)(uintptr_t)addrs);
        free(aliases);
        free(loopbacks);
        return ADIT_ENOMEM;
    }
    if (aliases)
        memcpy(aliases, o->aliases, o->aliases_count * sizeof(*aliases));
    if (loopbacks)
        memcpy(loopbacks, o->loopbacks, o->loopbacks_count * sizeof(*loopbacks));
    o->bind_iface = bind_iface;
    o->netns = netns;
    o->addrs = addrs;
    o->aliases = aliases;
    o->loopbacks = loopbacks;
    return 0;
}

void options_forget(adit_options *o)
{
    free((void *)(uintptr_t)o->bind_iface);
    free((void *)(uintptr_t)o->netns);
    free((void *)(uintptr_t)o->addrs);
    free((void *)(uintptr_t)o->aliases);
    free((void *)(uintptr_t)o->loopbacks);
    o->bind_iface = o->netns = NULL;
    o->addrs = NULL;
    o->addrs_count = 0;
    o->aliases = NULL;
    o->loopbacks = NULL;
}
