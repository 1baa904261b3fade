/* SPDX-License-Identifier: MIT */
/* resolv_mount: a file that exists in one mount namespace only.
 *
 * The text is written to a fresh tmpfs, which is mounted over /tmp for a moment; the file is then bound over
 * /etc/resolv.conf, and the tmpfs is detached again: the bound file keeps it alive, and nothing of it is in sight. Where
 * /etc/resolv.conf is a symbolic link (into /run, with systemd-resolved) mount(2) follows it, and the target is covered.
 *
 * resolv.conf is not the only way to a name. nss-resolve and nscd ask a daemon of the host over a UNIX socket, which no
 * network namespace holds back: those names would be looked up outside the tunnel. /dev/null is bound over their sockets,
 * so that connecting is refused and the C library goes on to DNS. */
#include "resolv_mount.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define STAGE "/tmp"

static const char *const daemons[] = {
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/avahi-daemon/socket",
};

static int complain(struct complaint *why, const char *op)
{
    complaint_os(why, op, errno);
    return complaint_what(why, "no private " RESOLV_CONF " for the command");
}

/* 0, or -1 with errno. */
static int file_make(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int rc = fchmod(fd, 0644); /* whatever the umask is */
    close(fd);
    return n == (ssize_t)strlen(text) ? rc : -1;
}

static int resolv_bind(const char *text, struct complaint *why)
{
    if (mount("adit", STAGE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=64k"))
        return complain(why, "mount(tmpfs, " STAGE ")");
    if (file_make(STAGE "/resolv.conf", text))
        return complain(why, STAGE "/resolv.conf");
    if (mount(STAGE "/resolv.conf", RESOLV_CONF, NULL, MS_BIND, NULL))
        return complain(why, "mount(MS_BIND, " RESOLV_CONF ")");
    if (umount2(STAGE, MNT_DETACH))
        return complain(why, "umount(" STAGE ")");
    return 0;
}

int resolv_mount(const char *text, struct complaint *why)
{
    if (access(RESOLV_CONF, F_OK)) {
        complain(why, "access(" RESOLV_CONF ")");
        return complaint_fix(why, "sudo touch " RESOLV_CONF " (there must be a file to cover)");
    }
    if (resolv_bind(text, why))
        return -1;
    for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++)
        if (access(daemons[i], F_OK) == 0 && mount("/dev/null", daemons[i], NULL, MS_BIND, NULL))
            return complain(why, daemons[i]);
    return 0;
}
