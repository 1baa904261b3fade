/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/error.h"

static void first_failure_wins(void **state)
{
    adit_error e = {0};

    (void)state;
    assert_int_equal(error_set(&e, ADIT_EPERM, EPERM, "TUNSETIFF", "no TUN", "be root"), ADIT_EPERM);
    assert_int_equal(error_setf(&e, ADIT_ESYS, 0, "x", NULL, "%d", 1), ADIT_ESYS);
    assert_int_equal(e.code, ADIT_EPERM);
    assert_int_equal(e.os, EPERM);
    assert_string_equal(e.op, "TUNSETIFF");
    assert_string_equal(e.msg, "no TUN");
    assert_string_equal(e.hint, "be root");
}

static void error_may_be_unwanted_and_its_parts_missing_or_long(void **state)
{
    char text[1000];
    adit_error e = {0};

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(error_set(NULL, ADIT_EPERM, 0, "x", "y", "z"), ADIT_EPERM);
    error_set(&e, ADIT_EPERM, 0, NULL, text, NULL);
    assert_string_equal(e.op, "");
    assert_string_equal(e.hint, "");
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void every_code_has_a_sentence_of_its_own(void **state)
{
    (void)state;
    for (int code = ADIT_OK; code >= ADIT_ENAME; code--) {
        assert_string_not_equal(adit_strerror(code), adit_strerror(1));
        for (int other = ADIT_OK; other > code; other--)
            assert_string_not_equal(adit_strerror(code), adit_strerror(other));
    }
    assert_string_not_equal(adit_strerror(ADIT_ESYS), adit_strerror(1));
    assert_non_null(adit_strerror(-12345));
}

static void errno_becomes_a_code(void **state)
{
    (void)state;
    assert_int_equal(error_from_errno(ECONNREFUSED), ADIT_EREFUSED);
    assert_int_equal(error_from_errno(EACCES), ADIT_EPERM);
    assert_int_equal(error_from_errno(ETIMEDOUT), ADIT_ETIMEDOUT);
    assert_int_equal(error_from_errno(0), ADIT_OK);
    assert_int_equal(error_from_errno(EXDEV), ADIT_ESYS);
}

static void version_and_features_say_what_was_built(void **state)
{
    (void)state;
    assert_int_equal(adit_version() & 0xff, 0);
    assert_true(adit_version() >= 0x00010000);
    assert_non_null(strstr(adit_features(), "tun"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_wins),
        cmocka_unit_test(error_may_be_unwanted_and_its_parts_missing_or_long),
        cmocka_unit_test(every_code_has_a_sentence_of_its_own),
        cmocka_unit_test(errno_becomes_a_code),
        cmocka_unit_test(version_and_features_say_what_was_built),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
