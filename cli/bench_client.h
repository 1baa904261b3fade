/* SPDX-License-Identifier: MIT */
/* bench_client: what `adit bench` measures, with the kernel's sockets, as any program would. */
#pragma once
#include <netinet/in.h>
#include <stdint.h>

struct bench_result {
    int ok;
    char text[96];  /* what failed, where not ok */
    uint64_t bytes; /* of a transfer */
    uint64_t count; /* of transactions */
    double seconds, cpu_seconds; /* the latter of adit; directly, there is none */
    double p50_us, p99_us;       /* of a transaction */
};

struct bench_order {
    struct sockaddr_in to; /* a bench_server, or what leads to one */
    double seconds;
};

/* Each fills *r, and gives up when nothing has moved for some seconds. */
void bench_up(const struct bench_order *o, struct bench_result *r);
void bench_down(const struct bench_order *o, struct bench_result *r);
/* Connect, one octet, its echo, close; one after the other. */
void bench_connect(const struct bench_order *o, struct bench_result *r);
/* One octet and its echo on an open connection. */
void bench_ping_pong(const struct bench_order *o, struct bench_result *r);
