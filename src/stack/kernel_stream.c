/* SPDX-License-Identifier: MIT */
/* kernel_stream: the functions of net/stream.h on the kernel's TCP.
 *
 *   peek:    what was received into `rx` and not consumed; recv() when that is empty
 *   reserve: room in `tx`; while much moves, as much as the socket takes now
 *   commit:  send() from `tx`; what the socket does not take stays there, and reserve gives no room until it is gone
 *
 * So at most one buffer a direction is between the handler and the kernel, and none when the flow is idle: not reading closes
 * the kernel's window, and not being read fills its send buffer: what a client does not read is left where it came from. The
 * socket is watched edge-triggered, registered once.
 *
 * Bulk passes both by, from socket to pipe and back (fill, drain), while nothing is in `rx` or `tx`.
 *
 * Before the kernel has handed over the socket there is the SYN only (PENDING) or the wait for it (ACCEPTING). A handler that
 * gives up in the latter is rid of it at once; the translator lets the kernel's socket be reset when it comes.
 *
 * A reset by the client shows as an error of the socket and ends the stream at once, with what was not read; so does an
 * error of ours. When both directions have ended the socket is closed in order and the kernel does the rest. */
#include "stack/kernel_stream.h"
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include "base/error.h"
#include "sock/sock.h"
#include "sock/splice.h"

enum { KERNEL_SMALL_BYTES = 16 * 1024, KERNEL_BULK_BYTES = BUF_PACKET_BYTES };
#define KERNEL_STARVED_NS 10000000ull

static const struct stream_ops kernel_ops;

static struct kernel_stream *kernel_of(const struct stream *s)
{
    return LIST_ENTRY(s, struct kernel_stream, nat.flow.stream);
}

static struct net *kernel_net(const struct kernel_stream *k)
{
    return k->nat.nat->net;
}

static void kernel_notify(struct kernel_stream *k)
{
    if (k->nat.state != NAT_LINGER)
        net_set_ready(kernel_net(k), &k->nat.flow);
}

/* ---------------------------------------------------------------------------------------- ending -- */

static void piece_release(struct kernel_piece *p)
{
    buf_unref(p->buf);
    *p = (struct kernel_piece){0};
}

/* Nothing more happens; the owner frees it when it is served. */
static void kernel_end(struct kernel_stream *k, int why)
{
    if (k->is_ended)
        return;
    k->is_ended = true;
    k->why = (int8_t)why;
    loop_timer_stop(k->loop, &k->timer);
    if (k->fd >= 0) {
        watch_forget(&k->watch);
        if (why)
            sock_abort(k->fd);
        else
            sock_close(k->fd);
        k->fd = -1;
    }
    kernel_notify(k);
}

/* EPIPE is a reset that came after the FIN. */
static void kernel_fail(struct kernel_stream *k, int os)
{
    int why = error_from_errno(os);

    kernel_end(k, why == ADIT_ECLOSED ? ADIT_ERESET : why);
}

static void kernel_end_if_done(struct kernel_stream *k)
{
    if (k->fin_received && k->fin_sent && k->rx.bytes == 0)
        kernel_end(k, 0);
}

static void kernel_timer(struct loop_timer *t)
{
    struct kernel_stream *k = LIST_ENTRY(t, struct kernel_stream, timer);

    if (k->is_closing) {
        kernel_end(k, ADIT_ETIMEDOUT);
        return;
    }
    k->is_starved = false;
    kernel_notify(k);
}

/* ---------------------------------------------------------------------------------------- sending -- */

/* Sends what waits, then the FIN where it is wanted, then closes where that is wanted. */
static void kernel_flush(struct kernel_stream *k)
{
    ssize_t sent = 1;

    while (k->tx.bytes > 0 && k->writable) {
        sent = send(k->fd, k->tx.buf->data + k->tx.at, k->tx.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) {
            kernel_fail(k, errno);
            return;
        }
        if (sent < (ssize_t)k->tx.bytes)
            k->writable = false;
        if (sent > 0) {
            k->tx.at += (uint32_t)sent;
            k->tx.bytes -= (uint32_t)sent;
            k->tx_total += (uint64_t)sent;
        }
    }
    if (k->tx.bytes > 0)
        return;
    if (k->fin_wanted && !k->fin_sent) {
        k->fin_sent = true;
        if (shutdown(k->fd, SHUT_WR) < 0) {
            kernel_fail(k, errno == ENOTCONN ? ECONNRESET : errno);
            return;
        }
    }
    if (k->is_closing)
        kernel_end(k, 0);
    else
        kernel_end_if_done(k);
}

