/* SPDX-License-Identifier: MIT */
/* device: the TUN inside the namespace. */
#pragma once
#include "complaint.h"

struct sandbox_options;

struct device {
    int fd;
    int vnet_hdr;
};

/* What /dev/net/tun looks like from outside: in a user namespace its owner would be told as "nobody". */
struct device_node {
    int error; /* errno of stat(); 0: the rest is set */
    unsigned mode, owner, group;
};

void device_node_look(struct device_node *node);
/* Makes it in this process's network namespace, with the sandbox's addresses and default routes.
 * node: as it looked before the namespace was entered. */
int device_make(struct device *d, const struct device_node *node, const struct sandbox_options *inside,
                struct complaint *why);
