/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "adit/base.h"
#include "base/memory.h"

static void memory_counts_what_is_used_and_refuses_beyond_the_budget(void **state)
{
    struct memory m;
    void *a, *b;

    (void)state;
    memory_init(&m, 1000, NULL);
    a = memory_alloc(&m, 600);
    assert_non_null(a);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_null(memory_alloc(&m, 401));
    assert_null(memory_alloc(&m, SIZE_MAX));
    assert_int_equal(m.starved, 2);
    b = memory_alloc(&m, 400);
    assert_non_null(b);
    assert_int_equal(m.used_bytes, 1000);
    memory_free(&m, a, 600);
    memory_free(&m, NULL, 600);
    assert_int_equal(m.used_bytes, 400);
    memory_free(&m, b, 400);
    assert_int_equal(m.used_bytes, 0);
    assert_int_equal(m.peak_bytes, 1000);
}

static void pressure_rises_with_what_is_used(void **state)
{
    struct memory m;

    (void)state;
    memory_init(&m, 1000, NULL);
    assert_int_equal(memory_pressure(&m), MEMORY_EASY);
    m.used_bytes = 499;
    assert_int_equal(memory_pressure(&m), MEMORY_EASY);
    m.used_bytes = 500;
    assert_int_equal(memory_pressure(&m), MEMORY_TIGHT);
    m.used_bytes = 800;
    assert_int_equal(memory_pressure(&m), MEMORY_HIGH);
    assert_int_equal(memory_left(&m, MEMORY_HIGH), 0);
    assert_int_equal(memory_left(&m, MEMORY_CRITICAL), 150);
    m.used_bytes = 950;
    assert_int_equal(memory_pressure(&m), MEMORY_CRITICAL);
    assert_int_equal(memory_left(&m, MEMORY_HIGH), 0);
}

struct host {
    size_t out_bytes;
    size_t align_bytes;
    bool fails;
    void *misaligned; /* what it gives, however it is asked; NULL: nothing of the kind */
};

static void *host_alloc(void *ctx, size_t len, size_t align)
{
    struct host *h = ctx;

    h->align_bytes = align;
    if (h->fails)
        return NULL;
    h->out_bytes += len;
    if (h->misaligned)
        return h->misaligned;
    return aligned_alloc(align, (len + align - 1) / align * align);
}

static void host_free(void *ctx, void *p, size_t len)
{
    struct host *h = ctx;

    h->out_bytes -= len;
    if (p != h->misaligned)
        free(p);
}

static void allocator_of_the_host_is_used_and_may_fail(void **state)
{
    struct host h = {0};
    const adit_allocator allocator = {
        .size = sizeof(allocator), .alloc = host_alloc, .free = host_free, .ctx = &h};
    struct memory m;
    void *p;

    (void)state;
    memory_init(&m, 1000, &allocator);
    p = memory_alloc(&m, 100);
    assert_int_equal(h.out_bytes, 100);
    assert_int_equal(h.align_bytes, 64);
    h.fails = true;
    assert_null(memory_alloc(&m, 100));
    assert_int_equal(m.used_bytes, 100);
    assert_int_equal(m.starved, 1);
    memory_free(&m, p, 100);
    assert_int_equal(h.out_bytes, 0);
}

static void *dirty_alloc(void *ctx, size_t len, size_t align)
{
    void *p = aligned_alloc(align, (len + align - 1) / align * align);

    (void)ctx;
    return p ? memset(p, 0xaa, len) : NULL;
}

static void dirty_free(void *ctx, void *p, size_t len)
{
    (void)ctx;
    (void)len;
    free(p);
}

static void zeroed_memory_is_zeroed_whoever_gives_it(void **state)
{
    static const size_t lengths[] = {100, MEMORY_PAGES_BYTES, 100000};
    adit_allocator host = {.alloc = dirty_alloc, .free = dirty_free};
    const adit_allocator *from[] = {NULL, &host};
    struct memory m;

    (void)state;
    for (int i = 0; i < 6; i++) {
        size_t len = lengths[i / 2];
        uint8_t *dirty, *p;

        memory_init(&m, 1000000, from[i % 2]);
        dirty = memory_alloc(&m, len);
        memset(dirty, 0xaa, len);
        memory_free(&m, dirty, len);
        p = memory_alloc_zeroed(&m, len);
        for (size_t at = 0; at < len; at++)
            assert_int_equal(p[at], 0);
        memory_free(&m, p, len);
    }
}

static void memory_is_aligned_as_asked_whoever_gives_it(void **state)
{
    enum { BLOCKS = 40, BLOCK_BYTES = 64 * 1024 };
    struct host h = {0};
    const adit_allocator allocator = {
        .size = sizeof(allocator), .alloc = host_alloc, .free = host_free, .ctx = &h};
    const adit_allocator *allocators[] = {NULL, &allocator};
    struct memory m;
    void *blocks[BLOCKS], *between[BLOCKS];

    (void)state;
    for (size_t a = 0; a < 2; a++) {
        memory_init(&m, 64 << 20, allocators[a]);
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = memory_alloc_aligned(&m, BLOCK_BYTES, BLOCK_BYTES);
            between[i] = memory_alloc(&m, MEMORY_PAGES_BYTES + i * 1000);
            assert_int_equal((uintptr_t)blocks[i] % BLOCK_BYTES, 0);
            memset(blocks[i], (int)i, BLOCK_BYTES);
            memset(between[i], 0xff, MEMORY_PAGES_BYTES + i * 1000);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            for (size_t at = 0; at < BLOCK_BYTES; at++)
                assert_int_equal(((uint8_t *)blocks[i])[at], i);
            memory_free(&m, blocks[i], BLOCK_BYTES);
            memory_free(&m, between[i], MEMORY_PAGES_BYTES + i * 1000);
        }
        assert_int_equal(m.used_bytes, 0);
    }
}

static void what_the_host_does_not_align_is_given_back(void **state)
{
    static _Alignas(4096) uint8_t place[8192];
    struct host h = {.misaligned = place + 2048};
    const adit_allocator allocator = {
        .size = sizeof(allocator), .alloc = host_alloc, .free = host_free, .ctx = &h};
    struct memory m;

    (void)state;
    memory_init(&m, 1 << 20, &allocator);
    assert_null(memory_alloc_aligned(&m, 4096, 4096));
    assert_int_equal(m.used_bytes, 0);
    assert_int_equal(m.starved, 1);
    assert_int_equal(h.out_bytes, 0);
    assert_ptr_equal(memory_alloc_aligned(&m, 4096, 2048), place + 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_counts_what_is_used_and_refuses_beyond_the_budget),
        cmocka_unit_test(pressure_rises_with_what_is_used),
        cmocka_unit_test(allocator_of_the_host_is_used_and_may_fail),
        cmocka_unit_test(zeroed_memory_is_zeroed_whoever_gives_it),
        cmocka_unit_test(memory_is_aligned_as_asked_whoever_gives_it),
        cmocka_unit_test(what_the_host_does_not_align_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
