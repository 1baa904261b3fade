/* SPDX-License-Identifier: MIT */
/* sock_linux: the socket options that keep our own sockets out of the tunnel, as Linux has them (socket(7)). */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include "sock/sock.h"

int sock_set_mark(adit_socket s, uint32_t mark)
{
    return setsockopt(s, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ? errno : 0;
}

int sock_bind_iface(adit_socket s, int family, const char *iface)
{
    socklen_t len = (socklen_t)strlen(iface) + 1;

    (void)family;
    return setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, iface, len) < 0 ? errno : 0;
}

bool sock_disconnect(adit_socket s)
{
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    uint8_t state; /* the first octet of struct tcp_info */
    socklen_t len = sizeof(state);

    if (getsockopt(s, IPPROTO_TCP, TCP_INFO, &state, &len) < 0 || state != TCP_CLOSE)
        return false;
    return connect(s, &nowhere, sizeof(nowhere)) == 0;
}
