/* SPDX-License-Identifier: MIT */
/* test_span: queues of octets against a slow model, a flat array, with random operations. SPAN_SEED repeats a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "base/memory.h"
#include "net/span.h"

enum { MODEL_MAX = 256 * 1024, STEPS = 20000 };

struct rig {
    struct memory memory;
    struct buf_pool bufs;
    struct pool spans;
    struct span_queue q;
    uint8_t *model; /* what q holds */
    uint32_t bytes;
    uint64_t random;
    uint8_t next;   /* the octets count upwards */
};

static void rig_init(struct rig *r, uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    memory_init(&r->memory, 64 * 1024 * 1024, NULL);
    buf_pool_init(&r->bufs, &r->memory, 1024 * 1024);
    pool_init(&r->spans, &r->memory, sizeof(struct span), UINT32_MAX);
    r->model = malloc(MODEL_MAX);
    assert_non_null(r->model);
    r->random = seed | 1;
}

static void rig_deinit(struct rig *r)
{
    span_clear(&r->q, &r->spans);
    free(r->model);
    pool_deinit(&r->spans);
    buf_pool_deinit(&r->bufs);
    assert_int_equal(r->memory.used_bytes, 0);
}

static uint32_t random_below(struct rig *r, uint32_t limit)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return (uint32_t)(r->random >> 32) % limit;
}

/* Small and large lengths alike. */
static uint32_t random_length(struct rig *r)
{
    return 1 + random_below(r, 1u << (1 + random_below(r, 13)));
}

static void fill(struct rig *r, uint8_t *at, uint32_t len_bytes)
{
    for (uint32_t i = 0; i < len_bytes; i++)
        at[i] = r->model[r->bytes++] = r->next++;
}

/* A packet arrives in a large buffer. */
static void append(struct rig *r, struct span_queue *q, uint32_t len_bytes)
{
    struct buf *b = buf_new(&r->bufs, random_below(r, 2) ? BUF_PACKET_BYTES : len_bytes + 40);

    assert_non_null(b);
    fill(r, b->data + 40, len_bytes);
    assert_true(span_append(q, &r->spans, b, b->data + 40, len_bytes));
    buf_unref(b);
}

/* The handler writes into reserved room, perhaps less than it asked for. */
static void write_reserved(struct rig *r, uint32_t len_bytes)
{
    adit_iov iov[4];
    uint32_t given = 0;
    int n = span_reserve(&r->q, &r->spans, &r->bufs, len_bytes, random_below(r, 2), iov, 4);

    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        uint32_t part = random_below(r, 4) ? (uint32_t)iov[i].len
                                           : random_below(r, (uint32_t)iov[i].len + 1);

        fill(r, iov[i].base, part);
        given += part;
        if (part < iov[i].len)
            break;
    }
    span_commit(&r->q, &r->spans, given);
    assert_null(r->q.reserved);
}

static void join(struct rig *r)
{
    struct span_queue other = {0};

    append(r, &other, random_length(r));
    append(r, &other, random_length(r));
    span_join(&r->q, &other);
    assert_int_equal(other.bytes, 0);
}

static void consume(struct rig *r, uint32_t len_bytes)
{
    span_consume(&r->q, &r->spans, len_bytes);
    memmove(r->model, r->model + len_bytes, r->bytes - len_bytes);
    r->bytes -= len_bytes;
}

/* Octets [from, from + len) look as the model says. */
static void check_view(struct rig *r, uint32_t from, uint32_t len_bytes)
{
    struct span_place at = {0};

    assert_int_equal(r->q.bytes, r->bytes);
    if (from > 0)
        at = span_advance(&r->q, at, from);
    while (len_bytes > 0) {
        adit_iov iov[3];
        int n = span_view(&r->q, at, len_bytes, iov, 3);
        uint32_t seen = 0;

        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            assert_memory_equal(iov[i].base, r->model + from + seen, iov[i].len);
            seen += (uint32_t)iov[i].len;
        }
        at = span_advance(&r->q, at, seen);
        from += seen;
        len_bytes -= seen;
    }
}

static void step(struct rig *r)
{
    switch (random_below(r, 7)) {
    case 0:
    case 1:
        append(r, &r->q, random_length(r));
        break;
    case 2:
        write_reserved(r, random_length(r));
        break;
    case 3:
        join(r);
        break;
    case 4:
        consume(r, random_below(r, r->bytes + 1));
        break;
    case 5:
        span_compact(&r->q, &r->spans, &r->bufs);
        break;
    default:
        span_settle(&r->q, &r->spans, &r->bufs);
        break;
    }
    if (r->bytes > MODEL_MAX - 4 * 8193)
        consume(r, r->bytes / 2);
    if (r->bytes > 0) {
        uint32_t from = random_below(r, r->bytes), left = r->bytes - from;

        check_view(r, from, left < 20000 ? left : 20000);
    }
}

