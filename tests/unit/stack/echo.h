/* SPDX-License-Identifier: MIT */
/* echo: the event function of a server that gives everything back. */
#pragma once
#include <stddef.h>
#include "adit/adit.h"

/* Sends back what comes, and its end, without a copy on the way in. */
static inline void echo_event(adit_conn *c, unsigned ev, void *user)
{
    adit_iov iov[8];
    int n;

    (void)ev;
    (void)user;
    while ((n = adit_conn_peek(c, iov, 8)) > 0) {
        ptrdiff_t taken = adit_conn_send(c, iov[0].base, iov[0].len);

        if (taken <= 0) {
            adit_conn_want(c, ADIT_WRITE);
            return;
        }
        adit_conn_consume(c, (size_t)taken);
    }
    adit_conn_want(c, ADIT_READ);
    if (n == 0)
        adit_conn_close(c);
}
