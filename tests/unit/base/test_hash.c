/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "../random.h"
#include "base/hash.h"
#include "base/memory.h"

static void siphash24_gives_the_vectors_of_its_authors(void **state)
{
    /* Key 00 01 .. 0f, data 00 01 .. of the length in question. */
    static const struct {
        size_t len_bytes;
        uint64_t hash;
    } rows[] = {
        {0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
        {8, 0x93f5f5799a932462},  {15, 0xa129ca6149be45e5}, {16, 0x3f2acc7f57c29bdb},
        {63, 0x958a324ceb064572},
    };
    const struct sip_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};
    uint8_t data[64];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(siphash24(&key, data, rows[i].len_bytes), rows[i].hash);
}

static void siphash13_gives_what_python_gives_with_a_zero_key(void **state)
{
    /* hash(bytes(range(1, n + 1))) of CPython 3.11 with PYTHONHASHSEED=0 */
    static const struct {
        size_t len_bytes;
        uint64_t hash;
    } rows[] = {
        {1, 0x44bc103b1f8540ed},
        {7, 0xb1cd85cc334196fa},
        {8, 0x884ccc87cb0e5fb0},
        {9, 0x027ed508fe95acb3},
        {15, 0x75e46d4257851550},
        {16, 0xe05d12a0a4b2d063},
        {36, 0xd19422f49a01f2bd},
        {63, 0x6bafe9f92616651b},
    };
    const struct sip_key key = {{0, 0}};
    uint8_t data[64];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i + 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(siphash13(&key, data, rows[i].len_bytes), rows[i].hash);
}

static_assert(sizeof(struct hash_slot) == 4 + sizeof(void *), "a slot has no hole");

static void hash_depends_on_the_key_and_not_on_the_alignment(void **state)
{
    const struct sip_key a = {{1, 2}}, b = {{1, 3}};
    uint8_t data[48] = {0};

    (void)state;
    assert_int_not_equal(siphash13(&a, data, 36), siphash13(&b, data, 36));
    for (size_t i = 0; i < 8; i++) {
        memset(data, 0, sizeof(data));
        memcpy(data + i, "an address and a port", 21);
        assert_int_equal(siphash13(&a, data + i, 21), siphash13(&a, "an address and a port", 21));
    }
}

/* The slow model: an array of (hash, item, present). Few distinct hashes, so that runs are long and wrap. */
enum { MODEL_ITEMS = 600 };

struct model {
    uint32_t hash[MODEL_ITEMS];
    char item[MODEL_ITEMS];
    bool present[MODEL_ITEMS];
};

static void model_compare(const struct model *m, const struct hash *t, uint32_t hash)
{
    bool found[MODEL_ITEMS] = {false};
    uint32_t pos;

    for (const char *it = hash_first(t, hash, &pos); it; it = hash_next(t, hash, &pos)) {
        ptrdiff_t i = it - m->item;

        assert_true(i >= 0 && i < MODEL_ITEMS);
        assert_false(found[i]);
        found[i] = true;
    }
    for (int i = 0; i < MODEL_ITEMS; i++)
        assert_int_equal(found[i], m->present[i] && m->hash[i] == hash);
}

static void table_agrees_with_a_slow_model(void **state)
{
    struct random r = random_seeded("hash");
    struct memory memory;
    struct hash t;
    static struct model m;
    uint32_t count = 0;

    (void)state;
    memset(&m, 0, sizeof(m));
    memory_init(&memory, 1 << 20, NULL);
    hash_init(&t, &memory, MODEL_ITEMS);
    for (int step = 0; step < 40000; step++) {
        uint64_t i = random_below(&r, MODEL_ITEMS);

        if (m.present[i]) {
            hash_remove(&t, m.hash[i], &m.item[i]);
            m.present[i] = false;
            count--;
        } else if (step % 4000 < 3000 || random_below(&r, 8) == 0) {
            m.hash[i] = (uint32_t)random_below(&r, 50) * 0xfffffff1;
            assert_true(hash_insert(&t, m.hash[i], &m.item[i]));
            m.present[i] = true;
            count++;
        }
        assert_int_equal(t.count, count);
        model_compare(&m, &t, (uint32_t)random_below(&r, 50) * 0xfffffff1);
    }
    hash_deinit(&t);
    assert_int_equal(memory.used_bytes, 0);
}

static void table_refuses_beyond_its_limit_and_beyond_the_budget(void **state)
{
    struct memory memory;
    struct hash t;
    char items[40];
    uint32_t pos;

    (void)state;
    memory_init(&memory, 40 * sizeof(struct hash_slot), NULL);
    hash_init(&t, &memory, 3);
    assert_null(hash_first(&t, 7, &pos));
    for (uint32_t i = 0; i < 3; i++)
        assert_true(hash_insert(&t, i, &items[i]));
    assert_false(hash_insert(&t, 3, &items[3]));
    hash_deinit(&t);

    hash_init(&t, &memory, 40); /* 16 slots fit the budget, growing to 32 beside them does not */
    for (uint32_t i = 0; i < 12; i++)
        assert_true(hash_insert(&t, i, &items[i]));
    assert_false(hash_insert(&t, 12, &items[12]));
    assert_int_equal(memory.starved, 1);
    assert_ptr_equal(hash_first(&t, 11, &pos), &items[11]);
    hash_deinit(&t);
    assert_int_equal(memory.used_bytes, 0);
}

static void table_shrinks_when_it_is_asked_to(void **state)
{
    enum { ITEMS = 1000 };
    static char items[ITEMS];
    struct memory memory;
    struct hash t;
    uint64_t most_bytes;
    uint32_t pos;

    (void)state;
    memory_init(&memory, 1 << 20, NULL);
    hash_init(&t, &memory, ITEMS);
    hash_trim(&t);
    for (uint32_t i = 0; i < ITEMS; i++)
        assert_true(hash_insert(&t, i * 2654435761u, &items[i]));
    most_bytes = memory.used_bytes;
    hash_trim(&t);
    assert_int_equal(memory.used_bytes, most_bytes);
    for (uint32_t i = 10; i < ITEMS; i++)
        hash_remove(&t, i * 2654435761u, &items[i]);
    hash_trim(&t);
    assert_true(memory.used_bytes <= most_bytes / 16);
    for (uint32_t i = 0; i < 10; i++)
        assert_ptr_equal(hash_first(&t, i * 2654435761u, &pos), &items[i]);
    hash_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash24_gives_the_vectors_of_its_authors),
        cmocka_unit_test(siphash13_gives_what_python_gives_with_a_zero_key),
        cmocka_unit_test(hash_depends_on_the_key_and_not_on_the_alignment),
        cmocka_unit_test(table_agrees_with_a_slow_model),
        cmocka_unit_test(table_refuses_beyond_its_limit_and_beyond_the_budget),
        cmocka_unit_test(table_shrinks_when_it_is_asked_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
