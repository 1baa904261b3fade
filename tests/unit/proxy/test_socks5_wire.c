/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "adit/base.h"
#include "proxy/socks5_wire.h"

/* A string literal as octets, and how many. */
#define OCTETS(text) (const uint8_t *)(text), sizeof(text) - 1

static const struct url_account account = {
    .user_bytes = 4, .password_bytes = 6, .user = "user", .password = "secret"};

static adit_dest dest(const char *addr, const char *host)
{
    adit_dest d = {.host = host};

    assert_int_equal(adit_addr_parse(&d.addr, addr), 0);
    return d;
}

static struct socks5_handshake greet(const struct url_account *a, bool is_pipelined)
{
    struct socks5_handshake h;
    adit_dest to = dest("10.1.2.3:80", NULL);

    assert_int_equal(socks5_handshake_init(&h, a, SOCKS5_CONNECT, &to, is_pipelined), 0);
    return h;
}

/* These octets, and no others, are to be sent now. */
static void leaves(struct socks5_handshake *h, const uint8_t *data, size_t len_bytes)
{
    size_t out_bytes;
    const uint8_t *out = socks5_handshake_output(h, &out_bytes);

    assert_int_equal(out_bytes, len_bytes);
    if (len_bytes)
        assert_memory_equal(out, data, len_bytes);
    socks5_handshake_sent(h, out_bytes);
}

/* Gives at most `chunk_bytes` at a time, as much as the handshake has room for. Returns how much it took. */
static size_t arrives(struct socks5_handshake *h, const uint8_t *data, size_t len_bytes,
                      size_t chunk_bytes)
{
    size_t done_bytes = 0;

    while (done_bytes < len_bytes && !socks5_handshake_is_over(h)) {
        size_t n;
        uint8_t *room = socks5_handshake_room(h, &n);

        assert_true(n > 0);
        n = n < chunk_bytes ? n : chunk_bytes;
        n = n < len_bytes - done_bytes ? n : len_bytes - done_bytes;
        memcpy(room, data + done_bytes, n);
        socks5_handshake_input(h, n);
        done_bytes += n;
    }
    return done_bytes;
}

static void send_all(struct socks5_handshake *h)
{
    size_t n;

    (void)socks5_handshake_output(h, &n);
    socks5_handshake_sent(h, n);
}

static void without_an_account_a_request_follows_the_method(void **state)
{
    struct socks5_handshake h = greet(NULL, false);

    (void)state;
    leaves(&h, OCTETS("\x05\x01\x00"));
    leaves(&h, OCTETS(""));
    arrives(&h, OCTETS("\x05\x00"), 1);
    leaves(&h, OCTETS("\x05\x01\x00\x01\x0a\x01\x02\x03\x00\x50"));
    arrives(&h, OCTETS("\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"), 1);
    assert_int_equal(h.phase, SOCKS5_DONE);
    assert_int_equal(h.reply, 0);
    assert_int_equal(h.bound.family, 4);
    assert_int_equal(h.bound.port, 0x1234);
    assert_int_equal(h.bound.ip[12], 127);
}

static void with_an_account_both_methods_are_offered(void **state)
{
    struct socks5_handshake h = greet(&account, false);

    (void)state;
    leaves(&h, OCTETS("\x05\x02\x00\x02"));
    arrives(&h, OCTETS("\x05\x02"), 2);
    leaves(&h, OCTETS("\x01\x04user\x06secret"));
    leaves(&h, OCTETS(""));
    arrives(&h, OCTETS("\x01\x00"), 1);
    leaves(&h, OCTETS("\x05\x01\x00\x01\x0a\x01\x02\x03\x00\x50"));
}

static void an_account_that_is_not_asked_for_is_not_sent(void **state)
{
    struct socks5_handshake h = greet(&account, false);

    (void)state;
    send_all(&h);
    arrives(&h, OCTETS("\x05\x00"), 2);
    leaves(&h, OCTETS("\x05\x01\x00\x01\x0a\x01\x02\x03\x00\x50"));
    arrives(&h, OCTETS("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"), 9);
    assert_int_equal(h.phase, SOCKS5_DONE);
}

static void a_pipelined_greeting_leaves_in_one_piece(void **state)
{
    struct socks5_handshake h = greet(&account, true);

    (void)state;
    leaves(&h, OCTETS("\x05\x01\x02"
                      "\x01\x04user\x06secret"
                      "\x05\x01\x00\x01\x0a\x01\x02\x03\x00\x50"));
    arrives(&h, OCTETS("\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"), 100);
    assert_int_equal(h.phase, SOCKS5_DONE);
}

