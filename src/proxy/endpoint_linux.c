/* SPDX-License-Identifier: MIT */
/* endpoint_linux: sendmmsg and recvmmsg move a batch of datagrams in one system call. */
#include "endpoint.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int code_of_errno(int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR: /* tried again when the socket is next said to be ready */
        return ADIT_EAGAIN;
    case ECONNRESET:
    case EPIPE:
        return ADIT_ERESET;
    case ECONNREFUSED:
        return ADIT_EREFUSED;
    case ENETUNREACH:
        return ADIT_ENETUNREACH;
    case EHOSTUNREACH:
        return ADIT_EHOSTUNREACH;
    case ETIMEDOUT:
        return ADIT_ETIMEDOUT;
    default:
        return ADIT_ESYS;
    }
}

ptrdiff_t endpoint_send(adit_socket s, const void *data, size_t len_bytes)
{
    ssize_t n = send(s, data, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

    return n >= 0 ? n : code_of_errno(errno);
}

ptrdiff_t endpoint_recv(adit_socket s, void *data, size_t len_bytes)
{
    ssize_t n = recv(s, data, len_bytes, MSG_DONTWAIT);

    return n >= 0 ? n : code_of_errno(errno);
}

void endpoint_close(adit_socket s)
{
    close(s);
}

int endpoint_peer(adit_socket s, adit_addr *out)
{
    struct sockaddr_storage storage;
    socklen_t len_bytes = sizeof(storage);

    if (getpeername(s, (struct sockaddr *)&storage, &len_bytes))
        return code_of_errno(errno);
    return adit_addr_from_sockaddr(out, &storage);
}

/* Refused and reset are about the socket; everything else is about one datagram (too long) or the moment (no buffers). */
static int code_of_socket(int error)
{
    int code = code_of_errno(error);

    return code == ADIT_EREFUSED || code == ADIT_ERESET ? code : 0;
}

int endpoint_send_batch(adit_socket s, const struct endpoint_dgram *d, int n)
{
    struct mmsghdr messages[ENDPOINT_BATCH_MAX];
    int done = 0;

    assert(n <= ENDPOINT_BATCH_MAX);
    memset(messages, 0, sizeof(messages[0]) * (size_t)n);
    for (int i = 0; i < n; i++) {
        messages[i].msg_hdr.msg_iov = (struct iovec *)d[i].pieces; /* adit_iov is laid out so */
        messages[i].msg_hdr.msg_iovlen = 2;
    }
    while (done < n) {
        int sent = sendmmsg(s, messages + done, (unsigned)(n - done), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent <= 0 && errno == EAGAIN)
            return 0; /* the queue is full: the rest of the batch finds no room either */
        if (sent <= 0 && code_of_socket(errno))
            return code_of_socket(errno);
        done += sent > 0 ? sent : 1;
    }
    return 0;
}

int endpoint_recv_batch(adit_socket s, struct endpoint_slot *slots, int n)
{
    struct mmsghdr messages[ENDPOINT_BATCH_MAX];
    struct iovec iov[ENDPOINT_BATCH_MAX];
    int got;

    assert(n <= ENDPOINT_BATCH_MAX);
    memset(messages, 0, sizeof(messages[0]) * (size_t)n);
    for (int i = 0; i < n; i++) {
        iov[i] = (struct iovec){slots[i].data, slots[i].room_bytes};
        messages[i].msg_hdr.msg_iov = &iov[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    got = recvmmsg(s, messages, (unsigned)n, MSG_DONTWAIT, NULL);
    if (got <= 0)
        return code_of_errno(errno);
    for (int i = 0; i < got; i++)
        slots[i].len_bytes = messages[i].msg_hdr.msg_flags & MSG_TRUNC ? 0 : messages[i].msg_len;
    return got;
}
