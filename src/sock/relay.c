/* SPDX-License-Identifier: MIT */
/* relay: a stream and a socket, joined.
 *
 * Each direction is a pump that runs until there is nothing to take, no room to put it, or its share of one iteration is
 * spent; then it goes on in the next iteration (a loop task), so that one bulk flow keeps nobody else waiting.
 *
 *              stream                                       socket
 *     +--------------------+  peek   relay_pump_up  sendmsg  +---------------+
 *     | receive queue, FIN | ------------------------------> | send buffer   |   up_ended: FIN passed on
 *     +--------------------+                                 +---------------+
 *     | send queue, FIN    | <------------------------------ | receive queue |   down_ended: EOF passed on
 *     +--------------------+ reserve relay_pump_down recvmsg +---------------+
 *
 * The socket is edge-triggered: `readable` and `writable` remember what the last edge said until a call shows that it is
 * over. A read that returns less than was asked for has emptied the queue, and what arrives later is a new edge; not so
 * when the edge spoke of an end or an error (they follow the octets), of urgent data (a read stops in front of it),
 * or when the message says that something was cut off: then the relay reads on until it is told that there is no more.
 * A send that takes less than was offered has filled the buffer, and room is a new edge.
 *
 * Bulk between two sockets of the kernel's goes by a pipe (sock/splice.h) once a direction has had several moves of 16 KiB
 * or more, and by copies again when its moves become small. A pipe is filled only when it is empty, so the order of octets and
 * FIN is kept; what the other side does not take stays in it (at most PIPE_BYTES_MAX) and nothing more is read: `readable` is
 * true as long as octets are in the down pipe.
 *
 * Endings:
 *   - both directions ended: the stream is closed in order, the socket is closed.
 *   - the stream was reset: RST on the socket, at once.
 *   - the socket was reset or failed: what had been received before that is still read and delivered, as it would have
 *     been to a client without us in between; when the client has acknowledged it, or half_closed_ns after, RST (`broken`).
 *     Octets of the client have nowhere to go in the meantime and stay in the stream.
 *   - one direction ended and the other is silent for half_closed_ns: RST both ways.
 * The end is told by a task, never from inside a call. */
#include "sock/relay.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/error.h"
#include "sock/sock.h"
#include "sock/spare.h"
#include "sock/splice.h"

enum {
    RELAY_IOV_MAX = 16,
    RELAY_READ_BYTES_MAX = 256 * 1024, /* of one recvmsg: larger ones gain nothing */
    RELAY_SLICE_BYTES = 64 * 1024,     /* the slices of a bulk stream are so long, all but the first */
    RELAY_TURN_BYTES = 1024 * 1024,    /* moved in one iteration by all relays that it serves, each way */
    RELAY_SHARE_BYTES_MIN = 64 * 1024, /* of one of them */
    RELAY_BULK_BYTES = 16 * 1024,      /* moved at once: the flow may be a bulk one */
    RELAY_BULK_MOVES = 8,              /* so many more large moves than small ones: it is */
    RELAY_BULK_MOVES_MAX = 16,
    RELAY_BULK_NEVER = UINT8_MAX,      /* this direction cannot be spliced */
    RELAY_DRAIN_POLL_NS = 10000000,    /* how often a broken relay looks what its client has got, at first */
};
static_assert(sizeof(adit_iov) == sizeof(struct iovec), "adit_iov is a struct iovec");

struct relay {
    struct watch watch;
    struct stream *stream;
    struct loop_task task;   /* goes on after a spent budget; tells the end */
    struct loop_timer timer; /* half closed: silence; broken: looks at the send queue */
    uint64_t half_closed_ns, drain_until_ns;
    void (*done)(void *arg, int why);
    void *arg;
    struct pipe *up_pipe, *down_pipe; /* held from one call to the next while octets are in it */
    uint8_t up_bulk, down_bulk;       /* see relay_count() */
    int8_t why; /* once finished */
    int8_t broken; /* what happened to the socket: no octets go up any more, and the last ones come down */
    bool readable : 1, writable : 1;
    bool urgent : 1, hangup : 1; /* a short read proves nothing */
    bool up_ended : 1, down_ended : 1;
    bool is_probed : 1;   /* the socket can be spliced */
    bool was_bulk : 1;    /* once, at least */
    bool is_finished : 1; /* the socket is closed; the task tells */
};
static_assert(sizeof(struct relay) <= 160, "an idle flow costs little");

/* ---------------------------------------------------------------------------------------- ending -- */

