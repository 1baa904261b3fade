/* SPDX-License-Identifier: MIT */
/* options: the parser and the printer of the option tables (options.h).
 *
 * It is written here because getopt permutes operands, keeps its state in globals, and cannot print its own help. */
#include "options.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What one pass over the arguments carries. */
struct options_parser {
    const struct option *list;
    size_t count;
    char *const *argv;
    int at;     /* the argument under the eye */
    char *into; /* the struct that is filled */
    char *why;
};

enum { WHY_BYTES = 128 };

static int parser_refuse(struct options_parser *p, const char *fault, const char *subject)
{
    snprintf(p->why, WHY_BYTES, "%s: %s", subject, fault);
    return OPTIONS_BAD;
}

static const struct option *option_by_name(const struct options_parser *p, const char *name,
                                           size_t len)
{
    for (size_t i = 0; i < p->count; i++)
        if (strlen(p->list[i].name) == len && memcmp(p->list[i].name, name, len) == 0)
            return &p->list[i];
    return NULL;
}

static const struct option *option_by_letter(const struct options_parser *p, char letter)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].letter == letter)
            return &p->list[i];
    return NULL;
}

static int option_store_number(struct options_parser *p, const struct option *o, const char *value)
{
    char *end = NULL;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno || n < o->min || n > o->max) {
        snprintf(p->why, WHY_BYTES, "--%s: \"%.40s\" is not a number between %u and %u", o->name,
                 value, o->min, o->max);
        return OPTIONS_BAD;
    }
    uint32_t number = (uint32_t)n;
    memcpy(p->into + o->offset, &number, sizeof(number));
    return 0;
}

/* value: NULL for the kinds that have none. */
static int option_store(struct options_parser *p, const struct option *o, const char *value)
{
    int n = 1;
    switch (o->kind) {
    case OPTION_COUNT:
        memcpy(&n, p->into + o->offset, sizeof(n));
        n++;
        memcpy(p->into + o->offset, &n, sizeof(n));
        return 0;
    case OPTION_FLAG:
        memcpy(p->into + o->offset, &n, sizeof(n));
        return 0;
    case OPTION_TEXT:
        memcpy(p->into + o->offset, &value, sizeof(value));
        return 0;
    case OPTION_NUMBER:
        return option_store_number(p, o, value);
    }
    return OPTIONS_BAD;
}

static int parse_long(struct options_parser *p, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    if (len == 4 && memcmp(text, "help", 4) == 0)
        return OPTIONS_HELP;
    const struct option *o = option_by_name(p, text, len);
    if (!o)
        return parser_refuse(p, "there is no such option", p->argv[p->at]);
    if (!o->arg)
        return equals ? parser_refuse(p, "takes no value", p->argv[p->at])
                      : option_store(p, o, NULL);
    if (equals)
        return option_store(p, o, equals + 1);
    const char *value = p->argv[p->at + 1];
    if (!value)
        return parser_refuse(p, "a value is missing", p->argv[p->at]);
    p->at++;
    return option_store(p, o, value);
}

static int parse_letters(struct options_parser *p, const char *text)
{
    for (; *text; text++) {
        if (*text == 'h')
            return OPTIONS_HELP;
        const struct option *o = option_by_letter(p, *text);
        if (!o)
            return parser_refuse(p, "there is no such option", p->argv[p->at]);
        if (!o->arg) {
            int rc = option_store(p, o, NULL);
            if (rc)
                return rc;
            continue;
        }
        const char *value = text[1] ? text + 1 : p->argv[p->at + 1];
        if (!value)
            return parser_refuse(p, "a value is missing", p->argv[p->at]);
        p->at += text[1] ? 0 : 1;
        return option_store(p, o, value);
    }
    return 0;
}

int options_parse(const struct option *list, size_t count, char *const *argv, void *into,
                  char why[128])
{
    struct options_parser p = {
        .list = list, .count = count, .argv = argv, .at = 1, .into = into, .why = why};
    for (; argv[p.at]; p.at++) {
        const char *text = argv[p.at];
        if (text[0] != '-' || text[1] == '\0')
            return p.at;
        if (strcmp(text, "--") == 0)
            return p.at + 1;
        int rc = text[1] == '-' ? parse_long(&p, text + 2) : parse_letters(&p, text + 1);
        if (rc)
            return rc;
    }
    return p.at;
}

void options_print(FILE *to, const struct option *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &list[i];
        char head[32];
        char letter[5] = "    ";
        if (o->letter)
            snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        snprintf(head, sizeof(head), "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        fprintf(to, "  %-22s  %s\n", head, o->text);
    }
    fprintf(to, "  %-22s  %s\n", "-h, --help", "this text");
}
