/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "rig.h"

static struct rig g;
static struct made made;
static struct random rnd;
static struct packet in[2048];
static int capacity, out_count;
static uint8_t out[64][2000];
static size_t out_bytes[64];

static size_t output(void *ctx, const adit_packet *p, size_t n)
{
    size_t taken = 0;

    assert_ptr_equal(ctx, &g);
    for (; taken < n && out_count < capacity; taken++) {
        assert_int_equal(p[taken].gso_bytes, 0);
        assert_int_equal(p[taken].flags, 0);
        memcpy(out[out_count], p[taken].data, p[taken].len);
        out_bytes[out_count++] = p[taken].len;
    }
    return taken;
}

static int setup(void **state)
{
    (void)state;
    rig_init(&g);
    rnd = random_seeded("external");
    out_count = 0;
    capacity = 64;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_deinit(&g);
    return 0;
}

static struct device *external_new(void)
{
    adit_options o = {.kind = ADIT_DEV_EXTERNAL, .output = output, .output_ctx = &g};
    struct device *d;

    assert_int_equal(external_open(&d, &o, &g.bufs, &g.log, &g.err), ADIT_OK);
    assert_false(d->tso || d->uso || d->partial_csum);
    assert_int_equal(d->fd, ADIT_NO_SOCKET);
    return d;
}

static adit_packet offer(const struct made *m, uint32_t flags, uint16_t gso_bytes)
{
    return (adit_packet){
        .data = m->octets, .len = m->len_bytes, .flags = flags, .gso_bytes = gso_bytes};
}

static int recv_and_free(struct device *d)
{
    int count = device_recv(d, in, 2048, 0);

    for (int i = 0; i < count; i++)
        buf_unref(in[i].buf);
    return count;
}

static void without_an_output_function_there_is_no_device(void **state)
{
    adit_options o = {.kind = ADIT_DEV_EXTERNAL};
    struct device *d;

    (void)state;
    assert_int_equal(external_open(&d, &o, &g.bufs, &g.log, &g.err), ADIT_EINVAL);
    assert_true(g.err.hint[0] != '\0');
}

static void pushed_packets_are_copies_in_order(void **state)
{
    struct device *d = external_new();
    adit_packet p;

    (void)state;
    make_packet(&made, 4, TCP, 0, 100, &rnd);
    p = offer(&made, 0, 0);
    for (uint8_t i = 0; i < 3; i++) {
        made.octets[50] = i;
        assert_int_equal(external_push(d, &p, 1), 1);
    }
    assert_int_equal(device_recv(d, in, 2048, 0), 3);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(in[i].data[50], i);
        assert_int_equal(in[i].csum, PACKET_CSUM_UNKNOWN);
        buf_unref(in[i].buf);
    }
    device_close(d);
}

static void claims_are_believed_where_the_octets_agree(void **state)
{
    struct device *d = external_new();
    adit_packet p[5];

    (void)state;
    make_packet(&made, 4, TCP, 0, 5000, &rnd);
    p[0] = offer(&made, ADIT_PACKET_CSUM_PARTIAL, 1000);
    p[1] = offer(&made, ADIT_PACKET_CSUM_VALID, 1000);
    p[2] = offer(&made, 0, 5000); /* no super-segment */
    p[3] = (adit_packet){.data = made.octets, .len = 0};
    p[4] = (adit_packet){.data = made.octets, .len = 65536};
    assert_int_equal(external_push(d, p, 5), 5);
    assert_int_equal(d->drops[DROP_OFFLOAD_HEADER], 1);
    assert_int_equal(d->drops[DROP_IP_TRUNCATED], 2);
    assert_int_equal(device_recv(d, in, 8, 0), 2);
    assert_int_equal(in[0].csum, PACKET_CSUM_VALID);
    assert_true(checksums_are_right(in[0].data, in[0].len_bytes, 20, TCP));
    assert_int_equal(in[0].gso_bytes, 1000);
    assert_int_equal(in[1].csum, PACKET_CSUM_VALID);
    buf_unref(in[0].buf);
    buf_unref(in[1].buf);
    device_close(d);
}

