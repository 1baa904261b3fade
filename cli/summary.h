/* SPDX-License-Identifier: MIT */
/* summary: some lines about what an instance has done. */
#pragma once
#include <stdio.h>
#include <sys/types.h>
#include "adit/adit.h"

/* Seconds of CPU that a process (all its threads) has used; pid 0: this one. */
double summary_cpu_seconds(pid_t pid);
/* Seconds of a monotonic clock. */
double summary_clock_seconds(void);
/* "38.2 MB" in buf. */
const char *summary_bytes(uint64_t bytes, char buf[16]);
/* stack: who terminated TCP, in the words of tunnel_stack(). */
void summary_print(FILE *to, const adit_stats *s, const char *stack, double seconds, double cpu_seconds);
