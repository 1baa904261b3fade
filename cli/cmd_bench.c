/* SPDX-License-Identifier: MIT */
/* adit bench: how fast it is on this machine, by stack, beside the same without adit.
 *
 *   +-- sandbox ----------+        +-- adit ---------------+        +-- bench_server ----+
 *   | bench_client -> TUN | = fd = | libadit, via `direct` | = lo = | 127.0.0.1          |
 *   +---------------------+        +-----------------------+        +--------------------+
 *   direct:  bench_client ------------------- lo ---------------------->
 *
 * The client asks for an address that exists nowhere, which an alias turns into the server's. The measurements of one stack
 * follow one another in one sandbox. The child, whose parent is adit, looks at adit's CPU time around each, and leaves the
 * results in memory that both have. The three processes share this machine's processors, as do adit, a program and its
 * server in life. */
#include "bench_client.h"
#include "bench_server.h"
#include "command.h"
#include "job.h"
#include "session.h"
#include "summary.h"
#include <arpa/inet.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TARGET "203.0.113.1" /* documentation (RFC 5737) */

enum { TARGET_PORT = 9000, DIRECT = 0, COLUMNS_MAX = 4 };

enum bench_step { UP, DOWN, CONNECT, PING_PONG, STEPS };

static const struct {
    const char *name;
    void (*run)(const struct bench_order *o, struct bench_result *r);
} steps[STEPS] = {
    [UP] = {"up", bench_up},
    [DOWN] = {"down", bench_down},
    [CONNECT] = {"connect", bench_connect},
    [PING_PONG] = {"ping_pong", bench_ping_pong},
};

static const char *const stacks[] = {"userspace", "system", "mixed"};

struct bench_args {
    const char *stack; /* NULL: all */
    uint32_t mtu_bytes, seconds;
    int json;
};

static const struct option bench_options[] = {
    {"stack", 0, OPTION_TEXT, "STACK", "this one only: userspace, system, mixed",
     offsetof(struct bench_args, stack), 0, 0},
    {"mtu", 0, OPTION_NUMBER, "BYTES", "of the device inside; default 1500",
     offsetof(struct bench_args, mtu_bytes), 1280, 65535},
    {"seconds", 0, OPTION_NUMBER, "N", "of each measurement; default 1",
     offsetof(struct bench_args, seconds), 1, 60},
    {"json", 0, OPTION_FLAG, NULL, "one JSON object instead of the table",
     offsetof(struct bench_args, json), 0, 0},
};

/* What was measured over one stack, or directly. */
struct column {
    const char *name;
    struct bench_result results[STEPS];
};

struct table { /* in memory that all processes have */
    struct column columns[COLUMNS_MAX];
    size_t count;
};

/* What the child needs. */
struct play {
    struct bench_order order;
    struct column *into;
};

static int play_run(void *ctx)
{
    const struct play *p = ctx;
    for (size_t i = 0; i < STEPS; i++) {
        struct bench_result *r = &p->into->results[i];
        double cpu = summary_cpu_seconds(getppid());
        steps[i].run(&p->order, r);
        r->cpu_seconds = summary_cpu_seconds(getppid()) - cpu;
    }
    return STATUS_OK;
}

static void column_direct(struct column *c, const struct bench_args *args, uint16_t port)
{
    struct bench_order order = {.seconds = args->seconds, .to = {.sin_family = AF_INET}};
    order.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    order.to.sin_port = htons(port);
    c->name = "direct";
    for (size_t i = 0; i < STEPS; i++)
        steps[i].run(&order, &c->results[i]);
}

