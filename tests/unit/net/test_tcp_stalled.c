/* SPDX-License-Identifier: MIT */
/* test_tcp_stalled: clients that stop reading: what they cost, that they take nothing from others, and that nothing is lost when
 * they read on. */
#include "tcp_rig.h"

enum { STALLED = 10000, MSS = 1460, SMALL = 7 * MSS, WINDOW = 43 * MSS, BUDGET_MIB = 256 }; /* whole segments fill them */

/* The handler writes all that is taken of it. */
static uint32_t write_all(struct tcp *t)
{
    struct stream *s = tcp_stream(t);
    uint32_t written = 0;
    adit_iov iov[8];
    int n;

    while ((n = s->ops->reserve(s, iov, 8)) > 0) {
        size_t len = 0;

        for (int i = 0; i < n; i++) {
            memset(iov[i].base, 'x', iov[i].len);
            len += iov[i].len;
        }
        s->ops->commit(s, len);
        written += (uint32_t)len;
    }
    assert_int_equal(n, ADIT_EAGAIN);
    s->ops->settle(s);
    return written;
}

/* The client's word on all that it has got: so much more it takes. */
static void take(struct tcp_rig *r, struct tcp *t, uint16_t wnd)
{
    struct tcp_segment ack = {.src_port = t->flow.key.client_port, .dst_port = 80, .seq = t->rcv_nxt, .ack = t->snd_nxt,
                              .flags = TCP_ACK, .wnd = wnd};

    assert_int_equal(rig_in_segment(r, ack, "", 0), DROP_NONE);
}

static struct tcp *open_one(struct tcp_rig *r, uint16_t port, uint16_t wnd)
{
    struct tcp_segment syn = {.src_port = port, .dst_port = 80, .seq = r->snd, .flags = TCP_SYN, .wnd = wnd,
                              .has_mss = true, .mss_bytes = MSS, .sack_permitted = true};
    struct tcp *t;

    assert_int_equal(rig_in_segment(r, syn, "", 0), DROP_NONE);
    t = rig_ready(r);
    assert_non_null(t);
    t->flow.owner = r;
    assert_int_equal(tcp_stream(t)->ops->accept(tcp_stream(t)), 0);
    rig_forget_output(r);
    take(r, t, wnd);
    rig_drain_ready(r);
    assert_int_equal(t->state, TCP_ESTABLISHED);
    return t;
}

/* Its client has room for so much: that is what it gets, by and by. */
static void fill(struct tcp_rig *r, struct tcp *t, uint32_t window)
{
    uint32_t end = t->snd_una + window;

    take(r, t, (uint16_t)window);
    for (;;) {
        (void)write_all(t);
        rig_forget_output(r);
        if (t->snd_nxt == t->snd_una)
            break;
        take(r, t, (uint16_t)(end - t->snd_nxt));
    }
    assert_int_equal(t->snd_una, end);
    rig_drain_ready(r);
}

static void end_one(struct tcp *t)
{
    tcp_stream(t)->ops->abort(tcp_stream(t));
    tcp_stream(t)->ops->free(tcp_stream(t));
}

/* As of the preset for a desktop. */
static void rig_init_large(struct tcp_rig *r)
{
    rig_init(r);
    r->memory.budget_bytes = BUDGET_MIB * 1024 * 1024ull;
    r->net.config.tcp_per_client_max = 2 * STALLED;
    r->engine.tcp_pool.used_max = r->net.flows.flows.items_max = 2 * STALLED;
}

static void what_the_client_has_no_room_for_is_left_to_who_sends_it(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.t = open_one(&r, 40000, SMALL);
    assert_int_equal(write_all(r.t), SMALL + SMALL / 4);
    rig_forget_output(&r);
    assert_int_equal(write_all(r.t), 0);
    rig_deinit(&r);
}

static void a_window_that_opens_is_filled_in_the_same_turn(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.t = open_one(&r, 40000, SMALL);
    fill(&r, r.t, SMALL);
    rig_sleep(&r, 1000000000);
    rig_forget_output(&r);
    take(&r, r.t, SMALL);
    assert_ptr_equal(rig_ready(&r), r.t);
    assert_int_equal(write_all(r.t), SMALL);
    rig_out(&r, TCP_ACK, r.t->snd_una, r.t->rcv_nxt, SMALL);
    rig_silent(&r);
    rig_deinit(&r);
}

