/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "../random.h"
#include "base/memory.h"
#include "base/pool.h"

static struct memory memory;

static int setup(void **state)
{
    (void)state;
    memory_init(&memory, 1 << 20, NULL);
    return 0;
}

static void object_is_zeroed_and_comes_back_warm(void **state)
{
    struct pool p;
    uint8_t zero[100] = {0}, *object;

    (void)state;
    pool_init(&p, &memory, sizeof(zero), 10);
    object = pool_get(&p);
    assert_non_null(object);
    assert_int_equal((uintptr_t)object % 8, 0);
    memset(object, 0xff, sizeof(zero));
    pool_put(&p, object);
    assert_ptr_equal(pool_get(&p), object);
    assert_memory_equal(object, zero, sizeof(zero));
    pool_put(&p, object);
    pool_deinit(&p);
    assert_int_equal(memory.used_bytes, 0);
}

static void empty_pool_says_so_and_counts_it(void **state)
{
    struct pool p;
    void *a, *b;

    (void)state;
    pool_init(&p, &memory, 64, 2);
    a = pool_get(&p);
    b = pool_get(&p);
    assert_null(pool_get(&p));
    assert_int_equal(p.starved, 1);
    pool_put(&p, a);
    a = pool_get(&p);
    assert_non_null(a);
    pool_put(&p, a);
    pool_put(&p, b);
    pool_deinit(&p);
}

static void memory_at_its_budget_starves_the_pool(void **state)
{
    struct pool p;

    (void)state;
    memory_init(&memory, 100, NULL);
    pool_init(&p, &memory, 64, 2);
    assert_null(pool_get(&p));
    assert_int_equal(p.starved, 1);
    assert_int_equal(memory.starved, 1);
    pool_deinit(&p);
}

static void object_larger_than_a_block_has_a_block_of_its_own(void **state)
{
    struct pool p;
    void *object;

    (void)state;
    pool_init(&p, &memory, 40000, 2);
    object = pool_get(&p);
    memset(object, 1, 40000);
    pool_put(&p, object);
    pool_deinit(&p);
    assert_int_equal(memory.used_bytes, 0);
}

static void all_blocks_but_one_go_back_when_they_are_empty(void **state)
{
    struct pool p;
    void *objects[1000];
    uint64_t one_block_bytes;

    (void)state;
    pool_init(&p, &memory, 200, 1000);
    objects[0] = pool_get(&p);
    one_block_bytes = memory.used_bytes;
    for (int i = 1; i < 1000; i++)
        objects[i] = pool_get(&p);
    assert_true(memory.used_bytes > 10 * one_block_bytes);
    for (int i = 0; i < 1000; i++)
        pool_put(&p, objects[i]);
    assert_int_equal(memory.used_bytes, one_block_bytes);
    pool_deinit(&p);
}

static void nothing_is_stored_beside_an_object(void **state)
{
    enum { OBJECTS = 2000, OBJECT_BYTES = 72 };
    static void *objects[OBJECTS];
    struct pool p;

    (void)state;
    pool_init(&p, &memory, OBJECT_BYTES, OBJECTS);
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = pool_get(&p);
    assert_true(memory.used_bytes < OBJECTS * (OBJECT_BYTES + 1) + 16 * 1024);
    for (int i = 0; i < OBJECTS; i++)
        pool_put(&p, objects[i]);
    pool_deinit(&p);
}

static void objects_do_not_overlap_in_any_order_of_use(void **state)
{
    enum { OBJECTS = 500 };
    struct random r = random_seeded("pool");
    static uint64_t *objects[OBJECTS];
    struct pool p;
    uint32_t used = 0;

    (void)state;
    pool_init(&p, &memory, 5 * sizeof(uint64_t), OBJECTS);
    for (int step = 0; step < 50000; step++) {
        uint64_t i = random_below(&r, OBJECTS);

        if (objects[i]) {
            for (uint64_t word = 0; word < 5; word++)
                assert_int_equal(objects[i][word], i * 5 + word);
            pool_put(&p, objects[i]);
            objects[i] = NULL;
            used--;
        } else if (step % 5000 < 3000) {
            objects[i] = pool_get(&p);
            for (uint64_t word = 0; word < 5; word++)
                objects[i][word] = i * 5 + word;
            used++;
        }
        assert_int_equal(p.used, used);
    }
    for (int i = 0; i < OBJECTS; i++) {
        if (objects[i])
            pool_put(&p, objects[i]);
        objects[i] = NULL;
    }
    pool_deinit(&p);
    assert_int_equal(memory.used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(object_is_zeroed_and_comes_back_warm, setup),
        cmocka_unit_test_setup(empty_pool_says_so_and_counts_it, setup),
        cmocka_unit_test_setup(memory_at_its_budget_starves_the_pool, setup),
        cmocka_unit_test_setup(object_larger_than_a_block_has_a_block_of_its_own, setup),
        cmocka_unit_test_setup(all_blocks_but_one_go_back_when_they_are_empty, setup),
        cmocka_unit_test_setup(nothing_is_stored_beside_an_object, setup),
        cmocka_unit_test_setup(objects_do_not_overlap_in_any_order_of_use, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
