/* SPDX-License-Identifier: MIT */
/* stream: a TCP flow as those above it see it, whoever terminates it.
 *
 * struct tcp (our own TCP) holds a struct stream; a flow that the kernel terminates has another vtable. The
 * functions have the meaning of their namesakes in adit/conn.h, with `int` codes of enum adit_code, and never call back:
 * what happens shows in stream_events(), and the flow is on the ready list when they may have changed. */
#pragma once
#include <stddef.h>
#include "adit/conn.h"

enum stream_event {
    STREAM_READ = ADIT_READ,   /* peek gives octets, FIN, or an error */
    STREAM_WRITE = ADIT_WRITE, /* reserve gives room, or an error */
    STREAM_NEW = 4,            /* nobody owns it yet: hand it to the handler */
    STREAM_CLOSED = 8,         /* nothing more will happen: free it */
    STREAM_OPEN = 16,          /* the handshake is done */
};

struct pipe;
struct stream;

struct stream_ops {
    const char *name; /* "userspace", "system" */
    unsigned (*events)(const struct stream *s);
    int (*accept)(struct stream *s);
    void (*reject)(struct stream *s, int verdict);
    int (*peek)(const struct stream *s, adit_iov *iov, int iov_max);
    void (*consume)(struct stream *s, size_t len_bytes);
    int (*reserve)(struct stream *s, adit_iov *iov, int iov_max);
    void (*commit)(struct stream *s, size_t len_bytes);
    int (*shutdown)(struct stream *s);
    void (*close)(struct stream *s);
    void (*abort)(struct stream *s);
    /* At the end of a turn: gives up references to large buffers that hold little (base/buf.h). */
    void (*settle)(struct stream *s);
    int (*why)(const struct stream *s); /* once STREAM_CLOSED: 0, or the adit_code that ended it */
    void (*stat)(const struct stream *s, adit_conn_info *out);
    void (*free)(struct stream *s);     /* once STREAM_CLOSED; the memory goes back (TIME-WAIT is kept apart) */
    /* Octets that pass beside peek and reserve (sock/splice.h): into an empty pipe, and out of one. How many, or as peek and
     * reserve; what the pipe holds after drain() did not fit. ADIT_ESTATE: octets wait to be peeked first. ADIT_ENOTSUP: not
     * from this flow. NULL: never. */
    ptrdiff_t (*fill)(struct stream *s, struct pipe *to);
    ptrdiff_t (*drain)(struct stream *s, struct pipe *from);
    /* The socket of a flow that the kernel terminates, where nothing of it is in our hands: the stream is CLOSED then. 0, or
     * a code. NULL: there never is one. */
    int (*take_fd)(struct stream *s, adit_socket *out);
};

struct stream {
    const struct stream_ops *ops;
};

static inline unsigned stream_events(const struct stream *s)
{
    return s->ops->events(s);
}
