/* SPDX-License-Identifier: MIT */
/* netlink_linux: rtnetlink requests about one interface, built and parsed with libmnl.
 *
 * Every request asks for an acknowledgment and for the kernel's own sentence about a failure (NETLINK_EXT_ACK), which goes
 * into the error beside the name of the request and a hint. A refusal for lack of privilege is a failure only where
 * something would have changed: an interface that was prepared for an unprivileged user (ip tuntap add ... user ...) is
 * adopted as it is when it already has what the options ask for.
 *
 * The loopback interface of a namespace, and everything else that is not this interface, is not touched. In
 * particular a route that exists is never replaced. */
#include "dev/netlink_linux.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/error.h"

enum { MESSAGE_BYTES = 1024, REPLY_BYTES = 16384, AWAIT_STEP_MS = 2, AWAIT_MAX_MS = 1000, ROUTE_METRIC = 1u << 20 };

static const char hint_privilege[] = "CAP_NET_ADMIN is needed in the user namespace that owns the "
                                     "network namespace: run as root, or adopt an "
                                     "interface that somebody else has configured already";

int netlink_prefix_parse(struct netlink_prefix *out, const char *text)
{
    char host[ADIT_ADDR_TEXT];
    const char *slash = strchr(text, '/');
    size_t host_bytes = slash ? (size_t)(slash - text) : strlen(text);
    unsigned bits = 0, bits_max;

    if (host_bytes >= sizeof(host))
        return ADIT_EINVAL;
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    if (adit_addr_parse(&out->addr, host) != ADIT_OK || out->addr.port != 0)
        return ADIT_EINVAL;
    bits_max = out->addr.family == 4 ? 32 : 128;
    if (!slash) {
        out->len_bits = (uint8_t)bits_max;
        return ADIT_OK;
    }
    if (slash[1] == '\0' || strlen(slash + 1) > 3)
        return ADIT_EINVAL;
    for (const char *c = slash + 1; *c; c++) {
        if (*c < '0' || *c > '9')
            return ADIT_EINVAL;
        bits = bits * 10 + (unsigned)(*c - '0');
    }
    if (bits > bits_max)
        return ADIT_EINVAL;
    out->len_bits = (uint8_t)bits;
    return ADIT_OK;
}

/* The 4 or 16 octets of an address as the kernel wants them. */
static const uint8_t *raw_addr(const adit_addr *a, size_t *len_bytes)
{
    *len_bytes = a->family == 4 ? 4 : 16;
    return a->family == 4 ? a->ip + 12 : a->ip;
}

/* ------------------------------------------------------------------------------------- the socket -- */

int netlink_open(struct netlink *n, const char *ifname, adit_error *err)
{
    int on = 1;

    *n = (struct netlink){.err = err};
    snprintf(n->ifname, sizeof(n->ifname), "%s", ifname);
    n->ifindex = if_nametoindex(ifname);
    if (n->ifindex == 0)
        return error_setf(err, ADIT_ENODEV, errno, "if_nametoindex",
                          "it was deleted or renamed meanwhile; is another program managing it?",
                          "no interface %s", ifname);
    n->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!n->socket)
        return error_set(err, error_from_errno(errno), errno, "socket(AF_NETLINK)",
                         "no rtnetlink socket", "is it forbidden by a seccomp filter?");
    if (mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int os = errno;

        netlink_close(n);
        return error_set(err, error_from_errno(os), os, "bind(AF_NETLINK)", "no rtnetlink socket",
                         "is it forbidden by a seccomp filter?");
    }
    /* Old kernels have none; then there is no sentence. */
    (void)mnl_socket_setsockopt(n->socket, NETLINK_EXT_ACK, &on, sizeof(on));
    return ADIT_OK;
}

void netlink_close(struct netlink *n)
{
    if (n->socket)
        mnl_socket_close(n->socket);
    n->socket = NULL;
}

struct sentence {
    char *text;
    size_t text_bytes;
};

static int sentence_attr(const struct nlattr *a, void *ctx)
{
    const struct sentence *s = ctx;

    if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG)
        snprintf(s->text, s->text_bytes, "%.*s", (int)mnl_attr_get_payload_len(a),
                 (const char *)mnl_attr_get_payload(a));
    return MNL_CB_OK;
}

/* The kernel's sentence in an error message, or "". */
static void copy_sentence(char *text, size_t text_bytes, const struct nlmsghdr *h)
{
    struct sentence s = {text, text_bytes};
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
    size_t skip = sizeof(*e);

    text[0] = '\0';
    if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
        return;
    if (!(h->nlmsg_flags & NLM_F_CAPPED))
        skip += e->msg.nlmsg_len - sizeof(e->msg);
    mnl_attr_parse(h, (unsigned)skip, sentence_attr, &s);
}

