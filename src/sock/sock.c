/* SPDX-License-Identifier: MIT */
/* sock: opening and closing sockets.
 *
 * A socket that cannot be marked, bound or protected is not used: it would lead back into the tunnel, or past the
 * interface that the host asked for. The reason is logged, rate limited, since every flow meets it. */
#include "sock/sock.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>
#include "base/error.h"
#include "sock/reclaim.h"

/* What one call of sock_open() is about. */
struct sock_wish {
    int purpose, family, type, protocol;
    uint32_t mark;
    const adit_dest *to;
};

static int sock_fail(const struct sock_config *c, const char *op, int os, const char *hint)
{
    char text[128];

    if (!c->log || !c->log_limit || !log_is_on(c->log, ADIT_LOG_ERROR) ||
        !log_limit_allows(c->log_limit, uv_hrtime()))
        return error_from_errno(os);
    snprintf(text, sizeof(text), "%s", strerror(os));
    log_write(c->log, ADIT_LOG_ERROR, "sock", 0, "cannot open a socket toward the outside", "op",
              op, "os", text, "hint", hint, NULL);
    return error_from_errno(os);
}

static int sock_make(adit_socket *out, const struct sock_config *c, const struct sock_wish *w)
{
    int domain = w->family == 4 ? AF_INET : AF_INET6;
    int flags;

    if (!c->socket) {
        do
            *out = socket(domain, w->type | SOCK_NONBLOCK | SOCK_CLOEXEC, w->protocol);
        while (*out < 0 && reclaim_fd(c->loop, errno));
        return *out < 0 ? errno : 0;
    }
    *out = c->socket(c->socket_ctx, w->purpose, w->family, w->type);
    if (*out == ADIT_NO_SOCKET)
        return EPERM;
    flags = fcntl(*out, F_GETFL);
    if (flags < 0 || fcntl(*out, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(*out, F_SETFD, FD_CLOEXEC) < 0) {
        flags = errno;
        close(*out);
        return flags;
    }
    return 0;
}

/* What the host configured, in the order in which it can still be refused. */
static int sock_configure(adit_socket s, const struct sock_config *c, const struct sock_wish *w)
{
    static const adit_dest nowhere;
    uint32_t mark = w->mark ? w->mark : c->mark;
    int os;

    if (mark && (os = sock_set_mark(s, mark)))
        return sock_fail(c, "SO_MARK", os, "needs CAP_NET_ADMIN (or CAP_NET_RAW)");
    if (c->bind_iface && (os = sock_bind_iface(s, w->family, c->bind_iface)))
        return sock_fail(c, "SO_BINDTODEVICE", os, "does the interface exist?");
    if (c->protect && c->protect(c->protect_ctx, s, w->to ? w->to : &nowhere) != 0)
        return sock_fail(c, "protect", EPERM, "the host's protect() refused the socket");
    return 0;
}

static int sock_open_wish(adit_socket *out, const struct sock_config *c, const struct sock_wish *w)
{
    adit_socket s = ADIT_NO_SOCKET;
    int on = 1, rc;

    *out = ADIT_NO_SOCKET;
    rc = sock_make(&s, c, w);
    if (rc && w->purpose == ADIT_SOCKET_PING) /* expected: another kind is tried */
        return error_from_errno(rc);
    if (rc)
        return sock_fail(c, "socket", rc, "the limit of open files (ulimit -n) may be reached");
    rc = sock_configure(s, c, w);
    if (rc < 0) {
        close(s);
        return rc;
    }
    if (w->purpose == ADIT_SOCKET_TCP)
        (void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    else if (w->family == 6)
        (void)setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    *out = s;
    return 0;
}

int sock_open(adit_socket *out, const struct sock_config *c, int purpose, int family, uint32_t mark,
              const adit_dest *to)
{
    struct sock_wish w = {.purpose = purpose, .family = family, .mark = mark, .to = to};

    w.type = purpose == ADIT_SOCKET_TCP ? SOCK_STREAM : SOCK_DGRAM;
    if (purpose == ADIT_SOCKET_PING)
        w.protocol = family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    return sock_open_wish(out, c, &w);
}

int sock_open_raw_icmp(adit_socket *out, const struct sock_config *c, int family, uint32_t mark,
                       const adit_dest *to)
{
    struct sock_wish w = {
        .purpose = ADIT_SOCKET_PING, .family = family, .type = SOCK_RAW, .mark = mark, .to = to};

    w.protocol = family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    return sock_open_wish(out, c, &w);
}

void sock_close(adit_socket s)
{
    close(s);
}

void sock_abort(adit_socket s)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(s);
}

int sock_error(adit_socket s)
{
    int os = 0;
    socklen_t len = sizeof(os);

    if (getsockopt(s, SOL_SOCKET, SO_ERROR, &os, &len) < 0)
        os = errno;
    return os ? error_from_errno(os) : 0;
}

int sock_connect(adit_socket s, const adit_addr *to)
{
    struct sockaddr_storage name;
    int len;

    if (adit_addr_to_sockaddr(to, &name, &len) < 0)
        return ADIT_EINVAL;
    if (connect(s, (const struct sockaddr *)&name, (socklen_t)len) == 0)
        return 0;
    /* A connect that a signal interrupted goes on by itself. */
    if (errno == EINPROGRESS || errno == EINTR)
        return ADIT_EAGAIN;
    return error_from_errno(errno);
}
