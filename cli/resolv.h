/* SPDX-License-Identifier: MIT */
/* resolv: the text of resolv.conf: what the host's says, and the one a command in a namespace gets. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "adit/base.h"

enum { RESOLV_TEXT_BYTES = 4096 };

/* The first nameserver that is an address and not "any"; port 53 is set. False: there is none. */
bool resolv_nameserver(const char *text, adit_addr *out);
/* A resolv.conf with this nameserver and the search, domain and options lines of the host's text. over_tcp: asks glibc
 * to use TCP, for upstreams that carry nothing else. Lines that do not fit are left out. */
void resolv_compose(char out[RESOLV_TEXT_BYTES], const char *nameserver, const char *host_text,
                    bool over_tcp);