/* A buffer to receive or reserve in; NULL: the timer looks again. */
static struct buf *kernel_buf(struct kernel_stream *k, struct kernel_piece *p)
{
    size_t wanted = k->is_bulk ? KERNEL_BULK_BYTES : KERNEL_SMALL_BYTES;

    if (p->buf && p->bytes == 0 && p->buf->capacity < wanted)
        piece_release(p);
    if (p->buf)
        return p->buf;
    p->buf = buf_new(kernel_net(k)->bufs, wanted);
    kernel_notify(k); /* served in this turn, it is settled at its end */
    if (!p->buf) {
        k->is_starved = true;
        loop_timer_set(k->loop, &k->timer, loop_now_ns(k->loop) + KERNEL_STARVED_NS);
    }
    return p->buf;
}

/* What the socket takes now, as far as the kernel says. 0: nothing is worth a call, and room will be a new edge: asking poll()
 * for it is what makes the kernel tell. */
static size_t kernel_room(struct kernel_stream *k)
{
    struct pollfd room = {.fd = k->fd, .events = POLLOUT};
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t len_bytes = sizeof(memory);
    uint32_t buffer_bytes, queued_bytes;

    if (getsockopt(k->fd, SOL_SOCKET, SO_MEMINFO, memory, &len_bytes) < 0)
        return KERNEL_BULK_BYTES;
    buffer_bytes = memory[SK_MEMINFO_SNDBUF];
    queued_bytes = memory[SK_MEMINFO_WMEM_QUEUED];
    if (buffer_bytes >= queued_bytes + KERNEL_SMALL_BYTES)
        return buffer_bytes - queued_bytes;
    k->writable = poll(&room, 1, 0) != 0;
    return k->writable ? KERNEL_SMALL_BYTES : 0;
}

/* -------------------------------------------------------------------------------------- receiving -- */

/* A read found nothing, or the client's FIN. */
static void kernel_receive_none(struct kernel_stream *k, bool is_fin)
{
    k->readable = false;
    k->fin_received = is_fin;
    kernel_end_if_done(k);
}

static void kernel_receive(struct kernel_stream *k)
{
    struct buf *b = k->is_starved ? NULL : kernel_buf(k, &k->rx);
    ssize_t got;

    if (!b)
        return;
    do
        got = recv(k->fd, b->data, b->capacity, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EAGAIN) {
        kernel_fail(k, errno);
        return;
    }
    if (got <= 0) {
        kernel_receive_none(k, got == 0);
        return;
    }
    k->rx.at = 0;
    k->rx.bytes = (uint32_t)got;
    k->rx_total += (uint64_t)got;
    k->is_bulk = (uint32_t)got >= KERNEL_SMALL_BYTES;
    if ((uint32_t)got < b->capacity && !k->hangup && !k->urgent)
        k->readable = false;
}

static void kernel_ready(struct watch *w, unsigned events)
{
    struct kernel_stream *k = LIST_ENTRY(w, struct kernel_stream, watch);
    int err = events & WATCH_ERROR ? sock_error(k->fd) : 0;

    if (err) {
        kernel_end(k, err == ADIT_ECLOSED ? ADIT_ERESET : err);
        return;
    }
    if (events & ADIT_READ)
        k->readable = true;
    if (events & ADIT_WRITE)
        k->writable = true;
    k->hangup |= (events & WATCH_HANGUP) != 0;
    k->urgent |= (events & WATCH_URGENT) != 0;
    if (k->tx.bytes > 0)
        kernel_flush(k);
    kernel_notify(k);
}

