/* SPDX-License-Identifier: MIT */
/* demo_client: a page, a ping, a name, a refusal, and octets as fast as they go (demo_client.h).
 *
 * The addresses are those of documentation (RFC 5737, RFC 3849): if one of them answers, adit did it. The echo test
 * compares every octet that comes back with what was sent; the upload counts as done when the other side has ended
 * too, so what is still in a buffer is not counted as carried. */
#include "demo_client.h"
#include "sandbox.h"
#include "summary.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 5, BLOCK_BYTES = 1 << 17 };
static const double measure_seconds = 1.0;

/* Returns a socket connected to "address:port", or -1 with errno. */
static int client_connect(const char *to, int type, int protocol)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    struct sockaddr_storage at;
    adit_addr a;
    int len = 0;
    if (adit_addr_parse(&a, to) < 0 || adit_addr_to_sockaddr(&a, &at, &len) < 0) {
        errno = EINVAL;
        return -1;
    }
    int s = socket(a.family == 6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, protocol);
    if (s < 0)
        return -1;
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(s, (const struct sockaddr *)&at, (socklen_t)len) == 0)
        return s;
    int error = errno == EINPROGRESS ? ETIMEDOUT : errno; /* what SO_SNDTIMEO makes of it */
    close(s);
    errno = error;
    return -1;
}

static void result_fail(struct demo_result *r, const char *to, const char *op)
{
    const char *why = errno == EAGAIN ? "no answer" : strerror(errno);
    snprintf(r->text, sizeof(r->text), "%s: %s: %s", to, op, why);
}

static double milliseconds_since(double start)
{
    return (summary_clock_seconds() - start) * 1e3;
}

/* Reads to the end of the stream; returns the octets, those beyond the buffer's size are counted only. -1: an error. */
static ssize_t stream_read_all(int s, char *text, size_t size)
{
    char rest[4096];
    size_t total = 0;
    for (;;) {
        bool room = total + 1 < size;
        ssize_t n =
            room ? recv(s, text + total, size - 1 - total, 0) : recv(s, rest, sizeof(rest), 0);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        total += (size_t)n;
    }
    text[total < size ? total : size - 1] = '\0';
    return (ssize_t)total;
}

/* host: how the address is to be found in the page, for the page says where the flow wanted to go. */
static void page_fetch(struct demo_result *r, const char *to, const char *host)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: demo\r\nUser-Agent: curl/adit-demo\r\n"
                                  "Connection: close\r\n\r\n";
    char page[8192];
    double start = summary_clock_seconds();
    int s = client_connect(to, SOCK_STREAM, 0);
    if (s < 0) {
        result_fail(r, to, "connect");
        return;
    }
    ssize_t n = send(s, request, sizeof(request) - 1, MSG_NOSIGNAL);
    n = n < 0 ? n : stream_read_all(s, page, sizeof(page));
    if (n < 0)
        result_fail(r, to, "read");
    close(s);
    if (n < 0)
        return;
    r->ok = strncmp(page, "HTTP/1.1 200", 12) == 0 && strstr(page, host);
    snprintf(r->text, sizeof(r->text), "http://%s/ %s, %zd octets in %.2f ms", to,
             r->ok ? "answered 200" : "answered something else", n, milliseconds_since(start));
}

void demo_page4(struct demo_result *r)
{
    page_fetch(r, "203.0.113.80:80", "203.0.113.80");
}

void demo_page6(struct demo_result *r)
{
    page_fetch(r, "[2001:db8::80]:80", "2001:db8::80");
}

/* By a ping socket, which needs no privilege: the kernel fills identifier and checksum, and gives us our own replies only. */
void demo_ping(struct demo_result *r)
{
    static const char to[] = "203.0.113.7";
    struct {
        struct icmphdr header;
        char data[48];
    } request = {.header = {.type = ICMP_ECHO}, .data = "the octets that must come back"}, reply;
    request.header.un.echo.sequence = htons(1);
    double start = summary_clock_seconds();
    int s = client_connect(to, SOCK_DGRAM, IPPROTO_ICMP);
    if (s < 0) {
        result_fail(r, to, "ping socket");
        return;
    }
    ssize_t n = send(s, &request, sizeof(request), 0);
    n = n < 0 ? n : recv(s, &reply, sizeof(reply), 0);
    if (n < 0)
        result_fail(r, to, "ping");
    close(s);
    if (n < 0)
        return;
    r->ok = n == (ssize_t)sizeof(reply) && reply.header.type == ICMP_ECHOREPLY &&
            memcmp(reply.data, request.data, sizeof(reply.data)) == 0;
    snprintf(r->text, sizeof(r->text), "%s %s in %.2f ms", to,
             r->ok ? "answered with the same octets" : "answered with other octets",
             milliseconds_since(start));
}

/* One question for the A record of hello.adit.test, which the handler `hello` knows; one answer is expected, and its
 * address is then the last four octets. */
