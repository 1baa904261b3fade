/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "proxy/dns_wire.h"

#define OCTETS(text) (const uint8_t *)(text), sizeof(text) - 1
#define NAME                                                                                       \
    "\x05hello\x04"                                                                                \
    "adit\x04test\x00"
#define HEADER(flags, questions, additional)                                                       \
    "\xab\xcd" flags questions "\x00\x00\x00\x00" additional
#define QUERY HEADER("\x01\x00", "\x00\x01", "\x00\x00")
#define ONE "\x00\x01"
#define TYPE_A "\x00\x01"
#define TYPE_AAAA "\x00\x1c"
#define CLASS_IN "\x00\x01"
#define OPT(version, bytes) "\x00\x00\x29" bytes "\x00" version "\x00\x00\x00\x00"

static const struct dns_record record = {
    .name = "hello.adit.test",
    .a4 = {.ip = {[10] = 0xff, [11] = 0xff, 198, 18, 0, 1}, .family = 4},
    .a6 = {.ip = {0xfd, 0x5a, [15] = 1}, .family = 6},
    .ttl_seconds = 10,
};

/* The message in memory of exactly its length, so that a sanitizer sees a read past its end. */
static void answer_is(const uint8_t *query, size_t query_bytes, const uint8_t *answer,
                      size_t answer_bytes)
{
    uint8_t out[DNS_ANSWER_MAX], *exact = malloc(query_bytes ? query_bytes : 1);
    size_t n;

    memcpy(exact, query, query_bytes);
    n = dns_answer(out, exact, query_bytes, &record);
    free(exact);
    assert_int_equal(n, answer_bytes);
    if (answer_bytes)
        assert_memory_equal(out, answer, answer_bytes);
}

static void our_name_has_an_address_of_each_family(void **state)
{
    (void)state;
    answer_is(OCTETS(QUERY NAME TYPE_A CLASS_IN),
              OCTETS("\xab\xcd\x85\x00\x00\x01\x00\x01\x00\x00\x00\x00" NAME TYPE_A CLASS_IN
                     "\xc0\x0c" TYPE_A CLASS_IN "\x00\x00\x00\x0a\x00\x04\xc6\x12\x00\x01"));
    answer_is(OCTETS(QUERY NAME TYPE_AAAA CLASS_IN),
              OCTETS("\xab\xcd\x85\x00\x00\x01\x00\x01\x00\x00\x00\x00" NAME TYPE_AAAA CLASS_IN
                     "\xc0\x0c" TYPE_AAAA CLASS_IN "\x00\x00\x00\x0a\x00\x10"
                     "\xfd\x5a\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"));
}

static void the_client_s_spelling_is_kept(void **state)
{
    (void)state;
    answer_is(OCTETS(QUERY "\x05HeLLo\x04"
                           "aDIT\x04tesT\x00"
                           "\x00\x10" CLASS_IN),
              OCTETS("\xab\xcd\x85\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                     "\x05HeLLo\x04"
                     "aDIT\x04tesT\x00"
                     "\x00\x10" CLASS_IN));
}

static void other_names_do_not_exist(void **state)
{
    (void)state;
    answer_is(
        OCTETS(QUERY "\x04test\x00" TYPE_A CLASS_IN),
        OCTETS("\xab\xcd\x85\x03\x00\x01\x00\x00\x00\x00\x00\x00\x04test\x00" TYPE_A CLASS_IN));
    answer_is(OCTETS(QUERY "\x01x" NAME TYPE_A CLASS_IN),
              OCTETS("\xab\xcd\x85\x03\x00\x01\x00\x00\x00\x00\x00\x00\x01x" NAME TYPE_A CLASS_IN));
    answer_is(OCTETS(QUERY "\x05hello\x04"
                           "adit\x04test\x01x\x00" TYPE_A CLASS_IN),
              OCTETS("\xab\xcd\x85\x03\x00\x01\x00\x00\x00\x00\x00\x00"
                     "\x05hello\x04"
                     "adit\x04test\x01x\x00" TYPE_A CLASS_IN));
    answer_is(OCTETS(QUERY "\x00" TYPE_A CLASS_IN),
              OCTETS("\xab\xcd\x85\x03\x00\x01\x00\x00\x00\x00\x00\x00\x00" TYPE_A CLASS_IN));
    answer_is(
        OCTETS(QUERY "\x0fhello.adit.test\x00" TYPE_A CLASS_IN), /* one label with dots in it */
        OCTETS("\xab\xcd\x85\x03\x00\x01\x00\x00\x00\x00\x00\x00\x0fhello.adit.test\x00" TYPE_A
                   CLASS_IN));
}

