/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "../random.h"
#include "packets.h"
#include "wire/print.h"

static void a_packet_is_one_line(void **state)
{
    static const char *const lines[SAMPLES] = {
        "4 10.0.0.2:40000 > 1.2.3.4:80 S seq 7 win 64240 <mss 1460,sackOK,ts 1/0,wscale 7>",
        ("6 [fd00::2]:40000 > [2001:db8::1]:443 P. seq 8:14 ack 20 win 501 "
         "<ts 5/9,sack 30:40,sack 50:60> len 6"),
        "4 10.0.0.2:5353 > 1.1.1.1:53 udp len 0",
        "6 [fd00::2]:5353 > [2001:db8::1]:53 udp len 0",
        "4 10.0.0.2 > 1.1.1.1 echo request id 5 seq 1 len 4",
        "6 fd00::2 > 2001:db8::1 frag id 77 offset 1448+ proto 17 len 8",
        "6 fd00::2 > 2001:db8::1 too big mtu 1280 len 8",
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        int n = packet_print(text, sizeof(text), samples[i].data, samples[i].len_bytes);

        assert_string_equal(text, lines[i]);
        assert_int_equal(n, strlen(lines[i]));
    }
}

static void a_packet_that_cannot_be_is_named_by_its_reason(void **state)
{
    uint8_t data[60];
    char text[200];

    (void)state;
    memcpy(data, samples[0].data, sizeof(data));
    packet_print(text, sizeof(text), data, 59);
    assert_string_equal(text, "ip_truncated of 59 octets");
    packet_print(text, sizeof(text), NULL, 0);
    assert_string_equal(text, "ip_truncated of 0 octets");
    data[41] = 1; /* length of the first TCP option */
    packet_print(text, sizeof(text), data, sizeof(data));
    assert_string_equal(text, "4 10.0.0.2 > 1.2.3.4 tcp_options of 40 octets");
    data[8] = 0; /* TTL */
    packet_print(text, sizeof(text), data, sizeof(data));
    assert_string_equal(text, "4 10.0.0.2 > 1.2.3.4 ip_ttl of 60 octets");
    data[0] = 0x55;
    packet_print(text, sizeof(text), data, sizeof(data));
    assert_string_equal(text, "ip_version of 60 octets");
}

static void another_protocol_is_shown_by_its_number(void **state)
{
    uint8_t data[32];
    char text[200];

    (void)state;
    memcpy(data, samples[4].data, sizeof(data));
    data[9] = 47;
    packet_print(text, sizeof(text), data, sizeof(data));
    assert_string_equal(text, "4 10.0.0.2 > 1.1.1.1 proto 47 len 12");
    data[9] = 58; /* ICMPv6 over IPv4 is none */
    packet_print(text, sizeof(text), data, sizeof(data));
    assert_string_equal(text, "4 10.0.0.2 > 1.1.1.1 proto 58 len 12");
}

static void a_line_is_cut_to_its_room_and_says_what_it_wanted(void **state)
{
    char whole[200];
    int length = packet_print(whole, sizeof(whole), samples[0].data, samples[0].len_bytes);

    (void)state;
    for (size_t room = 1; room <= (size_t)length + 1; room++) {
        char *text = malloc(room);

        assert_non_null(text);
        assert_int_equal(packet_print(text, room, samples[0].data, samples[0].len_bytes), length);
        assert_int_equal(strlen(text), room - 1);
        assert_memory_equal(text, whole, room - 1);
        free(text);
    }
    assert_int_equal(packet_print(NULL, 0, samples[0].data, samples[0].len_bytes), length);
}

static void broken_packets_are_printed_all_the_same(void **state)
{
    struct random r = random_seeded("print");

    (void)state;
    for (int round = 0; round < 20000; round++) {
        const struct sample *s = &samples[random_below(&r, SAMPLES)];
        size_t n = random_below(&r, 3) ? s->len_bytes : random_below(&r, s->len_bytes + 1);
        uint8_t *copy = exact_copy(s->data, n);
        char text[400];

        for (uint64_t k = random_below(&r, 4); k > 0 && n > 0; k--)
            copy[random_below(&r, n)] = (uint8_t)random_next(&r);
        assert_in_range(packet_print(text, sizeof(text), copy, n), 1, sizeof(text) - 1);
        assert_null(strchr(text, '\n'));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_is_one_line),
        cmocka_unit_test(a_packet_that_cannot_be_is_named_by_its_reason),
        cmocka_unit_test(another_protocol_is_shown_by_its_number),
        cmocka_unit_test(a_line_is_cut_to_its_room_and_says_what_it_wanted),
        cmocka_unit_test(broken_packets_are_printed_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
