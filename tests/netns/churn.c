/* SPDX-License-Identifier: MIT */
/* churn: very many connections, each of which knows what it must hear.
 *
 *     churn serve ADDRESS PORT                     the far end; prints "ready"
 *     churn short ADDRESS PORT COUNT AT_ONCE       COUNT connections that end at once, every second one by the server's FIN
 *     churn hold ADDRESS PORT COUNT AT_ONCE        COUNT that are all open before the first one ends; each speaks twice
 *
 * A client sends a token of its own and what is to follow; the server gives the token back. Another token, one octet too many or
 * too few, a reset, and a connection that takes more than STALL_MS are faults: what an address or a port that came back too
 * early leads to. One line at the end says how many there were and how long the slowest took; status 0: no fault. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STALL_MS = 20000, SLOW_MS = 900 /* a SYN was sent again */, EVENTS_MAX = 256, COUNT_MAX = 1000000, BACKLOG = 4096 };
enum follows { CLIENT_ENDS = 'c', SERVER_ENDS = 's', GOES_ON = 'g' };
enum fault { FAULT_CROSSED, FAULT_CUT, FAULT_BROKEN, FAULT_STALLED, FAULTS };

struct message {
    uint64_t token;
    uint8_t follows;
} __attribute__((packed));

struct conn {
    int fd;
    int is_listener, has_spoken, has_heard;
    struct message said;
    uint64_t start_ms;
};

struct run {
    struct sockaddr_storage to;
    socklen_t to_bytes;
    int set, holds;
    struct conn *conns;
    uint32_t count, at_once;
    uint32_t begun, under_way, done, slow;
    uint64_t faults[FAULTS], slowest_ms;
    int broken_by;         /* errno of the last one that broke, */
    struct conn broken;    /* and how far it was */
};

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct sockaddr_storage address(const char *text, const char *port, socklen_t *len)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in *a4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&a;

    *len = sizeof(*a4);
    a4->sin_port = htons((uint16_t)atoi(port));
    if (inet_pton(AF_INET, text, &a4->sin_addr) == 1) {
        a.ss_family = AF_INET;
        return a;
    }
    *len = sizeof(*a6);
    if (inet_pton(AF_INET6, text, &a6->sin6_addr) != 1)
        fail(text);
    a.ss_family = AF_INET6;
    return a;
}

static void watch(int set, struct conn *c, uint32_t events, int op)
{
    struct epoll_event e = {.events = events, .data.ptr = c};

    if (epoll_ctl(set, op, c->fd, &e) < 0)
        fail("epoll_ctl");
}

/* ----------------------------------------------------------------------------------------- server -- */

static void server_accept(int set, const struct conn *listener)
{
    int fd;

    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = calloc(1, sizeof(*c));

        if (!c)
            fail("calloc");
        c->fd = fd;
        watch(set, c, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void server_hear(struct conn *c)
{
    struct message m;
    ssize_t n = recv(c->fd, &m, sizeof(m), 0);

    if (n == sizeof(m) && send(c->fd, &m.token, sizeof(m.token), MSG_NOSIGNAL) == sizeof(m.token) &&
        m.follows != SERVER_ENDS)
        return;
    if (n < 0 && errno == EAGAIN)
        return;
    close(c->fd);
    free(c);
}

static void serve(const struct sockaddr_storage *at, socklen_t at_bytes)
{
    struct conn listener = {.fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .is_listener = 1};
    int set = epoll_create1(EPOLL_CLOEXEC), on = 1;
    struct epoll_event events[EVENTS_MAX];

    (void)setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener.fd, (const struct sockaddr *)at, at_bytes) < 0 || listen(listener.fd, BACKLOG) < 0)
        fail("listen");
    watch(set, &listener, EPOLLIN, EPOLL_CTL_ADD);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(set, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;

            if (c->is_listener)
                server_accept(set, c);
            else
                server_hear(c);
        }
    }
}

/* ---------------------------------------------------------------------------------------- clients -- */

