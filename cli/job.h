/* SPDX-License-Identifier: MIT */
/* job: one child process in the foreground, and the signals that are meant for it. */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>
#include "complaint.h"

struct job {
    pid_t pid;
    int signals; /* a descriptor; readable: job_take() has something to do */
    int status;  /* what to exit with, once it has ended: the child's exit status, 128+n when signal n killed it */
    bool has_ended;
};

/* Blocks what a job takes in this thread, and so in all threads that it starts later. *old is the mask that the child must get
 * back. Call it before the fork. */
void job_signals_block(sigset_t *old);
int job_open(struct job *j, pid_t pid, struct complaint *why);
/* Takes one signal, waits for it if need be, and passes it on while the child lives. True: the child has ended before, and
 * someone asks this process to end. */
bool job_take(struct job *j);
void job_close(struct job *j);
