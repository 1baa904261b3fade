/* SPDX-License-Identifier: MIT */
/* adit demo: shows that it works here, with nothing but this machine.
 *
 * A scene is a handler (`via`) and what a client does in a sandbox in front of it (demo_client.c). The sandboxes are those
 * of `adit exec`. The client runs in the child and leaves one struct demo_result a step in memory that both have; the parent runs
 * the tunnel, so that its CPU time is adit's, and prints. All scenes are played for every stack that is built. */
#include "command.h"
#include "demo_client.h"
#include "job.h"
#include "session.h"
#include "summary.h"
#include <sys/mman.h>

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

/* In memory that both processes have. */
struct demo_play {
    const struct demo_scene *scene;
    struct demo_result results[STEPS_MAX]; /* by step */
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
    struct demo_play *p = ctx;
    for (size_t i = 0; i < scene_steps(p->scene); i++)
        p->scene->steps[i].play(&p->results[i]);
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
        printf("%s\n", r->text[0] ? r->text : "the client ended without a report");
    fflush(stdout);
}

/* False when one of the steps failed, or never reported. */
static bool scene_report(const struct demo_play *p, double cpu_seconds)
{
    bool ok = true;
    for (size_t i = 0; i < scene_steps(p->scene); i++) {
        result_print(p->scene->steps[i].name, &p->results[i], cpu_seconds);
        ok = ok && p->results[i].ok;
    }
    return ok;
}

/* carried: gets who terminated TCP. */
static bool scene_show(const struct demo_scene *scene, const char *stack, const sigset_t *signals,
                       char carried[TUNNEL_STACK_BYTES])
{
    struct complaint why = {0};
    struct tunnel tunnel;
    struct tunnel_options outside = {
        .via = scene->via, .stack = stack, .kernel_for = KERNEL_PORTS, .mtu_bytes = MTU_BYTES};
    struct demo_play *play = mmap(NULL, sizeof(*play), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (play == MAP_FAILED) {
        perror("adit: mmap");
        return false;
    }
    play->scene = scene;
    struct sandbox_options inside = {
        .mtu_bytes = MTU_BYTES, .workers = 1, .listens = tunnel_listens(&outside), .run = scene_play, .ctx = play,
        .signals = signals};
    double cpu = summary_cpu_seconds(0);
    bool ok = tunnel_init(&tunnel, &outside, &why) == 0 && session_run(&tunnel, &inside, &why) >= 0;
    if (ok) {
        ok = scene_report(play, summary_cpu_seconds(0) - cpu);
        tunnel_stack(&tunnel, carried);
    } else {
        complaint_print(stderr, &why);
    }
    tunnel_deinit(&tunnel);
    munmap(play, sizeof(*play));
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
        for (size_t j = 0; j < sizeof(scenes) / sizeof(scenes[0]) && !ferror(stdout); j++, played++) {
            failed += !scene_show(&scenes[j], stacks[i], &signals, carried);
            if (j == 0)
                printf("        %s\n", carried);
        }
    }
    if (played == 0)
        fputs("adit: this build has no stack to show (adit version --features)\n", stderr);
    return played == 0 || failed || ferror(stdout) ? STATUS_FAILED : STATUS_OK;
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
