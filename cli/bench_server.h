/* SPDX-License-Identifier: MIT */
/* bench_server: the far side of `adit bench`: a process of its own, so that its CPU time is not adit's. */
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include "complaint.h"

/* The first octet of a connection says what the rest of it is. */
enum bench_service {
    BENCH_ECHO = 'e',   /* each octet comes back */
    BENCH_SINK = 's',   /* takes all; answers the end with the count of octets, a uint64_t as the machine has it */
    BENCH_SOURCE = 'g', /* gives without end */
};

enum { BENCH_BLOCK_BYTES = 1 << 17 };

struct bench_server {
    pid_t pid;
    int control; /* the process ends with it */
    uint16_t port; /* on 127.0.0.1 */
};

/* Listens, and forks. Call it before any thread is started. */
int bench_server_open(struct bench_server *s, struct complaint *why);
void bench_server_close(struct bench_server *s);
