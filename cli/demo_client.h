/* SPDX-License-Identifier: MIT */
/* demo_client: what `adit demo` does inside a namespace, with the kernel's sockets, as any program would. */
#pragma once
#include <stdint.h>

struct demo_result {
    int ok;
    char text[120];
    uint64_t bytes; /* of a measurement; 0: it was none */
    double seconds;
};

/* Each connects to an address that exists nowhere, fills *r, and gives up after some seconds. */
void demo_page4(struct demo_result *r);
void demo_page6(struct demo_result *r);
void demo_ping(struct demo_result *r);
void demo_name(struct demo_result *r);
void demo_refused(struct demo_result *r);
void demo_upload(struct demo_result *r); /* needs discard behind it */
void demo_echo(struct demo_result *r);   /* needs echo behind it */
