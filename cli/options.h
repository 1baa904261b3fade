/* SPDX-License-Identifier: MIT */
/* options: a command's options as a table, which is also its help.
 *
 * Long options are "--name VALUE" or "--name=VALUE", short ones "-v", "-vv" or "-m1400"; "--" ends them, and so does the
 * first operand: what follows belongs to the command that adit runs. -h and --help are understood everywhere. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_kind {
    OPTION_FLAG,   /* int: becomes 1 */
    OPTION_COUNT,  /* int: one more each time */
    OPTION_TEXT,   /* const char *, borrowed from argv */
    OPTION_NUMBER, /* uint32_t between min and max */
};

struct option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    const char *arg;  /* what the value is called in the help; NULL where there is none */
    const char *text; /* one line */
    size_t offset;    /* of the value in the struct that options_parse() fills */
    uint32_t min, max;
};

enum { OPTIONS_HELP = -1, OPTIONS_BAD = -2 };

/* Fills *into from argv[1] on. Returns the index of the first operand (argc: none), OPTIONS_HELP, or OPTIONS_BAD with
 * the fault in `why`. */
int options_parse(const struct option *list, size_t count, char *const *argv, void *into,
                  char why[128]);
void options_print(FILE *to, const struct option *list, size_t count);
