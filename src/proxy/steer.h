/* SPDX-License-Identifier: MIT */
/* steer: a handler in front of another one, which has the kernel terminate TCP to some ports. */
#pragma once
#include <stdbool.h>
#include "proxy.h"

struct steer;

/* In front of h, which is copied, and its context. ports: as adit_proxy_kernel_for() has them. 0, or a code with *err filled. */
int steer_new(struct steer **out, const adit_handler *h, void *ctx, const char *ports, adit_error *err);
/* Its table; the context is the steer. */
void steer_fill(const struct steer *s, adit_handler *h);
void steer_free(struct steer *s);
