/* SPDX-License-Identifier: MIT */
/* The bpf program on a real TUN: it goes with the process that attached it, however that ends; where it stays with the device,
 * the next process removes it and nothing else. As root; each test runs in a network namespace of its own, which vanishes with
 * the process. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "dev/shortcut.h"
#include "elsewhere.h"

enum { TCX_EGRESS = 47 }; /* BPF_TCX_EGRESS */

static adit_options options;

static int setup(void **state)
{
    (void)state;
    options = (adit_options){.engine = "", .tcp_max = 16, .workers = 1};
    return unshare(CLONE_NEWNET);
}

/* A TUN that outlives whoever made it. */
static void make_persistent(void)
{
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "t0"};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, TUNSETIFF, &r), 0);
    assert_int_equal(ioctl(fd, TUNSETPERSIST, 1UL), 0);
    close(fd);
}

/* How many links are on its egress. */
static uint32_t links(void)
{
    uint32_t flags, count = 0;

    assert_int_equal(bpf_prog_query((int)if_nametoindex("t0"), (enum bpf_attach_type)TCX_EGRESS, 0, &flags, NULL, &count), 0);
    return count;
}

/* How many filters. */
static int filters(void)
{
    char text[4096];
    size_t n;
    int found = 0;
    FILE *f = popen("tc filter show dev t0 egress", "r");

    assert_non_null(f);
    n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    assert_int_equal(pclose(f), 0);
    for (const char *at = text; (at = strstr(at, "direct-action")) != NULL; at++)
        found++;
    return found;
}

/* Of somebody else, who uses the same qdisc. */
static void add_foreign_filter(void)
{
    const struct bpf_insn pass[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    struct bpf_tc_hook hook = {.sz = sizeof(hook), .ifindex = (int)if_nametoindex("t0"), .attach_point = BPF_TC_EGRESS};
    struct bpf_tc_opts opts = {.sz = sizeof(opts), .handle = 1, .priority = 5};

    opts.prog_fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "MIT", pass, 2, NULL);
    assert_true(opts.prog_fd >= 0);
    assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
    close(opts.prog_fd);
}

static void attach(void)
{
    adit_socket fds[SHORTCUT_FDS_MAX];
    size_t count;
    adit_error err = {0};

    if (shortcut_open(&options, "t0", fds, &count, &err) != ADIT_OK)
        fail_msg("%s: %s", err.op, err.msg);
    assert_int_equal(count, options.engine[0] ? SHORTCUT_LINK : SHORTCUT_FDS_MAX);
}

static void a_program_goes_with_its_process_however_that_ends(void **state)
{
    pid_t pid;

    (void)state;
    make_persistent();
    pid = elsewhere_start(attach);
    assert_int_equal(links(), 1);
    elsewhere_kill(pid);
    for (int i = 0; i < 1000 && links() > 0; i++)
        usleep(10000); /* the last put of a link is deferred work of the kernel's */
    assert_int_equal(links(), 0);
    attach(); /* again */
    assert_int_equal(links(), 1);
    assert_int_equal(filters(), 0);
}

static void a_filter_of_a_dead_process_is_removed_and_others_stay(void **state)
{
    (void)state;
    make_persistent();
    options.engine = "bpf-clsact";
    elsewhere_kill(elsewhere_start(attach));
    assert_int_equal(filters(), 1);
    assert_int_equal(links(), 0);
    add_foreign_filter();
    assert_int_equal(filters(), 2);
    attach(); /* over the old one */
    assert_int_equal(filters(), 2);
    shortcut_sweep("t0");
    assert_int_equal(filters(), 1);
    shortcut_sweep("t0");
    shortcut_sweep("none");
    assert_int_equal(filters(), 1);
}

static void an_entry_is_what_was_put_there_until_it_is_removed(void **state)
{
    struct shortcut_ends key = {.src_port = 7}, other = {.src_port = 8};
    struct shortcut_entry entry = {.addrs_diff = 5}, got;
    adit_socket fds[SHORTCUT_FDS_MAX];
    size_t count;
    int taken = 0;

    (void)state;
    make_persistent();
    assert_int_equal(shortcut_open(&options, "t0", fds, &count, NULL), ADIT_OK);
    assert_false(shortcut_look(fds[SHORTCUT_FLOWS], &key, &got));
    assert_true(shortcut_add(fds[SHORTCUT_FLOWS], &key, &entry));
    assert_true(shortcut_look(fds[SHORTCUT_FLOWS], &key, &got));
    assert_memory_equal(&got, &entry, sizeof(got));
    assert_false(shortcut_look(fds[SHORTCUT_FLOWS], &other, &got));
    shortcut_remove(fds[SHORTCUT_FLOWS], &key);
    assert_false(shortcut_look(fds[SHORTCUT_FLOWS], &key, &got));
    for (key.src_port = 1; key.src_port < 100; key.src_port++)
        taken += shortcut_add(fds[SHORTCUT_FLOWS], &key, &entry);
    assert_int_equal(taken, 2 * options.tcp_max);
    assert_int_equal(shortcut_counted(fds[SHORTCUT_COUNTS]).packets, 0);
    shortcut_close(fds, &count);
}

/* What a unit with CAP_NET_ADMIN only gets. */
static void the_reason_names_the_privilege_that_is_missing(void **state)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct only[2] = {{.effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN}};
    int status;
    pid_t pid;

    (void)state;
    make_persistent();
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        adit_socket fds[SHORTCUT_FDS_MAX];
        size_t count = 9;
        adit_error err = {0};

        if (syscall(SYS_capset, &header, only) != 0 || shortcut_open(&options, "t0", fds, &count, &err) == ADIT_OK)
            _exit(1);
        _exit(err.code == ADIT_EPERM && strcmp(err.msg, "no CAP_BPF") == 0 && count == 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_program_goes_with_its_process_however_that_ends, setup),
        cmocka_unit_test_setup(a_filter_of_a_dead_process_is_removed_and_others_stay, setup),
        cmocka_unit_test_setup(the_reason_names_the_privilege_that_is_missing, setup),
        cmocka_unit_test_setup(an_entry_is_what_was_put_there_until_it_is_removed, setup),
    };

    if (geteuid() != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
