/* SPDX-License-Identifier: MIT */
/* splice_linux: pipes and splice(2).
 *
 * What all pipes of one user may hold together is limited (fs.pipe-user-pages-soft, pipe(7)): beyond it an unprivileged user's
 * pipes cannot grow, and new ones have two pages. This pool takes at most half of it, so that other programs of the user
 * keep theirs, and a pipe that came out too small is closed again. A privileged process is not limited by the kernel
 * and keeps to the same figure. */
#include "sock/splice.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "base/memory.h"

static const char soft_limit_path[] = "/proc/sys/fs/pipe-user-pages-soft";
/* Where nothing is said: the kernel's own default. */
enum { SOFT_LIMIT_PAGES = 16384 };

static uint64_t quota_bytes(void)
{
    unsigned long long pages = SOFT_LIMIT_PAGES;
    FILE *f = fopen(soft_limit_path, "re");

    if (f) {
        if (fscanf(f, "%llu", &pages) != 1 || pages == 0) /* 0: without a limit */
            pages = SOFT_LIMIT_PAGES;
        fclose(f);
    }
    return pages / 2 * (uint64_t)sysconf(_SC_PAGESIZE);
}

void pipe_pool_init(struct pipe_pool *p, struct memory *memory)
{
    *p = (struct pipe_pool){.memory = memory};
    list_init(&p->idle);
}

static void pipe_close(struct pipe_pool *p, struct pipe *x)
{
    close(x->read_fd);
    close(x->write_fd);
    p->used_bytes -= x->capacity_bytes;
    memory_free(p->memory, x, sizeof(*x));
}

void pipe_pool_deinit(struct pipe_pool *p)
{
    struct list *node;

    while ((node = list_pop_front(&p->idle)))
        pipe_close(p, LIST_ENTRY(node, struct pipe, node));
    assert(p->used_bytes == 0);
}

/* As large as it may be. */
static uint32_t pipe_grow(int fd, uint64_t left_bytes)
{
    uint32_t wanted = PIPE_BYTES_MAX;
    int got;

    while (wanted > PIPE_BYTES_MIN && (wanted > left_bytes || fcntl(fd, F_SETPIPE_SZ, (int)wanted) < 0))
        wanted /= 4;
    got = fcntl(fd, F_GETPIPE_SZ);
    return got < 0 ? 0 : (uint32_t)got;
}

static struct pipe *pipe_open(struct pipe_pool *p)
{
    struct pipe *x;
    int fds[2];

    if (p->max_bytes == 0)
        p->max_bytes = quota_bytes();
    if (p->used_bytes + PIPE_BYTES_MIN > p->max_bytes)
        return NULL;
    x = memory_alloc(p->memory, sizeof(*x));
    if (!x)
        return NULL;
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        memory_free(p->memory, x, sizeof(*x));
        return NULL;
    }
    *x = (struct pipe){.read_fd = fds[0], .write_fd = fds[1]};
    list_init(&x->node);
    x->capacity_bytes = pipe_grow(fds[1], p->max_bytes - p->used_bytes);
    p->used_bytes += x->capacity_bytes;
    if (x->capacity_bytes >= PIPE_BYTES_MIN)
        return x;
    pipe_close(p, x);
    return NULL;
}

struct pipe *pipe_take(struct pipe_pool *p)
{
    struct list *node = list_pop_front(&p->idle);
    struct pipe *x;

    if (node) {
        p->idle_count--;
        return LIST_ENTRY(node, struct pipe, node);
    }
    x = pipe_open(p);
    p->refused += !x;
    return x;
}

void pipe_give(struct pipe_pool *p, struct pipe *x)
{
    if (!x)
        return;
    if (x->bytes > 0 || p->idle_count >= PIPES_IDLE_MAX) {
        pipe_close(p, x);
        return;
    }
    list_push_front(&p->idle, &x->node);
    p->idle_count++;
}

bool splice_is_unknown(int os)
{
    return os == EINVAL || os == ENOSYS || os == EOPNOTSUPP || os == EPERM;
}

bool splice_is_possible(const struct pipe *x, int fd)
{
    int flags = fcntl(fd, F_GETFL);

    assert(x->bytes == 0);
    if (flags < 0 || !(flags & O_NONBLOCK))
        return false;
    return splice(x->read_fd, NULL, fd, NULL, 1, SPLICE_F_NONBLOCK) < 0 && errno == EAGAIN;
}

ssize_t splice_in(struct pipe *x, int fd)
{
    ssize_t got;

    assert(x->bytes == 0);
    do
        got = splice(fd, NULL, x->write_fd, NULL, x->capacity_bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    x->bytes = (uint32_t)got;
    return got;
}

static bool broken_pipe_is_pending(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
}

/* splice() knows no MSG_NOSIGNAL: where nobody reads any more it raises SIGPIPE in this thread, and the process is the host's.
 * It does so too where octets went before: then it returns how many. One that waited before is the host's. */
static ssize_t splice_without_signal(int from, int to, size_t len_bytes)
{
    static const struct timespec no_time = {0};
    sigset_t pipe_signal, before;
    bool was_pending;
    ssize_t sent;
    int os;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    was_pending = sigismember(&before, SIGPIPE) && broken_pipe_is_pending();
    sent = splice(from, NULL, to, NULL, len_bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    os = errno;
    if (sent < (ssize_t)len_bytes && !was_pending && broken_pipe_is_pending())
        (void)sigtimedwait(&pipe_signal, NULL, &no_time);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = os;
    return sent;
}

ssize_t splice_out(struct pipe *x, int fd)
{
    ssize_t sent;

    do
        sent = splice_without_signal(x->read_fd, fd, x->bytes);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    x->bytes -= (uint32_t)sent;
    return sent;
}
