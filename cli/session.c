/* SPDX-License-Identifier: MIT */
/* session: a tunnel's loop, in which the command is one more thing to watch (session.h).
 *
 *   sandbox_open   the command's process stands in its namespaces, and waits
 *   tunnel_open    the instance is made
 *   adit_run       go       the command is told to start
 *                  signals  are passed on, until one of them says that it has ended (job.h)
 *                  drain    each DRAIN_STEP_MS a look at the counters, and then adit_stop
 *
 * With one worker that is one thread: with a second one the kernel counts each use of a descriptor. "Go" is said by the
 * loop, when all workers run, so that what fails before leaves the command unstarted. A device that fails later ends the
 * tunnel and not the command, which goes on without a network.
 *
 * Draining: a program may close a connection and exit while the kernel still holds octets of it. They come through the
 * TUN afterwards, so an instance that stopped at once would lose them. It goes on until no TCP flow is left, or until
 * nothing has moved for DRAIN_QUIET_MS, or DRAIN_MAX_MS have passed, or someone asks adit to end. It looks only after a
 * first step, because datagrams may still be in the device's queue, and the counters of other workers some milliseconds old. */
#include "session.h"
#include "job.h"

enum { DRAIN_STEP_MS = 20, DRAIN_QUIET_MS = 1000, DRAIN_MAX_MS = 15000 };

struct session {
    adit *engine;
    struct sandbox sandbox;
    struct job job;
    struct complaint *why;
    adit_error error;  /* of what ended the loop */
    adit_watch *watch; /* of the job's signals; NULL before "go" */
    adit_timer *timer; /* "go", or the next step of the drain; NULL while the command runs */
    uint64_t motion;   /* at the step before */
    unsigned drained_ms, quiet_ms;
};

/* What changes while something moves. */
static uint64_t stats_motion(const adit_stats *s)
{
    return s->rx_bytes + s->tx_bytes + s->memory_used_bytes + s->tcp_open;
}

static bool session_is_drained(struct session *s)
{
    adit_stats stats = {.size = sizeof(stats)};
    adit_get_stats(s->engine, &stats);
    uint64_t motion = stats_motion(&stats);
    s->quiet_ms = motion == s->motion ? s->quiet_ms + DRAIN_STEP_MS : 0;
    s->motion = motion;
    return stats.tcp_open == stats.tcp_time_wait || s->quiet_ms >= DRAIN_QUIET_MS || s->drained_ms >= DRAIN_MAX_MS;
}

/* At the command's end, and at each step after it. */
static void session_drain(void *arg)
{
    struct session *s = arg;
    bool is_over = s->drained_ms > 0 && session_is_drained(s);
    s->timer = is_over ? NULL : adit_timer_start(adit_main_loop(s->engine), DRAIN_STEP_MS, session_drain, s);
    s->drained_ms += DRAIN_STEP_MS;
    if (!s->timer)
        adit_stop(s->engine);
}

static void session_signalled(void *arg, adit_socket signals, unsigned ev)
{
    struct session *s = arg;
    (void)signals;
    (void)ev;
    if (job_take(&s->job))
        adit_stop(s->engine);
    else if (s->job.has_ended && !s->timer)
        session_drain(s);
}

static void session_go(void *arg)
{
    struct session *s = arg;
    s->timer = NULL;
    s->watch = adit_watch_start(adit_main_loop(s->engine), s->job.signals, ADIT_READ, session_signalled, s);
    if (!s->watch)
        s->error.code = ADIT_ENOMEM;
    if (!s->watch || sandbox_go(&s->sandbox, s->why))
        adit_stop(s->engine);
}

static int session_carry(struct session *s)
{
    s->error.code = ADIT_ENOMEM; /* until it runs */
    s->timer = adit_timer_start(adit_main_loop(s->engine), 0, session_go, s);
    if (s->timer)
        adit_run(s->engine, &s->error);
    adit_timer_stop(s->timer);
    if (s->watch)
        adit_watch_stop(s->watch);
    if (s->sandbox.control >= 0) /* it never was told to go */
        return s->error.code ? complaint_from_error(s->why, &s->error) : -1;
    while (!s->job.has_ended)
        job_take(&s->job);
    return s->job.status;
}

int session_run(struct tunnel *t, const struct sandbox_options *inside, struct complaint *why)
{
    struct session s = {.why = why};
    int status = -1;
    if (sandbox_open(&s.sandbox, inside, why))
        return -1;
    signal(SIGPIPE, SIG_IGN); /* a closed stderr must not cost the command its network */
    struct device device = sandbox_device_take(&s.sandbox);
    if (tunnel_open(t, &device, why) == 0 && job_open(&s.job, s.sandbox.pid, why) == 0) {
        s.engine = t->engine;
        status = session_carry(&s);
        job_close(&s.job);
    }
    sandbox_close(&s.sandbox);
    return status;
}
