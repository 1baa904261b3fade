/* SPDX-License-Identifier: MIT */
/* bench_hold echo|quiet|stalled ADDRESS BASE_PORT CONNECTIONS: opens so many connections, one after the other, says "ready" and
 * how many, and keeps them until its standard input ends.
 *
 *   echo     an octet is sent on each and has come back
 *   quiet    nothing is sent: for a far side that answers nothing
 *   stalled  the server sends a piece on each, and the little that fits into the smallest receive buffer is all that this side
 *            takes: what carries the connection is left with the rest. Here fewer may be opened: what has no memory left
 *            refuses, which is right, and the first that is not open in four seconds is the last that is tried */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tool.h"

static void hold_echo(const struct sockaddr_in *to)
{
    int fd = tool_connect(to);
    char octet;

    tool_write_all(fd, "x", 1);
    if (!tool_read_all(fd, &octet, 1))
        tool_fail("recv");
}

static int hold_stalled(const struct sockaddr_in *to)
{
    struct timeval patience = {.tv_sec = 4}; /* a SYN that is lost is repeated after one second, and three */
    int fd = tool_tcp(), bytes = 1;

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); /* the kernel makes its least of it */
    return connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in to;
    uint32_t count, opened = 0;
    int is_stalled, is_quiet;
    char octet;

    if (argc != 5) {
        fprintf(stderr, "usage: bench_hold echo|quiet|stalled ADDRESS BASE_PORT CONNECTIONS\n");
        return 1;
    }
    tool_raise_limits();
    is_quiet = !strcmp(argv[1], "quiet");
    is_stalled = !strcmp(argv[1], "stalled");
    to = tool_address(argv[2], argv[3], is_stalled ? TOOL_PIECE : TOOL_ECHO);
    count = tool_number(argv[4], 1, 60000);
    for (; opened < count; opened++) {
        if (is_stalled && !hold_stalled(&to))
            break;
        if (is_quiet)
            tool_connect(&to);
        else if (!is_stalled)
            hold_echo(&to);
    }
    printf("ready %u\n", opened);
    fflush(stdout);
    while (read(0, &octet, 1) > 0)
        ;
    return 0;
}