/* -------------------------------------------------------------------------------------- lifecycle -- */

struct kernel_stream *kernel_stream_of(struct adit_loop *l, struct flow *f)
{
    struct kernel_stream *k = LIST_ENTRY(nat_of_flow(f), struct kernel_stream, nat);

    if (!k->loop) {
        k->loop = l;
        k->fd = -1;
        k->nat.flow.stream.ops = &kernel_ops;
        loop_timer_init(&k->timer, kernel_timer);
    }
    return k;
}

void kernel_stream_listen(int fd, const struct net_config *c)
{
    int on = 1, idle_s = (int)(c->tcp_keepalive_ns / 1000000000), mss = (int)c->mss_clamp_bytes;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)); /* RFC 6093 */
    if (mss > 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss));
    if (idle_s < 1)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

void kernel_stream_attach(struct kernel_stream *k, int fd)
{
    int err;

    if (k->is_ended) {
        sock_abort(fd);
        return;
    }
    err = watch_add(k->loop, &k->watch, fd, 0, true, kernel_ready);
    if (err) {
        sock_abort(fd);
        kernel_end(k, err);
        return;
    }
    k->fd = fd;
    k->writable = true;
    if (k->fin_wanted || k->is_closing)
        kernel_flush(k);
    kernel_notify(k);
}

static void kernel_free(struct stream *s)
{
    struct kernel_stream *k = kernel_of(s);

    kernel_end(k, k->nat.why ? k->nat.why : ADIT_ECANCELED);
    loop_timer_stop(k->loop, &k->timer);
    piece_release(&k->rx);
    piece_release(&k->tx);
    nat_release(&k->nat, k->is_taken);
}

/* ------------------------------------------------------------------------------------- the stream -- */

static int kernel_why(const struct stream *s)
{
    const struct kernel_stream *k = kernel_of(s);

    return k->is_ended && k->nat.state != NAT_CLOSED ? k->why : k->nat.why;
}

static bool kernel_is_over(const struct kernel_stream *k)
{
    return k->is_ended || k->nat.state == NAT_CLOSED || k->nat.why != 0;
}

static unsigned kernel_events(const struct stream *s)
{
    const struct kernel_stream *k = kernel_of(s);
    unsigned ev = 0;

    if (kernel_is_over(k))
        ev |= STREAM_CLOSED | (kernel_why(s) ? STREAM_READ | STREAM_WRITE : 0);
    else if (!k->nat.flow.owner && (k->fd >= 0 || !k->nat.accept_early))
        ev |= STREAM_NEW;
    if (k->fd >= 0)
        ev |= STREAM_OPEN;
    if (k->rx.bytes > 0 || k->fin_received || (k->readable && !k->is_starved))
        ev |= STREAM_READ;
    if (k->fd >= 0 && k->writable && k->tx.bytes == 0 && !k->fin_wanted && !k->is_starved)
        ev |= STREAM_WRITE;
    return ev;
}

static int kernel_accept(struct stream *s)
{
    return nat_accept(&kernel_of(s)->nat);
}

static void kernel_reject(struct stream *s, int verdict)
{
    struct kernel_stream *k = kernel_of(s);

    if (k->nat.state == NAT_PENDING)
        nat_reject(&k->nat, verdict);
    else
        kernel_end(k, ADIT_ECANCELED);
}

static void kernel_abort(struct stream *s)
{
    kernel_reject(s, ADIT_RESET);
}

/* What is not there yet and what never comes, in the order in which a reader sees it. */
static int kernel_peek(const struct stream *s, adit_iov *iov, int iov_max)
{
    struct kernel_stream *k = kernel_of(s);

    (void)iov_max;
    if (k->rx.bytes == 0 && k->readable && k->fd >= 0 && !k->fin_received)
        kernel_receive(k);
    if (k->rx.bytes > 0) {
        iov[0] = (adit_iov){.base = k->rx.buf->data + k->rx.at, .len = k->rx.bytes};
        return 1;
    }
    if (k->fin_received)
        return 0;
    if (kernel_is_over(k))
        return kernel_why(s) ? kernel_why(s) : ADIT_ECLOSED;
    return ADIT_EAGAIN;
}

