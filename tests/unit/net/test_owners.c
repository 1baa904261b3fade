/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include "base/memory.h"
#include "net/owners.h"

enum { HASHES = 64, ROUNDS = 100000 };

static struct memory memory;
static struct owners owners;

static int setup(void **state)
{
    (void)state;
    memory_init(&memory, UINT64_MAX, NULL);
    return owners_init(&owners, &memory, 1000) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    owners_deinit(&owners);
    return memory.used_bytes == 0 ? 0 : -1;
}

static void the_first_worker_has_the_slot_until_its_last_flow_is_gone(void **state)
{
    (void)state;
    assert_int_equal(owners_find(&owners, 7), OWNERS_NOBODY);
    assert_true(owners_enter(&owners, 7, 0));
    assert_true(owners_enter(&owners, 7, 0));
    assert_int_equal(owners_find(&owners, 7), 0);
    assert_false(owners_enter(&owners, 7, 1));
    owners_leave(&owners, 7);
    assert_false(owners_enter(&owners, 7, 1));
    owners_leave(&owners, 7);
    assert_int_equal(owners_find(&owners, 7), OWNERS_NOBODY);
    assert_true(owners_enter(&owners, 7, 1));
    assert_int_equal(owners_find(&owners, 7), 1);
    owners_leave(&owners, 7);
}

static void hashes_that_differ_above_the_table_share_a_slot(void **state)
{
    (void)state;
    assert_true(owners_enter(&owners, 7, 3));
    assert_int_equal(owners_find(&owners, 7 + owners.mask + 1), 3);
    assert_int_equal(owners_find(&owners, 8), OWNERS_NOBODY);
    owners_leave(&owners, 7);
}

static void there_are_at_least_twice_as_many_slots_as_flows(void **state)
{
    (void)state;
    assert_true(owners.mask + 1 >= 2000);
}

static void *enter_and_leave(void *arg)
{
    unsigned worker = (unsigned)(uintptr_t)arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (!owners_enter(&owners, i % HASHES, worker))
            continue;
        assert_int_equal(owners_find(&owners, i % HASHES), worker);
        owners_leave(&owners, i % HASHES);
    }
    return NULL;
}

static void two_threads_never_have_one_slot_at_once(void **state)
{
    pthread_t threads[2];

    (void)state;
    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, enter_and_leave, (void *)i), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < HASHES; i++)
        assert_int_equal(owners_find(&owners, i), OWNERS_NOBODY);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_worker_has_the_slot_until_its_last_flow_is_gone),
        TEST(hashes_that_differ_above_the_table_share_a_slot),
        TEST(there_are_at_least_twice_as_many_slots_as_flows),
        TEST(two_threads_never_have_one_slot_at_once),
    };

    return cmocka_run_group_tests_name("owners", tests, NULL, NULL);
}