/* Memory gets tight, and the room for a stock goes without a write: whoever saw that is told when there is room again. */
static void a_handler_that_saw_no_room_is_told_of_some(void **state)
{
    enum { WRITTEN = 3000 };
    struct tcp_rig r;
    struct stream *s;
    adit_iov iov[1];

    (void)state;
    rig_init(&r);
    r.t = open_one(&r, 40000, WINDOW);
    s = tcp_stream(r.t);
    take(&r, r.t, 0);
    for (uint32_t written = 0; written < WRITTEN; written += (uint32_t)iov[0].len) {
        assert_int_equal(s->ops->reserve(s, iov, 1), 1);
        if (iov[0].len > WRITTEN - written)
            iov[0].len = WRITTEN - written;
        memset(iov[0].base, 'x', iov[0].len);
        s->ops->commit(s, iov[0].len);
    }
    assert_true(s->ops->events(s) & STREAM_WRITE);
    rig_press(&r, 60);
    assert_false(s->ops->events(s) & STREAM_WRITE);
    rig_forget_output(&r);
    rig_drain_ready(&r);
    take(&r, r.t, WINDOW);
    assert_ptr_equal(rig_ready(&r), r.t);
    assert_true(s->ops->events(s) & STREAM_WRITE);
    rig_deinit(&r);
}

/* The quarter that is worth a call never comes. */
static void a_window_that_opens_by_little_is_filled_when_nothing_else_waits(void **state)
{
    enum { TIMES = 100 };
    struct tcp_rig r;
    uint32_t una;

    (void)state;
    rig_init(&r);
    r.t = open_one(&r, 40000, WINDOW);
    fill(&r, r.t, WINDOW);
    una = r.t->snd_una;
    for (int i = 0; i < TIMES; i++) {
        take(&r, r.t, MSS);
        rig_forget_output(&r);
        if (rig_ready(&r))
            assert_true(write_all(r.t) > 0);
        rig_forget_output(&r);
    }
    assert_true(r.t->snd_nxt - una > TIMES / 2 * MSS);
    rig_deinit(&r);
}

static void where_memory_is_not_plenty_a_closed_window_has_little_behind_it(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    rig_press(&r, 60);
    r.t = open_one(&r, 40000, SMALL);
    fill(&r, r.t, SMALL);
    assert_int_equal(r.t->work->tx.bytes, TCP_TX_STOCK_MIN);
    assert_int_equal(r.t->work->tx.head->buf->capacity, TCP_TX_STOCK_MIN);
    assert_null(r.t->work->tx.head->next);
    rig_deinit(&r);
}

static void a_stalled_reader_holds_no_buffer_much_larger_than_what_waits(void **state)
{
    struct tcp_rig r;
    const struct span *s;

    (void)state;
    rig_init(&r);
    r.t = open_one(&r, 40000, WINDOW);
    r.t->bulk = true; /* so that it was read into large buffers */
    fill(&r, r.t, WINDOW);
    s = r.t->work->tx.head;
    assert_int_equal(s->len_bytes, WINDOW / 4);
    assert_null(s->next);
    assert_int_equal(s->buf->capacity, 16 * 1024);
    rig_deinit(&r);
}

/* It acknowledges nothing for a while, and its windows would take much. */
static struct tcp *open_download(struct tcp_rig *r, uint16_t port, uint32_t wnd)
{
    struct tcp *t = open_one(r, port, WINDOW);

    t->snd_wnd = t->snd_wnd_max = wnd;
    t->work->cc.cwnd_bytes = wnd;
    t->work->last_sent_ns = r->now_ns; /* it has just got there */
    return t;
}

/* What it holds in the end. */
static uint32_t hold_all(struct tcp_rig *r, struct tcp *t)
{
    while (write_all(t) > 0)
        rig_forget_output(r);
    return t->work->tx.bytes;
}

static void a_flow_holds_half_of_what_is_left_be_it_in_free_buffers(void **state)
{
    enum { DOWNLOADS = 8, BUDGET_BYTES = 6 * 1024 * 1024, MUCH_BYTES = 8 * 1024 * 1024, NEAR_BYTES = 128 * 1024 };
    static struct tcp *download[DOWNLOADS];
    struct tcp_rig r;
    uint32_t left_bytes;

    (void)state;
    rig_init_large(&r);
    r.memory.budget_bytes = BUDGET_BYTES;
    r.net.config.tx_buffer_bytes = MUCH_BYTES;
    r.bufs.cached_max_bytes = BUDGET_BYTES / 2;
    for (int i = 0; i < DOWNLOADS; i++)
        download[i] = open_download(&r, (uint16_t)(20000 + i), MUCH_BYTES);
    left_bytes = (uint32_t)memory_left(&r.memory, MEMORY_HIGH);
    assert_in_range(hold_all(&r, download[0]), left_bytes / 3 - NEAR_BYTES, left_bytes / 3 + NEAR_BYTES);
    for (int i = 1; i < DOWNLOADS; i++)
        (void)hold_all(&r, download[i]);
    for (int i = 0; i < DOWNLOADS; i++)
        end_one(download[i]);
    rig_drain_ready(&r);
    assert_in_range(r.bufs.cached_bytes, BUDGET_BYTES / 3, BUDGET_BYTES / 2);
    download[0] = open_download(&r, 1000, MUCH_BYTES);
    assert_in_range(hold_all(&r, download[0]), left_bytes / 3 - NEAR_BYTES, left_bytes / 3 + NEAR_BYTES);
    end_one(download[0]);
    rig_deinit(&r);
}