static void kernel_consume(struct stream *s, size_t len_bytes)
{
    struct kernel_stream *k = kernel_of(s);

    k->rx.at += (uint32_t)len_bytes;
    k->rx.bytes -= (uint32_t)len_bytes;
    kernel_end_if_done(k);
}

static int kernel_reserve(struct stream *s, adit_iov *iov, int iov_max)
{
    struct kernel_stream *k = kernel_of(s);
    size_t room = KERNEL_SMALL_BYTES;
    struct buf *b;

    (void)iov_max;
    if (kernel_is_over(k))
        return kernel_why(s) ? kernel_why(s) : ADIT_ECLOSED;
    if (k->fin_wanted)
        return ADIT_ECLOSED;
    if (!(kernel_events(s) & STREAM_WRITE))
        return ADIT_EAGAIN;
    if (k->is_bulk)
        room = kernel_room(k);
    b = room > 0 ? kernel_buf(k, &k->tx) : NULL;
    if (!b)
        return ADIT_EAGAIN;
    iov[0] = (adit_iov){.base = b->data, .len = room < b->capacity ? room : b->capacity};
    return 1;
}

static void kernel_commit(struct stream *s, size_t len_bytes)
{
    struct kernel_stream *k = kernel_of(s);

    if (kernel_is_over(k))
        return;
    assert(len_bytes == 0 || (k->tx.buf && len_bytes <= k->tx.buf->capacity)); /* what reserve gave */
    k->tx.at = 0;
    k->tx.bytes = (uint32_t)len_bytes;
    k->is_bulk = len_bytes >= KERNEL_SMALL_BYTES;
    kernel_flush(k);
}

/* A splice stops for ever in front of urgent data. */
static ptrdiff_t kernel_fill(struct stream *s, struct pipe *to)
{
    struct kernel_stream *k = kernel_of(s);
    ssize_t got;

    if (k->rx.bytes > 0)
        return ADIT_ESTATE;
    if (k->fin_received)
        return 0;
    if (kernel_is_over(k))
        return kernel_why(s) ? kernel_why(s) : ADIT_ECLOSED;
    if (!k->readable)
        return ADIT_EAGAIN;
    if (k->urgent)
        return ADIT_ENOTSUP;
    got = splice_in(to, k->fd);
    if (got > 0) {
        k->rx_total += (uint64_t)got;
        return got;
    }
    if (got == 0 || got == -EAGAIN) {
        kernel_receive_none(k, got == 0);
        return got == 0 ? 0 : ADIT_EAGAIN;
    }
    if (splice_is_unknown((int)-got))
        return ADIT_ENOTSUP;
    kernel_fail(k, (int)-got);
    return kernel_why(s);
}

static ptrdiff_t kernel_drain(struct stream *s, struct pipe *from)
{
    struct kernel_stream *k = kernel_of(s);
    ssize_t sent;

    if (kernel_is_over(k))
        return kernel_why(s) ? kernel_why(s) : ADIT_ECLOSED;
    if (!(kernel_events(s) & STREAM_WRITE))
        return ADIT_EAGAIN;
    sent = splice_out(from, k->fd);
    if (sent < 0 && sent != -EAGAIN) {
        kernel_fail(k, (int)-sent);
        return kernel_why(s);
    }
    k->writable = from->bytes == 0;
    if (sent < 0)
        return ADIT_EAGAIN;
    k->tx_total += (uint64_t)sent;
    return sent;
}

static int kernel_shutdown(struct stream *s)
{
    struct kernel_stream *k = kernel_of(s);

    if (kernel_is_over(k) || k->fin_wanted)
        return ADIT_ECLOSED;
    if (k->nat.state == NAT_PENDING)
        return ADIT_ESTATE;
    k->fin_wanted = true;
    if (k->fd >= 0)
        kernel_flush(k);
    return 0;
}

