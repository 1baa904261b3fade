/* SPDX-License-Identifier: MIT */
/* device: the TUN inside the namespace. */
#pragma once
#include "complaint.h"

struct device {
    int fd;
    int vnet_hdr;
};

/* Makes it in this process's network namespace, with the sandbox's addresses, this MTU and default routes. */
int device_make(struct device *d, uint32_t mtu_bytes, struct complaint *why);
