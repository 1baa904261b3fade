/* SPDX-License-Identifier: MIT */
/* device: a TUN by the library's adit_device_open_queues(), and the facts about /dev/net/tun when that fails.
 *
 * The device node is a file of the host's: in a user namespace its owner and mode count as they do outside, whatever
 * capabilities the process has inside. */
#include "device.h"
#include "sandbox.h"
#include "adit/adit.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE "/dev/net/tun"

static bool kernel_has_ipv6(void)
{
    return access("/proc/net/if_inet6", F_OK) == 0;
}

void device_node_look(struct device_node *node)
{
    struct stat s;
    *node = (struct device_node){0};
    if (stat(NODE, &s)) {
        node->error = errno;
        return;
    }
    node->mode = (unsigned)(s.st_mode & 07777);
    node->owner = (unsigned)s.st_uid;
    node->group = (unsigned)s.st_gid;
}

static int complain(struct complaint *why, const struct device_node *node, const adit_error *e)
{
    if (node->error) {
        complaint_what(why, "there is no " NODE);
        complaint_os(why, "stat(" NODE ")", node->error);
        return complaint_fix(why, "sudo modprobe tun; in a container: --device " NODE);
    }
    if (access(NODE, R_OK | W_OK)) {
        complaint_what(why, "this user may not open " NODE);
        complaint_evidence(why, "open: %s; mode %04o, owner %u, group %u", strerror(errno),
                           node->mode, node->owner, node->group);
        return complaint_fix(why, "sudo chmod 0666 " NODE " (what udev sets; the kernel still asks "
                                  "for CAP_NET_ADMIN), or run adit as root");
    }
    return complaint_from_error(why, e);
}

int device_make(struct device *d, const struct device_node *node, const struct sandbox_options *inside,
                struct complaint *why)
{
    static const char *const addrs[] = {SANDBOX_ADDR4, SANDBOX_ADDR6};
    adit_options o;
    adit_error e = {0};
    char name[16];
    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.kind = ADIT_DEV_CREATE;
    o.addrs = addrs;
    o.addrs_count = kernel_has_ipv6() ? 2 : 1;
    o.mtu_bytes = inside->mtu_bytes;
    o.no_offload = inside->no_offload;
    o.default_route = 1;
    if (adit_device_open_queues(&o, d->fds, inside->workers, &d->vnet_hdr, name, &e) < 0)
        return complain(why, node, &e);
    o.engine = inside->engine;
    if (inside->flows_max)
        o.tcp_max = inside->flows_max;
    d->fds_count = inside->workers;
    if (inside->listens && adit_device_listen(&o, name, d->listeners, &d->listeners_count, &e) < 0) {
        device_close(d);
        return complaint_from_error(why, &e);
    }
    if (inside->listens && (!inside->engine || strcmp(inside->engine, "nat") != 0) &&
        adit_device_shortcut(&o, name, d->shortcut, &d->shortcut_count, &e) < 0)
        snprintf(d->shortcut_refused, sizeof(d->shortcut_refused), "%.63s", e.msg);
    return 0;
}

void device_close(struct device *d)
{
    while (d->fds_count > 0)
        close(d->fds[--d->fds_count]);
    while (d->listeners_count > 0)
        close(d->listeners[--d->listeners_count]);
    while (d->shortcut_count > 0)
        close(d->shortcut[--d->shortcut_count]);
}
