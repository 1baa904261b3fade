/* SPDX-License-Identifier: MIT */
/* job: one child process in the foreground, and the signals that are meant for it. */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* Blocks what job_wait() waits for in this thread, and so in all threads that it starts later. *old is the mask that the
 * child must get back. Call it before the fork. */
void job_signals_block(sigset_t *old);
/* Waits for the child's end while it passes signals on. Returns its exit status, 128+n when signal n killed it. */
int job_wait(pid_t pid);
/* Waits for at most ms; true when someone asked this process to end meanwhile. */
bool job_pause(unsigned ms);