/* RFC 1122 4.2.2.13: what was received and never read is lost; the kernel says so itself of what it holds. */
static void kernel_close(struct stream *s)
{
    struct kernel_stream *k = kernel_of(s);

    if (kernel_is_over(k))
        return;
    if (k->nat.state == NAT_PENDING || k->rx.bytes > 0) {
        kernel_abort(s);
        return;
    }
    k->is_closing = true;
    loop_timer_set(k->loop, &k->timer, loop_now_ns(k->loop) + kernel_net(k)->config.tcp_half_closed_ns);
    if (k->fd >= 0)
        kernel_flush(k);
}

/* A large buffer that holds little is changed for a small one. */
static void piece_settle(struct kernel_piece *p, struct buf_pool *bufs)
{
    struct buf *small;

    if (p->bytes == 0) {
        piece_release(p);
        return;
    }
    if (p->bytes > p->buf->capacity / 4)
        return;
    small = buf_new(bufs, p->bytes);
    if (!small)
        return;
    memcpy(small->data, p->buf->data + p->at, p->bytes);
    buf_unref(p->buf);
    p->buf = small;
    p->at = 0;
}

static void kernel_settle(struct stream *s)
{
    struct kernel_stream *k = kernel_of(s);

    piece_settle(&k->rx, kernel_net(k)->bufs);
    piece_settle(&k->tx, kernel_net(k)->bufs);
}

static const char *kernel_state_name(const struct kernel_stream *k)
{
    switch ((enum nat_state)k->nat.state) {
    case NAT_PENDING:
        return "PENDING";
    case NAT_ACCEPTING:
        return "SYN-RECEIVED";
    case NAT_OPEN:
        if (k->fin_sent)
            return k->fin_received ? "CLOSING" : "FIN-WAIT";
        return k->fin_received ? "CLOSE-WAIT" : "ESTABLISHED";
    case NAT_CLOSED:
    case NAT_LINGER:
        break;
    }
    return "CLOSED";
}

static void kernel_stat(const struct stream *s, adit_conn_info *out)
{
    const struct kernel_stream *k = kernel_of(s);
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    int queued = 0;

    *out = (adit_conn_info){
        .rx_bytes = k->rx_total,
        .tx_bytes = k->tx_total,
        .opened_ns = k->nat.opened_ns,
        .state = kernel_state_name(k),
        .rx_queued_bytes = k->rx.bytes,
        .tx_queued_bytes = k->tx.bytes,
    };
    if (k->fd < 0)
        return;
    if (ioctl(k->fd, SIOCOUTQ, &queued) == 0 && queued > 0)
        out->tx_queued_bytes += (uint32_t)queued;
    if (getsockopt(k->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return;
    out->srtt_us = info.tcpi_rtt;
    out->rto_us = info.tcpi_rto;
    out->cwnd_bytes = info.tcpi_snd_cwnd * info.tcpi_snd_mss;
    out->mss_bytes = info.tcpi_snd_mss;
    out->retransmits = info.tcpi_total_retrans;
}

/* Only while nothing is on its way through our hands. */
static int kernel_take_fd(struct stream *s, adit_socket *out)
{
    struct kernel_stream *k = kernel_of(s);

    if (kernel_is_over(k) || k->fd < 0 || k->is_closing)
        return ADIT_ESTATE;
    if (k->rx.bytes > 0 || k->tx.bytes > 0)
        return ADIT_EAGAIN;
    watch_remove(&k->watch);
    *out = k->fd;
    k->fd = -1;
    k->is_taken = true;
    kernel_end(k, 0);
    return 0;
}

static const struct stream_ops kernel_ops = {
    .name = "system",
    .events = kernel_events,
    .accept = kernel_accept,
    .reject = kernel_reject,
    .peek = kernel_peek,
    .consume = kernel_consume,
    .reserve = kernel_reserve,
    .commit = kernel_commit,
    .shutdown = kernel_shutdown,
    .close = kernel_close,
    .abort = kernel_abort,
    .settle = kernel_settle,
    .why = kernel_why,
    .stat = kernel_stat,
    .free = kernel_free,
    .fill = kernel_fill,
    .drain = kernel_drain,
    .take_fd = kernel_take_fd,
};