static void full_queue_takes_no_more(void **state)
{
    struct device *d = external_new();
    adit_packet p[100];
    size_t taken = 0, got;

    (void)state;
    make_packet(&made, 4, UDP, 0, 20, &rnd);
    for (int i = 0; i < 100; i++)
        p[i] = offer(&made, 0, 0);
    do {
        got = external_push(d, p, 100);
        taken += got;
    } while (got == 100);
    assert_int_equal(taken, 1024);
    assert_int_equal(recv_and_free(d), 1024);
    assert_int_equal(external_push(d, p, 100), 100);

    make_packet(&made, 4, UDP, 0, 60000, &rnd); /* and in octets */
    for (int i = 0; i < 100; i++)
        p[i] = offer(&made, 0, 0);
    for (int i = 0; i < 3; i++) {
        got = external_push(d, p, 100);
        assert_in_range(got, 60, 70);
        assert_int_equal(recv_and_free(d), got + (i == 0 ? 100 : 0));
    }
    device_close(d);
}

static void without_memory_nothing_is_taken(void **state)
{
    struct device *d = external_new();
    adit_packet p;

    (void)state;
    make_packet(&made, 4, UDP, 0, 20, &rnd);
    p = offer(&made, 0, 0);
    g.memory.budget_bytes = g.memory.used_bytes;
    assert_int_equal(external_push(d, &p, 1), 0);
    assert_int_equal(d->drops[DROP_NO_MEMORY], 1);
    device_close(d);
}

static void push_sees_through_wrappers(void **state)
{
    struct device *d = external_new(), *wrapped;
    adit_packet p;

    (void)state;
    make_packet(&made, 4, UDP, 0, 20, &rnd);
    p = offer(&made, ADIT_PACKET_CSUM_PARTIAL, 0);
    assert_int_equal(fault_open(&wrapped, d, "loss=0%", 1, &g.err), ADIT_OK);
    assert_int_equal(external_push(wrapped, &p, 1), 1);
    assert_int_equal(recv_and_free(wrapped), 1);
    device_close(wrapped);
}

static void output_gets_complete_packets_of_one_segment(void **state)
{
    struct device *d = external_new();
    struct packet_out p;

    (void)state;
    make_packet(&made, 6, TCP, 0, 5000, &rnd);
    made_out(&made, &p, 1440, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(out_count, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(checksums_are_right(out[i], (uint32_t)out_bytes[i], 40, TCP));
        assert_memory_equal(out[i] + 60, made.octets + 60 + 1440 * i, out_bytes[i] - 60);
    }
    device_close(d);
}

static void full_host_is_said_before_the_first_part_and_counted_after(void **state)
{
    struct device *d = external_new();
    struct packet_out p;

    (void)state;
    make_packet(&made, 6, TCP, 0, 5000, &rnd);
    made_out(&made, &p, 1440, &rnd);
    capacity = 0;
    assert_int_equal(device_send(d, &p, 0), ADIT_EAGAIN);
    assert_int_equal(d->drops[DROP_DEVICE_FULL], 0);
    capacity = 3;
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(d->drops[DROP_DEVICE_FULL], 1);
    p.gso_bytes = 0;
    assert_int_equal(device_send(d, &p, 0), ADIT_EAGAIN);
    device_close(d);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_an_output_function_there_is_no_device),
        TEST(pushed_packets_are_copies_in_order),
        TEST(claims_are_believed_where_the_octets_agree),
        TEST(full_queue_takes_no_more),
        TEST(without_memory_nothing_is_taken),
        TEST(push_sees_through_wrappers),
        TEST(output_gets_complete_packets_of_one_segment),
        TEST(full_host_is_said_before_the_first_part_and_counted_after),
    };

    return cmocka_run_group_tests_name("external", tests, NULL, NULL);
}
