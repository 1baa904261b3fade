/* SPDX-License-Identifier: MIT */
/* sockets: TCP of the kernel's over the loopback interface. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "adit/base.h"

enum { TCP_QUEUE_FILLERS = 8 };

/* Listens at an address (without a port: any) which is told in *at. backlog < 0: it is bound, and nobody listens. */
static inline int tcp_listen(adit_addr *at, const char *text, int backlog)
{
    struct sockaddr_storage name;
    socklen_t name_bytes;
    int fd, bytes;

    assert_int_equal(adit_addr_parse(at, text), 0);
    assert_int_equal(adit_addr_to_sockaddr(at, &name, &bytes), 0);
    name_bytes = (socklen_t)bytes;
    fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, name_bytes), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &name_bytes), 0);
    assert_int_equal(adit_addr_from_sockaddr(at, &name), 0);
    return fd;
}

static inline void tcp_unblock(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* type: SOCK_STREAM, perhaps with SOCK_NONBLOCK: then it may be on its way. */
static inline int tcp_connect(const adit_addr *to, int type)
{
    struct sockaddr_storage name;
    int fd, bytes;

    assert_int_equal(adit_addr_to_sockaddr(to, &name, &bytes), 0);
    fd = socket(name.ss_family, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&name, (socklen_t)bytes) < 0)
        assert_true(type & SOCK_NONBLOCK);
    return fd;
}

/* Two ends of a connection that do not block. */
static inline void tcp_pair(int fds[2])
{
    adit_addr at;
    int listener = tcp_listen(&at, "127.0.0.1", 1);

    fds[0] = tcp_connect(&at, SOCK_STREAM);
    fds[1] = accept(listener, NULL, NULL);
    assert_true(fds[1] >= 0);
    tcp_unblock(fds[0]);
    tcp_unblock(fds[1]);
    close(listener);
}

/* A listener with a backlog of 0 answers no SYN any more. */
static inline void tcp_fill_queue(const adit_addr *at, int fds[TCP_QUEUE_FILLERS])
{
    for (int i = 0; i < TCP_QUEUE_FILLERS; i++)
        fds[i] = tcp_connect(at, SOCK_STREAM | SOCK_NONBLOCK);
}

static inline void tcp_close_all(const int fds[TCP_QUEUE_FILLERS])
{
    for (int i = 0; i < TCP_QUEUE_FILLERS; i++)
        close(fds[i]);
}
