/* SPDX-License-Identifier: MIT */
/* spares: spare sockets (sock/spare.h) without the connections that leave them, in a process that is out of descriptors. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "sock/loop_private.h"

static inline void spare_told(struct watch *w, unsigned events)
{
    (void)w;
    (void)events;
}

/* The last descriptors become those of n spare sockets. Returns the limit as it was. */
static inline struct rlimit spares_are_last(struct adit_loop *l, uint32_t n)
{
    struct rlimit before, limit;
    int fd = -1;

    for (uint32_t i = 0; i < n; i++) {
        struct watch w;

        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(watch_add(l, &w, fd, 0, true, spare_told), 0);
        w.server = UINT32_MAX;
        assert_true(spare_give(&w));
    }
    assert_int_equal(l->spares.count, n);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

/* All of them were closed. before: as spares_are_last() returned it. */
static inline void spares_made_room(const struct adit_loop *l, const struct rlimit *before)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, before), 0);
    assert_int_equal(l->spares.count, 0);
}