/* Sends, and waits for the answer. 0 or an errno; `text` gets the kernel's sentence. */
static int netlink_ask(struct netlink *n, struct nlmsghdr *h, char *text, size_t text_bytes)
{
    char reply[REPLY_BYTES];

    text[0] = '\0';
    h->nlmsg_seq = ++n->seq;
    h->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (mnl_socket_sendto(n->socket, h, h->nlmsg_len) < 0)
        return errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(n->socket, reply, sizeof(reply));
        const struct nlmsghdr *r = (const struct nlmsghdr *)(const void *)reply;
        int left = (int)got;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        for (; mnl_nlmsg_ok(r, left); r = mnl_nlmsg_next(r, &left)) {
            const struct nlmsgerr *e = mnl_nlmsg_get_payload(r);

            if (r->nlmsg_type != NLMSG_ERROR || r->nlmsg_seq != h->nlmsg_seq)
                continue;
            copy_sentence(text, text_bytes, r);
            return -e->error;
        }
    }
}

static int netlink_fail(struct netlink *n, int os, const char *op, const char *what,
                        const char *sentence)
{
    bool privilege = os == EPERM || os == EACCES;
    const char *hint = privilege ? hint_privilege : "";

    if (os == EACCES && strcmp(op, "RTM_NEWADDR") == 0)
        hint = "IPv6 is switched off for it: sysctl net.ipv6.conf.all.disable_ipv6=0, or use no "
               "IPv6 address";
    if (os == EOPNOTSUPP || os == EAFNOSUPPORT)
        hint = "the kernel has no IPv6, it seems: use no IPv6 address";
    return error_setf(n->err, error_from_errno(os), os, op, hint, "%s: %s: %s%s%s", n->ifname, what,
                      strerror(os), *sentence ? ": " : "", sentence);
}

/* ----------------------------------------------------------------------------------------- link -- */

/* One value of the interface by the old ioctl, which needs no privilege. False: not known. */
static bool link_query(const char *ifname, unsigned long request, struct ifreq *r)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    if (fd < 0)
        return false;
    *r = (struct ifreq){0};
    snprintf(r->ifr_name, sizeof(r->ifr_name), "%s", ifname);
    ok = ioctl(fd, request, r) == 0;
    close(fd);
    return ok;
}

static struct nlmsghdr *link_message(const struct netlink *n, char *message,
                                     struct ifinfomsg **link)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(message);

    h->nlmsg_type = RTM_NEWLINK;
    *link = mnl_nlmsg_put_extra_header(h, sizeof(**link));
    (*link)->ifi_family = AF_UNSPEC;
    (*link)->ifi_index = (int)n->ifindex;
    return h;
}

int netlink_set_link(struct netlink *n, uint32_t mtu_bytes, uint32_t txqueue_packets)
{
    char message[MESSAGE_BYTES], sentence[128];
    struct ifreq mtu, queue;
    struct ifinfomsg *link;
    struct nlmsghdr *h;
    int os;

    if (link_query(n->ifname, SIOCGIFMTU, &mtu) && link_query(n->ifname, SIOCGIFTXQLEN, &queue) &&
        (uint32_t)mtu.ifr_mtu == mtu_bytes && (uint32_t)queue.ifr_qlen == txqueue_packets)
        return ADIT_OK;
    h = link_message(n, message, &link);
    mnl_attr_put_u32(h, IFLA_MTU, mtu_bytes);
    mnl_attr_put_u32(h, IFLA_TXQLEN, txqueue_packets);
    os = netlink_ask(n, h, sentence, sizeof(sentence));
    return os ? netlink_fail(n, os, "RTM_NEWLINK", "setting MTU and queue length", sentence)
              : ADIT_OK;
}

int netlink_set_up(struct netlink *n)
{
    char message[MESSAGE_BYTES], sentence[128];
    struct ifreq flags;
    struct ifinfomsg *link;
    struct nlmsghdr *h;
    int os;

    if (link_query(n->ifname, SIOCGIFFLAGS, &flags) && flags.ifr_flags & IFF_UP)
        return ADIT_OK;
    h = link_message(n, message, &link);
    link->ifi_flags = link->ifi_change = IFF_UP;
    os = netlink_ask(n, h, sentence, sizeof(sentence));
    return os ? netlink_fail(n, os, "RTM_NEWLINK", "bringing it up", sentence) : ADIT_OK;
}

/* -------------------------------------------------------------------------------------- addresses -- */

static uint8_t mask_bits(const uint8_t *mask, size_t len_bytes)
{
    uint8_t bits = 0;

    while (bits < len_bytes * 8 && mask[bits / 8] & (0x80 >> bits % 8))
        bits++;
    return bits;
}

