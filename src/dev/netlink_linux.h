/* SPDX-License-Identifier: MIT */
/* netlink_linux: configuring our own interface by rtnetlink, in the calling thread's network namespace. Each call waits
 * for the kernel's answer. Asking for what is there already succeeds, also without the privilege to change it. */
#pragma once
#include <stdint.h>
#include "adit/base.h"

struct mnl_socket;

struct netlink {
    struct mnl_socket *socket;
    uint32_t seq;
    unsigned ifindex;
    char ifname[16];
    adit_error *err; /* where failures go; may be NULL */
};

struct netlink_prefix { /* "172.19.0.1/30" */
    adit_addr addr;
    uint8_t len_bits;
};

int netlink_prefix_parse(struct netlink_prefix *out, const char *text);

/* For the interface of that name. */
int netlink_open(struct netlink *n, const char *ifname, adit_error *err);
void netlink_close(struct netlink *n);
int netlink_set_link(struct netlink *n, uint32_t mtu_bytes, uint32_t txqueue_packets);
int netlink_set_up(struct netlink *n);
int netlink_add_addr(struct netlink *n, const struct netlink_prefix *p);
/* Until packets to that address of an interface that is up are taken in, for a second at most. An IPv6 address becomes
 * usable by a job that the kernel does later: what arrives before is dropped. */
void netlink_await_addr(struct netlink *n, const struct netlink_prefix *p);
/* A route to that prefix through the interface. One of somebody else's to the same prefix stays, and ours stands behind it: what
 * is bound to the interface finds it. */
int netlink_add_route(struct netlink *n, const struct netlink_prefix *p);
/* A default route through the interface; family 4 or 6. ADIT_EEXIST: there is one through another interface. */
int netlink_add_default(struct netlink *n, int family);
