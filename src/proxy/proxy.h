/* SPDX-License-Identifier: MIT */
/* proxy: what the handlers of this room share. A kind of proxy is a row of the table in proxy.c: its word, what its URL
 * looks like, and how it is opened. Opening fills in the table of functions and their context. */
#pragma once
#include <stddef.h>
#include "adit/proxy.h"
#include "url.h"

struct steer;

struct adit_proxy {
    const adit_handler *handler;
    void *ctx;
    void (*close)(void *ctx); /* frees ctx. NULL: nothing to free */
    struct steer *steer;      /* NULL: no flow asks for the kernel */
    adit_handler steered;     /* steer's table */
};

/* What a URL said, as far as its kind has it; NULL where it does not. */
struct proxy_target {
    const char *option;              /* "net" of "block:net" */
    const struct url_server *server; /* of "socks5://server" */
};

/* 0, or a code with *err filled. */
int direct_open(adit_proxy *p, const struct proxy_target *t, adit_error *err);
int socks5_open(adit_proxy *p, const struct proxy_target *t, adit_error *err);
int hello_open(adit_proxy *p, const struct proxy_target *t, adit_error *err);
int echo_open(adit_proxy *p, const struct proxy_target *t, adit_error *err);
int discard_open(adit_proxy *p, const struct proxy_target *t, adit_error *err);
int block_open(adit_proxy *p, const struct proxy_target *t, adit_error *err);

int proxy_no_memory(adit_error *err); /* fills *err; returns ADIT_ENOMEM */
