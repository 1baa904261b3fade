/* SPDX-License-Identifier: MIT */
/* wrapper: what every device that wraps another one does: look like it from outside. */
#pragma once
#include <stdio.h>
#include <string.h>
#include "dev/dev.h"

/* Takes over what those above see of a device. */
static inline void wrapper_init(struct device *d, const struct device_ops *ops,
                                struct device *inner)
{
    *d = *inner;
    d->ops = ops;
    d->inner = inner;
    memset(d->drops, 0, sizeof(d->drops));
}

/* Brings the counters up to date: those of the inner device and what is the wrapper's own. */
static inline void wrapper_count(struct device *d, const uint64_t *own_drops)
{
    d->reads = d->inner->reads;
    d->writes = d->inner->writes;
    d->tso = d->inner->tso;
    d->uso = d->inner->uso;
    for (int i = 0; i < DROP_COUNT; i++)
        d->drops[i] = d->inner->drops[i] + own_drops[i];
}
