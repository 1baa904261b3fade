/* SPDX-License-Identifier: MIT */
/* command: what all verbs do with their command line (command.h). */
#include "command.h"

void command_help(FILE *to, const struct command *c)
{
    fprintf(to, "adit %s: %s\n\nusage: adit %s%s%s\n\n%s\n", c->name, c->summary, c->name,
            c->usage[0] ? " " : "", c->usage, c->about);
    options_print(to, c->options, c->options_count);
}

int command_refuse(const struct command *c, const char *why)
{
    fprintf(stderr, "adit %s: %s\n      fix       adit help %s\n", c->name, why, c->name);
    return c->usage_status;
}

int command_parse(const struct command *c, char *const *argv, void *args, int *status)
{
    char why[128];
    int first = options_parse(c->options, c->options_count, argv, args, why);
    if (first == OPTIONS_HELP) {
        command_help(stdout, c);
        *status = STATUS_OK;
        return -1;
    }
    if (first == OPTIONS_BAD) {
        *status = command_refuse(c, why);
        return -1;
    }
    return first;
}
