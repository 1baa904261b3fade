/* SPDX-License-Identifier: MIT */
/* options: what adit_new() makes of them, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "options.h"

static size_t take_packets(void *ctx, const adit_packet *p, size_t n)
{
    (void)ctx;
    (void)p;
    return n;
}

static adit_options external(void)
{
    adit_options o;

    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.kind = ADIT_DEV_EXTERNAL;
    o.output = take_packets;
    return o;
}

static void zero_means_the_presets_value(void **state)
{
    adit_options o, all;

    (void)state;
    adit_options_init(&o, ADIT_PRESET_MOBILE);
    o.memory_bytes = 0;
    o.tcp_max = 0;
    o.stack = NULL;
    o.udp_dns_ms = 77;
    assert_int_equal(options_take(&all, &o, NULL), 0);
    assert_int_equal(all.memory_bytes, 6272 << 10);
    assert_int_equal(all.tcp_max, 10000);
    assert_int_equal(all.rx_window_bytes, 256 * 1024);
    assert_int_equal(all.tcp_time_wait_ms, 10000);
    assert_int_equal(all.tcp_idle_ms, 7440000);
    assert_int_equal(all.udp_dns_ms, 77);
    assert_int_equal(all.mtu_bytes, 1500);
    assert_string_equal(all.stack, "");
    assert_int_equal(all.netns_fd, ADIT_NO_SOCKET);
}

static void every_preset_passes_its_own_checks(void **state)
{
    (void)state;
    for (int preset = ADIT_PRESET_DESKTOP; preset <= ADIT_PRESET_SERVER; preset++) {
        adit_options o, all;

        adit_options_init(&o, preset);
        assert_int_equal(options_take(&all, &o, NULL), 0);
        assert_true(all.tcp_half_open_max <= all.tcp_max);
        assert_true(all.tcp_half_open_per_client_max <= all.tcp_half_open_max);
        assert_true(all.udp_per_client_max <= all.udp_max);
    }
}

static void a_limit_that_is_part_of_another_is_cut_to_it(void **state)
{
    adit_options o = external(), all;

    (void)state;
    o.tcp_max = 10;
    o.udp_max = 5;
    assert_int_equal(options_take(&all, &o, NULL), 0);
    assert_int_equal(all.tcp_half_open_max, 10);
    assert_int_equal(all.tcp_half_open_per_client_max, 10);
    assert_int_equal(all.udp_per_client_max, 5);
}

/* A host that was built against an older or a newer header. */
static void a_shorter_struct_is_completed_and_a_longer_one_is_refused_where_it_says_more(void **state)
{
    struct {
        adit_options o;
        uint64_t later;
    } longer = {.o = external()};
    adit_options o = external(), all;
    adit_error err = {0};

    (void)state;
    o.size = offsetof(adit_options, tcp_max);
    o.tcp_max = 3; /* beyond what the host says it knows */
    assert_int_equal(options_take(&all, &o, NULL), 0);
    assert_int_equal(all.tcp_max, 65536);
    longer.o.size = sizeof(longer);
    assert_int_equal(options_take(&all, &longer.o, NULL), 0);
    longer.later = 1;
    assert_int_equal(options_take(&all, &longer.o, &err), ADIT_EINVAL);
    assert_non_null(strstr(err.msg, "size"));
    assert_int_equal(options_take(&all, NULL, NULL), ADIT_EINVAL);
}

static void init_writes_no_more_than_the_host_has(void **state)
{
    adit_options o;

    (void)state;
    memset(&o, 0xee, sizeof(o));
    adit_options_init_(&o, ADIT_PRESET_DESKTOP, offsetof(adit_options, udp_max));
    assert_int_equal(o.size, offsetof(adit_options, udp_max));
    assert_int_equal(o.tcp_max, 65536);
    assert_int_equal(o.udp_max, 0xeeeeeeee);
}

static const adit_alias alias_without_port = {.seen = {.family = 4, .port = 53}, .real = {.family = 4}};
static const adit_socket two_fds[] = {100, 101};
static void *no_alloc(void *ctx, size_t len, size_t align)
{
    (void)ctx;
    (void)len;
    (void)align;
    return NULL;
}
static const adit_allocator half_allocator = {.size = sizeof(half_allocator), .alloc = no_alloc};

