/* SPDX-License-Identifier: MIT */
/* failure_linux: the error queue (ip(7), ipv6(7): IP_RECVERR, IPV6_RECVERR; linux/errqueue.h).
 *
 * The system matches an ICMP error with the socket by the packet that it quotes. What it says about the path is hearsay
 * all the same: it is passed on to the client, who weighs it like any other ICMP error, and changes nothing here. */
#include "sock/failure.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <linux/errqueue.h>

int sock_want_failures(adit_socket s, int family)
{
    int level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
    int name = family == 4 ? IP_RECVERR : IPV6_RECVERR, on = 1;

    return setsockopt(s, level, name, &on, sizeof(on)) < 0 ? errno : 0;
}

static enum icmp_kind kind_of_errno(uint32_t os)
{
    switch (os) {
    case EMSGSIZE:
        return ICMP_TOO_BIG;
    case ECONNREFUSED:
        return ICMP_UNREACH_PORT;
    case EHOSTUNREACH:
    case EHOSTDOWN:
        return ICMP_UNREACH_HOST;
    case ENETUNREACH:
    case ENETDOWN:
        return ICMP_UNREACH_NET;
    case EACCES:
    case EPERM:
        return ICMP_UNREACH_ADMIN;
    default:
        return ICMP_OTHER;
    }
}

static void failure_parse(struct sock_failure *f, const struct sock_extended_err *e)
{
    /* The offender's address follows, as in SO_EE_OFFENDER, which casts the const away. */
    const struct sockaddr *offender = (const struct sockaddr *)(const void *)(e + 1);

    f->kind = ICMP_OTHER;
    if (e->ee_origin == SO_EE_ORIGIN_ICMP)
        f->kind = icmp_kind_of(4, e->ee_type, e->ee_code);
    else if (e->ee_origin == SO_EE_ORIGIN_ICMP6)
        f->kind = icmp_kind_of(6, e->ee_type, e->ee_code);
    else if (e->ee_origin == SO_EE_ORIGIN_LOCAL)
        f->kind = kind_of_errno(e->ee_errno);
    if (f->kind == ICMP_TOO_BIG)
        f->mtu_bytes = e->ee_info;
    if (offender->sa_family == AF_INET || offender->sa_family == AF_INET6)
        (void)adit_addr_from_sockaddr(&f->from, offender);
}

bool sock_next_failure(adit_socket s, struct sock_failure *f)
{
    struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
    union {
        struct cmsghdr align;
        char room[512];
    } control;
    struct iovec iov = {f->quoted, sizeof(f->quoted)};
    struct msghdr m = {.msg_name = &name,
                       .msg_namelen = sizeof(name),
                       .msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    const size_t least = sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in);
    struct cmsghdr *c;
    ssize_t got;

    memset(f, 0, sizeof(*f));
    f->kind = ICMP_OTHER;
    got = recvmsg(s, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (got < 0)
        return false;
    f->quoted_bytes = (size_t)got;
    if (name.ss_family != AF_UNSPEC)
        (void)adit_addr_from_sockaddr(&f->remote, &name);
    for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        bool is_ours = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
                       (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);

        if (is_ours && c->cmsg_len >= CMSG_LEN(least))
            failure_parse(f, (const struct sock_extended_err *)(const void *)CMSG_DATA(c));
    }
    return true;
}
