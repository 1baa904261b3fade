/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include "../random.h"
#include "base/memory.h"
#include "base/spsc.h"

enum { RING_BYTES = 1024, RECORDS = 200000 };

static struct memory memory;
static struct spsc ring;

static int setup(void **state)
{
    (void)state;
    memory_init(&memory, 1 << 20, NULL);
    return spsc_init(&ring, &memory, RING_BYTES) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    spsc_deinit(&ring);
    return memory.used_bytes == 0 ? 0 : -1;
}

static void records_come_out_as_they_went_in(void **state)
{
    uint32_t len;

    (void)state;
    assert_null(spsc_peek(&ring, &len));
    assert_true(spsc_put(&ring, "abc", 3, "defgh", 5));
    assert_true(spsc_put(&ring, "", 0, "", 0));
    assert_memory_equal(spsc_peek(&ring, &len), "abcdefgh", 8);
    assert_int_equal(len, 8);
    spsc_drop(&ring);
    assert_non_null(spsc_peek(&ring, &len));
    assert_int_equal(len, 0);
    spsc_drop(&ring);
    assert_null(spsc_peek(&ring, &len));
}

static void a_full_ring_takes_nothing_until_something_left_it(void **state)
{
    uint8_t octets[248] = {1};
    uint32_t len;
    int n = 0;

    (void)state;
    while (spsc_put(&ring, octets, sizeof(octets), "", 0))
        n++;
    assert_int_equal(n, 4);
    assert_non_null(spsc_peek(&ring, &len));
    spsc_drop(&ring);
    assert_true(spsc_put(&ring, octets, sizeof(octets), "", 0));
    assert_false(spsc_put(&ring, octets, sizeof(octets), "", 0));
}

static void a_record_of_more_than_half_the_ring_is_refused_and_one_of_half_always_fits_an_empty_one(void **state)
{
    uint8_t octets[RING_BYTES] = {0};
    uint32_t len;

    (void)state;
    assert_false(spsc_put(&ring, octets, RING_BYTES / 2 - 7, "", 0));
    for (uint32_t i = 0; i < 200; i++) {
        assert_true(spsc_put(&ring, octets, RING_BYTES / 2 - 8, "", 0));
        assert_non_null(spsc_peek(&ring, &len));
        assert_int_equal(len, RING_BYTES / 2 - 8);
        spsc_drop(&ring);
        assert_true(spsc_put(&ring, octets, i, "", 0));
        assert_non_null(spsc_peek(&ring, &len));
        spsc_drop(&ring);
    }
}

static void *put_all(void *arg)
{
    struct random r = *(const struct random *)arg;
    uint8_t octets[300];

    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t len = (uint32_t)(random_next(&r) % sizeof(octets));

        memset(octets, (int)(i & 0xff), sizeof(octets));
        while (!spsc_put(&ring, &i, sizeof(i), octets, len))
            sched_yield();
    }
    return NULL;
}

static void two_threads_lose_nothing_and_keep_the_order(void **state)
{
    struct random r = random_seeded("spsc"), same = r;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, put_all, &same), 0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t len, want = (uint32_t)(random_next(&r) % 300), number;
        const uint8_t *record;

        while (!(record = spsc_peek(&ring, &len)))
            sched_yield();
        memcpy(&number, record, sizeof(number));
        assert_int_equal(number, i);
        assert_int_equal(len, want + sizeof(number));
        for (uint32_t at = sizeof(number); at < len; at++)
            assert_int_equal(record[at], i & 0xff);
        spsc_drop(&ring);
    }
    pthread_join(thread, NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(records_come_out_as_they_went_in),
        TEST(a_full_ring_takes_nothing_until_something_left_it),
        TEST(a_record_of_more_than_half_the_ring_is_refused_and_one_of_half_always_fits_an_empty_one),
        TEST(two_threads_lose_nothing_and_keep_the_order),
    };

    return cmocka_run_group_tests_name("spsc", tests, NULL, NULL);
}
