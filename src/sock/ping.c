/* SPDX-License-Identifier: MIT */
/* ping: echo requests of clients, sent on by sockets of ours.
 *
 *   client's flow (addresses, identifier) --> table --> socket connected to the real destination --> network
 *
 * A ping socket: the kernel puts in the identifier and the checksum, and gives it only its own replies. A raw socket: the
 * identifier is ours (a counter that starts at random), and what else arrives is recognized by it and ignored. Both:
 * connected, so that replies come from the destination alone; the hop limit is a socket option that is set
 * when it changes, which works on every kernel; the reply's own hop limit comes with it and is passed on.
 *
 * Errors come from the error queue with the request they are about, whose sequence number says which one it was. */
#include "sock/ping.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "net/icmp.h"
#include "sock/failure.h"
#include "sock/reclaim.h"

enum {
    PING_BATCH_MAX = 16, /* replies, and errors, of one wake-up: the sockets are level-triggered */
    PING_TTL_UNSET = -1,
    ICMP4_ECHO_REPLY = 0,
    ICMP4_ECHO_REQUEST = 8,
    ICMP6_ECHO_REQUEST = 128,
    ICMP6_ECHO_REPLY = 129,
};

struct ping_socket {
    struct watch watch;
    struct reclaimable reclaimable;
    struct loop_timer idle;
    struct list node;
    struct ping *ping;
    struct flow_key key;
    uint8_t real[16]; /* the destination; key.remote is what the client calls it */
    uint32_t hash;
    uint16_t id; /* on the wire, of a raw socket */
    int ttl;     /* as last set */
    uint8_t family;
    bool is_raw;
};

struct ping {
    struct adit_loop *loop;
    const struct sock_config *config;
    struct net *net;
    uint64_t idle_ns;
    struct hash table;
    struct list sockets;
    uint16_t next_id;
    bool has_complained;
};

/* ---------------------------------------------------------------------------------------- sockets -- */

static void ping_socket_close(struct ping_socket *s)
{
    hash_remove(&s->ping->table, s->hash, s);
    list_remove(&s->node);
    reclaimable_end(&s->reclaimable);
    loop_timer_stop(s->ping->loop, &s->idle);
    watch_remove(&s->watch);
    sock_close(s->watch.fd);
    loop_release(s->ping->loop, s, sizeof(*s));
}

static void ping_socket_expire(struct loop_timer *t)
{
    ping_socket_close(LIST_ENTRY(t, struct ping_socket, idle));
}

static void ping_socket_reclaim(struct reclaimable *t)
{
    ping_socket_close(LIST_ENTRY(t, struct ping_socket, reclaimable));
}

static struct ping_socket *ping_find(const struct ping *p, const struct flow_key *key,
                                     uint32_t hash)
{
    struct ping_socket *s;
    uint32_t pos;

    for (s = hash_first(&p->table, hash, &pos); s; s = hash_next(&p->table, hash, &pos))
        if (memcmp(&s->key, key, sizeof(*key)) == 0)
            return s;
    return NULL;
}

static int ping_refused(struct ping *p)
{
    if (!p->has_complained && p->config->log)
        log_write(
            p->config->log, ADIT_LOG_WARN, "ping", 0, "echo requests cannot be sent on", "hint",
            "let our group use ping sockets (sysctl net.ipv4.ping_group_range=\"0 2147483647\") "
            "or give the process CAP_NET_RAW",
            NULL);
    p->has_complained = true;
    return ADIT_EPERM;
}

/* Opens a socket of either kind. 0 or a code. */
static int ping_open(struct ping *p, adit_socket *fd, bool *is_raw, const adit_addr *real,
                     uint32_t mark)
{
    adit_dest to = {.addr = *real};
    int rc;

    *is_raw = false;
    rc = sock_open(fd, p->config, ADIT_SOCKET_PING, real->family, mark, &to);
    if (rc != ADIT_EPERM)
        return rc;
    *is_raw = true;
    rc = sock_open_raw_icmp(fd, p->config, real->family, mark, &to);
    return rc == ADIT_EPERM ? ping_refused(p) : rc;
}

static void ping_ready(struct watch *w, unsigned events);

