/* SPDX-License-Identifier: MIT */
/* device: the TUN inside the namespace. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "complaint.h"

enum { DEVICE_LISTENERS_MAX = 2, DEVICE_SHORTCUT_MAX = 3, DEVICE_QUEUES_MAX = 16 };

struct sandbox_options;

struct device {
    int fds[DEVICE_QUEUES_MAX]; /* one for each worker */
    size_t fds_count;           /* 0: there is no device */
    int vnet_hdr;
    int listeners[DEVICE_LISTENERS_MAX]; /* where the kernel accepts flows, for the stack "system" */
    size_t listeners_count;
    int shortcut[DEVICE_SHORTCUT_MAX]; /* for its engine "bpf" */
    size_t shortcut_count;
    char shortcut_refused[64];         /* why there is none */
};

/* What /dev/net/tun looks like from outside: in a user namespace its owner would be told as "nobody". */
struct device_node {
    int error; /* errno of stat(); 0: the rest is set */
    unsigned mode, owner, group;
};

void device_node_look(struct device_node *node);
/* Makes it in this process's network namespace, with the sandbox's addresses and default routes, and with listeners if it
 * wants them. node: as it looked before the namespace was entered. */
int device_make(struct device *d, const struct device_node *node, const struct sandbox_options *inside,
                struct complaint *why);
void device_close(struct device *d);
