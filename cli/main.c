/* SPDX-License-Identifier: MIT */
/* adit: the command. It finds the verb in the table below and runs it; the same table is the help.
 *
 * The command is built on the library's public headers alone: whatever it does, another program can do. */
#include "command.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int help_run(const struct command *self, int argc, char **argv);

static const struct command command_help_verb = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "this overview, or a command's options",
    .about = "",
    .usage_status = STATUS_USAGE,
    .run = help_run,
};

static const struct command *const commands[] = {
    &command_exec,
    &command_demo,
    &command_bench,
    &command_version,
    &command_help_verb,
};

enum { COMMANDS_COUNT = sizeof(commands) / sizeof(commands[0]) };

static const struct command *command_by_name(const char *name)
{
    for (size_t i = 0; i < COMMANDS_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void overview_print(FILE *to)
{
    fputs("adit turns the packets of a program into connections.\n\n"
          "  adit exec -- curl https://example.org/           a command in a network of its own\n"
          "  adit exec --via socks5://127.0.0.1:1080 -- bash  a shell behind a proxy\n"
          "  adit exec --pcap out.pcapng --summary -- make    what did that talk to?\n"
          "  adit demo                                        see all of it work, on this machine "
          "alone\n\n",
          to);
    for (size_t i = 0; i < COMMANDS_COUNT; i++)
        fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
}

static int command_unknown(const char *name)
{
    fprintf(stderr, "adit: \"%s\" is not a command\n      fix       adit help\n", name);
    return STATUS_USAGE;
}

static int help_run(const struct command *self, int argc, char **argv)
{
    int status = STATUS_OK;
    int first = command_parse(self, argv, NULL, &status);
    if (first < 0)
        return status;
    if (first == argc) {
        overview_print(stdout);
        return STATUS_OK;
    }
    const struct command *c = command_by_name(argv[first]);
    if (!c)
        return command_unknown(argv[first]);
    command_help(stdout, c);
    return STATUS_OK;
}

/* A descriptor that we open must never become the command's standard input or output, so closed ones are filled. They
 * are closed again for what we execute. */
static void standard_descriptors_fill(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    standard_descriptors_fill();
    if (argc < 2) {
        overview_print(stdout);
        return STATUS_OK;
    }
    const char *verb = argv[1];
    if (strcmp(verb, "-h") == 0 || strcmp(verb, "--help") == 0)
        verb = "help";
    if (strcmp(verb, "-V") == 0 || strcmp(verb, "--version") == 0)
        verb = "version";
    const struct command *c = command_by_name(verb);
    if (!c)
        return command_unknown(verb);
    return c->run(c, argc - 1, argv + 1);
}
