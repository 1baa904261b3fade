/* SPDX-License-Identifier: MIT */
/* adit version: the library's number, and with --features what this build can do, one word a line. */
#include "command.h"
#include "adit/base.h"

struct version_args {
    int features;
};

static const struct option version_options[] = {
    {"features", 0, OPTION_FLAG, NULL, "what this build can do, one word a line",
     offsetof(struct version_args, features), 0, 0},
};

static void features_print(void)
{
    for (const char *c = adit_features(); *c; c++)
        putchar(*c == ' ' ? '\n' : *c);
    putchar('\n');
}

static int version_run(const struct command *self, int argc, char **argv)
{
    struct version_args args = {0};
    int status = STATUS_OK;
    int first = command_parse(self, argv, &args, &status);
    if (first < 0)
        return status;
    if (first < argc)
        return command_refuse(self, "takes no operands");
    uint32_t v = adit_version();
    printf("adit %u.%u.%u\n", (unsigned)(v >> 24), (unsigned)(v >> 16 & 0xff),
           (unsigned)(v >> 8 & 0xff));
    if (args.features)
        features_print();
    return STATUS_OK;
}

const struct command command_version = {
    .name = "version",
    .usage = "[--features]",
    .summary = "the version, and what this build can do",
    .about = "",
    .options = version_options,
    .options_count = sizeof(version_options) / sizeof(version_options[0]),
    .usage_status = STATUS_USAGE,
    .run = version_run,
};