static bool addr_is(const struct ifaddrs *i, const struct netlink *n,
                    const struct netlink_prefix *p)
{
    size_t len_bytes;
    const uint8_t *want = raw_addr(&p->addr, &len_bytes);
    size_t at = p->addr.family == 4 ? offsetof(struct sockaddr_in, sin_addr)
                                    : offsetof(struct sockaddr_in6, sin6_addr);

    if (!i->ifa_addr || !i->ifa_netmask || strcmp(i->ifa_name, n->ifname) != 0)
        return false;
    if (i->ifa_addr->sa_family != (p->addr.family == 4 ? AF_INET : AF_INET6))
        return false;
    return memcmp((const uint8_t *)i->ifa_addr + at, want, len_bytes) == 0 &&
           mask_bits((const uint8_t *)i->ifa_netmask + at, len_bytes) == p->len_bits;
}

static bool addr_is_there(const struct netlink *n, const struct netlink_prefix *p)
{
    struct ifaddrs *all, *i;
    bool found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (i = all; i && !found; i = i->ifa_next)
        found = addr_is(i, n, p);
    freeifaddrs(all);
    return found;
}

int netlink_add_addr(struct netlink *n, const struct netlink_prefix *p)
{
    char message[MESSAGE_BYTES], sentence[128], text[ADIT_ADDR_TEXT], what[128];
    size_t len_bytes;
    const uint8_t *raw = raw_addr(&p->addr, &len_bytes);
    struct nlmsghdr *h = mnl_nlmsg_put_header(message);
    struct ifaddrmsg *a;
    int os;

    if (addr_is_there(n, p))
        return ADIT_OK;
    h->nlmsg_type = RTM_NEWADDR;
    h->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
    a = mnl_nlmsg_put_extra_header(h, sizeof(*a));
    a->ifa_family = p->addr.family == 4 ? AF_INET : AF_INET6;
    a->ifa_prefixlen = p->len_bits;
    a->ifa_index = n->ifindex;
    a->ifa_flags = IFA_F_NODAD; /* nobody else is on this link */
    mnl_attr_put(h, IFA_LOCAL, len_bytes, raw);
    mnl_attr_put(h, IFA_ADDRESS, len_bytes, raw);
    os = netlink_ask(n, h, sentence, sizeof(sentence));
    if (os == 0)
        return ADIT_OK;
    adit_addr_format(&p->addr, text, sizeof(text));
    snprintf(what, sizeof(what), "adding the address %s/%u", text, p->len_bits);
    return netlink_fail(n, os, "RTM_NEWADDR", what, sentence);
}

/* ----------------------------------------------------------------------------------------- routes -- */

static int route_type(const struct nlmsghdr *h, void *ctx)
{
    const struct rtmsg *r = mnl_nlmsg_get_payload(h);

    if (h->nlmsg_type == RTM_NEWROUTE)
        *(unsigned char *)ctx = r->rtm_type;
    return MNL_CB_OK;
}

/* What the kernel would do with a packet to that address. */
static unsigned char addr_route_type(struct netlink *n, const adit_addr *addr)
{
    char message[MESSAGE_BYTES], reply[REPLY_BYTES];
    unsigned char type = RTN_UNSPEC;
    size_t len_bytes;
    const uint8_t *raw = raw_addr(addr, &len_bytes);
    struct nlmsghdr *h = mnl_nlmsg_put_header(message);
    struct rtmsg *r;
    ssize_t got;

    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_REQUEST;
    h->nlmsg_seq = ++n->seq;
    r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
    r->rtm_family = (unsigned char)(addr->family == 4 ? AF_INET : AF_INET6);
    r->rtm_dst_len = (unsigned char)(len_bytes * 8);
    mnl_attr_put(h, RTA_DST, len_bytes, raw);
    if (mnl_socket_sendto(n->socket, h, h->nlmsg_len) < 0)
        return type;
    do
        got = mnl_socket_recvfrom(n->socket, reply, sizeof(reply));
    while (got < 0 && errno == EINTR);
    if (got > 0)
        (void)mnl_cb_run(reply, (size_t)got, h->nlmsg_seq, mnl_socket_get_portid(n->socket), route_type, &type);
    return type;
}

void netlink_await_addr(struct netlink *n, const struct netlink_prefix *p)
{
    static const struct timespec step = {.tv_nsec = AWAIT_STEP_MS * 1000000L};

    for (int ms = 0; ms < AWAIT_MAX_MS && addr_route_type(n, &p->addr) != RTN_LOCAL; ms += AWAIT_STEP_MS)
        nanosleep(&step, NULL);
}

struct route_search {
    unsigned ifindex;
    bool found;
};