void demo_name(struct demo_result *r)
{
    static const char to[] = SANDBOX_NAMESERVER4 ":53";
    static const unsigned char question[] = "\xad\x17\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                                            "\x05hello\x04"
                                            "adit\x04test\x00\x00\x01\x00\x01";
    static const size_t question_bytes = sizeof(question) - 1;
    unsigned char answer[512];
    int s = client_connect(to, SOCK_DGRAM, 0);
    if (s < 0) {
        result_fail(r, to, "connect");
        return;
    }
    ssize_t n = send(s, question, question_bytes, 0);
    n = n < 0 ? n : recv(s, answer, sizeof(answer), 0);
    if (n < 0)
        result_fail(r, to, "name");
    close(s);
    if (n < 0)
        return;
    r->ok = n >= (ssize_t)question_bytes + 16 && memcmp(answer, question, 2) == 0 &&
            (answer[2] & 0x80) && (answer[3] & 0x0f) == 0 && answer[7] == 1;
    if (r->ok)
        snprintf(r->text, sizeof(r->text), "hello.adit.test is %u.%u.%u.%u, says %s", answer[n - 4],
                 answer[n - 3], answer[n - 2], answer[n - 1], to);
    else
        snprintf(r->text, sizeof(r->text), "%s: %zd octets that are not the answer", to, n);
}

void demo_refused(struct demo_result *r)
{
    static const char to[] = "203.0.113.9:81";
    double start = summary_clock_seconds();
    int s = client_connect(to, SOCK_STREAM, 0);
    r->ok = s < 0 && errno == ECONNREFUSED;
    if (s < 0 && !r->ok) {
        result_fail(r, to, "connect");
        return;
    }
    if (s >= 0)
        close(s);
    snprintf(r->text, sizeof(r->text), "%s %s in %.2f ms", to,
             r->ok ? "refused the connection" : "was connected", milliseconds_since(start));
}

void demo_upload(struct demo_result *r)
{
    static const char block[BLOCK_BYTES];
    static const char to[] = "203.0.113.50:9";
    char nothing;
    int s = client_connect(to, SOCK_STREAM, 0);
    if (s < 0) {
        result_fail(r, to, "connect");
        return;
    }
    ssize_t n = 0;
    double start = summary_clock_seconds();
    while (n >= 0 && summary_clock_seconds() - start < measure_seconds) {
        n = send(s, block, sizeof(block), MSG_NOSIGNAL);
        r->bytes += n > 0 ? (uint64_t)n : 0;
    }
    shutdown(s, SHUT_WR);
    if (n >= 0)
        n = recv(s, &nothing, 1, 0);
    r->seconds = summary_clock_seconds() - start;
    r->ok = n == 0 && r->bytes > 0;
    if (n < 0)
        result_fail(r, to, "upload");
    close(s);
}

/* The stream repeats a pattern of BLOCK_BYTES; `pattern` holds it twice, so that any offset has a whole block. */
struct echo_run {
    int s;
    uint64_t sent, received;
    unsigned char pattern[2 * BLOCK_BYTES], got[BLOCK_BYTES];
};

static int echo_send(struct echo_run *e)
{
    ssize_t n =
        send(e->s, e->pattern + e->sent % BLOCK_BYTES, BLOCK_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN ? 0 : -1;
    e->sent += (uint64_t)n;
    return 0;
}

/* 1: something came, 0: the end, -1 with errno. */
static int echo_receive(struct echo_run *e)
{
    ssize_t n = recv(e->s, e->got, sizeof(e->got), MSG_DONTWAIT);
    if (n <= 0)
        return n == 0 ? 0 : errno == EAGAIN ? 1 : -1;
    if (memcmp(e->got, e->pattern + e->received % BLOCK_BYTES, (size_t)n) != 0) {
        errno = EBADMSG;
        return -1;
    }
    e->received += (uint64_t)n;
    return 1;
}

static int echo_exchange(struct echo_run *e)
{
    double start = summary_clock_seconds();
    bool sending = true;
    for (int rc = 1; rc != 0;) {
        if (sending && summary_clock_seconds() - start >= measure_seconds) {
            shutdown(e->s, SHUT_WR);
            sending = false;
        }
        struct pollfd p = {.fd = e->s, .events = (short)(POLLIN | (sending ? POLLOUT : 0))};
        if (poll(&p, 1, PATIENCE_S * 1000) <= 0) {
            errno = EAGAIN;
            return -1;
        }
        if (p.revents & POLLOUT && sending && echo_send(e))
            return -1;
        if (p.revents & (POLLIN | POLLHUP | POLLERR))
            rc = echo_receive(e);
        if (rc < 0)
            return -1;
    }
    return 0;
}

void demo_echo(struct demo_result *r)
{
    static const char to[] = "203.0.113.7:7";
    struct echo_run e = {.s = client_connect(to, SOCK_STREAM, 0)};
    if (e.s < 0) {
        result_fail(r, to, "connect");
        return;
    }
    for (size_t i = 0; i < sizeof(e.pattern); i++)
        e.pattern[i] = (unsigned char)((i % BLOCK_BYTES) * 2654435761u >> 24);
    double start = summary_clock_seconds();
    if (echo_exchange(&e))
        result_fail(r, to, "echo");
    else
        r->ok = e.sent > 0 && e.received == e.sent;
    r->bytes = e.received;
    r->seconds = summary_clock_seconds() - start;
    if (!r->ok && r->text[0] == '\0')
        snprintf(r->text, sizeof(r->text), "%s: %llu octets sent, %llu came back", to,
                 (unsigned long long)e.sent, (unsigned long long)e.received);
    close(e.s);
}
