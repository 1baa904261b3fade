/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "rig.h"

#define MS 1000000ull

static struct rig g;
static struct stub stub;
static struct made made;
static struct random rnd;

static int setup(void **state)
{
    (void)state;
    rig_init(&g);
    rnd = random_seeded("fault");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_deinit(&g);
    return 0;
}

static struct device *fault_new(const char *spec)
{
    struct device *d;

    if (fault_open(&d, stub_init(&stub, &g), spec, 1, &g.err) != ADIT_OK)
        fail_msg("%s: %s", spec, g.err.msg);
    return d;
}

/* A packet whose payload begins with its number. */
static void numbered(uint32_t number, struct packet_out *p)
{
    make_packet(&made, number % 2 ? 4 : 6, number % 4 < 2 ? TCP : UDP, 0, 200, &rnd);
    put_be32(made.octets + made.payload_at, number);
    made_out(&made, p, 0, &rnd);
}

static void send_numbered(struct device *d, uint32_t count, uint64_t now_ns)
{
    for (uint32_t i = 0; i < count; i++) {
        struct packet_out p;

        numbered(i, &p);
        assert_int_equal(device_send(d, &p, now_ns), ADIT_OK);
    }
}

static uint32_t sent_number(int i)
{
    return get_be32(stub.sent[i] + stub.sent_bytes[i] - 200);
}