static void conn_begin(struct run *r, struct conn *c)
{
    *c = (struct conn){.fd = socket(r->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .start_ms = now_ms()};
    if (c->fd < 0)
        fail("socket");
    c->said = (struct message){((uint64_t)getpid() << 32 | r->begun) * 0x9e3779b97f4a7c15,
                               r->holds ? GOES_ON : r->begun % 2 ? SERVER_ENDS : CLIENT_ENDS};
    if (connect(c->fd, (const struct sockaddr *)&r->to, r->to_bytes) < 0 && errno != EINPROGRESS)
        fail("connect");
    watch(r->set, c, EPOLLOUT, EPOLL_CTL_ADD);
    r->begun++;
    r->under_way++;
}

/* What this one had to do is done, as far as it can be now. */
static void conn_rest(struct run *r, struct conn *c)
{
    uint64_t took_ms = now_ms() - c->start_ms;

    r->slowest_ms = took_ms > r->slowest_ms ? took_ms : r->slowest_ms;
    r->slow += took_ms >= SLOW_MS;
    r->under_way--;
    r->done++;
    c->start_ms = UINT64_MAX;
}

static void conn_end(struct run *r, struct conn *c)
{
    conn_rest(r, c);
    close(c->fd);
    c->fd = -1;
}

static void conn_fault(struct run *r, struct conn *c, enum fault f)
{
    r->faults[f]++;
    conn_end(r, c);
}

static void conn_broken(struct run *r, struct conn *c)
{
    r->broken_by = errno;
    r->broken = *c;
    conn_fault(r, c, FAULT_BROKEN);
}

static void conn_say(struct run *r, struct conn *c)
{
    c->has_heard = 0;
    if (send(c->fd, &c->said, sizeof(c->said), MSG_NOSIGNAL) != sizeof(c->said))
        conn_broken(r, c);
    else
        watch(r->set, c, EPOLLIN, EPOLL_CTL_MOD);
    c->has_spoken = 1;
}

static void conn_hear(struct run *r, struct conn *c)
{
    uint8_t heard[16];
    ssize_t n = recv(c->fd, heard, sizeof(heard), 0);

    if (n < 0) {
        if (errno != EAGAIN)
            conn_broken(r, c);
    } else if (n == 0) {
        if (c->has_heard && c->said.follows == SERVER_ENDS)
            conn_end(r, c);
        else
            conn_fault(r, c, FAULT_CUT);
    } else if (c->has_heard || n != sizeof(c->said.token) || memcmp(heard, &c->said.token, sizeof(c->said.token)) != 0) {
        conn_fault(r, c, FAULT_CROSSED);
    } else {
        c->has_heard = 1;
        if (c->said.follows == CLIENT_ENDS)
            conn_end(r, c);
        else if (c->said.follows == GOES_ON)
            conn_rest(r, c);
    }
}

static void run_find_stalled(struct run *r, uint32_t conns)
{
    uint64_t now = now_ms();

    for (uint32_t i = 0; i < conns; i++) {
        struct conn *c = &r->conns[i];

        if (c->fd >= 0 && c->start_ms < now && now - c->start_ms > STALL_MS)
            conn_fault(r, c, FAULT_STALLED);
    }
}

/* Until `done` have come to rest; `begins`: new ones take the places of those that have ended. */
static void run_until(struct run *r, uint32_t conns, int begins)
{
    struct epoll_event events[EVENTS_MAX];

    while (r->done < r->count) {
        int n;

        for (uint32_t i = 0; begins && i < conns && r->begun < r->count && r->under_way < r->at_once; i++) {
            if (r->conns[i].fd < 0)
                conn_begin(r, &r->conns[i]);
        }
        n = epoll_wait(r->set, events, EVENTS_MAX, 500);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;

            if (c->has_spoken)
                conn_hear(r, c);
            else
                conn_say(r, c);
        }
        if (n < EVENTS_MAX)
            run_find_stalled(r, conns);
    }
}

/* All are open: each speaks again, and ends. */
static void run_speak_again(struct run *r)
{
    uint32_t next = 0;

    r->done = r->count;
    for (uint32_t i = 0; i < r->count; i++)
        r->done -= r->conns[i].fd >= 0;
    while (r->done < r->count) {
        uint32_t target = r->done + r->at_once < r->count ? r->done + r->at_once : r->count, whole = r->count;

        for (uint32_t begun = 0; next < r->count && begun < target - r->done; next++) {
            struct conn *c = &r->conns[next];

            if (c->fd < 0)
                continue;
            c->said.token = ~c->said.token;
            c->said.follows = CLIENT_ENDS;
            c->start_ms = now_ms();
            begun++;
            r->under_way++;
            conn_say(r, c);
        }
        r->count = target;
        run_until(r, whole, 0);
        r->count = whole;
    }
}

static int run_clients(struct run *r)
{
    uint32_t conns = r->holds ? r->count : r->at_once;
    uint64_t start_ms = now_ms();
    uint64_t faults = 0;

    r->set = epoll_create1(EPOLL_CLOEXEC);
    r->conns = calloc(conns, sizeof(*r->conns));
    if (!r->conns || r->set < 0)
        fail("calloc");
    for (uint32_t i = 0; i < conns; i++)
        r->conns[i].fd = -1;
    run_until(r, conns, 1);
    if (r->holds)
        run_speak_again(r);
    for (int i = 0; i < FAULTS; i++)
        faults += r->faults[i];
    printf("%u connections in %.1f s: %llu crossed, %llu cut, %llu broken, %llu stalled; %u took %d ms, the slowest %llu ms\n",
           r->count, (double)(now_ms() - start_ms) / 1e3, (unsigned long long)r->faults[FAULT_CROSSED],
           (unsigned long long)r->faults[FAULT_CUT], (unsigned long long)r->faults[FAULT_BROKEN],
           (unsigned long long)r->faults[FAULT_STALLED], r->slow, SLOW_MS, (unsigned long long)r->slowest_ms);
    if (r->broken_by)
        printf("broken: %s; it had %sspoken, had %sheard, and %s was to end it\n", strerror(r->broken_by),
               r->broken.has_spoken ? "" : "not ", r->broken.has_heard ? "" : "not ",
               r->broken.said.follows == SERVER_ENDS ? "the server" : "the client");
    free(r->conns);
    return faults > 0;
}

int main(int argc, char **argv)
{
    struct run r = {0};

    if (argc < 4)
        return 1;
    r.to = address(argv[2], argv[3], &r.to_bytes);
    if (strcmp(argv[1], "serve") == 0)
        serve(&r.to, r.to_bytes);
    r.holds = strcmp(argv[1], "hold") == 0;
    r.count = argc == 6 ? (uint32_t)atoi(argv[4]) : 0;
    r.at_once = argc == 6 ? (uint32_t)atoi(argv[5]) : 0;
    if (r.count < 1 || r.count > COUNT_MAX || r.at_once < 1 || r.at_once > r.count) {
        fprintf(stderr, "churn short|hold ADDRESS PORT COUNT AT_ONCE\n");
        return 1;
    }
    return run_clients(&r);
}