static int column_stack(struct column *c, const struct bench_args *args, uint16_t port,
                        const sigset_t *signals, struct complaint *why)
{
    adit_alias alias = {0};
    struct tunnel tunnel = {0};
    struct tunnel_options outside = {
        .via = "direct", .stack = c->name, .mtu_bytes = args->mtu_bytes, .aliases = &alias, .aliases_count = 1,
        .kernel_for = strcmp(c->name, "mixed") ? NULL : "all"};
    struct play play = {.order = {.seconds = args->seconds, .to = {.sin_family = AF_INET}}, .into = c};
    struct sandbox_options inside = {
        .workers = 1,
        .mtu_bytes = args->mtu_bytes, .listens = tunnel_listens(&outside), .run = play_run, .ctx = &play, .signals = signals};
    inet_pton(AF_INET, TARGET, &play.order.to.sin_addr);
    play.order.to.sin_port = htons(TARGET_PORT);
    adit_addr_parse(&alias.seen, TARGET);
    alias.seen.port = TARGET_PORT;
    adit_addr_parse(&alias.real, "127.0.0.1");
    alias.real.port = port;
    int rc = tunnel_init(&tunnel, &outside, why);
    if (rc == 0)
        rc = session_run(&tunnel, &inside, why) < 0 ? -1 : 0;
    tunnel_deinit(&tunnel);
    return rc;
}

/* ---- what is shown ---- */

enum figure_kind { RATE_GBIT, CPU_PER_GB, PER_SECOND, P50, P99, CPU_US };

struct figure {
    enum bench_step step;
    enum figure_kind kind;
    const char *name; /* in the table */
    const char *key;  /* in JSON */
};

static const struct figure figures[] = {
    {UP, RATE_GBIT, "up, Gbit/s", "up_gbit_per_s"},
    {UP, CPU_PER_GB, "    adit's CPU, s/GB", "up_cpu_s_per_gb"},
    {DOWN, RATE_GBIT, "down, Gbit/s", "down_gbit_per_s"},
    {DOWN, CPU_PER_GB, "    adit's CPU, s/GB", "down_cpu_s_per_gb"},
    {CONNECT, PER_SECOND, "connect, octet, close: 1/s", "connect_per_s"},
    {CONNECT, P50, "    median, us", "connect_p50_us"},
    {CONNECT, P99, "    99 of 100 within, us", "connect_p99_us"},
    {CONNECT, CPU_US, "    adit's CPU, us", "connect_cpu_us"},
    {PING_PONG, PER_SECOND, "ping-pong, 1/s", "ping_pong_per_s"},
    {PING_PONG, P50, "    median, us", "ping_pong_p50_us"},
    {PING_PONG, P99, "    99 of 100 within, us", "ping_pong_p99_us"},
    {PING_PONG, CPU_US, "    adit's CPU, us", "ping_pong_cpu_us"},
};

enum { FIGURES_COUNT = sizeof(figures) / sizeof(figures[0]) };

static bool figure_is_adits(const struct figure *f)
{
    return f->kind == CPU_PER_GB || f->kind == CPU_US;
}

/* Of a result that is ok. */
static double figure_value(const struct figure *f, const struct column *c)
{
    const struct bench_result *r = &c->results[f->step];
    switch (f->kind) {
    case RATE_GBIT:
        return (double)r->bytes * 8 / 1e9 / r->seconds;
    case CPU_PER_GB:
        return r->cpu_seconds * 1e9 / (double)r->bytes;
    case PER_SECOND:
        return (double)r->count / r->seconds;
    case P50:
        return r->p50_us;
    case P99:
        return r->p99_us;
    case CPU_US:
        return r->cpu_seconds * 1e6 / (double)r->count;
    }
    return 0;
}

/* False where there is none: it failed, or it is adit's and adit was not in the way. */
static bool figure_get(const struct figure *f, const struct table *t, size_t column, double *value)
{
    const struct column *c = &t->columns[column];
    if (!c->results[f->step].ok || (column == DIRECT && figure_is_adits(f)))
        return false;
    *value = figure_value(f, c);
    return true;
}

static void table_print(const struct table *t, const struct bench_args *args)
{
    printf("adit bench: %u s each, MTU %u; direct is this machine's loopback, without adit\n\n%-28s",
           args->seconds, args->mtu_bytes, "");
    for (size_t i = 0; i < t->count; i++)
        printf("%12s", t->columns[i].name);
    putchar('\n');
    for (size_t j = 0; j < FIGURES_COUNT; j++) {
        printf("%-28s", figures[j].name);
        for (size_t i = 0; i < t->count; i++) {
            double value;
            if (figure_get(&figures[j], t, i, &value))
                printf("%12.*f", value < 100 ? 2 : 0, value);
            else
                printf("%12s", "-");
        }
        putchar('\n');
    }
}