static void nonsense_is_refused_by_its_word(void **state)
{
    static const struct {
        const char *spec, *word;
    } rows[] = {
        {"", "\"\""},
        {"loss", "\"loss\""},
        {"loss=", "\"loss=\""},
        {"loss=1", "\"loss=1\""},
        {"loss=1%%", "\"loss=1%%\""},
        {"loss=-1%", "\"loss=-1%\""},
        {"loss=101%", "\"loss=101%\""},
        {"loss=.5%", "\"loss=.5%\""},
        {"loss=1.%", "\"loss=1.%\""},
        {"loss=1.2.3%", "\"loss=1.2.3%\""},
        {"loss=0.12345678%", "\"loss=0.12345678%\""},
        {"loss=1%,", "\"\""},
        {"loss=1%,,dup=1%", "\"\""},
        {"loss=1%, dup=1%", "\" dup=1%\""},
        {"loss=1%,loss=2%", "\"loss\" is there twice"},
        {"burst=0", "\"burst=0\""},
        {"burst=1.5", "\"burst=1.5\""},
        {"delay=10", "\"delay=10\""},
        {"delay=10m", "\"delay=10m\""},
        {"delay=61s", "\"delay=61s\""},
        {"rate=100", "\"rate=100\""},
        {"rate=1bit", "\"rate=1bit\""},
        {"queue=0", "\"queue=0\""},
        {"mtu=67", "\"mtu=67\""},
        {"dir=up", "\"dir=up\""},
        {"seed=18446744073709551616", "\"seed=18446744073709551616\""},
        {"speed=1mbit", "\"speed=1mbit\""},
        {"lossy=1%", "\"lossy=1%\""},
        {"delay=1ms,jitter=2ms", "jitter is more than delay"},
        {"loss=90%,burst=3", "loss=90.00%"},
        {"loss=100%,burst=1000", "loss=100.00%"},
        {"delay=00000000000000000000000000000000000000000000000001ms", "too long"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct device *d = NULL;
        adit_error err = {0};

        assert_int_equal(fault_open(&d, stub_init(&stub, &g), rows[i].spec, 1, &err), ADIT_EINVAL);
        assert_int_equal(stub.closed, 1);
        if (!strstr(err.msg, rows[i].word))
            fail_msg("%s: %s", rows[i].spec, err.msg);
        assert_true(err.hint[0] != '\0');
    }
}

static void whole_specification_is_understood(void **state)
{
    struct device *d =
        fault_new("loss=1%,burst=3,dup=0.5%,reorder=1%,corrupt=0.1%,delay=10ms,jitter=2ms,"
                  "rate=100mbit,queue=100,seed=7,dir=both,mtu=1400");

    (void)state;
    assert_int_equal(d->fd, 17);
    assert_string_equal(d->ifname, "stub0");
    assert_true(d->tso && d->uso && d->partial_csum);
    assert_true(device_next_ns(d) == DEVICE_NEVER);
    device_close(d);
    assert_int_equal(stub.closed, 1);
}

static void loss_comes_out_as_asked(void **state)
{
    struct device *d = fault_new("loss=10%");

    (void)state;
    send_numbered(d, 4000, 0);
    assert_in_range(stub.sent_count, 3600 - 120, 3600 + 120);
    assert_int_equal(d->drops[DROP_FAULT_LOSS], 4000 - stub.sent_count);
    device_close(d);
}

static void losses_come_in_bursts_as_asked(void **state)
{
    struct device *d = fault_new("loss=10%,burst=4");
    int bursts = 0, lost;

    (void)state;
    send_numbered(d, 4000, 0);
    lost = 4000 - stub.sent_count;
    for (int i = 1; i < stub.sent_count; i++)
        bursts += sent_number(i) != sent_number(i - 1) + 1;
    assert_in_range(lost, 250, 560);
    assert_in_range(lost * 10 / bursts, 30, 52); /* 4.0 on average */
    device_close(d);
}

static void same_seed_does_the_same(void **state)
{
    uint32_t first[1000];
    int count = 0;

    (void)state;
    for (int run = 0; run < 3; run++) {
        struct device *d =
            fault_new(run < 2 ? "loss=20%,dup=10%,seed=5" : "loss=20%,dup=10%,seed=6");

        send_numbered(d, 500, 0);
        if (run == 0) {
            count = stub.sent_count;
            for (int i = 0; i < count; i++)
                first[i] = sent_number(i);
        } else if (run == 1) {
            assert_int_equal(stub.sent_count, count);
            for (int i = 0; i < count; i++)
                assert_int_equal(sent_number(i), first[i]);
        } else {
            bool differs = stub.sent_count != count;

            for (int i = 0; i < count && !differs; i++)
                differs = sent_number(i) != first[i];
            assert_true(differs);
        }
        device_close(d);
    }
}

static void one_direction_leaves_the_other_alone(void **state)
{
    struct device *d = fault_new("loss=100%,dir=out");
    struct packet_out p;
    struct packet in[4];

    (void)state;
    numbered(1, &p);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(stub.sent_count, 0);
    stub.give[stub.give_count++] = rig_packet(&g, &made);
    assert_int_equal(device_recv(d, in, 4, 0), 1);
    buf_unref(in[0].buf);
    device_close(d);

    d = fault_new("loss=100%,dir=in");
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(stub.sent_count, 1);
    stub.give[stub.give_count++] = rig_packet(&g, &made);
    assert_int_equal(device_recv(d, in, 4, 0), 0);
    assert_int_equal(d->drops[DROP_FAULT_LOSS], 1);
    device_close(d);
}

static void delayed_packets_leave_in_time_and_in_order(void **state)
{
    struct device *d = fault_new("delay=10ms,jitter=3ms");

    (void)state;
    for (uint32_t i = 0; i < 50; i++) {
        struct packet_out p;

        numbered(i, &p);
        assert_int_equal(device_send(d, &p, i * 100000), ADIT_OK);
    }
    assert_int_equal(stub.sent_count, 0);
    while (device_next_ns(d) != DEVICE_NEVER) {
        uint64_t next_ns = device_next_ns(d);
        int before = stub.sent_count;

        device_expire(d, next_ns - 1);
        assert_int_equal(stub.sent_count, before);
        device_expire(d, next_ns);
        assert_true(stub.sent_count > before);
    }
    assert_int_equal(stub.sent_count, 50);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(sent_number((int)i), i);
        assert_in_range(stub.sent_ns[i] - i * 100000, 7 * MS, 18 * MS);
    }
    device_close(d);
}

