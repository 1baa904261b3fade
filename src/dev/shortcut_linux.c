/* SPDX-License-Identifier: MIT */
/* shortcut_linux: loading the program with libbpf, attaching it, and its maps (shortcut.h).
 *
 * The program is in the library as an object file (bpftool gen skeleton), so nothing is looked for in the file system. libbpf
 * talks to stderr unless told otherwise; while it works here it is told, and afterwards the host's own choice is back. */
#include "dev/shortcut.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "dev/shortcut.skel.h"

enum {
    TCX_EGRESS = 47, /* BPF_TCX_EGRESS, which is younger than some systems' headers */
    FILTER_HANDLE = 1,
    FILTER_PRIORITY = 44311, /* nobody else's */
    CPUS_MAX = 1024,
};

/* ---------------------------------------------------------------------------------------- refusals -- */

static bool is_user_namespace(void)
{
    unsigned inside = 0, outside = 0, count = 0;
    FILE *f = fopen("/proc/self/uid_map", "re");
    bool is_whole;

    if (!f)
        return false;
    is_whole = fscanf(f, "%u %u %u", &inside, &outside, &count) == 3 && outside == 0 && count == UINT32_MAX;
    fclose(f);
    return !is_whole;
}

static int shortcut_fail(adit_error *err, const char *op, int os)
{
    const char *msg = os == EPERM ? "no CAP_BPF" : strerror(os);

    if (os == EPERM && is_user_namespace())
        msg = "in a user namespace";
    else if (strcmp(op, "verifier") == 0 && os != EPERM)
        return error_setf(err, ADIT_ENOTSUP, os, op, "", "the kernel does not take the program: %s", msg);
    return error_set(err, os == EPERM ? ADIT_EPERM : ADIT_ENOTSUP, os, op, msg, "");
}

/* --------------------------------------------------------------------------------------- attaching -- */

/* libbpf refuses a structure whose padding is not zero, and an initializer need not write that. */
static void filter_hook_init(struct bpf_tc_hook *h, unsigned ifindex)
{
    memset(h, 0, sizeof(*h));
    h->sz = sizeof(*h);
    h->ifindex = (int)ifindex;
    h->attach_point = BPF_TC_EGRESS;
}

static void filter_opts_init(struct bpf_tc_opts *o)
{
    memset(o, 0, sizeof(*o));
    o->sz = sizeof(*o);
    o->handle = FILTER_HANDLE;
    o->priority = FILTER_PRIORITY;
}

static int attach_filter(int program, unsigned ifindex)
{
    struct bpf_tc_hook hook;
    struct bpf_tc_opts opts;
    int rc;

    filter_hook_init(&hook, ifindex);
    filter_opts_init(&opts);
    rc = bpf_tc_hook_create(&hook);
    opts.prog_fd = program;
    opts.flags = BPF_TC_F_REPLACE;
    return rc < 0 && rc != -EEXIST ? rc : bpf_tc_attach(&hook, &opts);
}

static int attach(const adit_options *o, int program, unsigned ifindex, adit_socket *fds, size_t *count)
{
    int link = -1;

    if (strcmp(o->engine, "bpf-clsact") != 0)
        link = bpf_link_create(program, (int)ifindex, (enum bpf_attach_type)TCX_EGRESS, NULL);
    if (link < 0)
        return attach_filter(program, ifindex);
    fds[SHORTCUT_LINK] = link;
    ++*count;
    return 0;
}

/* The maps live on by duplicates of their descriptors, the program by what it is attached to. */
static int shortcut_take(struct shortcut_program *p, adit_socket *fds, size_t *count)
{
    fds[SHORTCUT_FLOWS] = dup(bpf_map__fd(p->maps.flows));
    if (fds[SHORTCUT_FLOWS] < 0)
        return -errno;
    ++*count;
    fds[SHORTCUT_COUNTS] = dup(bpf_map__fd(p->maps.counts));
    if (fds[SHORTCUT_COUNTS] < 0)
        return -errno;
    ++*count;
    return 0;
}

static int shortcut_load(const adit_options *o, unsigned ifindex, adit_socket *fds, size_t *count, adit_error *err)
{
    struct shortcut_program *p = shortcut_program__open();
    int rc;

    if (!p)
        return shortcut_fail(err, "libbpf", errno);
    (void)bpf_map__set_max_entries(p->maps.flows, 2 * o->tcp_max * (o->workers ? o->workers : 1u));
    rc = shortcut_program__load(p);
    if (rc < 0) {
        shortcut_fail(err, "verifier", -rc);
    } else {
        rc = shortcut_take(p, fds, count);
        if (rc == 0)
            rc = attach(o, bpf_program__fd(p->progs.adit_shortcut), ifindex, fds, count);
        if (rc < 0)
            shortcut_fail(err, "attach", -rc);
    }
    shortcut_program__destroy(p);
    return rc < 0 ? ADIT_ENOTSUP : ADIT_OK;
}

int shortcut_open(const adit_options *o, const char *ifname, adit_socket out[SHORTCUT_FDS_MAX], size_t *count, adit_error *err)
{
    libbpf_print_fn_t before = libbpf_set_print(NULL);
    unsigned ifindex = if_nametoindex(ifname);
    int rc;

    *count = 0;
    rc = ifindex ? shortcut_load(o, ifindex, out, count, err) : shortcut_fail(err, "if_nametoindex", ENODEV);
    if (rc != ADIT_OK)
        shortcut_close(out, count);
    libbpf_set_print(before);
    return rc;
}

void shortcut_close(adit_socket *fds, size_t *count)
{
    while (*count > 0)
        close(fds[--*count]);
}

void shortcut_sweep(const char *ifname)
{
    libbpf_print_fn_t before = libbpf_set_print(NULL);
    struct bpf_tc_hook hook;
    struct bpf_tc_opts opts;

    filter_hook_init(&hook, if_nametoindex(ifname));
    filter_opts_init(&opts);
    if (hook.ifindex)
        (void)bpf_tc_detach(&hook, &opts);
    libbpf_set_print(before);
}

/* -------------------------------------------------------------------------------------------- maps -- */

bool shortcut_add(adit_socket flows, const struct shortcut_ends *from, const struct shortcut_entry *entry)
{
    return bpf_map_update_elem(flows, from, entry, BPF_ANY) == 0;
}

bool shortcut_look(adit_socket flows, const struct shortcut_ends *from, struct shortcut_entry *out)
{
    return bpf_map_lookup_elem(flows, from, out) == 0;
}

void shortcut_remove(adit_socket flows, const struct shortcut_ends *from)
{
    (void)bpf_map_delete_elem(flows, from);
}

struct shortcut_count shortcut_counted(adit_socket counts)
{
    struct shortcut_count each[CPUS_MAX], all = {0};
    int cpus = libbpf_num_possible_cpus();
    __u32 zero = 0;

    if (cpus < 1 || cpus > CPUS_MAX || bpf_map_lookup_elem(counts, &zero, each) != 0)
        return all;
    for (int i = 0; i < cpus; i++) {
        all.packets += each[i].packets;
        all.bytes += each[i].bytes;
    }
    return all;
}