static void destinations_have_three_forms(void **state)
{
    static const struct {
        const char *addr, *host, *octets;
        size_t len_bytes;
    } rows[] = {
        {"1.2.3.4:258", NULL, "\x01\x01\x02\x03\x04\x01\x02", 7},
        {"1.2.3.4:258", "", "\x01\x01\x02\x03\x04\x01\x02", 7},
        {"[2001:db8::9]:1", NULL, "\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\x01", 19},
        {"1.2.3.4:443", "a.example",
         "\x03\x09"
         "a.example\x01\xbb",
         13},
    };
    uint8_t out[SOCKS5_DEST_MAX];
    char host[257] = "";
    adit_dest none = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        adit_dest d = dest(rows[i].addr, rows[i].host);

        assert_int_equal(socks5_dest_emit(out, &d), rows[i].len_bytes);
        assert_memory_equal(out, rows[i].octets, rows[i].len_bytes);
    }
    assert_int_equal(socks5_dest_emit(out, &none), 0);
    memset(host, 'h', 256);
    none.host = host;
    assert_int_equal(socks5_dest_emit(out, &none), 0);
    host[255] = '\0';
    assert_int_equal(socks5_dest_emit(out, &none), SOCKS5_DEST_MAX);
}

/* Every way to greet, every type of bound address, every size of piece; octets of the stream follow the reply. */
static void no_octet_beyond_the_reply_is_taken(void **state)
{
    static const struct {
        const char *reply;
        size_t len_bytes;
    } replies[] = {
        {"\x05\x00\x00\x01\x01\x02\x03\x04\x05\x06", 10},
        {"\x05\x00\x00\x04\x20\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11",
         22},
        {"\x05\x00\x00\x03\x00\x00\x00", 7},
        {"\x05\x00\x00\x03\x01x\x00\x00", 8},
        {"\x05\x00\xff\x03\x0b"
         "name.exampl\x00\x00",
         18},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        for (int way = 0; way < 4; way++) {
            bool has_account = way & 1, is_pipelined = way & 2;

            for (size_t chunk = 1; chunk < 30; chunk++) {
                struct socks5_handshake h = greet(has_account ? &account : NULL, is_pipelined);

                send_all(&h);
                assert_int_equal(
                    arrives(&h,
                            has_account ? (const uint8_t *)"\x05\x02" : (const uint8_t *)"\x05\x00",
                            2, is_pipelined ? 2 : chunk),
                    2);
                send_all(&h);
                if (has_account)
                    assert_int_equal(arrives(&h, OCTETS("\x01\x00"), is_pipelined ? 2 : chunk), 2);
                send_all(&h);
                {
                    uint8_t stream[64];

                    memset(stream, 'S', sizeof(stream));
                    memcpy(stream, replies[i].reply, replies[i].len_bytes);
                    assert_int_equal(arrives(&h, stream, sizeof(stream), chunk),
                                     replies[i].len_bytes);
                }
                assert_int_equal(h.phase, SOCKS5_DONE);
            }
        }
    }
}

static void pipelined_answers_may_be_cut_anywhere(void **state)
{
    static const uint8_t answers[] = "\x05\x02\x01\x00\x05\x00\x00\x03\x04host\x00\x50streamstream";
    const size_t reply_end = 2 + 2 + 5 + 4 + 2;

    (void)state;
    for (size_t chunk = 1; chunk < sizeof(answers); chunk++) {
        struct socks5_handshake h = greet(&account, true);

        send_all(&h);
        assert_int_equal(arrives(&h, answers, sizeof(answers) - 1, chunk), reply_end);
        assert_int_equal(h.phase, SOCKS5_DONE);
        assert_int_equal(h.bound.family, 0);
        assert_int_equal(h.bound.port, 80);
    }
}

