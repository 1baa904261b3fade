/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/bins.h"
#include "base/memory.h"

static struct memory memory;
static struct bins bins;

static int setup(void **state)
{
    (void)state;
    memory_init(&memory, 4 << 20, NULL);
    bins_init(&bins, &memory);
    return 0;
}

static void objects_of_every_size_are_zeroed_and_apart(void **state)
{
    enum { SIZES = BINS_BYTES_MAX + 100 };
    static uint8_t *objects[SIZES];

    (void)state;
    for (size_t size = 0; size < SIZES; size++) {
        objects[size] = bins_alloc(&bins, size);
        assert_non_null(objects[size]);
        assert_int_equal((uintptr_t)objects[size] % 8, 0);
        for (size_t at = 0; at < size; at++)
            assert_int_equal(objects[size][at], 0);
        memset(objects[size], (int)size | 1, size);
    }
    for (size_t size = 0; size < SIZES; size++) {
        for (size_t at = 0; at < size; at++)
            assert_int_equal(objects[size][at], (size | 1) & 0xff);
        bins_free(&bins, objects[size], size);
    }
    bins_free(&bins, NULL, 10);
    bins_deinit(&bins);
    assert_int_equal(memory.used_bytes, 0);
}

static void memory_of_many_goes_back_although_one_lives_on(void **state)
{
    enum { OBJECTS = 10000, OBJECT_BYTES = 160 };
    static void *objects[OBJECTS];

    (void)state;
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = bins_alloc(&bins, OBJECT_BYTES);
    assert_true(memory.used_bytes >= OBJECTS * OBJECT_BYTES);
    for (int i = 0; i < OBJECTS - 1; i++)
        bins_free(&bins, objects[i], OBJECT_BYTES);
    assert_true(memory.used_bytes <= 2 * 16 * 1024);
    bins_free(&bins, objects[OBJECTS - 1], OBJECT_BYTES);
    bins_deinit(&bins);
    assert_int_equal(memory.used_bytes, 0);
}

static void without_memory_there_is_none(void **state)
{
    (void)state;
    memory.budget_bytes = 0;
    assert_null(bins_alloc(&bins, 100));
    assert_null(bins_alloc(&bins, 2000));
    bins_deinit(&bins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(objects_of_every_size_are_zeroed_and_apart, setup),
        cmocka_unit_test_setup(memory_of_many_goes_back_although_one_lives_on, setup),
        cmocka_unit_test_setup(without_memory_there_is_none, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