static void relay_give_pipe(struct relay *r, struct pipe **x)
{
    pipe_give(loop_pipes(r->watch.loop), *x);
    *x = NULL;
}

/* Both ends in order, and nothing that leaves a trace on the socket: much at once makes its buffers grow. */
static bool relay_is_clean(const struct relay *r)
{
    return r->up_ended && r->down_ended && !r->broken && !r->urgent && !r->was_bulk;
}

/* Gives the socket up. is_abort: RST. */
static void relay_drop_socket(struct relay *r, bool is_abort)
{
    relay_give_pipe(r, &r->up_pipe);
    relay_give_pipe(r, &r->down_pipe);
    if (!is_abort && relay_is_clean(r) && spare_give(&r->watch))
        return;
    watch_forget(&r->watch);
    if (is_abort)
        sock_abort(r->watch.fd);
    else
        sock_close(r->watch.fd);
}

static void relay_finish(struct relay *r, int why)
{
    if (r->is_finished)
        return;
    relay_drop_socket(r, why != 0);
    loop_timer_stop(r->watch.loop, &r->timer);
    r->is_finished = true;
    r->why = (int8_t)why;
    loop_task_start(r->watch.loop, &r->task);
}

static void relay_abort(struct relay *r, int why)
{
    if (r->is_finished)
        return;
    if (!(stream_events(r->stream) & STREAM_CLOSED))
        r->stream->ops->abort(r->stream);
    relay_finish(r, why);
}

/* The stream has ended by itself; nothing may be asked of it any more. */
static void relay_stream_closed(struct relay *r)
{
    int why = r->stream->ops->why(r->stream);

    if (why == 0 && !r->down_ended)
        why = ADIT_ECLOSED;
    relay_finish(r, why);
}

static void relay_break(struct relay *r, int why)
{
    if (r->broken)
        return;
    /* EPIPE is a reset that came after the FIN. */
    r->broken = (int8_t)(why == ADIT_ECLOSED ? ADIT_ERESET : why);
    relay_give_pipe(r, &r->up_pipe);
    r->writable = false;
    r->readable = !r->down_ended; /* an error follows the octets that came before it */
    r->hangup = true;
}

/* Broken, and nothing is left to be read: resets the stream once its client has everything. */
static void relay_drain(struct relay *r)
{
    adit_conn_info info = {.tx_queued_bytes = 0};
    uint64_t now_ns = loop_now_ns(r->watch.loop), poll_ns;

    if (r->drain_until_ns == 0)
        r->drain_until_ns = now_ns + r->half_closed_ns;
    r->stream->ops->stat(r->stream, &info);
    if (info.tx_queued_bytes == 0 || now_ns >= r->drain_until_ns) {
        relay_abort(r, r->broken);
        return;
    }
    /* Ever more seldom: a thousand slow clients behind one server that resets are a thousand timers. */
    poll_ns = (now_ns + r->half_closed_ns - r->drain_until_ns) / 4;
    if (poll_ns < RELAY_DRAIN_POLL_NS)
        poll_ns = RELAY_DRAIN_POLL_NS;
    if (poll_ns > r->drain_until_ns - now_ns)
        poll_ns = r->drain_until_ns - now_ns;
    loop_timer_set(r->watch.loop, &r->timer, now_ns + poll_ns);
}

/* ----------------------------------------------------------------------------------------- pipes -- */

/* How many more large moves than small ones there were of late, as if a small one were two. */
static void relay_count(struct relay *r, uint8_t *bulk, size_t moved_bytes)
{
    if (moved_bytes >= RELAY_BULK_BYTES)
        r->was_bulk = true;
    if (*bulk == RELAY_BULK_NEVER)
        return;
    if (moved_bytes < RELAY_BULK_BYTES)
        *bulk = *bulk > 2 ? (uint8_t)(*bulk - 2) : 0;
    else if (*bulk < RELAY_BULK_MOVES_MAX)
        *bulk += 1;
}

static void relay_give_empty_pipe(struct relay *r, struct pipe **x)
{
    if (*x && (*x)->bytes == 0)
        relay_give_pipe(r, x);
}

