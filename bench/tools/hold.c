/* SPDX-License-Identifier: MIT */
/* bench_hold ADDRESS BASE_PORT CONNECTIONS: opens so many connections, sends an octet on each and waits for it to come back,
 * says "ready", and keeps them until its standard input ends. */
#include <stdio.h>
#include <unistd.h>
#include "tool.h"

int main(int argc, char **argv)
{
    struct sockaddr_in to;
    uint32_t count;
    char octet;

    if (argc != 4) {
        fprintf(stderr, "usage: bench_hold ADDRESS BASE_PORT CONNECTIONS\n");
        return 1;
    }
    tool_raise_limits();
    to = tool_address(argv[1], argv[2], TOOL_ECHO);
    count = tool_number(argv[3], 1, 60000);
    for (uint32_t i = 0; i < count; i++) {
        int fd = tool_connect(&to);

        tool_write_all(fd, "x", 1);
        if (!tool_read_all(fd, &octet, 1))
            tool_fail("recv");
    }
    puts("ready");
    fflush(stdout);
    while (read(0, &octet, 1) > 0)
        ;
    return 0;
}