static void ping_configure(adit_socket fd, uint8_t family)
{
    int level = family == 4 ? IPPROTO_IP : IPPROTO_IPV6, on = 1;

    (void)sock_want_failures(fd, family);
    (void)setsockopt(fd, level, family == 4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, &on, sizeof(on));
}

static int ping_socket_new(struct ping *p, struct ping_socket **out, const struct flow_key *key,
                           const adit_addr *real, uint32_t mark)
{
    struct ping_socket *s;
    adit_addr to = *real;
    adit_socket fd;
    bool is_raw;
    int rc;

    rc = ping_open(p, &fd, &is_raw, real, mark);
    if (rc < 0)
        return rc;
    ping_configure(fd, real->family);
    to.port = 0;
    rc = sock_connect(fd, &to);
    if (rc < 0)
        goto fail_fd;
    rc = ADIT_ENOMEM;
    s = loop_alloc(p->loop, sizeof(*s));
    if (!s)
        goto fail_fd;
    *s = (struct ping_socket){
        .ping = p, .key = *key, .ttl = PING_TTL_UNSET, .family = real->family};
    s->hash = (uint32_t)siphash13(&p->net->secret, key, sizeof(*key));
    memcpy(s->real, real->ip, sizeof(s->real));
    s->is_raw = is_raw;
    s->id = p->next_id++;
    list_init(&s->node);
    loop_timer_init(&s->idle, ping_socket_expire);
    reclaimable_init(&s->reclaimable, ping_socket_reclaim);
    if (!hash_insert(&p->table, s->hash, s))
        goto fail_memory;
    rc = watch_add(p->loop, &s->watch, fd, ADIT_READ, false, ping_ready);
    if (rc < 0)
        goto fail_hash;
    list_push_back(&p->sockets, &s->node);
    *out = s;
    return 0;

fail_hash:
    hash_remove(&p->table, s->hash, s);
fail_memory:
    loop_release(p->loop, s, sizeof(*s));
fail_fd:
    sock_close(fd);
    return rc;
}

/* --------------------------------------------------------------------------------------- requests -- */

static uint16_t ones_sum(const uint8_t *data, size_t len, uint32_t sum)
{
    size_t i;

    for (i = 0; i + 1 < len; i += 2)
        sum += get_be16(data + i);
    if (i < len)
        sum += (uint32_t)data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void ping_set_ttl(struct ping_socket *s, uint8_t ttl)
{
    int value = ttl;

    if (s->ttl == value)
        return;
    if (s->family == 4)
        (void)setsockopt(s->watch.fd, IPPROTO_IP, IP_TTL, &value, sizeof(value));
    else
        (void)setsockopt(s->watch.fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &value, sizeof(value));
    s->ttl = value;
}

static int ping_send(struct ping_socket *s, const struct icmp_message *m)
{
    uint8_t header[ICMP_HEADER_BYTES] = {s->family == 4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST};
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)(uintptr_t)m->data, m->data_bytes}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    int tries;

    put_be16(header + 4, s->id);
    put_be16(header + 6, m->seq);
    if (s->family == 4) /* the kernel does it for all the others */
        put_be16(header + 2,
                 (uint16_t)~ones_sum(m->data, m->data_bytes, ones_sum(header, sizeof(header), 0)));
    /* An error about an earlier request fails the first try. */
    for (tries = 0; tries < 2; tries++)
        if (sendmsg(s->watch.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
    net_drop(s->ping->net, DROP_ICMP_UPSTREAM);
    return error_from_errno(errno);
}

int ping_request(struct ping *p, const struct flow_key *key, const adit_addr *real,
                 const struct icmp_message *m, uint8_t ttl, uint32_t mark)
{
    uint32_t hash = (uint32_t)siphash13(&p->net->secret, key, sizeof(*key));
    struct ping_socket *s = ping_find(p, key, hash);
    int rc;

    if (!s && p->table.count >= PING_SOCKETS_MAX)
        return ADIT_ELIMIT;
    if (!s && (rc = ping_socket_new(p, &s, key, real, mark)) < 0)
        return rc;
    loop_timer_set(p->loop, &s->idle, loop_now_ns(p->loop) + p->idle_ns);
    reclaimable_use(p->loop, &s->reclaimable);
    ping_set_ttl(s, ttl);
    return ping_send(s, m);
}

/* ---------------------------------------------------------------------------------------- replies -- */

static uint8_t ping_reply_ttl(struct msghdr *m)
{
    struct cmsghdr *c;
    int ttl = 0;

    for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        bool is_ttl = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
                      (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT);

        if (is_ttl && c->cmsg_len >= CMSG_LEN(sizeof(ttl)))
            memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
    }
    return (uint8_t)ttl;
}

