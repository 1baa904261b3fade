/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "rig.h"

static struct rig g;
static struct stub stub;
static struct made made;
static struct random rnd;
static uint8_t file[400000];
static size_t file_bytes;

static void append(void *ctx, const void *bytes, size_t len)
{
    assert_ptr_equal(ctx, &g);
    assert_true(file_bytes + len <= sizeof(file));
    memcpy(file + file_bytes, bytes, len);
    file_bytes += len;
}

static int setup(void **state)
{
    (void)state;
    rig_init(&g);
    rnd = random_seeded("pcap");
    file_bytes = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_deinit(&g);
    return 0;
}

static struct device *pcap_new(uint32_t snap_bytes)
{
    struct device *d;

    assert_int_equal(pcap_open(&d, stub_init(&stub, &g), append, &g, snap_bytes, 0), ADIT_OK);
    assert_true(stub.dev.big_tcp4 && !d->big_tcp4); /* no packet of a file could state its length */
    return d;
}

static uint32_t word_at(size_t at)
{
    uint32_t v;

    assert_true(at + 4 <= file_bytes);
    memcpy(&v, file + at, 4);
    return v;
}

/* The n-th block, whose length must stand at both of its ends. */
static size_t block(int n)
{
    size_t at = 0;

    for (; n >= 0; n--) {
        uint32_t len = word_at(at + 4);

        assert_int_equal(len % 4, 0);
        assert_int_equal(word_at(at + len - 4), len);
        if (n == 0)
            return at;
        at += len;
    }
    return at;
}

static uint64_t block_time(size_t at)
{
    return (uint64_t)word_at(at + 12) << 32 | word_at(at + 16);
}

static void file_begins_with_its_section_and_interface(void **state)
{
    struct device *d = pcap_new(0);
    size_t at = block(1);

    (void)state;
    assert_int_equal(word_at(0), 0x0a0d0d0a);
    assert_int_equal(word_at(8), 0x1a2b3c4d);
    assert_int_equal(word_at(at), 1);
    assert_int_equal(word_at(at + 8), 101);
    assert_int_equal(word_at(at + 12), 65535);
    assert_int_equal(word_at(at + 16), 2 | 5 << 16); /* if_name, 5 octets */
    assert_memory_equal(file + at + 20, "stub0", 5);
    assert_int_equal(word_at(at + 28), 9 | 1 << 16); /* if_tsresol: 10^-9 s */
    assert_int_equal(file[at + 32], 9);
    assert_int_equal(file_bytes, at + word_at(at + 4));
    assert_int_equal(d->fd, 17);
    device_close(d);
    assert_int_equal(stub.closed, 1);
}

static void packets_of_both_directions_are_written_complete(void **state)
{
    struct packet in[2];
    struct packet_out p;
    struct timespec now;
    struct device *d;
    uint64_t real_ns;
    size_t at;

    (void)state;
    clock_gettime(CLOCK_REALTIME, &now);
    real_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    d = pcap_new(0);
    make_packet(&made, 4, TCP, 0, 101, &rnd);
    stub.give[0] = rig_packet(&g, &made);
    stub.give[0].csum = PACKET_CSUM_PARTIAL;
    stub.give_count = 1;
    assert_int_equal(device_recv(d, in, 2, 5000), 1);
    assert_int_equal(in[0].csum, PACKET_CSUM_PARTIAL); /* untouched */
    assert_memory_equal(in[0].data, made.octets, made.len_bytes);
    buf_unref(in[0].buf);
    at = block(2);
    assert_int_equal(word_at(at), 6);
    assert_int_equal(word_at(at + 20), made.len_bytes);
    assert_int_equal(word_at(at + 24), made.len_bytes);
    assert_true(checksums_are_right(file + at + 28, made.len_bytes, 20, TCP));
    assert_int_equal(word_at(at + 28 + ((made.len_bytes + 3) & ~3u)), 2 | 4 << 16);
    assert_int_equal(word_at(at + 32 + ((made.len_bytes + 3) & ~3u)), 1); /* inbound */
    assert_true(block_time(at) >= real_ns && block_time(at) < real_ns + 5000000000u);

    make_packet(&made, 6, UDP, 0, 300, &rnd);
    made_out(&made, &p, 0, &rnd);
    assert_int_equal(device_send(d, &p, 6234), ADIT_OK);
    assert_true(block_time(block(3)) - block_time(at) == 1234);
    at = block(3);
    assert_true(checksums_are_right(file + at + 28, made.len_bytes, 40, UDP));
    assert_int_equal(word_at(at + 32 + made.len_bytes), 2); /* outbound */
    device_close(d);
}

static void super_segments_are_written_whole(void **state)
{
    struct device *d = pcap_new(0);
    struct packet in[2];

    (void)state;
    make_packet(&made, 4, TCP, 0, 65495, &rnd);
    stub.give[0] = rig_packet(&g, &made);
    stub.give[0].csum = PACKET_CSUM_PARTIAL;
    stub.give[0].gso_bytes = 1460;
    stub.give_count = 1;
    assert_int_equal(device_recv(d, in, 2, 0), 1);
    buf_unref(in[0].buf);
    assert_int_equal(word_at(block(2) + 20), 65535);
    assert_true(checksums_are_right(file + block(2) + 28, 65535, 20, TCP));
    device_close(d);
}

static void packets_are_cut_where_asked(void **state)
{
    struct device *d = pcap_new(41);
    struct packet_out p;
    size_t at;

    (void)state;
    make_packet(&made, 4, TCP, 0, 1000, &rnd);
    made_out(&made, &p, 0, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    at = block(2);
    assert_int_equal(word_at(at + 20), 41);
    assert_int_equal(word_at(at + 24), 1040);
    assert_int_equal(word_at(at + 4), 28 + 44 + 16);
    device_close(d);
}

static void what_the_device_refuses_is_not_written(void **state)
{
    struct device *d = pcap_new(0);
    size_t before = file_bytes;
    struct packet_out p;
    struct packet in[1];

    (void)state;
    make_packet(&made, 4, TCP, 0, 10, &rnd);
    made_out(&made, &p, 0, &rnd);
    stub.send_rc = ADIT_EAGAIN;
    stub.recv_rc = ADIT_ENODEV;
    stub.dev.drops[DROP_OFFLOAD_HEADER] = 3;
    assert_int_equal(device_send(d, &p, 0), ADIT_EAGAIN);
    assert_int_equal(device_recv(d, in, 1, 0), ADIT_ENODEV);
    assert_int_equal(file_bytes, before);
    assert_int_equal(d->drops[DROP_OFFLOAD_HEADER], 3);
    device_close(d);
}

static void no_memory_closes_the_inner_device(void **state)
{
    struct device *d;

    (void)state;
    stub_init(&stub, &g);
    g.memory.budget_bytes = 1;
    assert_int_equal(pcap_open(&d, &stub.dev, append, &g, 0, 0), ADIT_ENOMEM);
    assert_int_equal(stub.closed, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(file_begins_with_its_section_and_interface),
        TEST(packets_of_both_directions_are_written_complete),
        TEST(super_segments_are_written_whole),
        TEST(packets_are_cut_where_asked),
        TEST(what_the_device_refuses_is_not_written),
        TEST(no_memory_closes_the_inner_device),
    };

    return cmocka_run_group_tests_name("pcap", tests, NULL, NULL);
}