static void every_truncation_is_an_end_in_the_middle(void **state)
{
    static const uint8_t answers[] = "\x05\x02\x01\x00\x05\x00\x00\x04"
                                     "0123456789abcdef"
                                     "\x00\x50";
    const size_t len_bytes = sizeof(answers) - 1;

    (void)state;
    for (size_t cut = 0; cut <= len_bytes; cut++) {
        for (int is_pipelined = 0; is_pipelined < 2; is_pipelined++) {
            struct socks5_handshake h = greet(&account, is_pipelined);

            for (size_t at = 0; at < cut; at++) {
                send_all(&h);
                assert_int_equal(arrives(&h, answers + at, 1, 1), 1);
            }
            send_all(&h);
            socks5_handshake_end(&h);
            assert_int_equal(h.phase, cut == len_bytes ? SOCKS5_DONE
                                      : is_pipelined   ? SOCKS5_RETRY
                                                       : SOCKS5_FAILED);
            if (h.phase == SOCKS5_FAILED)
                assert_int_equal(h.error, ADIT_ECLOSED);
        }
    }
}

static void refusals_become_codes_as_soon_as_their_code_is_there(void **state)
{
    static const struct {
        uint8_t code;
        int error;
    } rows[] = {
        {1, ADIT_EREFUSED}, {2, ADIT_EPERM},        {3, ADIT_ENETUNREACH}, {4, ADIT_EHOSTUNREACH},
        {5, ADIT_EREFUSED}, {6, ADIT_EHOSTUNREACH}, {7, ADIT_ENOTSUP},     {8, ADIT_ENETUNREACH},
        {9, ADIT_EPROTO},   {255, ADIT_EPROTO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct socks5_handshake h = greet(NULL, false);
        uint8_t reply[2] = {5, rows[i].code};

        send_all(&h);
        arrives(&h, OCTETS("\x05\x00"), 2);
        send_all(&h);
        arrives(&h, reply, sizeof(reply), 2);
        assert_int_equal(h.phase, SOCKS5_FAILED);
        assert_int_equal(h.error, rows[i].error);
        assert_int_equal(h.reply, rows[i].code);
        assert_non_null(h.why);
    }
}

static void what_is_not_socks5_fails(void **state)
{
    static const struct {
        bool has_account, is_pipelined;
        const char *octets;
        size_t len_bytes;
        int phase, error;
    } rows[] = {
        {0, 0, "HT", 2, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 1, "HT", 2, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 0, "\x04\x00", 2, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 0, "\x05\xff", 2, SOCKS5_FAILED, ADIT_EPERM},
        {0, 1, "\x05\xff", 2, SOCKS5_FAILED, ADIT_EPERM},
        {0, 0, "\x05\x02", 2, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 1, "\x05\x02", 2, SOCKS5_FAILED, ADIT_EPROTO},
        {1, 0, "\x05\x01", 2, SOCKS5_FAILED, ADIT_EPROTO},
        {1, 0, "\x05\xff", 2, SOCKS5_FAILED, ADIT_EPERM},
        {1, 1, "\x05\x00", 2, SOCKS5_RETRY, 0},
        {1, 1, "\x05\xff", 2, SOCKS5_RETRY, 0},
        {1, 1, "\x05\x02\x01\x01", 4, SOCKS5_FAILED, ADIT_EPERM},
        {1, 1, "\x05\x02\x07\x00", 4, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 1, "\x05\x00\x04\x00", 4, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 1, "\x05\x00\x05\x00\x00\x00\x00\x00\x00", 9, SOCKS5_FAILED, ADIT_EPROTO},
        {0, 1, "\x05\x00\x05\x00\x00\x05\x00\x00\x00", 9, SOCKS5_FAILED, ADIT_EPROTO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct socks5_handshake h =
            greet(rows[i].has_account ? &account : NULL, rows[i].is_pipelined);
        size_t room_bytes;

        send_all(&h);
        arrives(&h, (const uint8_t *)rows[i].octets, rows[i].len_bytes, 100);
        assert_int_equal(h.phase, rows[i].phase);
        assert_int_equal(h.error, rows[i].error);
        (void)socks5_handshake_room(&h, &room_bytes);
        assert_int_equal(room_bytes, 0);
        leaves(&h, OCTETS(""));
    }
}

static void a_reply_before_the_request_is_a_lie(void **state)
{
    struct socks5_handshake h = greet(NULL, true);

    (void)state;
    socks5_handshake_sent(&h, 5);
    arrives(&h, OCTETS("\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"), 100);
    assert_int_equal(h.phase, SOCKS5_FAILED);
    assert_int_equal(h.error, ADIT_EPROTO);
}

static void the_longest_account_and_name_fit(void **state)
{
    struct url_account longest = {.user_bytes = 255, .password_bytes = 255};
    char host[256];
    adit_dest to = {.host = host, .addr = {.port = 1}};
    struct socks5_handshake h;
    size_t n;

    (void)state;
    memset(host, 'h', 255);
    host[255] = '\0';
    assert_int_equal(socks5_handshake_init(&h, &longest, SOCKS5_ASSOCIATE, &to, true), 0);
    (void)socks5_handshake_output(&h, &n);
    assert_int_equal(n, 3 + 3 + 255 + 255 + 3 + 1 + 1 + 255 + 2);
    assert_int_equal(h.out[3 + 513 + 1], SOCKS5_ASSOCIATE);
}

static void datagrams_have_a_header(void **state)
{
    uint8_t out[SOCKS5_UDP_HEADER_MAX];
    adit_dest d = dest("1.2.3.4:53", NULL);
    struct socks5_datagram in;

    (void)state;
    assert_int_equal(socks5_udp_emit(out, &d), 10);
    assert_memory_equal(out, "\x00\x00\x00\x01\x01\x02\x03\x04\x00\x35", 10);

    assert_true(socks5_udp_parse(&in, OCTETS("\x00\x00\x00\x01\x01\x02\x03\x04\x00\x35payload")));
    assert_memory_equal(&in.from, &d.addr, sizeof(in.from));
    assert_int_equal(in.payload_bytes, 7);
    assert_memory_equal(in.payload, "payload", 7);

    assert_true(socks5_udp_parse(&in, OCTETS("\x00\x00\x00\x03\x04host\x00\x35!")));
    assert_int_equal(in.from.family, 0);
    assert_int_equal(in.from.port, 53);
    assert_int_equal(in.host_bytes, 4);
    assert_memory_equal(in.host, "host", 4);
    assert_int_equal(in.payload_bytes, 1);

    assert_true(socks5_udp_parse(&in, OCTETS("\x00\x00\x00\x04"
                                             "0123456789abcdef"
                                             "\x00\x35")));
    assert_int_equal(in.from.family, 6);
    assert_int_equal(in.payload_bytes, 0);
}

static void fragments_truncations_and_lies_are_no_datagrams(void **state)
{
    static const struct {
        const char *octets;
        size_t len_bytes;
    } rows[] = {
        {"\x00\x00\x00\x01\x01\x02\x03\x04\x00\x35", 10},
        {"\x00\x00\x00\x03\x04host\x00\x35", 11},
        {"\x00\x00\x00\x04"
         "0123456789abcdef"
         "\x00\x35",
         22},
    };
    struct socks5_datagram in;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t cut = 0; cut < rows[i].len_bytes; cut++) {
            uint8_t *exact = malloc(cut ? cut : 1); /* a sanitizer sees a read beyond it */

            memcpy(exact, rows[i].octets, cut);
            assert_false(socks5_udp_parse(&in, exact, cut));
            free(exact);
        }
    assert_false(socks5_udp_parse(&in, OCTETS("\x00\x00\x01\x01\x01\x02\x03\x04\x00\x35payload")));
    assert_false(socks5_udp_parse(&in, OCTETS("\x00\x00\x80\x01\x01\x02\x03\x04\x00\x35payload")));
    assert_false(socks5_udp_parse(&in, OCTETS("\x00\x00\x00\x02\x01\x02\x03\x04\x00\x35payload")));
    assert_false(socks5_udp_parse(&in, OCTETS("\x00\x00\x00\x03\xffhost\x00\x35payload")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_an_account_a_request_follows_the_method),
        cmocka_unit_test(with_an_account_both_methods_are_offered),
        cmocka_unit_test(an_account_that_is_not_asked_for_is_not_sent),
        cmocka_unit_test(a_pipelined_greeting_leaves_in_one_piece),
        cmocka_unit_test(destinations_have_three_forms),
        cmocka_unit_test(no_octet_beyond_the_reply_is_taken),
        cmocka_unit_test(pipelined_answers_may_be_cut_anywhere),
        cmocka_unit_test(every_truncation_is_an_end_in_the_middle),
        cmocka_unit_test(refusals_become_codes_as_soon_as_their_code_is_there),
        cmocka_unit_test(what_is_not_socks5_fails),
        cmocka_unit_test(a_reply_before_the_request_is_a_lie),
        cmocka_unit_test(the_longest_account_and_name_fit),
        cmocka_unit_test(datagrams_have_a_header),
        cmocka_unit_test(fragments_truncations_and_lies_are_no_datagrams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
