/* SPDX-License-Identifier: MIT */
/* instance: struct adit, what adit_new() returns. */
#pragma once
#include <stdbool.h>
#include <uv.h>
#include "adit/adit.h"
#include "base/log.h"
#include "worker.h"

enum instance_state {
    INSTANCE_NEW,     /* not started, or driven by the host's own loop */
    INSTANCE_RUNNING, /* adit_start() or adit_run() */
    INSTANCE_ENDED,   /* the loop has returned */
};

struct adit {
    adit_options options; /* complete; its strings are ours (options_keep) or gone */
    struct log log;
    struct worker worker;
    uv_mutex_t mutex;     /* guards state */
    uv_cond_t ended;
    uv_thread_t thread;
    enum instance_state state;
    bool has_thread;
};
