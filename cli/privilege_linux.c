/* SPDX-License-Identifier: MIT */
/* privilege: Linux capabilities by their system calls (capabilities(7)); there is nothing here that libcap would make
 * shorter.
 *
 * The sets of the process are cut, then no_new_privs is set: it lets no program that is executed later, by whatever
 * file capabilities, set-user-ID bit or uid 0, have more than the process has (execve(2)). The bounding set stays whole:
 * without the capabilities that a file asks for the kernel would refuse to execute it at all, ping(8) for one.
 *
 * Root without a user namespace of ours keeps what it needs to be root over files and processes, and loses what leads out
 * of the network namespace: entering another one and mounting (CAP_SYS_ADMIN), changing routes (CAP_NET_ADMIN),
 * reaching into other processes (CAP_SYS_PTRACE), the kernel itself (CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_BPF). It is no cage:
 * a program with root's files can still arrange for something else to run outside. */
#include "privilege.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CAP_WORDS = 2 }; /* _LINUX_CAPABILITY_VERSION_3 */

struct capability_sets {
    struct __user_cap_data_struct words[CAP_WORDS];
};

static int capabilities_get(struct capability_sets *sets)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capget, &header, sets->words);
}

static int capabilities_set(const struct capability_sets *sets)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capset, &header, sets->words);
}

static bool has_effective(const struct capability_sets *sets, unsigned cap)
{
    return sets->words[cap / 32].effective & 1u << cap % 32;
}

bool privilege_makes_namespaces(void)
{
    struct capability_sets sets;
    return capabilities_get(&sets) == 0 && has_effective(&sets, CAP_SYS_ADMIN) &&
           has_effective(&sets, CAP_NET_ADMIN);
}

/* In a user namespace of ours one id is mapped to itself; the initial one maps all of them. */
static bool in_own_user_namespace(void)
{
    unsigned inside, outside, count = 0;
    FILE *f = fopen("/proc/self/uid_map", "re");
    if (!f)
        return true; /* drop everything rather than too little */
    int n = fscanf(f, "%u %u %u", &inside, &outside, &count);
    fclose(f);
    return n != 3 || count == 1;
}

static bool leads_out(unsigned cap)
{
    static const unsigned ways[] = {CAP_SYS_ADMIN,  CAP_NET_ADMIN, CAP_SYS_PTRACE,
                                    CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_BPF};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (ways[i] == cap)
            return true;
    return false;
}

static int complain(struct complaint *why, const char *op)
{
    complaint_what(why, "the capabilities cannot be given up");
    return complaint_os(why, op, errno);
}

int privilege_drop(struct complaint *why)
{
    struct capability_sets sets;
    bool all = in_own_user_namespace();
    if (capabilities_get(&sets))
        return complain(why, "capget");
    for (unsigned cap = 0; cap < CAP_WORDS * 32; cap++) {
        if (!all && !leads_out(cap))
            continue;
        uint32_t keep = ~(1u << cap % 32);
        sets.words[cap / 32].effective &= keep;
        sets.words[cap / 32].permitted &= keep;
        sets.words[cap / 32].inheritable &= keep;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) || capabilities_set(&sets))
        return complain(why, "capset");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return complain(why, "PR_SET_NO_NEW_PRIVS");
    return 0;
}
