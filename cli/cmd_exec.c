/* SPDX-License-Identifier: MIT */
/* adit exec: runs one command in a network of its own, and carries what it sends through a handler.
 *
 *   +-- namespaces of the command --------+         +-- adit, an ordinary process ------------+
 *   |  command -> sockets -> kernel -> TUN | = fd =  | libadit -> handler (--via) -> sockets   |
 *   +--------------------------------------+         +-----------------------------------------+
 *
 * sandbox_linux.c makes the left side, tunnel.c the right one, session.c runs both, job.c passes signals on. Order matters: what
 * a person may have typed wrong is checked first, the namespaces come before any thread, and the command starts last,
 * when packets already flow. Anything that fails before that ends in exit status 125 and a command that never ran; its own
 * status is passed through, 126 and 127 as every shell means them, 128+n for signal n.
 *
 * Names. The private resolv.conf names an address inside the tunnel, which an alias turns into the host's nameserver (or
 * --dns): that may well be 127.0.0.53, which the command could not reach, since 127.0.0.0/8 inside is its own loopback.
 * Only port 53 of it is reachable, nothing else of the host's loopback is. A SOCKS5 server cannot reach the loopback of
 * this host, so with such a nameserver there are no names until --dns gives an address; with a proxy DNS goes over TCP,
 * which every proxy carries. */
#include "command.h"
#include "job.h"
#include "resolv.h"
#include "session.h"
#include "summary.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct exec_args {
    const char *via, *stack, *engine, *kernel_for, *pcap, *fault, *dns, *preset;
    uint32_t mtu_bytes, workers, flows_max; /* flows_max 0: the library's */
    int no_offload, summary, verbose;
};

#define EXEC_OPTION(letter, name, kind, arg, member, text)                                         \
    {                                                                                              \
        name, letter, kind, arg, text, offsetof(struct exec_args, member), 0, 0                    \
    }

static const struct option exec_options[] = {
    EXEC_OPTION(0, "via", OPTION_TEXT, "URL", via,
                "direct (default), socks5://HOST:PORT, hello, echo, discard, block"),
    EXEC_OPTION(0, "stack", OPTION_TEXT, "STACK", stack,
                "who terminates TCP: userspace, system (the kernel), mixed; default: auto"),
    EXEC_OPTION(0, "engine", OPTION_TEXT, "ENGINE", engine,
                "of system and mixed: bpf, nat; default: bpf where it can be had"),
    EXEC_OPTION(0, "kernel-for", OPTION_TEXT, "PORTS", kernel_for,
                "with mixed or auto: 80,443,8000-8080 or all end in the kernel"),
    {"mtu", 0, OPTION_NUMBER, "BYTES", "of the device inside; default 1500",
     offsetof(struct exec_args, mtu_bytes), 1280, 65535},
    {"workers", 0, OPTION_NUMBER, "N", "threads, each with its own queue and flows, on the stack userspace; default 1",
     offsetof(struct exec_args, workers), 1, DEVICE_QUEUES_MAX},
    EXEC_OPTION(0, "no-offload", OPTION_FLAG, NULL, no_offload,
                "packets of the MTU, one at a time, as on old kernels; slower"),
    EXEC_OPTION('w', "pcap", OPTION_TEXT, "FILE", pcap, "write every packet to FILE"),
    EXEC_OPTION(0, "fault", OPTION_TEXT, "SPEC", fault,
                "a worse network: loss=1%,delay=40ms,rate=10mbit ... both ways"),
    EXEC_OPTION(0, "dns", OPTION_TEXT, "ADDRESS", dns,
                "nameserver instead of the first one in /etc/resolv.conf"),
    EXEC_OPTION(0, "preset", OPTION_TEXT, "NAME", preset,
                "limits: desktop (default), mobile (8 MiB), router, server"),
    {"max-flows", 0, OPTION_NUMBER, "N", "TCP connections at most; default: the preset's",
     offsetof(struct exec_args, flows_max), 1, 1000000},
    EXEC_OPTION(0, "summary", OPTION_FLAG, NULL, summary,
                "some lines at the end: flows, octets, CPU, stack, drops"),
    EXEC_OPTION('v', "verbose", OPTION_COUNT, NULL, verbose, "say more; twice: everything"),
};

/* What names need: the alias of the nameserver, and the text of the private file. */
struct exec_dns {
    adit_alias alias;
    size_t aliases_count; /* 0: no nameserver */
    char resolv_conf[RESOLV_TEXT_BYTES];
};

/* Whatever cannot be read is as good as empty: there is no nameserver then. */
static void file_read_text(const char *path, char *text, size_t size)
{
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, size - 1);
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
}

static bool address_is_loopback(const adit_addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == 4 ? a->ip[12] == 127 : memcmp(a->ip, one, sizeof(one)) == 0;
}

/* Options of which one would make another mean nothing, and nobody would be told. */
static int args_check(const struct exec_args *args, struct complaint *why)
{
    bool is_userspace = strcmp(args->stack, "userspace") == 0 || strcmp(args->stack, "gvisor") == 0;
    const char *of_kernel = args->kernel_for ? "--kernel-for" : args->engine ? "--engine" : NULL;

    if (!of_kernel || (!is_userspace && (args->workers == 1 || *args->stack)))
        return 0; /* what contradicts a stack that is named, the library says */
    complaint_what(why, "%s means nothing where all TCP ends in adit", of_kernel);
    if (is_userspace)
        complaint_evidence(why, "--stack %s", args->stack);
    else
        complaint_evidence(why, "--workers %u need the stack userspace", (unsigned)args->workers);
    return complaint_fix(why, "leave one of them out");
}