/* What arrived on the socket, if it is a reply to it: to the client. */
static void ping_take_reply(struct ping_socket *s, const uint8_t *data, size_t len, uint8_t ttl)
{
    struct bytes b = bytes_of(data, len);
    uint8_t type;
    uint16_t id, seq;

    if (s->is_raw && s->family == 4) {
        size_t header_bytes = len > 0 ? (size_t)(data[0] & 15) * 4 : 0;

        bytes_take(&b, header_bytes);
    }
    type = bytes_u8(&b);
    bytes_take(&b, 3); /* code, checksum: verified by the kernel */
    id = bytes_be16(&b);
    seq = bytes_be16(&b);
    if (b.bad || type != (s->family == 4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY) ||
        (s->is_raw && id != s->id))
        return;
    icmp_reply(s->ping->net, &s->key, seq, b.at, bytes_left(&b), ttl, loop_now_ns(s->ping->loop));
}

/* False: nothing more waits. */
static bool ping_receive(struct ping_socket *s, uint8_t *scratch)
{
    union {
        struct cmsghdr align;
        char room[128];
    } control;
    struct iovec iov = {scratch, 65536};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(s->watch.fd, &m, MSG_DONTWAIT);

    if (got < 0)
        return errno != EAGAIN && errno != EWOULDBLOCK;
    if (!(m.msg_flags & MSG_TRUNC))
        ping_take_reply(s, scratch, (size_t)got, ping_reply_ttl(&m));
    return true;
}

static void ping_take_failure(struct ping_socket *s, const struct sock_failure *f)
{
    bool is_destination = !f->from.family || memcmp(f->from.ip, s->real, sizeof(s->real)) == 0;
    const uint8_t *from = is_destination ? s->key.remote : f->from.ip;

    if (f->kind == ICMP_OTHER || f->quoted_bytes < sizeof(f->quoted))
        return;
    if (s->is_raw && get_be16(f->quoted + 4) != s->id)
        return;
    icmp_echo_failed(s->ping->net, &s->key, get_be16(f->quoted + 6), f->kind, f->mtu_bytes, from,
                     loop_now_ns(s->ping->loop));
}

static void ping_ready(struct watch *w, unsigned events)
{
    struct ping_socket *s = LIST_ENTRY(w, struct ping_socket, watch);
    uint8_t *scratch = loop_scratch(w->loop);
    struct sock_failure f;
    int i;

    if (events & WATCH_HANGUP)
        for (i = 0; i < PING_BATCH_MAX && sock_next_failure(w->fd, &f); i++)
            ping_take_failure(s, &f);
    for (i = 0; scratch && i < PING_BATCH_MAX && ping_receive(s, scratch); i++)
        ;
}

/* -------------------------------------------------------------------------------------- lifecycle -- */

struct ping *ping_new(struct adit_loop *l, const struct sock_config *c, struct net *net,
                      uint64_t idle_ns)
{
    struct ping *p = loop_alloc(l, sizeof(*p));

    if (!p)
        return NULL;
    p->loop = l;
    p->config = c;
    p->net = net;
    p->idle_ns = idle_ns;
    hash_init(&p->table, net->memory, PING_SOCKETS_MAX);
    list_init(&p->sockets);
    net->env.random(net->env.ctx, &p->next_id, sizeof(p->next_id));
    return p;
}

void ping_free(struct ping *p)
{
    struct list *node;

    if (!p)
        return;
    while ((node = list_first(&p->sockets)))
        ping_socket_close(LIST_ENTRY(node, struct ping_socket, node));
    hash_deinit(&p->table);
    loop_release(p->loop, p, sizeof(*p));
}
