/* SPDX-License-Identifier: MIT */
/* fake_stream: a stream in memory whose client is the test. What the client sends (rx) and what it receives (tx) are
 * arrays as long as everything that will ever pass; views and rooms are cut into pieces of random sizes. */
#pragma once
#include "rig.h"
#include "net/stream.h"

struct fake_stream {
    struct stream stream;
    uint8_t *rx, *tx;
    size_t rx_fed, rx_taken;    /* sent by the client; consumed by the relay */
    size_t tx_filled, tx_acked; /* committed by the relay; acknowledged by the client */
    size_t tx_room_max, capacity;
    uint64_t random;
    int why; /* it was reset */
    int shutdowns, closes, aborts;
    bool rx_fin, is_closed;
    bool is_whole; /* views and rooms are one piece each */
};

static inline struct fake_stream *fake_of(const struct stream *s)
{
    return LIST_ENTRY(s, struct fake_stream, stream);
}

static inline unsigned fake_events(const struct stream *s)
{
    const struct fake_stream *f = fake_of(s);

    return STREAM_OPEN | (f->is_closed ? STREAM_CLOSED : 0);
}

/* Cuts `len` octets at p into at most iov_max pieces, not necessarily all of them. */
static inline int fake_cut(struct fake_stream *f, uint8_t *p, size_t len, adit_iov *iov,
                           int iov_max)
{
    int n;

    if (f->is_whole) {
        iov[0] = (adit_iov){p, len};
        return len > 0;
    }
    for (n = 0; n < iov_max && len > 0; n++) {
        size_t piece = 1 + rig_random(&f->random) % (rig_random(&f->random) % 4 ? 65536 : 100);

        piece = piece < len ? piece : len;
        iov[n] = (adit_iov){p, piece};
        p += piece;
        len -= piece;
        if (rig_random(&f->random) % 16 == 0)
            return n + 1;
    }
    return n;
}

static inline int fake_peek(const struct stream *s, adit_iov *iov, int iov_max)
{
    struct fake_stream *f = fake_of(s);

    if (f->why)
        return f->why;
    if (f->rx_fed > f->rx_taken)
        return fake_cut(f, f->rx + f->rx_taken, f->rx_fed - f->rx_taken, iov, iov_max);
    return f->rx_fin ? 0 : ADIT_EAGAIN;
}

static inline void fake_consume(struct stream *s, size_t len_bytes)
{
    struct fake_stream *f = fake_of(s);

    assert_true(len_bytes <= f->rx_fed - f->rx_taken);
    f->rx_taken += len_bytes;
}

static inline int fake_reserve(struct stream *s, adit_iov *iov, int iov_max)
{
    struct fake_stream *f = fake_of(s);
    size_t room = f->tx_room_max - (f->tx_filled - f->tx_acked);

    if (f->why)
        return f->why;
    assert_int_equal(f->shutdowns, 0);
    if (room > f->capacity - f->tx_filled)
        room = f->capacity - f->tx_filled;
    return room == 0 ? ADIT_EAGAIN : fake_cut(f, f->tx + f->tx_filled, room, iov, iov_max);
}

static inline void fake_commit(struct stream *s, size_t len_bytes)
{
    struct fake_stream *f = fake_of(s);

    f->tx_filled += len_bytes;
    assert_true(f->tx_filled - f->tx_acked <= f->tx_room_max);
}

static inline int fake_shutdown(struct stream *s)
{
    fake_of(s)->shutdowns++;
    return 0;
}

static inline void fake_close(struct stream *s)
{
    fake_of(s)->closes++;
}

static inline void fake_abort(struct stream *s)
{
    fake_of(s)->aborts++;
    fake_of(s)->is_closed = true;
}

static inline int fake_why(const struct stream *s)
{
    return fake_of(s)->why;
}

static inline void fake_stat(const struct stream *s, adit_conn_info *out)
{
    const struct fake_stream *f = fake_of(s);

    *out = (adit_conn_info){.tx_queued_bytes = (uint32_t)(f->tx_filled - f->tx_acked)};
}

static inline struct fake_stream *fake_new(size_t capacity, size_t tx_room_max, uint64_t seed)
{
    static const struct stream_ops ops = {
        .name = "fake",
        .events = fake_events,
        .peek = fake_peek,
        .consume = fake_consume,
        .reserve = fake_reserve,
        .commit = fake_commit,
        .shutdown = fake_shutdown,
        .close = fake_close,
        .abort = fake_abort,
        .why = fake_why,
        .stat = fake_stat,
    };
    struct fake_stream *f = calloc(1, sizeof(*f));
    size_t i;

    f->stream.ops = &ops;
    f->rx = malloc(capacity);
    f->tx = malloc(capacity);
    f->capacity = capacity;
    f->tx_room_max = tx_room_max;
    f->random = seed | 1;
    for (i = 0; i < capacity; i++)
        f->rx[i] = (uint8_t)rig_random(&f->random);
    return f;
}

static inline void fake_free(struct fake_stream *f)
{
    free(f->rx);
    free(f->tx);
    free(f);
}
