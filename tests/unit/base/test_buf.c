/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/memory.h"

static struct memory memory;
static struct buf_pool pool;

static int setup(void **state)
{
    (void)state;
    memory_init(&memory, 1 << 20, NULL);
    buf_pool_init(&pool, &memory, 200000);
    return 0;
}

static void buffer_is_the_smallest_that_fits(void **state)
{
    static const struct {
        size_t len_bytes;
        uint32_t capacity;
    } rows[] = {
        {0, 256},        {1, 256},        {256, 256},
        {257, 2048},     {2048, 2048},    {2049, 16384},
        {16384, 16384},  {16385, BUF_PACKET_BYTES}, {BUF_PACKET_BYTES, BUF_PACKET_BYTES},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf *b = buf_new(&pool, rows[i].len_bytes);

        assert_int_equal(b->capacity, rows[i].capacity);
        assert_int_equal((uintptr_t)b->data % 64, 0);
        memset(b->data - BUF_HEADROOM, 0xee, BUF_HEADROOM + b->capacity);
        assert_int_equal(b->refs, 1);
        buf_unref(b);
    }
    buf_pool_deinit(&pool);
    assert_int_equal(memory.used_bytes, 0);
}

static void buffer_lives_until_its_last_reference(void **state)
{
    struct buf *b = buf_new(&pool, 10);

    (void)state;
    assert_ptr_equal(buf_ref(b), b);
    buf_unref(b);
    assert_int_equal(pool.used, 1);
    b->data[9] = 1;
    buf_unref(b);
    assert_int_equal(pool.used, 0);
    buf_unref(NULL);
    buf_pool_deinit(&pool);
}

static void buffer_freed_last_is_handed_out_first(void **state)
{
    struct buf *a = buf_new(&pool, 1000), *b = buf_new(&pool, 1000), *c = buf_new(&pool, 100);

    (void)state;
    buf_unref(a);
    buf_unref(b);
    buf_unref(c);
    assert_ptr_equal(buf_new(&pool, 2000), b);
    assert_ptr_equal(buf_new(&pool, 300), a);
    assert_ptr_equal(buf_new(&pool, 1), c);
    assert_int_equal(pool.cached_bytes, 0);
    buf_unref(c);
    buf_unref(a);
    buf_unref(b);
    buf_pool_deinit(&pool);
}

static void cache_keeps_no_more_than_it_may(void **state)
{
    struct buf *bufs[10];

    (void)state;
    for (int i = 0; i < 10; i++)
        bufs[i] = buf_new(&pool, 60000);
    for (int i = 0; i < 10; i++)
        buf_unref(bufs[i]);
    assert_true(pool.cached_bytes <= pool.cached_max_bytes);
    assert_true(pool.cached_bytes > pool.cached_max_bytes / 2);
    assert_int_equal(memory.used_bytes, pool.cached_bytes);
    buf_pool_trim(&pool);
    assert_int_equal(memory.used_bytes, 0);
    assert_int_equal(pool.cached_bytes, 0);
    buf_pool_deinit(&pool);
}

static void cache_makes_room_for_another_size_before_a_buffer_is_refused(void **state)
{
    struct buf *small[8], *large;

    (void)state;
    memory_init(&memory, 90000, NULL);
    buf_pool_init(&pool, &memory, 70000);
    for (int i = 0; i < 8; i++)
        small[i] = buf_new(&pool, 2048);
    assert_null(buf_new(&pool, 60000));
    for (int i = 0; i < 8; i++)
        buf_unref(small[i]);
    large = buf_new(&pool, 60000);
    assert_non_null(large);
    assert_int_equal(pool.cached_bytes, 0);
    buf_unref(large);
    buf_pool_deinit(&pool);
    assert_int_equal(memory.used_bytes, 0);
}

static void what_is_not_needed_goes_back_by_halves(void **state)
{
    struct buf *bufs[8];

    (void)state;
    buf_pool_init(&pool, &memory, 1 << 20);
    for (int i = 0; i < 8; i++)
        bufs[i] = buf_new(&pool, 60000);
    for (int i = 0; i < 8; i++)
        buf_unref(bufs[i]);
    assert_true(buf_pool_decay(&pool)); /* they came in between: none lay here all the time */
    assert_int_equal(pool.cached[BUF_PACKET].count, 8);
    bufs[0] = buf_new(&pool, 60000);
    bufs[1] = buf_new(&pool, 60000);
    buf_unref(bufs[0]);
    buf_unref(bufs[1]);
    assert_true(buf_pool_decay(&pool)); /* six did */
    assert_int_equal(pool.cached[BUF_PACKET].count, 5);
    assert_true(buf_pool_decay(&pool));
    assert_int_equal(pool.cached[BUF_PACKET].count, 2);
    assert_int_equal(memory.used_bytes, pool.cached_bytes);
    assert_true(buf_pool_decay(&pool));
    assert_false(buf_pool_decay(&pool));
    assert_int_equal(memory.used_bytes, 0);
    buf_pool_deinit(&pool);
}

static void blocks_of_small_buffers_go_back(void **state)
{
    struct buf *bufs[200];
    uint64_t most;

    (void)state;
    for (int i = 0; i < 200; i++)
        bufs[i] = buf_new(&pool, 2048);
    most = memory.used_bytes;
    for (int i = 0; i < 200; i++)
        buf_unref(bufs[i]);
    while (buf_pool_decay(&pool))
        ;
    assert_true(memory.used_bytes < most / 20);
    buf_pool_deinit(&pool);
    assert_int_equal(memory.used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(buffer_is_the_smallest_that_fits, setup),
        cmocka_unit_test_setup(buffer_lives_until_its_last_reference, setup),
        cmocka_unit_test_setup(buffer_freed_last_is_handed_out_first, setup),
        cmocka_unit_test_setup(cache_keeps_no_more_than_it_may, setup),
        cmocka_unit_test_setup(cache_makes_room_for_another_size_before_a_buffer_is_refused, setup),
        cmocka_unit_test_setup(what_is_not_needed_goes_back_by_halves, setup),
        cmocka_unit_test_setup(blocks_of_small_buffers_go_back, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