static void what_was_reserved_and_not_written_goes_with_the_turn_or_the_flow(void **state)
{
    struct tcp_rig r;
    struct stream *s;
    adit_iov iov[2];

    (void)state;
    rig_init(&r);
    rig_established(&r);
    s = tcp_stream(r.t);
    assert_in_range(s->ops->reserve(s, iov, 2), 1, 2);
    assert_in_range(r.bufs.used, 1, 2);
    rig_sleep(&r, 3000000000);
    assert_true(tcp_is_awake(r.t));
    s->ops->settle(s);
    assert_int_equal(r.bufs.used, 0);
    rig_sleep(&r, 3000000000);
    assert_false(tcp_is_awake(r.t));
    assert_in_range(s->ops->reserve(s, iov, 2), 1, 2);
    s->ops->abort(s);
    assert_int_equal(r.bufs.used, 0);
    rig_deinit(&r);
}

static void where_nothing_is_left_a_flow_may_hold_little(void **state)
{
    struct tcp_rig r;

    (void)state;
    rig_init(&r);
    r.t = open_download(&r, 40000, 32 * WINDOW);
    rig_press(&r, 85);
    assert_int_equal(hold_all(&r, r.t), TCP_PRESSED_WINDOW);
    rig_deinit(&r);
}

static void many_downloads_leave_memory_for_others_and_a_few_may_hold_much(void **state)
{
    enum { DOWNLOADS = 64, BUDGET_BYTES = 6272 * 1024, FLOW_BYTES_MAX = 512 * 1024, WSCALE_LOG2 = 5 };
    static struct tcp *download[DOWNLOADS];
    struct tcp_rig r;

    (void)state;
    rig_init_large(&r);
    r.memory.budget_bytes = BUDGET_BYTES;
    r.net.config.tx_buffer_bytes = FLOW_BYTES_MAX;
    for (int i = 0; i < DOWNLOADS; i++)
        download[i] = open_download(&r, (uint16_t)(20000 + i), WINDOW << WSCALE_LOG2);
    assert_int_equal(hold_all(&r, download[0]), FLOW_BYTES_MAX);
    for (int turn = 0; turn < 100; turn++) {
        for (int i = 0; i < DOWNLOADS; i++) {
            (void)write_all(download[i]);
            rig_forget_output(&r);
        }
        assert_true(memory_pressure(&r.memory) < MEMORY_CRITICAL);
    }
    assert_int_equal(r.memory.starved, 0);
    rig_drain_ready(&r);
    end_one(open_one(&r, 1000, WINDOW));
    for (int i = 0; i < DOWNLOADS; i++) {
        end_one(download[i]);
        rig_forget_output(&r);
    }
    rig_deinit(&r);
}

/* All at once; then one that reads gets all that it asks for, and what waits is delivered to each of the others. */
static void ten_thousand_stalled_readers_fit_and_starve_nobody(void **state)
{
    static struct tcp *stalled[STALLED];
    struct tcp_rig r;
    struct tcp *reader;

    (void)state;
    rig_init_large(&r);
    for (int i = 0; i < STALLED; i++) {
        stalled[i] = open_one(&r, (uint16_t)(20000 + i), WINDOW);
        fill(&r, stalled[i], WINDOW);
    }
    buf_pool_trim(&r.bufs);
    assert_true(memory_pressure(&r.memory) < MEMORY_HIGH);
    assert_int_equal(r.memory.starved, 0);
    reader = open_one(&r, 1000, WINDOW);
    for (int i = 0; i < 100; i++) /* 6 MB */
        fill(&r, reader, WINDOW);
    for (int i = 0; i < STALLED; i++) {
        fill(&r, stalled[i], WINDOW);
        end_one(stalled[i]);
    }
    end_one(reader);
    buf_pool_trim(&r.bufs);
    assert_true(r.memory.used_bytes < 2 * 1024 * 1024);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_client_has_no_room_for_is_left_to_who_sends_it),
        cmocka_unit_test(a_window_that_opens_is_filled_in_the_same_turn),
        cmocka_unit_test(a_handler_that_saw_no_room_is_told_of_some),
        cmocka_unit_test(a_window_that_opens_by_little_is_filled_when_nothing_else_waits),
        cmocka_unit_test(where_memory_is_not_plenty_a_closed_window_has_little_behind_it),
        cmocka_unit_test(a_stalled_reader_holds_no_buffer_much_larger_than_what_waits),
        cmocka_unit_test(a_flow_holds_half_of_what_is_left_be_it_in_free_buffers),
        cmocka_unit_test(what_was_reserved_and_not_written_goes_with_the_turn_or_the_flow),
        cmocka_unit_test(where_nothing_is_left_a_flow_may_hold_little),
        cmocka_unit_test(many_downloads_leave_memory_for_others_and_a_few_may_hold_much),
        cmocka_unit_test(ten_thousand_stalled_readers_fit_and_starve_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
