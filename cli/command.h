/* SPDX-License-Identifier: MIT */
/* command: one verb of the command line. The table of them all (main.c) is what `adit help` prints. */
#pragma once
#include "options.h"

struct command {
    const char *name;
    const char *usage;   /* what follows the name */
    const char *summary; /* one line */
    const char *about;   /* some lines for `adit help NAME`; each ends with a newline */
    const struct option *options;
    size_t options_count;
    int usage_status; /* exit status for a wrong command line */
    int (*run)(const struct command *self, int argc, char **argv);
};

extern const struct command command_exec, command_demo, command_bench, command_version;

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_NOT_STARTED = 125 };

void command_help(FILE *to, const struct command *c);
/* Parses argv into *args. Returns the index of the first operand, or -1 after it has printed the help or the
 * fault: *status is what the command must return then. */
int command_parse(const struct command *c, char *const *argv, void *args, int *status);
/* Prints the fault and where the help is; returns the command's usage status. */
int command_refuse(const struct command *c, const char *why);