static void rate_spaces_packets_and_its_queue_overflows(void **state)
{
    struct device *d = fault_new("rate=1mbit,queue=10");

    (void)state;
    send_numbered(d, 20, 0);
    assert_int_equal(d->drops[DROP_DEVICE_FULL], 10);
    device_expire(d, 1000 * MS);
    assert_int_equal(stub.sent_count, 10);
    device_close(d);

    d = fault_new("rate=1mbit");
    for (uint32_t i = 0, at_ns = 0; i < 5; i++) {
        struct packet_out p;

        numbered(i, &p);
        assert_int_equal(device_send(d, &p, 0), ADIT_OK);
        at_ns += made.len_bytes * 8 * 1000; /* a bit takes 1 us */
        device_expire(d, at_ns - 1);
        assert_int_equal(stub.sent_count, i);
        device_expire(d, at_ns);
        assert_int_equal(stub.sent_count, i + 1);
    }
    device_close(d);
}

static void reordered_packets_all_arrive(void **state)
{
    struct device *d = fault_new("reorder=10%,dir=out");
    bool seen[500] = {false};
    int late = 0;

    (void)state;
    for (uint32_t i = 0; i < 500; i++) {
        struct packet_out p;

        numbered(i, &p);
        assert_int_equal(device_send(d, &p, i * 100000), ADIT_OK);
    }
    device_expire(d, 1000 * MS);
    assert_int_equal(stub.sent_count, 500);
    for (int i = 0; i < 500; i++) {
        assert_false(seen[sent_number(i)]);
        seen[sent_number(i)] = true;
        late += i > 0 && sent_number(i) < sent_number(i - 1);
    }
    assert_in_range(late, 10, 120);
    device_close(d);
}

static void duplicates_arrive_twice(void **state)
{
    struct device *d = fault_new("dup=100%");

    (void)state;
    send_numbered(d, 10, 0);
    assert_int_equal(stub.sent_count, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(sent_number(i), i / 2);
    device_close(d);
}

static uint32_t bits_of(uint8_t octet)
{
    return octet ? (octet & 1u) + bits_of(octet >> 1) : 0;
}

static void corruption_is_one_bit_that_a_checksum_tells(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++) {
        struct device *d = fault_new(i % 2 ? "corrupt=100%,seed=3" : "corrupt=100%,dir=in");
        uint8_t version = i % 4 < 2 ? 4 : 6, proto = i % 8 < 4 ? TCP : UDP;
        struct packet p;
        uint32_t flipped = 0;

        make_packet(&made, version, proto, 0, 1 + (uint32_t)random_below(&rnd, 50), &rnd);
        stub.give[stub.give_count] = rig_packet(&g, &made);
        stub.give[stub.give_count++].csum = PACKET_CSUM_PARTIAL;
        assert_int_equal(device_recv(d, &p, 1, 0), 1);
        assert_int_equal(p.csum, PACKET_CSUM_UNKNOWN);
        assert_int_equal(p.len_bytes, made.len_bytes);
        assert_false(checksums_are_right(p.data, p.len_bytes, made.transport_at, proto));
        for (uint32_t at = 0; at < p.len_bytes; at++) {
            bool in_field = at - made.transport_at - (proto == TCP ? 16u : 6u) < 2;

            if (!in_field) /* which was completed */
                flipped += bits_of(p.data[at] ^ made.octets[at]);
        }
        assert_true(flipped <= 1);
        buf_unref(p.buf);
        device_close(d);
    }
}

static void mtu_swallows_what_is_longer(void **state)
{
    struct device *d = fault_new("mtu=1400");
    struct packet_out p;

    (void)state;
    make_packet(&made, 4, UDP, 0, 1372, &rnd);
    made_out(&made, &p, 0, &rnd);
    device_send(d, &p, 0);
    assert_int_equal(stub.sent_count, 1);
    make_packet(&made, 4, UDP, 0, 1373, &rnd);
    made_out(&made, &p, 0, &rnd);
    device_send(d, &p, 0);
    assert_int_equal(stub.sent_count, 1);
    assert_int_equal(d->drops[DROP_FAULT_LOSS], 1);
    device_close(d);
}

