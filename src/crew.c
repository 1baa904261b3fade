/* SPDX-License-Identifier: MIT */
/* crew: see crew.h. */
#include "crew.h"
#include <assert.h>
#include <string.h>

static_assert((int)CREW_WORKERS_MAX <= (int)OWNERS_WORKERS_MAX, "a slot has room for each");

struct letter { /* in front of the octets */
    uint16_t gso_bytes;
    uint8_t csum;
};

int crew_init(struct crew *c, unsigned count, uint64_t flows_max, const struct adit_allocator *alloc)
{
    *c = (struct crew){.count = count};
    memory_init(&c->memory, UINT64_MAX, alloc);
    if (count == 1)
        return ADIT_OK;
    c->seats = memory_alloc(&c->memory, count * sizeof(*c->seats));
    if (!c->seats)
        return ADIT_ENOMEM;
    memset(c->seats, 0, count * sizeof(*c->seats));
    if (owners_init(&c->owners, &c->memory, flows_max))
        return ADIT_OK;
    memory_free(&c->memory, c->seats, count * sizeof(*c->seats));
    return ADIT_ENOMEM;
}

void crew_deinit(struct crew *c)
{
    listen_close(c->queues, &c->queues_count);
    if (!c->seats)
        return;
    owners_deinit(&c->owners);
    memory_free(&c->memory, c->seats, c->count * sizeof(*c->seats));
    assert(c->memory.used_bytes == 0);
}

void crew_join(struct crew *c, unsigned worker, struct adit_loop *loop, struct memory *memory)
{
    if (!c->seats)
        return;
    c->seats[worker].loop = loop;
    c->seats[worker].memory = memory;
}

void crew_leave(struct crew *c, unsigned worker)
{
    struct crew_seat *seat = c->seats ? &c->seats[worker] : NULL;

    for (unsigned i = 0; seat && i < c->count; i++) {
        if (atomic_exchange(&seat->is_open[i], false))
            spsc_deinit(&seat->to[i]);
    }
}

bool crew_send(struct crew *c, unsigned from, unsigned to, const struct packet *p)
{
    struct crew_seat *seat = &c->seats[from], *other = &c->seats[to];
    struct letter letter = {.gso_bytes = p->gso_bytes, .csum = p->csum};

    if (!atomic_load_explicit(&seat->is_open[to], memory_order_relaxed)) {
        if (!spsc_init(&seat->to[to], seat->memory, CREW_RING_BYTES))
            return false;
        atomic_store_explicit(&seat->is_open[to], true, memory_order_release);
    }
    if (!spsc_put(&seat->to[to], &letter, sizeof(letter), p->data, p->len_bytes))
        return false;
    if (!atomic_exchange(&other->has_mail, true))
        loop_wake(other->loop);
    return true;
}

static void crew_open_letter(const uint8_t *record, uint32_t len_bytes, struct buf_pool *bufs, struct packet *p)
{
    struct letter letter;

    memcpy(&letter, record, sizeof(letter));
    *p = (struct packet){.len_bytes = len_bytes - (uint32_t)sizeof(letter), .gso_bytes = letter.gso_bytes,
                         .csum = letter.csum};
    p->buf = buf_new(bufs, p->len_bytes);
    if (!p->buf)
        return;
    p->data = p->buf->data;
    memcpy(p->data, record + sizeof(letter), p->len_bytes);
}

/* As much as a ring holds, lest somebody who goes on filling it keep us from everything else. */
static void crew_empty(struct spsc *box, struct buf_pool *bufs, void (*fn)(void *ctx, const struct packet *p), void *ctx)
{
    uint32_t len_bytes, left_bytes = CREW_RING_BYTES;
    const void *record;
    struct packet p;

    while (left_bytes > 0 && (record = spsc_peek(box, &len_bytes)) != NULL) {
        crew_open_letter(record, len_bytes, bufs, &p);
        spsc_drop(box);
        fn(ctx, &p);
        buf_unref(p.buf);
        left_bytes -= len_bytes < left_bytes ? len_bytes : left_bytes;
    }
}

void crew_receive(struct crew *c, unsigned worker, struct buf_pool *bufs, void (*fn)(void *ctx, const struct packet *p),
                  void *ctx)
{
    struct crew_seat *seat = c->seats ? &c->seats[worker] : NULL;
    bool has_more = false;
    uint32_t len_bytes;

    if (!seat || !atomic_load_explicit(&seat->has_mail, memory_order_relaxed) || !atomic_exchange(&seat->has_mail, false))
        return;
    for (unsigned i = 0; i < c->count; i++) {
        struct crew_seat *from = &c->seats[i];

        if (!atomic_load_explicit(&from->is_open[worker], memory_order_acquire))
            continue;
        crew_empty(&from->to[worker], bufs, fn, ctx);
        has_more = has_more || spsc_peek(&from->to[worker], &len_bytes);
    }
    if (has_more && !atomic_exchange(&seat->has_mail, true))
        loop_wake(seat->loop);
}
