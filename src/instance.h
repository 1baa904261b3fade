/* SPDX-License-Identifier: MIT */
/* instance: struct adit, what adit_new() returns. */
#pragma once
#include <stdbool.h>
#include <uv.h>
#include "adit/adit.h"
#include "base/log.h"
#include "crew.h"
#include "worker.h"

enum instance_state {
    INSTANCE_NEW,     /* not started, or driven by the host's own loop */
    INSTANCE_RUNNING, /* adit_start() or adit_run() */
    INSTANCE_ENDED,   /* the loop has returned */
};

struct adit {
    adit_options options; /* complete; its strings are ours (options_keep) or gone */
    adit_options share;   /* what each worker gets of them: the limits divided, the capture under our mutex */
    struct log log;
    struct crew crew;
    struct worker *workers; /* options.workers of them */
    unsigned workers_ready; /* those from the first on that are made */
    unsigned threads_count; /* of workers 1, 2 ..., and with has_thread of worker 0 */
    uv_thread_t threads[CREW_WORKERS_MAX];
    uv_mutex_t mutex;       /* guards state */
    uv_mutex_t capture;     /* one block of the file at a time */
    uv_cond_t ended;
    uv_thread_t thread;
    enum instance_state state;
    bool has_thread;
};

/* The worker whose loop this thread runs; the first one where it runs none of them. */
struct worker *instance_worker(adit *a);