static void another_class_is_refused(void **state)
{
    (void)state;
    answer_is(OCTETS(QUERY NAME TYPE_A "\x00\x03"),
              OCTETS("\xab\xcd\x81\x05\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A "\x00\x03"));
}

static void edns_is_answered_with_edns(void **state)
{
    (void)state;
    answer_is(OCTETS(HEADER("\x00\x00", ONE, ONE) NAME TYPE_A CLASS_IN OPT("\x00", "\x04\xd0")),
              OCTETS("\xab\xcd\x84\x00\x00\x01\x00\x01\x00\x00\x00\x01" NAME TYPE_A CLASS_IN
                     "\xc0\x0c" TYPE_A CLASS_IN "\x00\x00\x00\x0a\x00\x04\xc6\x12\x00\x01"
                     "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"));
    answer_is(OCTETS(HEADER("\x00\x00", ONE, ONE) NAME TYPE_A CLASS_IN OPT("\x01", "\x04\xd0")),
              OCTETS("\xab\xcd\x80\x00\x00\x01\x00\x00\x00\x00\x00\x01" NAME TYPE_A CLASS_IN
                     "\x00\x00\x29\x10\x00\x01\x00\x00\x00\x00\x00"));
}

static void what_is_no_query_is_met_with_silence(void **state)
{
    (void)state;
    answer_is(OCTETS(""), NULL, 0);
    answer_is(OCTETS("\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00"), NULL, 0);
    answer_is(OCTETS(HEADER("\x81\x00", ONE, "\x00\x00") NAME TYPE_A CLASS_IN), NULL, 0);
}

static void other_operations_are_not_implemented(void **state)
{
    (void)state;
    answer_is(OCTETS(HEADER("\x29\x00", ONE, "\x00\x00") NAME TYPE_A CLASS_IN),
              OCTETS("\xab\xcd\xa9\x04\x00\x00\x00\x00\x00\x00\x00\x00"));
}

static void every_truncation_is_a_format_error(void **state)
{
    static const uint8_t whole[] =
        HEADER("\x01\x00", ONE, ONE) NAME TYPE_A CLASS_IN OPT("\x00", "\x04\xd0");

    (void)state;
    for (size_t cut = DNS_HEADER_BYTES; cut < sizeof(whole) - 1; cut++)
        answer_is(whole, cut, OCTETS("\xab\xcd\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00"));
}

static void malformed_queries_are_format_errors(void **state)
{
    static const struct {
        const uint8_t *data;
        size_t len_bytes;
    } rows[] = {
        {OCTETS(HEADER("\x01\x00", "\x00\x00", "\x00\x00"))},
        {OCTETS(HEADER("\x01\x00", "\x00\x02", "\x00\x00")
                    NAME TYPE_A CLASS_IN NAME TYPE_A CLASS_IN)},
        {OCTETS(QUERY "\xc0\x0c" TYPE_A CLASS_IN)},
        {OCTETS(QUERY "\x40"
                      "0123456789012345678901234567890123456789012345678901234567890123\x00" TYPE_A
                          CLASS_IN)},
        {OCTETS(HEADER("\x01\x00", ONE, "\xff\xff") NAME TYPE_A CLASS_IN)},
        {OCTETS(HEADER("\x01\x00", ONE, "\x00\x02") NAME TYPE_A CLASS_IN OPT("\x00", "\x04\xd0")
                    OPT("\x00", "\x04\xd0"))},
        {OCTETS(HEADER("\x01\x00", ONE, ONE) NAME TYPE_A CLASS_IN
                "\xc0\x0c\x00\x29\x04\xd0\0\0\0\0\0\0")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        answer_is(rows[i].data, rows[i].len_bytes,
                  OCTETS("\xab\xcd\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00"));
}

static void a_name_has_at_most_255_octets(void **state)
{
    uint8_t query[DNS_HEADER_BYTES + 300] = "\xab\xcd\x00\x00\x00\x01";
    struct dns_query q;
    size_t at = DNS_HEADER_BYTES;

    (void)state;
    for (int i = 0; i < 127; i++) {
        query[at++] = 1;
        query[at++] = 'a';
    }
    assert_int_equal(dns_query_parse(&q, query, at + 5),
                     DNS_QUERY); /* 127 labels and the root: 255 octets */
    assert_int_equal(q.name_bytes, 255);
    query[at - 2] = 2;
    query[at++] = 'a';
    assert_int_equal(dns_query_parse(&q, query, at + 5), DNS_MALFORMED);
}

static void the_client_says_how_much_it_takes(void **state)
{
    static const struct {
        const uint8_t *data;
        size_t len_bytes;
        uint16_t udp_bytes;
    } rows[] = {
        {OCTETS(QUERY NAME TYPE_A CLASS_IN), 512},
        {OCTETS(HEADER("\x01\x00", ONE, ONE) NAME TYPE_A CLASS_IN OPT("\x00", "\x04\xd0")), 1232},
        {OCTETS(HEADER("\x01\x00", ONE, ONE) NAME TYPE_A CLASS_IN OPT("\x00", "\x00\x10")), 512},
        {OCTETS(HEADER("\x01\x00", ONE, ONE) NAME TYPE_A CLASS_IN OPT("\x00", "\xff\xff")), 4096},
    };
    struct dns_query q;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(dns_query_parse(&q, rows[i].data, rows[i].len_bytes), DNS_QUERY);
        assert_int_equal(q.udp_bytes, rows[i].udp_bytes);
    }
}

static void a_cut_answer_keeps_its_question(void **state)
{
    uint8_t answer[] = "\xab\xcd\x81\x80\x00\x01\x00\x01\x00\x00\x00\x01" NAME TYPE_A CLASS_IN
                       "\xc0\x0c" TYPE_A CLASS_IN "\x00\x00\x00\x0a\x00\x04\xc6";
    static const uint8_t cut[] =
        "\xab\xcd\x83\x80\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A CLASS_IN;
    uint8_t broken[] = "\xab\xcd\x81\x80\x00\x01\x00\x01\x00\x00\x00\x01\x05hel";
    uint8_t query[] = QUERY NAME TYPE_A CLASS_IN;

    (void)state;
    assert_int_equal(dns_truncate(answer, sizeof(answer) - 1), sizeof(cut) - 1);
    assert_memory_equal(answer, cut, sizeof(cut) - 1);
    assert_int_equal(dns_truncate(broken, sizeof(broken) - 1), DNS_HEADER_BYTES);
    assert_memory_equal(broken, "\xab\xcd\x83\x80\0\0\0\0\0\0\0\0", DNS_HEADER_BYTES);
    assert_int_equal(dns_truncate(query, sizeof(query) - 1), 0);
    assert_int_equal(dns_truncate(answer, 11), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_name_has_an_address_of_each_family),
        cmocka_unit_test(the_client_s_spelling_is_kept),
        cmocka_unit_test(other_names_do_not_exist),
        cmocka_unit_test(another_class_is_refused),
        cmocka_unit_test(edns_is_answered_with_edns),
        cmocka_unit_test(what_is_no_query_is_met_with_silence),
        cmocka_unit_test(other_operations_are_not_implemented),
        cmocka_unit_test(every_truncation_is_a_format_error),
        cmocka_unit_test(malformed_queries_are_format_errors),
        cmocka_unit_test(a_name_has_at_most_255_octets),
        cmocka_unit_test(the_client_says_how_much_it_takes),
        cmocka_unit_test(a_cut_answer_keeps_its_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