#define REFUSED(word_, code_, ...)                                                                                     \
    do {                                                                                                               \
        adit_options o = external(), all;                                                                              \
        adit_error err = {0};                                                                                          \
        __VA_ARGS__;                                                                                                   \
        assert_int_equal(options_take(&all, &o, &err), code_);                                                         \
        assert_int_equal(err.code, code_);                                                                             \
        assert_non_null(strstr(err.msg, word_));                                                                       \
        assert_true(err.hint[0] != '\0');                                                                              \
    } while (0)

static void what_cannot_be_is_refused_by_name_and_with_a_hint(void **state)
{
    (void)state;
    REFUSED("mtu_bytes", ADIT_EINVAL, o.mtu_bytes = 1279);
    REFUSED("mtu_bytes", ADIT_EINVAL, o.mtu_bytes = 65536);
    REFUSED("preset", ADIT_EINVAL, o.preset = 99);
    REFUSED("kind", ADIT_EINVAL, o.kind = 17);
    REFUSED("name", ADIT_EINVAL, o.name = "sixteen-letters-");
    REFUSED("name", ADIT_EINVAL, o.name = "a/b");
    REFUSED("name", ADIT_EINVAL, o.name = "");
    REFUSED("bind_iface", ADIT_EINVAL, o.bind_iface = "two words");
    REFUSED("output", ADIT_EINVAL, o.output = NULL);
    REFUSED("fds", ADIT_EINVAL, o.kind = ADIT_DEV_FD);
    REFUSED("workers", ADIT_EINVAL, (o.kind = ADIT_DEV_FD, o.fds = two_fds, o.fds_count = 2, o.workers = 3));
    REFUSED("workers", ADIT_EINVAL, (o.kind = ADIT_DEV_FD, o.fds = two_fds, o.fds_count = 2, o.workers = 1));
    REFUSED("workers", ADIT_EINVAL, (o.kind = ADIT_DEV_CREATE, o.workers = 17));
    REFUSED("memory_bytes", ADIT_EINVAL, (o.kind = ADIT_DEV_CREATE, o.workers = 3, o.memory_bytes = 2 << 20));
    REFUSED("fd_family_prefix", ADIT_EINVAL, (o.fd_vnet_hdr = 1, o.fd_family_prefix = 1));
    REFUSED("netns", ADIT_EINVAL, (o.netns = "blue", o.netns_fd = 3));
    REFUSED("addrs", ADIT_EINVAL, o.addrs_count = 1);
    REFUSED("aliases", ADIT_EINVAL, o.aliases_count = 1);
    REFUSED("aliases", ADIT_EINVAL, (o.aliases = &alias_without_port, o.aliases_count = 1));
    REFUSED("memory_bytes", ADIT_EINVAL, o.memory_bytes = 4096);
    REFUSED("tcp_max", ADIT_EINVAL, o.tcp_max = UINT32_MAX);
    REFUSED("udp_max", ADIT_EINVAL, o.udp_max = UINT32_MAX);
    REFUSED("rx_window_bytes", ADIT_EINVAL, o.rx_window_bytes = 1);
    REFUSED("tx_buffer_bytes", ADIT_EINVAL, o.tx_buffer_bytes = UINT32_MAX);
    REFUSED("mss_clamp_bytes", ADIT_EINVAL, o.mss_clamp_bytes = 10);
    REFUSED("udp_filtering", ADIT_EINVAL, o.udp_filtering = -1);
    REFUSED("log_level", ADIT_EINVAL, o.log_level = 6);
    REFUSED("workers", ADIT_ENOTSUP, o.workers = 2);
    REFUSED("alloc", ADIT_EINVAL, o.alloc = &half_allocator);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_means_the_presets_value),
        cmocka_unit_test(every_preset_passes_its_own_checks),
        cmocka_unit_test(a_limit_that_is_part_of_another_is_cut_to_it),
        cmocka_unit_test(a_shorter_struct_is_completed_and_a_longer_one_is_refused_where_it_says_more),
        cmocka_unit_test(init_writes_no_more_than_the_host_has),
        cmocka_unit_test(what_cannot_be_is_refused_by_name_and_with_a_hint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
