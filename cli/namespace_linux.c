/* SPDX-License-Identifier: MIT */
/* namespace: the system calls of unshare(1), and what to tell a person when they are refused.
 *
 * A process with CAP_SYS_ADMIN and CAP_NET_ADMIN makes the network and mount namespaces directly. Any other makes a user
 * namespace first, in which it has all capabilities; its uid and gid are mapped to themselves, so files and processes
 * look as before. Supplementary groups keep their rights and are shown as the overflow group (user_namespaces(7)).
 *
 * Refusals come at several places, because each guard sits elsewhere: user.max_user_namespaces at unshare (ENOSPC),
 * kernel.unprivileged_userns_clone (Debian) and seccomp (containers) at unshare (EPERM), AppArmor (Ubuntu 24.04) at the
 * first use of a capability inside. They are answered with the settings as they are on this machine; root without
 * capabilities, whom Linux lets map no id, is told that. */
#include "namespace.h"
#include "privilege.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

struct sysctl_row {
    const char *name, *path;
};

static const struct sysctl_row guards[] = {
    {"user.max_user_namespaces", "/proc/sys/user/max_user_namespaces"},
    {"kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone"},
    {"kernel.apparmor_restrict_unprivileged_userns",
     "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"},
};

enum { GUARDS_COUNT = sizeof(guards) / sizeof(guards[0]), VALUE_BYTES = 32 };

/* 0, or the errno. */
static int file_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    size_t len = strlen(text);
    ssize_t n = write(fd, text, len);
    int error = n == (ssize_t)len ? 0 : n < 0 ? errno : EIO;
    close(fd);
    return error;
}

static void file_read_word(const char *path, char word[VALUE_BYTES])
{
    snprintf(word, VALUE_BYTES, "not present");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, word, VALUE_BYTES - 1);
    word[n > 0 ? n : 0] = '\0';
    word[strcspn(word, "\n")] = '\0';
    close(fd);
}

static int complain_refused(struct complaint *why, const char *op, int os)
{
    char values[GUARDS_COUNT][VALUE_BYTES];
    for (size_t i = 0; i < GUARDS_COUNT; i++)
        file_read_word(guards[i].path, values[i]);
    complaint_what(why, "this system refuses user namespaces to ordinary users");
    complaint_evidence(why, "%s: %s; %s = %s; %s = %s; %s = %s", op, strerror(os), guards[0].name,
                       values[0], guards[1].name, values[1], guards[2].name, values[2]);
    if (strcmp(values[0], "0") == 0)
        return complaint_fix(why,
                             "sudo sysctl user.max_user_namespaces=10000, or run adit as root");
    if (strcmp(values[1], "0") == 0)
        return complaint_fix(why,
                             "sudo sysctl kernel.unprivileged_userns_clone=1, or run adit as root");
    if (strcmp(values[2], "1") == 0)
        return complaint_fix(why,
                             "an AppArmor profile with \"userns,\" for adit, or run it as root");
    return complaint_fix(why, "in a container: allow unshare in its seccomp profile; else run adit "
                              "as root");
}

/* Linux 5.12 and later let uid 0 be mapped only where whoever makes the namespace has CAP_SETFCAP. */
static int complain_root_unmapped(struct complaint *why)
{
    complaint_what(why, "root without the capability CAP_SETFCAP cannot have a user namespace");
    complaint_evidence(why, "/proc/self/uid_map: %s", strerror(EPERM));
    return complaint_fix(why, "run adit as an ordinary user, or as root with CAP_SYS_ADMIN and "
                              "CAP_NET_ADMIN");
}

static int user_enter(struct complaint *why)
{
    char uid_map[64], gid_map[64];
    unsigned uid = geteuid(), gid = getegid();
    snprintf(uid_map, sizeof(uid_map), "%u %u 1", uid, uid);
    snprintf(gid_map, sizeof(gid_map), "%u %u 1", gid, gid);
    if (unshare(CLONE_NEWUSER))
        return complain_refused(why, "unshare(CLONE_NEWUSER)", errno);
    int error = file_write("/proc/self/uid_map", uid_map);
    if (error == EPERM && uid == 0)
        return complain_root_unmapped(why);
    if (error)
        return complain_refused(why, "/proc/self/uid_map", error);
    error = file_write("/proc/self/setgroups", "deny"); /* without it gid_map may not be written */
    if (!error)
        error = file_write("/proc/self/gid_map", gid_map);
    return error ? complain_refused(why, "/proc/self/gid_map", error) : 0;
}

static int loopback_up(struct complaint *why)
{
    struct ifreq request = {.ifr_name = "lo"};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = s < 0 ? -1 : ioctl(s, SIOCGIFFLAGS, &request);
    if (rc == 0) {
        request.ifr_flags |= IFF_UP;
        rc = ioctl(s, SIOCSIFFLAGS, &request);
    }
    if (rc) {
        complaint_what(why, "the namespace's loopback interface cannot be switched on");
        complaint_os(why, "SIOCSIFFLAGS lo", errno);
    }
    if (s >= 0)
        close(s);
    return rc;
}

/* What is pleasant, but no command must fail for want of it: where /proc/sys is read-only these are passed over.
 *
 * A new network namespace lets nobody open ping sockets, and without privileges they are the only way to ping: all groups
 * may, or where only one is mapped, that one. At the other end of the TUN there is no router that could be solicited. */
static void settings_make(void)
{
    static const char path[] = "/proc/sys/net/ipv4/ping_group_range";
    char range[64];
    file_write("/proc/sys/net/ipv6/conf/default/router_solicitations", "0");
    snprintf(range, sizeof(range), "%u %u", (unsigned)getegid(), (unsigned)getegid());
    if (file_write(path, "0 2147483647"))
        file_write(path, range);
}

int namespace_enter(struct complaint *why)
{
    bool alone = privilege_makes_namespaces();
    if (!alone && user_enter(why))
        return -1;
    if (unshare(CLONE_NEWNET | CLONE_NEWNS)) {
        if (!alone)
            return complain_refused(why, "unshare(CLONE_NEWNET | CLONE_NEWNS)", errno);
        complaint_what(why, "no network namespace");
        return complaint_os(why, "unshare(CLONE_NEWNET | CLONE_NEWNS)", errno);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
        complaint_what(why, "the mounts cannot be made private");
        return complaint_os(why, "mount(MS_PRIVATE)", errno);
    }
    if (loopback_up(why))
        return -1;
    settings_make();
    return 0;
}
