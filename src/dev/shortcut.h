/* SPDX-License-Identifier: MIT */
/* shortcut: flows whose packets the kernel turns round itself, for the engine "bpf" of the stack `system`.
 *
 *                  kernel, out of the device                   back in
 *   client ---> [ program: an entry? rewritten, turned round ] ---> listener        payload never leaves the kernel
 *                        | no entry, SYN, RST, no plain TCP
 *                        v
 *                  the process: net/nat.c rewrites it
 *
 * The program (shortcut.bpf.c) looks packets up in a map that the process fills: two entries for a flow, one for each way.
 * Program and device belong together: both are made in the device's network namespace, and descriptors are what leads to the
 * maps from elsewhere. Attached by a TCX link (Linux 6.6) the program goes when the last descriptor of the link is closed,
 * however the process ends; where that is not to be had, as a filter of a clsact qdisc, which goes with the device.
 * shortcut_sweep() removes a filter from a device that outlives its process: at the process's end, and what a dead one left
 * when the next one begins.
 *
 * CAP_BPF and CAP_NET_ADMIN of the initial user namespace are needed. A build may lack it (-Dbpf): shortcut_none.c. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "adit/adit.h"
#include "dev/shortcut_map.h"

/* Descriptors of one: the map of flows, the map of counts, and the link where there is one. */
enum { SHORTCUT_FLOWS, SHORTCUT_COUNTS, SHORTCUT_LINK, SHORTCUT_FDS_MAX };

/* Whether what the options ask for allows it; else *why says what is against it. */
bool shortcut_is_allowed(const adit_options *o, const char **why);
/* Loads the program and attaches it to the interface, in the calling thread's network namespace. o: engine, flows and workers.
 * 0, or a code with the reason in a few words ("no CAP_BPF"). */
int shortcut_open(const adit_options *o, const char *ifname, adit_socket out[SHORTCUT_FDS_MAX], size_t *count, adit_error *err);
void shortcut_close(adit_socket *fds, size_t *count);
/* Removes such a filter, if there is one, and leaves everything else alone. */
void shortcut_sweep(const char *ifname);

/* On the map of flows. False: no memory, or full. */
bool shortcut_add(adit_socket flows, const struct shortcut_ends *from, const struct shortcut_entry *entry);
bool shortcut_look(adit_socket flows, const struct shortcut_ends *from, struct shortcut_entry *out);
void shortcut_remove(adit_socket flows, const struct shortcut_ends *from);
/* On the map of counts: all that was turned round. */
struct shortcut_count shortcut_counted(adit_socket counts);
