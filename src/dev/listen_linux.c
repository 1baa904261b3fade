/* SPDX-License-Identifier: MIT */
/* listen_linux: listening on a TUN's own address (listen.h).
 *
 * The socket is bound to the interface and hears fake peers only, so that nobody else reaches it; the port is the kernel's
 * choice. Fake peers get a route of their own: a default route may not be there, and strict reverse path filters look for one.
 * What the client sees of congestion control is cubic: over a device on the same host the bandwidth estimates of
 * others are of no use. */
#include "dev/listen.h"
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/error.h"
#include "dev/netlink_linux.h"
#include "wire/fake_peer.h"

enum { LISTEN_BACKLOG = 4096 };

static int listen_fail(adit_error *err, const char *op, const char *text)
{
    int os = errno;

    return error_setf(err, error_from_errno(os), os, op,
                      "the stack \"userspace\" needs no listening socket",
                      "the kernel cannot accept flows at %s: %s", text, strerror(os));
}

/* Lets nobody in but fake peers. Being bound to the interface is not enough: to the kernel, what a process of this host sends to
 * the interface's own address comes from that interface. What the filter drops gets no answer. Accepted sockets inherit it,
 * and all that they receive passes. */
static int listen_filter(int fd, int family)
{
    struct sock_filter code[16];
    struct sock_fprog program = {.filter = code};
    unsigned words = family == 4 ? 1 : 4, len = 0;
    uint32_t source = (uint32_t)SKF_NET_OFF + (family == 4 ? 12 : 8);
    uint8_t ip[16];

    (void)fake_peer_prefix(family, ip);
    for (unsigned i = 0; i < words; i++) {
        uint8_t left = (uint8_t)(words - 1 - i);

        code[len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, source + 4 * i);
        if (left == 0)
            code[len++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)(FAKE_PEERS - 1));
        /* else: over what is left, to the last statement */
        code[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, get_be32(ip + 16 - 4 * (words - i)), 0,
                                                   (uint8_t)(left == 0 ? 1 : 2 * left + 2));
    }
    code[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    code[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    program.len = (unsigned short)len;
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* Binds and listens. The socket is closed by the caller. */
static int listen_at(int fd, const adit_addr *at, const char *ifname, adit_error *err)
{
    struct sockaddr_storage name;
    char text[ADIT_ADDR_TEXT];
    int len, on = 1;

    adit_addr_format(at, text, sizeof(text));
    if (adit_addr_to_sockaddr(at, &name, &len) < 0)
        return error_set(err, ADIT_EINVAL, 0, "addrs", "not an address to listen at", "");
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ifname, (socklen_t)strlen(ifname) + 1) < 0)
        return listen_fail(err, "SO_BINDTODEVICE", text);
    if (at->family == 6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
    if (listen_filter(fd, at->family) < 0)
        return listen_fail(err, "SO_ATTACH_FILTER", text);
    if (bind(fd, (const struct sockaddr *)&name, (socklen_t)len) < 0)
        return listen_fail(err, "bind", text);
    if (listen(fd, LISTEN_BACKLOG) < 0)
        return listen_fail(err, "listen", text);
    return ADIT_OK;
}

static int listen_one(const struct netlink_prefix *own, const char *ifname, adit_socket *out, adit_error *err)
{
    int domain = own->addr.family == 4 ? AF_INET : AF_INET6;
    int fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int rc;

    if (fd < 0)
        return listen_fail(err, "socket", ifname);
    rc = listen_at(fd, &own->addr, ifname, err);
    if (rc != ADIT_OK) {
        close(fd);
        return rc;
    }
    *out = fd;
    return ADIT_OK;
}

static bool first_addr(const adit_options *o, int family, struct netlink_prefix *p)
{
    for (size_t i = 0; i < o->addrs_count; i++) {
        if (netlink_prefix_parse(p, o->addrs[i]) == ADIT_OK && p->addr.family == family)
            return true;
    }
    return false;
}

static int add_peers_route(int family, const char *ifname, adit_error *err)
{
    struct netlink_prefix peers = {.addr = {.family = (uint8_t)family}};
    struct netlink n;
    int rc = netlink_open(&n, ifname, err);

    if (rc != ADIT_OK)
        return rc;
    peers.len_bits = fake_peer_prefix(family, peers.addr.ip);
    rc = netlink_add_route(&n, &peers);
    netlink_close(&n);
    return rc;
}

int listen_open(const adit_options *o, const char *ifname, adit_socket out[LISTEN_MAX], size_t *count, adit_error *err)
{
    static const int families[LISTEN_MAX] = {4, 6};
    struct netlink_prefix own;
    int rc = ADIT_OK;

    *count = 0;
    for (int i = 0; i < LISTEN_MAX && rc == ADIT_OK; i++) {
        if (!first_addr(o, families[i], &own))
            continue;
        rc = ip_is_fake_peer(own.addr.ip)
                 ? error_set(err, ADIT_EINVAL, 0, "addrs", "the stack \"system\" has that prefix for its fake peers",
                             "give the device an address outside 198.19.255.0/24 and fd61:6469:7470:6565:7200::/120")
                 : add_peers_route(families[i], ifname, err);
        if (rc == ADIT_OK)
            rc = listen_one(&own, ifname, &out[*count], err);
        if (rc == ADIT_OK)
            ++*count;
    }
    if (rc == ADIT_OK && *count == 0)
        rc = error_set(err, ADIT_EINVAL, 0, "addrs", "the stack \"system\" needs a device with an address",
                       "set addrs, or use the stack \"userspace\"");
    if (rc != ADIT_OK)
        listen_close(out, count);
    return rc;
}

void listen_close(adit_socket *sockets, size_t *count)
{
    while (*count > 0)
        close(sockets[--*count]);
}