/* Whether the next move of a direction goes by its pipe: octets are in it, or the flow is a bulk one and there is a pipe. */
static bool relay_is_spliced(struct relay *r, struct pipe **x, uint8_t *bulk)
{
    if (pipe_bytes(*x) > 0)
        return true;
    if (*bulk < RELAY_BULK_MOVES || *bulk == RELAY_BULK_NEVER || !r->stream->ops->fill)
        return false;
    if (*x)
        return true;
    *x = pipe_take(loop_pipes(r->watch.loop));
    if (!*x) { /* perhaps later */
        *bulk = 0;
        return false;
    }
    if (!r->is_probed && !splice_is_possible(*x, r->watch.fd)) {
        r->up_bulk = r->down_bulk = RELAY_BULK_NEVER;
        return false;
    }
    r->is_probed = true;
    return true;
}

/* ----------------------------------------------------------------------------------------- pumps -- */

/* What one direction may move in one call. What many flows received is sent when all had their turn: where that is more than
 * the processor's cache holds, each octet comes from memory twice. */
static size_t relay_budget(const struct relay *r)
{
    return loop_share(r->watch.loop, RELAY_TURN_BYTES, RELAY_SHARE_BYTES_MIN);
}

static size_t iov_bytes(const adit_iov *iov, int n)
{
    size_t bytes = 0;
    int i;

    for (i = 0; i < n; i++)
        bytes += iov[i].len;
    return bytes;
}

/* What a failed call on the socket means. False: it is only not ready. */
static bool relay_socket_failed(struct relay *r, int os)
{
    if (os == EAGAIN || os == EWOULDBLOCK)
        return false;
    relay_break(r, error_from_errno(os));
    return true;
}

static ssize_t relay_send(struct relay *r, const adit_iov *iov, int n)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(void *)iov, .msg_iovlen = (size_t)n};
    ssize_t sent;

    do
        sent = sendmsg(r->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}

/* The client's FIN, once all its octets are gone up. */
static void relay_end_up(struct relay *r)
{
    r->up_ended = true;
    if (shutdown(r->watch.fd, SHUT_WR) < 0)
        relay_break(r, ADIT_ERESET);
}

/* One move from stream to socket through our memory. Octets; -1: no more for now. */
static ptrdiff_t relay_copy_up(struct relay *r)
{
    adit_iov iov[RELAY_IOV_MAX];
    size_t offered;
    ssize_t sent;
    int n = r->stream->ops->peek(r->stream, iov, RELAY_IOV_MAX);

    if (n == ADIT_EAGAIN)
        return -1;
    if (n < 0) {
        relay_abort(r, n);
        return -1;
    }
    if (n == 0) {
        relay_end_up(r);
        return -1;
    }
    offered = iov_bytes(iov, n);
    sent = relay_send(r, iov, n);
    if (sent < 0) {
        r->writable = false;
        (void)relay_socket_failed(r, errno);
        return -1;
    }
    r->stream->ops->consume(r->stream, (size_t)sent);
    relay_count(r, &r->up_bulk, (size_t)sent);
    if ((size_t)sent < offered)
        r->writable = false;
    return sent;
}

/* The same through the pipe. */
static ptrdiff_t relay_splice_up(struct relay *r)
{
    struct pipe *x = r->up_pipe;
    ptrdiff_t n;

    if (x->bytes == 0) {
        n = r->stream->ops->fill(r->stream, x);
        if (n == ADIT_ENOTSUP)
            r->up_bulk = RELAY_BULK_NEVER;
        if (n == ADIT_ENOTSUP || n == ADIT_ESTATE)
            return relay_copy_up(r);
        if (n == 0)
            relay_end_up(r);
        else if (n < 0 && n != ADIT_EAGAIN)
            relay_abort(r, (int)n);
        if (n <= 0)
            return -1;
        relay_count(r, &r->up_bulk, (size_t)n);
    }
    n = splice_out(x, r->watch.fd);
    r->writable = n >= 0 && x->bytes == 0;
    if (n < 0)
        (void)relay_socket_failed(r, (int)-n);
    return n < 0 ? -1 : n;
}

/* Moves what the stream holds. Returns the octets moved. */
static size_t relay_pump_up(struct relay *r)
{
    size_t moved = 0;
    ptrdiff_t n;

    while (r->writable && !r->up_ended && moved < relay_budget(r)) {
        n = relay_is_spliced(r, &r->up_pipe, &r->up_bulk) ? relay_splice_up(r) : relay_copy_up(r);
        if (n < 0)
            break;
        moved += (size_t)n;
    }
    relay_give_empty_pipe(r, &r->up_pipe);
    return moved;
}