static int route_attr(const struct nlattr *a, void *ctx)
{
    struct route_search *s = ctx;

    if (mnl_attr_get_type(a) == RTA_OIF && mnl_attr_validate(a, MNL_TYPE_U32) == 0 &&
        mnl_attr_get_u32(a) == s->ifindex)
        s->found = true;
    return MNL_CB_OK;
}

static int route_row(const struct nlmsghdr *h, void *ctx)
{
    const struct rtmsg *r = mnl_nlmsg_get_payload(h);

    if (h->nlmsg_type == RTM_NEWROUTE && r->rtm_dst_len == 0 && r->rtm_table == RT_TABLE_MAIN &&
        r->rtm_type == RTN_UNICAST)
        return mnl_attr_parse(h, sizeof(*r), route_attr, ctx);
    return MNL_CB_OK;
}

/* A default route through our interface is there already. */
static bool default_is_ours(struct netlink *n, int family)
{
    char message[MESSAGE_BYTES], reply[REPLY_BYTES];
    struct route_search s = {.ifindex = n->ifindex};
    struct nlmsghdr *h = mnl_nlmsg_put_header(message);
    struct rtmsg *r;
    unsigned port = mnl_socket_get_portid(n->socket);
    int more = MNL_CB_OK;

    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    h->nlmsg_seq = ++n->seq;
    r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
    r->rtm_family = (unsigned char)(family == 4 ? AF_INET : AF_INET6);
    if (mnl_socket_sendto(n->socket, h, h->nlmsg_len) < 0)
        return false;
    while (more > MNL_CB_STOP) {
        ssize_t got = mnl_socket_recvfrom(n->socket, reply, sizeof(reply));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return s.found;
        more = mnl_cb_run(reply, (size_t)got, h->nlmsg_seq, port, route_row, &s);
    }
    return s.found;
}

/* 0 or errno. p of length 0: a default route. metric 0: the kernel's own choice. */
static int route_ask(struct netlink *n, const struct netlink_prefix *p, uint32_t metric, uint16_t flags,
                     char *sentence, size_t sentence_bytes)
{
    char message[MESSAGE_BYTES];
    struct nlmsghdr *h = mnl_nlmsg_put_header(message);
    size_t len_bytes;
    const uint8_t *raw = raw_addr(&p->addr, &len_bytes);
    struct rtmsg *r;

    h->nlmsg_type = RTM_NEWROUTE;
    h->nlmsg_flags = flags;
    r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
    r->rtm_family = (unsigned char)(p->addr.family == 4 ? AF_INET : AF_INET6);
    r->rtm_dst_len = p->len_bits;
    r->rtm_table = RT_TABLE_MAIN;
    r->rtm_protocol = RTPROT_STATIC;
    r->rtm_scope = p->addr.family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    r->rtm_type = RTN_UNICAST;
    if (p->len_bits > 0)
        mnl_attr_put(h, RTA_DST, len_bytes, raw);
    mnl_attr_put_u32(h, RTA_OIF, n->ifindex);
    if (metric > 0)
        mnl_attr_put_u32(h, RTA_PRIORITY, metric);
    return netlink_ask(n, h, sentence, sentence_bytes);
}

int netlink_add_route(struct netlink *n, const struct netlink_prefix *p)
{
    char sentence[128], text[ADIT_ADDR_TEXT], what[128];
    int os = route_ask(n, p, 0, NLM_F_CREATE | NLM_F_EXCL, sentence, sizeof(sentence));

    if (os == EEXIST) /* ours or not: no other interface has this metric */
        os = route_ask(n, p, ROUTE_METRIC + n->ifindex, NLM_F_CREATE | NLM_F_REPLACE, sentence, sizeof(sentence));
    if (os == 0)
        return ADIT_OK;
    adit_addr_format(&p->addr, text, sizeof(text));
    snprintf(what, sizeof(what), "adding a route to %s/%u", text, p->len_bits);
    return netlink_fail(n, os, "RTM_NEWROUTE", what, sentence);
}

int netlink_add_default(struct netlink *n, int family)
{
    const struct netlink_prefix all = {.addr = {.family = (uint8_t)family}};
    char sentence[128], what[64];
    int os;

    if (default_is_ours(n, family))
        return ADIT_OK;
    os = route_ask(n, &all, 0, NLM_F_CREATE | NLM_F_EXCL, sentence, sizeof(sentence));
    if (os == 0)
        return ADIT_OK;
    snprintf(what, sizeof(what), "adding the IPv%d default route", family);
    if (os == EEXIST)
        return error_setf(
            n->err, ADIT_EEXIST, os, "RTM_NEWROUTE",
            "default_route is meant for a network namespace of its own; elsewhere route "
            "prefixes, or use policy routing",
            "%s: %s: there is one through another interface", n->ifname, what);
    return netlink_fail(n, os, "RTM_NEWROUTE", what, sentence);
}
