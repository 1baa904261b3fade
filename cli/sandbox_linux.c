/* SPDX-License-Identifier: MIT */
/* sandbox: the parent's and the child's halves of making one.
 *
 *        parent: adit                                      child: becomes the command
 *   fork  |------------------------------------------------->|
 *         |                                                  | namespaces: user (unless root), network, mount
 *         |                                                  | lo up, TUN with addresses and default routes
 *         |                                                  | private resolv.conf, then no capabilities
 *         |<-- struct sandbox_ready + descriptors of the TUN -|
 *         | adit_new, adit_run                               | waits
 *         |-- one octet: go -------------------------------->|
 *         | goes on (session.c)                              | run(): execvp
 *
 * It fails closed. Whatever cannot be set up is told to the parent, and the command is not started; the parent's end
 * without a "go" reads as end of file, and the command is not started either. The child keeps no descriptor of the TUN:
 * when the parent dies, for whatever reason, the kernel takes the device away and the namespace is left with nothing but
 * its own loopback. The command is not killed then (it may have work to save); it is cut off. In the same way the
 * network of processes that outlive the command goes dead, because the parent ends with the command. */
#include "sandbox.h"
#include "command.h"
#include "device.h"
#include "namespace.h"
#include "privilege.h"
#include "resolv_mount.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's one message. The device's descriptors come with it when ok: the TUN's queues, the listeners', and those of the
 * engine. */
struct sandbox_ready {
    int ok;
    struct device device; /* the numbers of its descriptors are the child's */
    struct complaint why;
};

enum { FDS_MAX = DEVICE_QUEUES_MAX + DEVICE_LISTENERS_MAX + DEVICE_SHORTCUT_MAX };

union control_space { /* ancillary data for the descriptors, aligned */
    struct cmsghdr header;
    char octets[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

/* ---- the child ---- */

static int child_setup(const struct sandbox_options *o, struct device *d, struct complaint *why)
{
    struct device_node node;
    device_node_look(&node);
    if (namespace_enter(why) || device_make(d, &node, o, why))
        return -1;
    if (o->resolv_conf && resolv_mount(o->resolv_conf, why))
        return -1;
    return privilege_drop(why);
}

/* All descriptors in one row, in the order in which they travel. Returns how many. */
static size_t device_row(struct device *d, int *row[FDS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < d->fds_count; i++)
        row[n++] = &d->fds[i];
    for (size_t i = 0; i < d->listeners_count; i++)
        row[n++] = &d->listeners[i];
    for (size_t i = 0; i < d->shortcut_count; i++)
        row[n++] = &d->shortcut[i];
    return n;
}

/* -1: it was not sent; errno says why. */
static int ready_send(int control, struct sandbox_ready *ready)
{
    int *row[FDS_MAX];
    int fds[FDS_MAX];
    size_t count = device_row(&ready->device, row);
    size_t fds_bytes = count * sizeof(int);
    union control_space space = {0};
    struct iovec iov = {.iov_base = ready, .iov_len = sizeof(*ready)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (ready->ok) {
        m.msg_control = &space;
        m.msg_controllen = CMSG_SPACE(fds_bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds_bytes);
        for (size_t i = 0; i < count; i++)
            fds[i] = *row[i];
        memcpy(CMSG_DATA(c), fds, fds_bytes);
    }
    return sendmsg(control, &m, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* The kernel lets a user have no more descriptors on their way than one process may have open. */
static void ready_tell(int control, struct sandbox_ready *ready)
{
    if (ready_send(control, ready) == 0)
        return;
    ready->ok = 0;
    complaint_what(&ready->why, "the device's descriptors cannot be handed over");
    complaint_os(&ready->why, "sendmsg", errno);
    complaint_fix(&ready->why, "a larger limit of open files (ulimit -n)");
    ready_send(control, ready);
}

static void child_main(int control, const struct sandbox_options *o)
{
    struct sandbox_ready ready = {0};
    sigprocmask(SIG_SETMASK, o->signals, NULL);
    ready.ok = child_setup(o, &ready.device, &ready.why) == 0;
    ready_tell(control, &ready);
    device_close(&ready.device);
    char go;
    if (!ready.ok || read(control, &go, 1) != 1)
        _exit(STATUS_NOT_STARTED);
    close(control);
    _exit(o->run(o->ctx));
}

/* ---- the parent ---- */

/* The child's message; -1: there was none. *device gets the descriptors, none of them where not all could be taken. */
static int ready_receive(int control, struct sandbox_ready *ready, struct device *device)
{
    int *row[FDS_MAX];
    int fds[FDS_MAX];
    union control_space space = {0};
    struct iovec iov = {.iov_base = ready, .iov_len = sizeof(*ready)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    m.msg_control = &space;
    m.msg_controllen = sizeof(space);
    ssize_t n;
    do {
        n = recvmsg(control, &m, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*ready))
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t received = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(c), received * sizeof(int));
    *device = ready->device;
    if (received == device_row(device, row)) {
        for (size_t i = 0; i < received; i++)
            *row[i] = fds[i];
        return 0;
    }
    *device = (struct device){0};
    for (size_t i = 0; i < received; i++)
        close(fds[i]);
    return 0;
}

static int sandbox_await(struct sandbox *s, struct complaint *why)
{
    struct sandbox_ready ready = {0};
    if (ready_receive(s->control, &ready, &s->device)) {
        complaint_what(why, "the process that sets the namespace up ended early");
        return complaint_evidence(why, "it closed its socket without a report");
    }
    *why = ready.why;
    if (!ready.ok)
        return -1;
    if (s->device.fds_count > 0)
        return 0;
    complaint_what(why, "the device's descriptors cannot be taken");
    complaint_evidence(why, "some were lost on their way from the process that opened them");
    return complaint_fix(why, "a larger limit of open files (ulimit -n)");
}

int sandbox_open(struct sandbox *s, const struct sandbox_options *o, struct complaint *why)
{
    int ends[2];
    *s = (struct sandbox){.pid = -1, .control = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        complaint_what(why, "no socket for the child process");
        return complaint_os(why, "socketpair", errno);
    }
    s->control = ends[0];
    s->pid = fork();
    if (s->pid == 0) {
        close(ends[0]);
        child_main(ends[1], o);
    }
    int error = errno;
    close(ends[1]);
    if (s->pid < 0) {
        complaint_what(why, "no child process");
        complaint_os(why, "fork", error);
    }
    if (s->pid > 0 && sandbox_await(s, why) == 0)
        return 0;
    sandbox_close(s);
    return -1;
}

struct device sandbox_device_take(struct sandbox *s)
{
    struct device device = s->device;
    s->device = (struct device){0};
    return device;
}

int sandbox_go(struct sandbox *s, struct complaint *why)
{
    if (send(s->control, "g", 1, MSG_NOSIGNAL) != 1) {
        complaint_what(why, "the command's process is gone before it was started");
        return complaint_os(why, "send", errno);
    }
    close(s->control);
    s->control = -1;
    return 0;
}

void sandbox_close(struct sandbox *s)
{
    device_close(&s->device);
    if (s->control >= 0) {
        close(s->control);
        if (s->pid > 0)
            while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
                ;
    }
    *s = (struct sandbox){.pid = -1, .control = -1};
}
