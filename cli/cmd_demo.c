/* SPDX-License-Identifier: MIT */
/* adit demo: shows that it works here, with nothing but this machine.
 *
 * A scene is a handler (`via`) and what a client does in a sandbox in front of it (demo_client.c). The sandboxes are those
 * of `adit exec`. The client runs in the child and sends one struct demo_result a step through a pipe; the parent runs
 * the tunnel, so that its CPU time is adit's, and prints. All scenes are played for every stack that is built. */
#include "command.h"
#include "demo_client.h"
#include "job.h"
#include "sandbox.h"
#include "summary.h"
#include "tunnel.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct demo_step {
    const char *name;
    void (*play)(struct demo_result *r);
};

enum { STEPS_MAX = 4, MTU_BYTES = 1500 };

struct demo_scene {
    const char *via;
    struct demo_step steps[STEPS_MAX]; /* ends at the first without a name */
};

static const struct demo_scene scenes[] = {
    {"hello",
     {{"page over IPv4", demo_page4},
      {"page over IPv6", demo_page6},
      {"ping", demo_ping},
      {"name", demo_name}}},
    {"block", {{"refused port", demo_refused}}},
    {"discard", {{"upload", demo_upload}}},
    {"echo", {{"echo, both ways", demo_echo}}},
};

/* Of the steps with a port: the pages' one. Where the stack is mixed, these end in the kernel, and the rest in userspace. */
#define KERNEL_PORTS "80"

static const char *const stacks[] = {"userspace", "system", "mixed"};

/* What the child needs of a scene. */
struct demo_play {
    const struct demo_scene *scene;
    int results; /* writing end */
};

static size_t scene_steps(const struct demo_scene *scene)
{
    size_t n = 0;
    while (n < STEPS_MAX && scene->steps[n].name)
        n++;
    return n;
}

static int scene_play(void *ctx)
{
    const struct demo_play *p = ctx;
    for (size_t i = 0; i < scene_steps(p->scene); i++) {
        struct demo_result r = {0};
        p->scene->steps[i].play(&r);
        if (write(p->results, &r, sizeof(r)) != (ssize_t)sizeof(r))
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

static void result_print(const char *name, const struct demo_result *r, double cpu_seconds)
{
    char bytes[16];
    printf("  %-4s  %-16s  ", r->ok ? "ok" : "FAIL", name);
    if (r->ok && r->bytes)
        printf("%s in %.2f s: %.2f Gbit/s, %.2f s of CPU per GB\n", summary_bytes(r->bytes, bytes),
               r->seconds, (double)r->bytes * 8 / 1e9 / r->seconds,
               cpu_seconds * 1e9 / (double)r->bytes);
    else
        printf("%s\n", r->text);
    fflush(stdout);
}

/* False when one of the steps failed, or never reported. */
static bool scene_report(const struct demo_scene *scene, int results, double cpu_seconds)
{
    bool ok = true;
    for (size_t i = 0; i < scene_steps(scene); i++) {
        struct demo_result r = {0};
        if (read(results, &r, sizeof(r)) != (ssize_t)sizeof(r))
            r = (struct demo_result){.text = "the client ended without a report"};
        result_print(scene->steps[i].name, &r, cpu_seconds);
        ok = ok && r.ok;
    }
    return ok;
}

static int scene_run(struct tunnel *t, struct sandbox *s, const struct sandbox_options *inside,
                     struct complaint *why)
{
    if (sandbox_open(s, inside, why))
        return -1;
    struct device device = sandbox_device_take(s);
    if (tunnel_start(t, &device, why) || sandbox_go(s, why))
        return -1;
    job_wait(s->pid);
    return 0;
}

/* carried: gets who terminated TCP. */
static bool scene_show(const struct demo_scene *scene, const char *stack, const sigset_t *signals,
                       char carried[TUNNEL_STACK_BYTES])
{
    int ends[2];
    adit_stats stats;
    struct complaint why = {0};
    struct tunnel tunnel;
    struct sandbox sandbox = {.pid = -1, .control = -1};
    struct tunnel_options outside = {
        .via = scene->via, .stack = stack, .kernel_for = KERNEL_PORTS, .mtu_bytes = MTU_BYTES};
    if (pipe2(ends, O_CLOEXEC)) {
        perror("adit: pipe");
        return false;
    }
    struct demo_play play = {.scene = scene, .results = ends[1]};
    struct sandbox_options inside = {
        .mtu_bytes = MTU_BYTES, .workers = 1, .listens = tunnel_listens(&outside), .run = scene_play, .ctx = &play,
        .signals = signals};
    double cpu = summary_cpu_seconds();
    bool ok = tunnel_init(&tunnel, &outside, &why) == 0 &&
              scene_run(&tunnel, &sandbox, &inside, &why) == 0;
    close(ends[1]);
    if (ok) {
        ok = scene_report(scene, ends[0], summary_cpu_seconds() - cpu);
        tunnel_drain(&tunnel, &stats);
        tunnel_stack(&tunnel, carried);
    } else {
        complaint_print(stderr, &why);
    }
    tunnel_deinit(&tunnel);
    sandbox_close(&sandbox);
    close(ends[0]);
    return ok;
}

static int demo_run(const struct command *self, int argc, char **argv)
{
    int status = STATUS_OK;
    int first = command_parse(self, argv, NULL, &status);
    if (first < 0)
        return status;
    if (first < argc)
        return command_refuse(self, "takes no operands");
    sigset_t signals;
    job_signals_block(&signals);
    unsigned played = 0, failed = 0;
    puts("adit demo: in namespaces of its own; this machine's network is not touched");
    for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
        if (!tunnel_has_stack(stacks[i]))
            continue;
        char carried[TUNNEL_STACK_BYTES] = "";
        printf("\nstack %s\n", stacks[i]);
        fflush(stdout);
        for (size_t j = 0; j < sizeof(scenes) / sizeof(scenes[0]); j++, played++) {
            failed += !scene_show(&scenes[j], stacks[i], &signals, carried);
            if (j == 0)
                printf("        %s\n", carried);
        }
    }
    if (played == 0)
        fputs("adit: this build has no stack to show (adit version --features)\n", stderr);
    return played == 0 || failed ? STATUS_FAILED : STATUS_OK;
}

const struct command command_demo = {
    .name = "demo",
    .usage = "",
    .summary = "see it work, with nothing but this machine",
    .about =
        "Fetches a page from an address that does not exist, pings it, asks it for a name, has a\n"
        "port refused, and measures octets per second, for each stack of this build. Exit status\n"
        "1 when anything failed.\n",
    .usage_status = STATUS_USAGE,
    .run = demo_run,
};
