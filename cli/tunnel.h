/* SPDX-License-Identifier: MIT */
/* tunnel: an instance of the library with a ready-made handler, as the commands of adit use it: exec and demo differ in
 * what runs inside only. */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include "complaint.h"
#include "device.h"
#include "adit/adit.h"
#include "adit/proxy.h"

enum { TUNNEL_STACK_BYTES = 256 };

struct tunnel_options { /* borrowed as long as the tunnel lives */
    const char *via;    /* URL of the handler */
    const char *stack;  /* "": auto */
    const char *engine; /* how the kernel gets its flows; NULL: the best */
    const char *kernel_for; /* ports whose flows the kernel terminates, where the stack is mixed; NULL: none */
    const char *fault;  /* NULL: none */
    const char *pcap;   /* path; NULL: none */
    uint32_t mtu_bytes;
    const char *preset; /* "mobile"; NULL: "desktop" */
    uint32_t flows_max; /* TCP; 0: the preset's */
    const adit_alias *aliases;
    size_t aliases_count;
    int verbose; /* 0: errors only, 1: and warnings, notices, 2: everything */
};

struct tunnel {
    const struct tunnel_options *options;
    adit_proxy *proxy;
    adit *engine; /* NULL before tunnel_open() */
    FILE *pcap;   /* NULL: none */
};

/* Checks what a person may have got wrong (URL, path), before anything else is made. -1: see why. In every case
 * tunnel_deinit() may be called. */
int tunnel_init(struct tunnel *t, const struct tunnel_options *o, struct complaint *why);
/* Whether it is in this build. */
bool tunnel_has_stack(const char *name);
/* Whether that stack needs a device with listeners. */
bool tunnel_listens(const struct tunnel_options *o);
/* The engine for which the device is to be made: with a capture or faults it is "nat", unless another one is asked for. */
const char *tunnel_engine(const struct tunnel_options *o);
/* Makes the instance for this TUN, whose descriptors are the tunnel's from here on. It is run by session_run(). */
int tunnel_open(struct tunnel *t, const struct device *device, struct complaint *why);
/* Who terminated TCP in it: "mixed, engine bpf, 3 of 5 tcp flows in the kernel", and the reason of a fallback. Returns text. */
const char *tunnel_stack(const struct tunnel *t, char text[TUNNEL_STACK_BYTES]);
/* Frees it. False: the capture file could not be written to its end (said on stderr). */
bool tunnel_deinit(struct tunnel *t);