static void super_segments_are_split_before_anything_is_lost(void **state)
{
    struct device *d = fault_new("loss=0%");
    struct packet in[64];
    struct packet_out p;
    uint32_t at = 0;
    int count;

    (void)state;
    make_packet(&made, 4, TCP, 0, 20000, &rnd);
    made_out(&made, &p, 1460, &rnd);
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(stub.sent_count, 14);
    for (int i = 0; i < 14; i++)
        assert_true(checksums_are_right(stub.sent[i], stub.sent_bytes[i], 20, TCP));

    stub.give[0] = rig_packet(&g, &made);
    stub.give[0].gso_bytes = 1460;
    stub.give[0].csum = PACKET_CSUM_PARTIAL;
    stub.give_count = 1;
    count = device_recv(d, in, 5, 0);
    assert_int_equal(count, 5);
    assert_true(device_next_ns(d) == 0); /* more is due */
    count += device_recv(d, in + count, 64 - count, 0);
    assert_int_equal(count, 14);
    for (int i = 0; i < count; i++) {
        assert_int_equal(in[i].gso_bytes, 0);
        assert_int_equal(in[i].csum, PACKET_CSUM_VALID);
        assert_true(checksums_are_right(in[i].data, in[i].len_bytes, 20, TCP));
        assert_memory_equal(in[i].data + 40, made.octets + 40 + at, in[i].len_bytes - 40);
        at += in[i].len_bytes - 40;
        buf_unref(in[i].buf);
    }
    assert_int_equal(at, 20000);
    device_close(d);
}

static void packets_still_held_are_freed_at_the_end(void **state)
{
    struct device *d = fault_new("delay=10ms");
    struct packet in[2];

    (void)state;
    send_numbered(d, 10, 0);
    stub.give[stub.give_count++] = rig_packet(&g, &made);
    assert_int_equal(device_recv(d, in, 2, 0), 0);
    assert_true(device_next_ns(d) == 10 * MS);
    assert_int_equal(device_recv(d, in, 2, 10 * MS), 1);
    buf_unref(in[0].buf);
    device_close(d); /* teardown looks for leaks */
}

static void device_that_is_gone_says_so(void **state)
{
    struct device *d = fault_new("loss=0%");
    struct packet in[2];
    struct packet_out p;

    (void)state;
    stub.recv_rc = stub.send_rc = ADIT_ENODEV;
    assert_int_equal(device_recv(d, in, 2, 0), ADIT_ENODEV);
    numbered(0, &p);
    assert_int_equal(device_send(d, &p, 0), ADIT_ENODEV);
    stub.send_rc = ADIT_EAGAIN;
    assert_int_equal(device_send(d, &p, 0), ADIT_OK);
    assert_int_equal(d->drops[DROP_DEVICE_FULL], 1);
    device_close(d);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nonsense_is_refused_by_its_word),
        TEST(whole_specification_is_understood),
        TEST(loss_comes_out_as_asked),
        TEST(losses_come_in_bursts_as_asked),
        TEST(same_seed_does_the_same),
        TEST(one_direction_leaves_the_other_alone),
        TEST(delayed_packets_leave_in_time_and_in_order),
        TEST(rate_spaces_packets_and_its_queue_overflows),
        TEST(reordered_packets_all_arrive),
        TEST(duplicates_arrive_twice),
        TEST(corruption_is_one_bit_that_a_checksum_tells),
        TEST(mtu_swallows_what_is_longer),
        TEST(super_segments_are_split_before_anything_is_lost),
        TEST(packets_still_held_are_freed_at_the_end),
        TEST(device_that_is_gone_says_so),
    };

    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