static void table_print_json(const struct table *t, const struct bench_args *args)
{
    uint32_t v = adit_version();
    printf("{\"version\": \"%u.%u.%u\", \"seconds\": %u, \"mtu_bytes\": %u, \"stacks\": {",
           (unsigned)(v >> 24), (unsigned)(v >> 16 & 0xff), (unsigned)(v >> 8 & 0xff), args->seconds,
           args->mtu_bytes);
    for (size_t i = 0; i < t->count; i++) {
        printf("%s\n \"%s\": {", i ? "," : "", t->columns[i].name);
        for (size_t j = 0; j < FIGURES_COUNT; j++) {
            double value;
            printf("%s\"%s\": ", j ? ", " : "", figures[j].key);
            if (figure_get(&figures[j], t, i, &value))
                printf("%.6g", value);
            else
                printf("null");
        }
        putchar('}');
    }
    puts("\n}}");
}

/* How many steps failed; each is told. */
static unsigned column_complain(const struct column *c)
{
    unsigned failed = 0;
    for (size_t i = 0; i < STEPS; i++) {
        if (c->results[i].ok)
            continue;
        failed++;
        fprintf(stderr, "adit: %s, %s: %s\n", c->name, steps[i].name,
                c->results[i].text[0] ? c->results[i].text : "the client ended without a report");
    }
    return failed;
}

/* ---- start ---- */

static int table_fill(struct table *t, const struct bench_args *args, const sigset_t *signals)
{
    struct bench_server server;
    struct complaint why = {0};
    unsigned failed = 0;
    if (bench_server_open(&server, &why)) {
        complaint_print(stderr, &why);
        return STATUS_FAILED;
    }
    column_direct(&t->columns[t->count++], args, server.port);
    failed += column_complain(&t->columns[DIRECT]);
    for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
        if (!tunnel_has_stack(stacks[i]) || (args->stack && strcmp(args->stack, stacks[i]) != 0))
            continue;
        struct column *c = &t->columns[t->count++];
        c->name = stacks[i];
        if (column_stack(c, args, server.port, signals, &why)) {
            complaint_print(stderr, &why);
            failed++;
            continue;
        }
        failed += column_complain(c);
    }
    bench_server_close(&server);
    return failed ? STATUS_FAILED : STATUS_OK;
}

static bool stack_is_offered(const char *name)
{
    for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++)
        if (strcmp(stacks[i], name) == 0)
            return tunnel_has_stack(name);
    return false;
}

static int bench_run(const struct command *self, int argc, char **argv)
{
    struct bench_args args = {.mtu_bytes = 1500, .seconds = 1};
    int status = STATUS_OK;
    int first = command_parse(self, argv, &args, &status);
    if (first < 0)
        return status;
    if (first < argc)
        return command_refuse(self, "takes no operands");
    if (args.stack && !stack_is_offered(args.stack))
        return command_refuse(self, "--stack: not in this build (adit version --features)");
    sigset_t signals;
    job_signals_block(&signals);
    struct table *table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED) {
        perror("adit: mmap");
        return STATUS_FAILED;
    }
    status = table_fill(table, &args, &signals);
    if (args.json)
        table_print_json(table, &args);
    else
        table_print(table, &args);
    munmap(table, sizeof(*table));
    return status;
}

const struct command command_bench = {
    .name = "bench",
    .usage = "[OPTIONS]",
    .summary = "measure how fast it is here",
    .about =
        "A transfer each way, connections, and round trips of an octet, through each stack of this\n"
        "build and directly, between processes of this machine. No privilege is needed, and nothing\n"
        "leaves the machine. Exit status 1 when anything failed.\n",
    .options = bench_options,
    .options_count = sizeof(bench_options) / sizeof(bench_options[0]),
    .usage_status = STATUS_USAGE,
    .run = bench_run,
};
