/* SPDX-License-Identifier: MIT */
/* The option tables: what is understood, what is refused, and where the operands begin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "../../../cli/options.h"

struct values {
    int flag, count;
    const char *text;
    uint32_t number;
};

static const struct option table[] = {
    {"flag", 0, OPTION_FLAG, NULL, "a flag", offsetof(struct values, flag), 0, 0},
    {"verbose", 'v', OPTION_COUNT, NULL, "a count", offsetof(struct values, count), 0, 0},
    {"text", 't', OPTION_TEXT, "TEXT", "a text", offsetof(struct values, text), 0, 0},
    {"number", 'n', OPTION_NUMBER, "N", "a number", offsetof(struct values, number), 10,
     4294967295},
};

enum { WORDS_MAX = 8 };

/* The arguments are words separated by blanks; "_" stands for an empty one. Returns what options_parse() does. */
static int parse(const char *line, struct values *v, char why[128])
{
    static char words[128];
    static char *argv[WORDS_MAX + 2];
    int n = 1;
    argv[0] = (char *)"verb";
    strcpy(words, line);
    for (char *word = strtok(words, " "); word && n <= WORDS_MAX; word = strtok(NULL, " "))
        argv[n++] = strcmp(word, "_") == 0 ? (char *)"" : word;
    argv[n] = NULL;
    *v = (struct values){0};
    return options_parse(table, sizeof(table) / sizeof(table[0]), argv, v, why);
}

static void values_are_taken_in_every_spelling(void **state)
{
    static const char *const lines[] = {
        "--flag --text a --number 12 -v -v",
        "--flag --text=a --number=12 -vv",
        "-vvta --flag -n12",
        "-v --number 12 -vt a --flag --",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct values v;
        char why[128] = "";
        assert_true(parse(lines[i], &v, why) > 0);
        assert_string_equal(why, "");
        assert_int_equal(v.flag, 1);
        assert_int_equal(v.count, 2);
        assert_string_equal(v.text, "a");
        assert_int_equal(v.number, 12);
    }
}

static void the_first_operand_ends_the_options(void **state)
{
    static const struct {
        const char *line;
        int first, flag;
    } rows[] = {
        {"", 1, 0},
        {"cmd", 1, 0},
        {"cmd --flag", 1, 0},
        {"--flag cmd --text", 2, 1},
        {"-- --flag", 2, 0},
        {"--flag -- -h", 3, 1},
        {"- --nonsense", 1, 0},
        {"_ --flag", 1, 0},
        {"--flag", 2, 1},
        {"--", 2, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct values v;
        char why[128] = "";
        assert_int_equal(parse(rows[i].line, &v, why), rows[i].first);
        assert_int_equal(v.flag, rows[i].flag);
    }
}

static void a_value_that_looks_like_an_option_is_a_value(void **state)
{
    struct values v;
    char why[128];
    (void)state;
    assert_int_equal(parse("--text --flag cmd", &v, why), 3);
    assert_string_equal(v.text, "--flag");
    assert_int_equal(v.flag, 0);
    assert_int_equal(parse("--text= cmd", &v, why), 2);
    assert_string_equal(v.text, "");
}

static void help_is_understood_anywhere_before_the_operands(void **state)
{
    static const char *const lines[] = {"-h", "--help", "--flag -h", "-vh", "--help --nonsense"};
    struct values v;
    char why[128];
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(parse(lines[i], &v, why), OPTIONS_HELP);
    assert_int_equal(parse("cmd -h", &v, why), 1);
}

static void what_cannot_be_meant_is_refused_by_name(void **state)
{
    static const struct {
        const char *line, *word;
    } rows[] = {
        {"--nonsense", "--nonsense"},
        {"--tex a", "--tex"},
        {"--flagg", "--flagg"},
        {"--flag=1", "--flag=1"},
        {"-x", "-x"},
        {"-vx", "-vx"},
        {"--text", "--text"},
        {"-t", "-t"},
        {"--number x", "\"x\""},
        {"--number 9", "\"9\""},
        {"--number 12x", "\"12x\""},
        {"--number -12", "\"-12\""},
        {"--number= 12", "\"\""},
        {"--number +12", "\"+12\""},
        {"--number 0x12", "\"0x12\""},
        {"-n _", "\"\""},
        {"-n 4294967296", "4294967296"},
        {"--number 99999999999999999999999", "number between"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct values v;
        char why[128] = "";
        assert_int_equal(parse(rows[i].line, &v, why), OPTIONS_BAD);
        assert_non_null(strstr(why, rows[i].word));
    }
}

static void a_fault_longer_than_the_text_is_cut(void **state)
{
    char name[400], why[128], *argv[] = {(char *)"verb", name, NULL};
    struct values v = {0};
    (void)state;
    memset(name, '-', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(options_parse(table, 4, argv, &v, why), OPTIONS_BAD);
    assert_true(strlen(why) < sizeof(why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_taken_in_every_spelling),
        cmocka_unit_test(the_first_operand_ends_the_options),
        cmocka_unit_test(a_value_that_looks_like_an_option_is_a_value),
        cmocka_unit_test(help_is_understood_anywhere_before_the_operands),
        cmocka_unit_test(what_cannot_be_meant_is_refused_by_name),
        cmocka_unit_test(a_fault_longer_than_the_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