/* One recvmsg into `iov`. -1: the socket failed or has nothing; *is_emptied: there was no more. */
static ssize_t relay_receive(struct relay *r, adit_iov *iov, int n, bool *is_emptied)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(void *)iov, .msg_iovlen = (size_t)n};
    size_t wanted = iov_bytes(iov, n);
    ssize_t got;

    do
        got = recvmsg(r->watch.fd, &m, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    *is_emptied =
        got > 0 && (size_t)got < wanted && !r->hangup && !r->urgent && !(m.msg_flags & MSG_CTRUNC);
    return got;
}

/* The upstream's FIN. After an error it is none: the system tells an error once, to whichever call comes first. */
static void relay_end_down(struct relay *r)
{
    r->readable = false;
    if (r->broken)
        return;
    r->down_ended = true;
    (void)r->stream->ops->shutdown(r->stream);
}

/* How many slices are worth asking for to read so much. Those that stay empty go back, and are then the next to be taken,
 * in front of others that were used a moment ago. */
static int slices_for(size_t len_bytes)
{
    size_t n = len_bytes / RELAY_SLICE_BYTES + 1;

    return n < RELAY_IOV_MAX ? (int)n : RELAY_IOV_MAX;
}

/* As many slices as make at most `left`. */
static int iov_limit(adit_iov *iov, int n, size_t left)
{
    int i;

    for (i = 0; i < n; i++) {
        if (iov[i].len >= left) {
            iov[i].len = left;
            return i + 1;
        }
        left -= iov[i].len;
    }
    return n;
}

/* What a read that failed means for the reading: 0: once more, the first failure is followed by a read that has the end of the
 * octets, and a broken socket has it now; -1: no more for now. */
static ptrdiff_t relay_receive_failed(struct relay *r, int os)
{
    if (!r->broken && relay_socket_failed(r, os))
        return 0;
    r->readable = false;
    return -1;
}

/* One move from socket to stream through our memory. Octets; -1: no more for now. */
static ptrdiff_t relay_copy_down(struct relay *r)
{
    adit_iov iov[RELAY_IOV_MAX];
    size_t budget = relay_budget(r), most = budget < RELAY_READ_BYTES_MAX ? budget : RELAY_READ_BYTES_MAX;
    bool is_emptied;
    ssize_t got;
    int n = r->stream->ops->reserve(r->stream, iov, slices_for(most));

    if (n == ADIT_EAGAIN || n == 0)
        return -1;
    if (n < 0) {
        relay_abort(r, n);
        return -1;
    }
    got = relay_receive(r, iov, iov_limit(iov, n, most), &is_emptied);
    if (got == 0) {
        relay_end_down(r);
        return -1;
    }
    if (got < 0)
        return relay_receive_failed(r, errno);
    r->stream->ops->commit(r->stream, (size_t)got);
    relay_count(r, &r->down_bulk, (size_t)got);
    if (is_emptied)
        r->readable = false;
    return got;
}

/* The same through the pipe. A splice stops for ever in front of urgent data. */
static ptrdiff_t relay_splice_down(struct relay *r)
{
    struct pipe *x = r->down_pipe;
    ptrdiff_t n;

    if (x->bytes == 0) {
        if (!(stream_events(r->stream) & STREAM_WRITE))
            return -1;
        n = r->urgent ? -EINVAL : splice_in(x, r->watch.fd);
        if (n < 0 && splice_is_unknown((int)-n)) {
            r->down_bulk = RELAY_BULK_NEVER;
            return relay_copy_down(r);
        }
        if (n == 0) {
            relay_end_down(r);
            return -1;
        }
        if (n < 0)
            return relay_receive_failed(r, (int)-n);
        relay_count(r, &r->down_bulk, (size_t)n);
    }
    n = r->stream->ops->drain(r->stream, x);
    if (n < 0 && n != ADIT_EAGAIN)
        relay_abort(r, (int)n);
    return n < 0 ? -1 : n;
}

/* Moves what the socket holds. Returns the octets moved. */
static size_t relay_pump_down(struct relay *r)
{
    size_t moved = 0;
    ptrdiff_t n;

    while (r->readable && !r->down_ended && !r->is_finished && moved < relay_budget(r)) {
        n = relay_is_spliced(r, &r->down_pipe, &r->down_bulk) ? relay_splice_down(r) : relay_copy_down(r);
        if (n < 0)
            break;
        moved += (size_t)n;
    }
    relay_give_empty_pipe(r, &r->down_pipe);
    return moved;
}

/* ---------------------------------------------------------------------------------------- driving -- */

