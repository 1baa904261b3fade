/* SPDX-License-Identifier: MIT */
/* resolv_mount: the private /etc/resolv.conf of a mount namespace. */
#pragma once
#include "complaint.h"

/* Puts a file with this text in the place of /etc/resolv.conf, in this mount namespace only, and closes the ways in which
 * the C library asks the host's resolver without the network. */
int resolv_mount(const char *text, struct complaint *why);