static void a_queue_holds_what_a_flat_array_would_whatever_is_done_to_it(void **state)
{
    const char *given = getenv("SPAN_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    struct rig r;

    (void)state;
    print_message("SPAN_SEED=%llu\n", (unsigned long long)seed);
    rig_init(&r, seed * 0x9e3779b97f4a7c15ull);
    for (int i = 0; i < STEPS; i++)
        step(&r);
    check_view(&r, 0, r.bytes);
    rig_deinit(&r);
}

static void a_settled_queue_of_crumbs_holds_little_memory(void **state)
{
    enum { COUNT = 10000 };
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    for (int i = 0; i < COUNT; i++) {
        struct buf *b = buf_new(&r.bufs, BUF_PACKET_BYTES);

        assert_non_null(b);
        fill(&r, b->data, 1);
        assert_true(span_append(&r.q, &r.spans, b, b->data, 1));
        buf_unref(b);
        span_settle(&r.q, &r.spans, &r.bufs);
    }
    check_view(&r, 0, COUNT);
    buf_pool_trim(&r.bufs);
    assert_true(r.memory.used_bytes < 256 * 1024);
    rig_deinit(&r);
}

static void the_rest_of_a_large_buffer_is_compacted_to_a_small_one(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    append(&r, &r.q, 8000);
    append(&r, &r.q, 8000);
    consume(&r, 15000);
    span_compact(&r.q, &r.spans, &r.bufs);
    check_view(&r, 0, 1000);
    assert_null(r.q.head->next);
    assert_int_equal(r.q.head->buf->capacity, 2048);
    rig_deinit(&r);
}

/* Three large buffers. */
static int reserve_three(struct rig *r, adit_iov iov[4])
{
    return span_reserve(&r->q, &r->spans, &r->bufs, 3 * BUF_PACKET_BYTES, true, iov, 4);
}

static void what_was_reserved_is_committed_whatever_memory_is_left(void **state)
{
    struct rig r;
    adit_iov iov[4];

    (void)state;
    rig_init(&r, 1);
    assert_int_equal(reserve_three(&r, iov), 3);
    for (int i = 0; i < 3; i++)
        fill(&r, iov[i].base, (uint32_t)iov[i].len);
    r.spans.used_max = r.spans.used;
    r.memory.budget_bytes = r.memory.used_bytes;
    span_commit(&r.q, &r.spans, 3 * BUF_PACKET_BYTES);
    check_view(&r, 0, 3 * BUF_PACKET_BYTES);
    rig_deinit(&r);
}

static void no_more_is_reserved_than_could_be_committed(void **state)
{
    struct rig r;
    adit_iov iov[4];

    (void)state;
    rig_init(&r, 1);
    r.spans.used_max = 2;
    assert_int_equal(reserve_three(&r, iov), 2);
    assert_int_equal(r.bufs.used, 2);
    span_release_reserved(&r.q, &r.spans);
    r.spans.used_max = 0;
    assert_int_equal(reserve_three(&r, iov), 0);
    assert_int_equal(r.bufs.used, 0);
    rig_deinit(&r);
}

static void a_place_stays_where_it_is_while_octets_leave_and_come(void **state)
{
    struct span_place at;
    adit_iov iov;
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    append(&r, &r.q, 100);
    at = span_advance(&r.q, (struct span_place){0}, 60);
    append(&r, &r.q, 100);
    consume(&r, 60);
    assert_int_equal(span_view(&r.q, at, 10, &iov, 1), 1);
    assert_int_equal(iov.len, 10);
    assert_memory_equal(iov.base, r.model, 10);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_holds_what_a_flat_array_would_whatever_is_done_to_it),
        cmocka_unit_test(a_settled_queue_of_crumbs_holds_little_memory),
        cmocka_unit_test(the_rest_of_a_large_buffer_is_compacted_to_a_small_one),
        cmocka_unit_test(what_was_reserved_is_committed_whatever_memory_is_left),
        cmocka_unit_test(no_more_is_reserved_than_could_be_committed),
        cmocka_unit_test(a_place_stays_where_it_is_while_octets_leave_and_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