static int dns_prepare(struct exec_dns *d, const struct exec_args *args, struct complaint *why)
{
    char host_text[RESOLV_TEXT_BYTES];
    char real[ADIT_ADDR_TEXT];
    bool by_proxy = strncmp(args->via, "socks5:", 7) == 0;
    file_read_text("/etc/resolv.conf", host_text, sizeof(host_text));
    bool found = resolv_nameserver(host_text, &d->alias.real);
    if (args->dns) {
        found = adit_addr_parse(&d->alias.real, args->dns) == ADIT_OK;
        if (!found) {
            complaint_what(why, "--dns takes an address");
            complaint_evidence(why, "\"%.100s\" is none", args->dns);
            return complaint_fix(why, "--dns 192.0.2.53, or with a port: 192.0.2.53:5353");
        }
        if (d->alias.real.port == 0)
            d->alias.real.port = 53;
    }
    const char *seen = d->alias.real.family == 6 ? SANDBOX_NAMESERVER6 : SANDBOX_NAMESERVER4;
    resolv_compose(d->resolv_conf, seen, host_text, by_proxy);
    if (!found) {
        fputs("adit: no names inside: no nameserver in /etc/resolv.conf (--dns ADDRESS)\n", stderr);
        return 0;
    }
    adit_addr_format(&d->alias.real, real, sizeof(real));
    if (by_proxy && address_is_loopback(&d->alias.real)) {
        fprintf(stderr, "adit: no names inside: a proxy cannot ask %s (--dns ADDRESS)\n", real);
        return 0;
    }
    d->aliases_count = 1;
    adit_addr_parse(&d->alias.seen, seen);
    d->alias.seen.port = 53;
    return 0;
}

/* Anybody on this machine may read our arguments. */
static void password_hide(const char *url)
{
    char *user = strstr(url, "://");
    char *host = user ? strrchr(user, '@') : NULL;
    char *colon = user ? strchr(user + 3, ':') : NULL;
    if (!host || !colon)
        return;
    for (char *c = colon + 1; c < host; c++)
        *c = 'x';
}

/* In the child, without capabilities. */
static int command_execute(void *ctx)
{
    char *const *argv = ctx;
    execvp(argv[0], argv);
    int error = errno;
    fprintf(stderr, "adit: %s: %s\n", argv[0], strerror(error));
    return error == ENOENT ? 127 : 126;
}

static void exec_summarize(const struct tunnel *t, double seconds)
{
    char stack[TUNNEL_STACK_BYTES];
    adit_stats stats = {.size = sizeof(stats)};
    adit_get_stats(t->engine, &stats);
    summary_print(stderr, &stats, tunnel_stack(t, stack), seconds, summary_cpu_seconds(0));
}

static int exec_command(const struct exec_args *args, char **argv, const sigset_t *signals)
{
    struct exec_dns dns = {0};
    struct complaint why = {0};
    struct tunnel_options outside = {.via = args->via,
                                     .stack = args->stack,
                                     .engine = args->engine,
                                     .kernel_for = args->kernel_for,
                                     .fault = args->fault,
                                     .pcap = args->pcap,
                                     .mtu_bytes = args->mtu_bytes,
                                     .preset = args->preset,
                                     .flows_max = args->flows_max,
                                     .aliases = &dns.alias,
                                     .verbose = args->verbose};
    struct sandbox_options inside = {.mtu_bytes = args->mtu_bytes,
                                     .no_offload = args->no_offload,
                                     .listens = tunnel_listens(&outside),
                                     .engine = tunnel_engine(&outside),
                                     .flows_max = outside.flows_max,
                                     .workers = args->workers,
                                     .resolv_conf = dns.resolv_conf,
                                     .run = command_execute,
                                     .ctx = argv,
                                     .signals = signals};
    struct tunnel tunnel = {0};
    double started = summary_clock_seconds();
    int status = -1;
    bool ok = args_check(args, &why) == 0 && dns_prepare(&dns, args, &why) == 0;
    outside.aliases_count = dns.aliases_count;
    ok = ok && tunnel_init(&tunnel, &outside, &why) == 0;
    password_hide(args->via);
    if (ok)
        status = session_run(&tunnel, &inside, &why);
    if (status < 0)
        complaint_print(stderr, &why);
    else if (args->summary)
        exec_summarize(&tunnel, summary_clock_seconds() - started);
    tunnel_deinit(&tunnel);
    return status < 0 ? STATUS_NOT_STARTED : status;
}

static int exec_run(const struct command *self, int argc, char **argv)
{
    struct exec_args args = {.via = "direct", .stack = "", .preset = "desktop", .mtu_bytes = 1500, .workers = 1};
    int status = STATUS_OK;
    int first = command_parse(self, argv, &args, &status);
    if (first < 0)
        return status;
    if (first == argc)
        return command_refuse(self, "a command to run is missing");
    sigset_t signals;
    job_signals_block(&signals);
    return exec_command(&args, argv + first, &signals);
}

const struct command command_exec = {
    .name = "exec",
    .usage = "[OPTIONS] [--] COMMAND [ARGUMENT...]",
    .summary = "run one command in a network of its own, without privileges",
    .about =
        "The command sees one interface; its connections, datagrams and pings come out of adit's\n"
        "own sockets, or out of a proxy. 127.0.0.1 inside is the command's own. If anything "
        "cannot\n"
        "be set up the command is not started and the status is 125; else the status is the\n"
        "command's: 126 not executable, 127 not found, 128+n killed by signal n.\n",
    .options = exec_options,
    .options_count = sizeof(exec_options) / sizeof(exec_options[0]),
    .usage_status = STATUS_NOT_STARTED,
    .run = exec_run,
};
