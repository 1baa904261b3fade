/* SPDX-License-Identifier: MIT */
/* tunnel: from a TUN descriptor and a URL to a running instance (tunnel.h).
 *
 *   tunnel_init    the URL becomes a handler, the capture file is opened
 *   tunnel_open    adit_new on the descriptor
 *   tunnel_deinit  adit_free, and the rest in reverse
 *
 * Every flow is a descriptor, so adit takes as many as its user may have. The command keeps the limit that it was given: its
 * process exists before the tunnel does. */
#include "tunnel.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void log_print(void *ctx, const adit_log_record *r)
{
    (void)ctx;
    char line[1024];
    size_t used = (size_t)snprintf(line, sizeof(line), "adit: %s: %s", r->module, r->msg);
    for (size_t i = 0; i + 1 < r->kv_count && used < sizeof(line); i += 2)
        used +=
            (size_t)snprintf(line + used, sizeof(line) - used, " %s=%s", r->kv[i], r->kv[i + 1]);
    fprintf(stderr, "%s\n", line);
}

static void notice_print(void *ctx, const adit_error *e)
{
    (void)ctx;
    fprintf(stderr, "adit: %s%s%s%s\n", e->msg, e->hint[0] ? " (" : "", e->hint,
            e->hint[0] ? ")" : "");
}

/* A full disk must not end the command: the stream remembers the error, and tunnel_deinit() tells it. */
static void pcap_write(void *ctx, const void *bytes, size_t len)
{
    struct tunnel *t = ctx;
    fwrite(bytes, 1, len, t->pcap);
}

static int pcap_create(struct tunnel *t, struct complaint *why)
{
    const char *path = t->options->pcap;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0)
        t->pcap = fdopen(fd, "w");
    if (t->pcap)
        return 0;
    complaint_what(why, "the capture file cannot be written");
    complaint_os(why, path, errno);
    if (fd >= 0)
        close(fd);
    return complaint_fix(why, "--pcap with a path that you may write");
}

/* -1: there is none of that name. */
static int preset_find(const char *name)
{
    static const char *const names[] = {[ADIT_PRESET_DESKTOP] = "desktop",
                                        [ADIT_PRESET_MOBILE] = "mobile",
                                        [ADIT_PRESET_ROUTER] = "router",
                                        [ADIT_PRESET_SERVER] = "server"};
    if (!name)
        return ADIT_PRESET_DESKTOP;
    for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return -1;
}

static int preset_refuse(const char *name, struct complaint *why)
{
    complaint_what(why, "there is no such preset");
    complaint_evidence(why, "\"%.100s\"", name);
    return complaint_fix(why, "--preset desktop, mobile, router or server");
}

int tunnel_init(struct tunnel *t, const struct tunnel_options *o, struct complaint *why)
{
    adit_error e = {0};
    *t = (struct tunnel){.options = o};
    if (preset_find(o->preset) < 0)
        return preset_refuse(o->preset, why);
    if (adit_proxy_new(&t->proxy, o->via, &e) < 0)
        return complaint_from_error(why, &e);
    if (o->kernel_for && adit_proxy_kernel_for(t->proxy, o->kernel_for, &e) < 0)
        return complaint_from_error(why, &e);
    return o->pcap ? pcap_create(t, why) : 0;
}

static void options_fill(struct tunnel *t, const struct device *device, adit_options *o)
{
    static const int levels[] = {ADIT_LOG_WARN, ADIT_LOG_INFO, ADIT_LOG_DEBUG};
    const struct tunnel_options *from = t->options;
    int verbose = from->verbose > 2 ? 2 : from->verbose;
    adit_options_init(o, preset_find(from->preset));
    o->kind = ADIT_DEV_FD;
    o->fds = device->fds;
    o->fds_count = device->fds_count;
    o->workers = (uint16_t)device->fds_count;
    o->take_fds = 1;
    o->fd_vnet_hdr = device->vnet_hdr;
    o->listeners = device->listeners;
    o->listeners_count = device->listeners_count;
    o->mtu_bytes = from->mtu_bytes;
    if (from->flows_max) { /* there is one client */
        o->tcp_max = from->flows_max;
        o->tcp_per_client_max = from->flows_max;
    }
    o->fault = from->fault;
    o->shortcut = device->shortcut;
    o->shortcut_count = device->shortcut_count;
    o->shortcut_refused = device->shortcut_refused;
    o->engine = from->engine;
    o->stack = from->stack;
    o->aliases = from->aliases;
    o->aliases_count = from->aliases_count;
    o->log = log_print;
    o->log_level = levels[verbose];
    o->notice = verbose > 0 ? notice_print : NULL;
    o->capture = t->pcap ? pcap_write : NULL;
    o->capture_ctx = t;
}

static void descriptors_raise(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

bool tunnel_has_stack(const char *name)
{
    size_t len = strlen(name);
    const char *words = adit_features();
    for (const char *at = words; (at = strstr(at, name)); at += len) {
        bool begins = at == words || at[-1] == ' ';
        if (begins && (at[len] == ' ' || at[len] == '\0'))
            return true;
    }
    return false;
}

bool tunnel_listens(const struct tunnel_options *o)
{
    if (*o->stack)
        return strcmp(o->stack, "system") == 0 || strcmp(o->stack, "mixed") == 0;
    return o->kernel_for || !strstr(adit_features(), " userspace");
}

const char *tunnel_engine(const struct tunnel_options *o)
{
    return !o->engine && (o->pcap || o->fault) ? "nat" : o->engine;
}

int tunnel_open(struct tunnel *t, const struct device *device, struct complaint *why)
{
    adit_options o;
    adit_error e = {0};
    descriptors_raise();
    options_fill(t, device, &o);
    if (adit_new(&t->engine, &o, adit_proxy_handler(t->proxy), adit_proxy_ctx(t->proxy), &e) < 0)
        return complaint_from_error(why, &e);
    return 0;
}

/* What a status says behind a key: "" where it has no such line. */
static const char *status_value(const char *status, const char *key, char *value, size_t size)
{
    size_t len = strlen(key);
    const char *at = status;
    while (at && strncmp(at, key, len) != 0) {
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    snprintf(value, size, "%.*s", at ? (int)strcspn(at + len, "\n") : 0, at ? at + len : "");
    return value;
}

const char *tunnel_stack(const struct tunnel *t, char text[TUNNEL_STACK_BYTES])
{
    char status[2048], stack[16], engine[16], why[128];
    adit_stats s = {.size = sizeof(s)};
    adit_get_stats(t->engine, &s);
    adit_status(t->engine, status, sizeof(status));
    status_value(status, "fallback: ", why, sizeof(why));
    snprintf(text, TUNNEL_STACK_BYTES, "%s, engine %s, %" PRIu64 " of %" PRIu64 " tcp flows in the kernel%s%s",
             status_value(status, "stack: ", stack, sizeof(stack)),
             status_value(status, "engine: ", engine, sizeof(engine)), s.tcp_kernel_total, s.tcp_total,
             *why ? ", fallback: " : "", why);
    return text;
}

bool tunnel_deinit(struct tunnel *t)
{
    bool whole = true;
    adit_free(t->engine);
    adit_proxy_free(t->proxy);
    if (t->pcap) {
        whole = !ferror(t->pcap);
        whole = fclose(t->pcap) == 0 && whole;
    }
    if (!whole)
        fprintf(stderr, "adit: the capture file is not complete: writing to %s failed\n",
                t->options->pcap);
    *t = (struct tunnel){0};
    return whole;
}
