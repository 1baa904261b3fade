/* SPDX-License-Identifier: MIT */
/* ready_linux: the readiness set by epoll.
 *
 * EPOLLRDHUP is asked for only together with reading: a level-triggered watch for writing alone must not be woken
 * for ever by a peer that has ended its side. EPOLLERR and EPOLLHUP come unasked and show as both directions.
 *
 * A wait of a few milliseconds is epoll_pwait2(), which takes nanoseconds: the tail probes of TCP are due after a quarter
 * of one. Kernels before 5.11 and filters of system calls refuse it; then it is epoll_wait() and whole ones. */
#include "sock/ready.h"
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/error.h"
#include "sock/loop.h"

enum { READY_BATCH_MAX = 256, READY_FINE_NS = 10000000 };

int ready_open(struct ready *r)
{
    r->is_coarse = false;
    r->fd = epoll_create1(EPOLL_CLOEXEC);
    return r->fd < 0 ? error_from_errno(errno) : 0;
}

void ready_close(struct ready *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

static uint32_t epoll_mask(unsigned events)
{
    uint32_t mask = 0;

    if (events & ADIT_READ)
        mask |= EPOLLIN | EPOLLRDHUP;
    if (events & ADIT_WRITE)
        mask |= EPOLLOUT;
    return mask;
}

static unsigned events_of_epoll(uint32_t mask)
{
    unsigned events = 0;

    if (mask & (EPOLLERR | EPOLLHUP))
        events |= ADIT_READ | ADIT_WRITE | WATCH_HANGUP;
    if (mask & EPOLLERR)
        events |= WATCH_ERROR;
    if (mask & EPOLLRDHUP)
        events |= ADIT_READ | WATCH_HANGUP;
    if (mask & EPOLLIN)
        events |= ADIT_READ;
    if (mask & EPOLLOUT)
        events |= ADIT_WRITE;
    if (mask & EPOLLPRI)
        events |= ADIT_READ | WATCH_URGENT;
    return events;
}

int ready_add(struct ready *r, int fd, unsigned events, bool edge, uint64_t token)
{
    struct epoll_event e = {.events = epoll_mask(events), .data.u64 = token};

    if (edge)
        e.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    return epoll_ctl(r->fd, EPOLL_CTL_ADD, fd, &e) < 0 ? error_from_errno(errno) : 0;
}

int ready_set(struct ready *r, int fd, unsigned events, uint64_t token)
{
    struct epoll_event e = {.events = epoll_mask(events), .data.u64 = token};

    return epoll_ctl(r->fd, EPOLL_CTL_MOD, fd, &e) < 0 ? error_from_errno(errno) : 0;
}

void ready_remove(struct ready *r, int fd)
{
    struct epoll_event e = {.events = 0};

    (void)epoll_ctl(r->fd, EPOLL_CTL_DEL, fd, &e);
}

static int timeout_ms(int64_t timeout_ns)
{
    int64_t ms;

    if (timeout_ns < 0)
        return -1;
    ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int epoll_wait_ns(struct ready *r, struct epoll_event *events, int max, int64_t timeout_ns)
{
#ifdef ADIT_EPOLL_PWAIT2
    if (timeout_ns > 0 && timeout_ns < READY_FINE_NS && !r->is_coarse) {
        const struct timespec timeout = {.tv_nsec = timeout_ns};
        int n = epoll_pwait2(r->fd, events, max, &timeout, NULL);

        if (n >= 0 || errno == EINTR)
            return n;
        r->is_coarse = true;
    }
#endif
    return epoll_wait(r->fd, events, max, timeout_ms(timeout_ns));
}

int ready_wait(struct ready *r, struct ready_event *out, int out_max, int64_t timeout_ns)
{
    struct epoll_event events[READY_BATCH_MAX];
    int i, n;

    if (out_max > READY_BATCH_MAX)
        out_max = READY_BATCH_MAX;
    n = epoll_wait_ns(r, events, out_max, timeout_ns);
    if (n < 0)
        return 0;
    for (i = 0; i < n; i++) {
        out[i].token = events[i].data.u64;
        out[i].events = events_of_epoll(events[i].events);
    }
    return n;
}

unsigned ready_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}
