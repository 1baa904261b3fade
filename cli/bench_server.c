/* SPDX-License-Identifier: MIT */
/* bench_server: echo, sink and source on one port of the loopback interface (bench_server.h).
 *
 * One epoll set; the number in an event is a descriptor, and `services` says what it is for. Anybody on this machine may connect
 * while it lives, so there are at most PEERS_MAX connections, what comes beyond is closed, and nothing is kept of a peer but its
 * service and a count. It ends when its control descriptor does: with adit, whatever way that ends. */
#include "bench_server.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PEERS_MAX = 256, EVENTS_MAX = 64, BACKLOG = 128 };

struct server {
    int set, listener, control;
    char services[PEERS_MAX];     /* by descriptor; 0: its first octet has not come */
    uint64_t received[PEERS_MAX]; /* by descriptor */
    char block[BENCH_BLOCK_BYTES];
};

static void server_watch(struct server *s, int op, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    epoll_ctl(s->set, op, fd, &e);
}

static void server_accept(struct server *s)
{
    int on = 1;
    int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (fd >= PEERS_MAX) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    s->services[fd] = 0;
    s->received[fd] = 0;
    server_watch(s, EPOLL_CTL_ADD, fd, EPOLLIN);
}

/* False: the connection is over. The octets behind the first one are the service's. */
static bool peer_choose(struct server *s, int fd)
{
    char service;
    if (recv(fd, &service, 1, 0) != 1)
        return false;
    s->services[fd] = service;
    if (service == BENCH_SOURCE)
        server_watch(s, EPOLL_CTL_MOD, fd, EPOLLOUT);
    return service == BENCH_ECHO || service == BENCH_SINK || service == BENCH_SOURCE;
}

static bool peer_receive(struct server *s, int fd)
{
    ssize_t n = recv(fd, s->block, sizeof(s->block), 0);
    if (n < 0)
        return errno == EAGAIN;
    if (s->services[fd] == BENCH_ECHO)
        return n > 0 && send(fd, s->block, (size_t)n, MSG_NOSIGNAL) == n;
    s->received[fd] += (uint64_t)n;
    if (n == 0)
        send(fd, &s->received[fd], sizeof(s->received[fd]), MSG_NOSIGNAL);
    return n > 0;
}

static bool peer_serve(struct server *s, int fd)
{
    if (s->services[fd] == 0)
        return peer_choose(s, fd);
    if (s->services[fd] == BENCH_SOURCE)
        return send(fd, s->block, sizeof(s->block), MSG_NOSIGNAL) > 0 || errno == EAGAIN;
    return peer_receive(s, fd);
}

static void server_run(struct server *s)
{
    struct epoll_event events[EVENTS_MAX];
    server_watch(s, EPOLL_CTL_ADD, s->listener, EPOLLIN);
    server_watch(s, EPOLL_CTL_ADD, s->control, EPOLLIN);
    for (;;) {
        int n = epoll_wait(s->set, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR)
            return;
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == s->control)
                return;
            if (fd == s->listener)
                server_accept(s);
            else if (!peer_serve(s, fd))
                close(fd);
        }
    }
}

/* -1 with errno. */
static int port_listen(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) || listen(fd, BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&at, &len)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

int bench_server_open(struct bench_server *s, struct complaint *why)
{
    static struct server server; /* the child's: too large for a stack */
    int ends[2];
    *s = (struct bench_server){.pid = -1, .control = -1};
    int listener = port_listen(&s->port);
    if (listener < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
        complaint_what(why, "the server of the measurement cannot listen on 127.0.0.1");
        complaint_os(why, "listen", errno);
        if (listener >= 0)
            close(listener);
        return -1;
    }
    s->pid = fork();
    int error = errno;
    if (s->pid == 0) {
        close(ends[0]);
        server.set = epoll_create1(EPOLL_CLOEXEC);
        server.listener = listener;
        server.control = ends[1];
        if (server.set >= 0)
            server_run(&server);
        _exit(0);
    }
    close(listener);
    close(ends[1]);
    s->control = ends[0];
    if (s->pid > 0)
        return 0;
    complaint_what(why, "no process for the server of the measurement");
    complaint_os(why, "fork", error);
    bench_server_close(s);
    return -1;
}

void bench_server_close(struct bench_server *s)
{
    if (s->control >= 0)
        close(s->control);
    if (s->pid > 0) {
        kill(s->pid, SIGTERM); /* a child of ours may still hold the other end */
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *s = (struct bench_server){.pid = -1, .control = -1};
}
