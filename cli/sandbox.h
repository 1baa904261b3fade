/* SPDX-License-Identifier: MIT */
/* sandbox: a child process in a network of its own whose only way out is a TUN, and the TUN's descriptor out here. */
#pragma once
#include <signal.h>
#include <sys/types.h>
#include "complaint.h"
#include "device.h"

/* The addresses inside. 192.0.0.0/29 is the IPv4 service continuity prefix (RFC 7335): it is meant for such a link, and no
 * network that a command may want to reach has it. The second of each is the nameserver. */
#define SANDBOX_ADDR4 "192.0.0.1/30"
#define SANDBOX_ADDR6 "fd61:6469:7400::1/126"
#define SANDBOX_NAMESERVER4 "192.0.0.2"
#define SANDBOX_NAMESERVER6 "fd61:6469:7400::2"

struct
    sandbox_options { /* borrowed until sandbox_open() returns, in the child as long as it lives */
    uint32_t mtu_bytes;
    int no_offload;          /* of the device: packets of its MTU, one at a time */
    bool listens;            /* the device gets listeners */
    const char *engine;      /* and what this engine needs; NULL: the best one */
    unsigned flows_max;      /* for so many; 0: the default */
    uint32_t workers;        /* as many queues */
    const char *resolv_conf; /* the text of the private one; NULL: the host's stays in sight */
    int (*run)(void *ctx); /* in the child, at the word "go"; what it returns is the exit status */
    void *ctx;
    const sigset_t *signals; /* the mask that the child gets back (job.h) */
};

struct sandbox {
    pid_t pid;
    int control; /* the child waits at its other end; our closing it means "do not start" */
    struct device device; /* the TUN; none any more once sandbox_device_take() was called */
};

/* Forks; when it returns 0 the child stands in its namespaces with everything set up and no capability left. Call it
 * before any thread is started. */
int sandbox_open(struct sandbox *s, const struct sandbox_options *o, struct complaint *why);
struct device sandbox_device_take(struct sandbox *s);
/* The child runs o->run(). */
int sandbox_go(struct sandbox *s, struct complaint *why);
/* A child that was not told to go ends without having run anything. */
void sandbox_close(struct sandbox *s);