static void relay_pump(struct relay *r)
{
    size_t up_bytes = relay_pump_up(r);
    size_t down_bytes = r->is_finished ? 0 : relay_pump_down(r);

    if (r->is_finished)
        return;
    if (r->broken && !r->readable) {
        relay_drain(r);
        return;
    }
    if (r->up_ended && r->down_ended && !r->broken) {
        r->stream->ops->close(r->stream);
        relay_finish(r, 0);
        return;
    }
    if ((r->up_ended || r->down_ended || r->broken) &&
        (up_bytes + down_bytes > 0 || !wheel_is_running(&r->timer.timer)))
        loop_timer_set(r->watch.loop, &r->timer, loop_now_ns(r->watch.loop) + r->half_closed_ns);
    if (up_bytes >= relay_budget(r) || down_bytes >= relay_budget(r))
        loop_task_start(r->watch.loop, &r->task);
}

static void relay_run_task(struct loop_task *t)
{
    struct relay *r = LIST_ENTRY(t, struct relay, task);

    if (r->is_finished)
        r->done(r->arg, r->why);
    else
        relay_pump(r);
}

static void relay_expire(struct loop_timer *t)
{
    struct relay *r = LIST_ENTRY(t, struct relay, timer);

    if (r->broken && !r->readable)
        relay_drain(r);
    else
        relay_abort(r, r->broken ? r->broken : ADIT_ETIMEDOUT);
}

/* Where no read follows that would tell an error, it is asked for. */
static void relay_hang_up(struct relay *r)
{
    int err = r->down_ended ? sock_error(r->watch.fd) : 0;

    r->hangup = true;
    if (err < 0)
        relay_break(r, err);
}

static void relay_socket_ready(struct watch *w, unsigned events)
{
    struct relay *r = LIST_ENTRY(w, struct relay, watch);
    int on = 1;

    if (events & ADIT_READ)
        r->readable = true;
    if ((events & ADIT_WRITE) && !r->broken)
        r->writable = true;
    if (events & WATCH_HANGUP)
        relay_hang_up(r);
    if ((events & WATCH_URGENT) && !r->urgent) {
        r->urgent = true;
        /* An octet that was sent as urgent is an octet of the stream (RFC 6093). */
        (void)setsockopt(w->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    }
    relay_pump(r);
}

void relay_stream_ready(struct relay *r)
{
    if (r->is_finished)
        return;
    if ((stream_events(r->stream) & STREAM_CLOSED) && r->stream->ops->why(r->stream) != 0) {
        relay_stream_closed(r);
        return;
    }
    relay_pump(r);
    if (!r->is_finished && (stream_events(r->stream) & STREAM_CLOSED) && r->writable)
        relay_stream_closed(r);
}

/* -------------------------------------------------------------------------------------- lifecycle -- */

/* 0 or a code. */
static int relay_watch(struct relay *r, struct adit_loop *l, const struct relay_socket *s)
{
    if (!s->kept)
        return watch_add(l, &r->watch, s->s, 0, true, relay_socket_ready);
    watch_move(&r->watch, s->kept, relay_socket_ready);
    return 0;
}

struct relay *relay_new(struct adit_loop *l, struct stream *stream, const struct relay_socket *s,
                        uint64_t half_closed_ns, void (*done)(void *arg, int why), void *arg)
{
    struct relay *r = loop_alloc(l, sizeof(*r));

    if (!r || relay_watch(r, l, s) < 0) {
        if (s->kept)
            watch_forget(s->kept);
        sock_abort(s->s);
        loop_release(l, r, sizeof(*r));
        return NULL;
    }
    r->stream = stream;
    r->half_closed_ns = half_closed_ns;
    r->done = done;
    r->arg = arg;
    r->writable = true; /* it is connected: the first send says if it is not */
    loop_task_init(&r->task, relay_run_task);
    loop_timer_init(&r->timer, relay_expire);
    relay_socket_ready(&r->watch, s->events);
    return r;
}

int relay_why(const struct relay *r)
{
    return r && r->is_finished ? r->why : 0;
}

void relay_free(struct relay *r)
{
    bool is_in_order;

    if (!r)
        return;
    if (!r->is_finished) {
        is_in_order =
            (stream_events(r->stream) & STREAM_CLOSED) && r->stream->ops->why(r->stream) == 0;
        /* An end of the client that was passed on is not taken back: the server may still be reading up to it. */
        relay_drop_socket(r, !is_in_order && !r->up_ended);
    }
    loop_task_stop(&r->task);
    loop_timer_stop(r->watch.loop, &r->timer);
    loop_release(r->watch.loop, r, sizeof(*r));
}
