/* SPDX-License-Identifier: MIT */
/* system_shortcut: what the program finds in its map. The layout is checked against a packet's own octets, and what the sums
 * change by against sums of everything. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "../random.h"
#include "base/bytes.h"
#include "stack/system_shortcut.h"
#include "wire/checksum.h"

static_assert(sizeof(struct shortcut_ends) == 36, "no gaps in a key");
static_assert(sizeof(struct shortcut_entry) == 56, "no gaps in a value");
static_assert(offsetof(struct shortcut_entry, addrs_diff) == 36 && offsetof(struct shortcut_entry, heard_ns) == 48, "");

static void make_ends(struct nat_ends *e, struct random *r, bool is_v4)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    for (int i = 0; i < 16; i++) {
        e->src[i] = (uint8_t)random_next(r);
        e->dst[i] = (uint8_t)random_next(r);
    }
    if (is_v4) {
        memcpy(e->src, mapped, 12);
        memcpy(e->dst, mapped, 12);
    }
    e->src_port = (uint16_t)random_next(r);
    e->dst_port = (uint16_t)random_next(r);
}

static uint16_t sum_of(const struct nat_ends *e, uint32_t rest)
{
    uint8_t octets[40];

    memcpy(octets, e->src, 16);
    memcpy(octets + 16, e->dst, 16);
    put_be16(octets + 32, e->src_port);
    put_be16(octets + 34, e->dst_port);
    put_be32(octets + 36, rest);
    return checksum_finish(checksum_add(0, octets, sizeof(octets)));
}

/* As the kernel's csum_replace_by_diff() does, on the octets as they lie. */
static uint16_t apply(uint16_t sum, uint32_t diff)
{
    uint8_t octets[2];
    uint16_t lying;
    uint64_t all;

    put_be16(octets, sum);
    memcpy(&lying, octets, 2);
    all = (uint64_t)(uint16_t)~lying + diff;
    while (all >> 16)
        all = (all & 0xffff) + (all >> 16);
    lying = (uint16_t)~all;
    memcpy(octets, &lying, 2);
    return get_be16(octets);
}

static void a_key_lies_as_addresses_and_ports_do_in_a_packet(void **state)
{
    struct random r = random_seeded("shortcut");
    struct shortcut_entry entry;
    struct shortcut_ends key;
    struct nat_way way;

    (void)state;
    make_ends(&way.from, &r, false);
    make_ends(&way.to, &r, false);
    system_shortcut_entry(&way, &key, &entry);
    assert_memory_equal(key.src, way.from.src, 16);
    assert_memory_equal(key.dst, way.from.dst, 16);
    assert_int_equal(get_be16((const uint8_t *)&key.src_port), way.from.src_port);
    assert_int_equal(get_be16((const uint8_t *)&key.dst_port), way.from.dst_port);
    assert_memory_equal(entry.to.src, way.to.src, 16);
    assert_memory_equal(entry.to.dst, way.to.dst, 16);
    assert_int_equal(get_be16((const uint8_t *)&entry.to.dst_port), way.to.dst_port);
    assert_int_equal(entry.seen, 0);
    assert_int_equal(entry.heard_ns, 0);
}

static void the_differences_turn_the_old_sum_into_the_new_one(void **state)
{
    struct random r = random_seeded("shortcut sums");
    struct shortcut_entry entry;
    struct shortcut_ends key;
    struct nat_way way;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint32_t rest = (uint32_t)random_next(&r);

        make_ends(&way.from, &r, i % 2 == 0);
        make_ends(&way.to, &r, i % 2 == 0);
        system_shortcut_entry(&way, &key, &entry);
        assert_int_equal(apply(apply(sum_of(&way.from, rest), entry.addrs_diff), entry.ports_diff), sum_of(&way.to, rest));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_lies_as_addresses_and_ports_do_in_a_packet),
        cmocka_unit_test(the_differences_turn_the_old_sum_into_the_new_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
