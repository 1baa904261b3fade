/* SPDX-License-Identifier: MIT */
/* mixed: an instance with a device of its own in a network namespace of its own, a real client, the real kernel. Flows to port
 * 80 are the kernel's, others ours. Before the first of port 80 there is neither a listener nor a route of the fake peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "adit/adit.h"
#include "adit/proxy.h"
#include "elsewhere.h"

struct world {
    adit_proxy *proxy;
    adit *a;
};

static adit_addr loopback; /* of the next world; family 0: none */
static int inside = ADIT_NO_SOCKET;  /* the network namespace of its device; none: the instance's own */
static const char *engine = "nat";   /* of which the probe and the names of the stack below are */
static int notices;

static void on_notice(void *ctx, const adit_error *e)
{
    (void)ctx;
    fprintf(stderr, "notice: %s (%s)\n", e->msg, e->hint);
    notices++;
}

/* In the namespace that is there. */
static void world_make_here(struct world *w, const char *addr, const char *stack)
{
    adit_options o;
    adit_error err;

    notices = 0;
    adit_options_init(&o, ADIT_PRESET_DESKTOP);
    o.name = "adit0";
    o.addrs = &addr;
    o.addrs_count = 1;
    o.default_route = 1;
    o.stack = stack;
    o.engine = engine;
    o.netns_fd = inside;
    o.notice = on_notice;
    o.loopbacks = &loopback;
    o.loopbacks_count = loopback.family ? 1 : 0;
    assert_int_equal(adit_proxy_new(&w->proxy, "hello", &err), 0);
    assert_int_equal(adit_proxy_kernel_for(w->proxy, "80", &err), 0);
    assert_int_equal(adit_new(&w->a, &o, adit_proxy_handler(w->proxy), adit_proxy_ctx(w->proxy), &err), 0);
}

static void world_make(struct world *w, const char *addr, const char *stack)
{
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    world_make_here(w, addr, stack);
}

static void world_start(struct world *w)
{
    adit_error err;

    assert_int_equal(adit_start(w->a, &err), 0);
}

static void world_open(struct world *w, const char *addr)
{
    world_make(w, addr, "");
    world_start(w);
}

static void world_close(struct world *w)
{
    adit_free(w->a);
    adit_proxy_free(w->proxy);
}

static int client_of(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, "203.0.113.80", &to.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* The page of that port says which stack had the flow. */
static void page_is_from(uint16_t port, const char *stack)
{
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    char page[2048] = "", line[64];
    size_t len = 0;
    ssize_t n;
    int fd = client_of(port);

    assert_int_equal(send(fd, request, sizeof(request) - 1, 0), sizeof(request) - 1);
    while (len < sizeof(page) - 1 && (n = recv(fd, page + len, sizeof(page) - 1 - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    snprintf(line, sizeof(line), "stack<td>%s\n", stack);
    if (!strstr(page, line))
        fail_msg("no %s in %s", stack, page);
}

static bool file_has(const char *path, const char *text)
{
    char line[512];
    bool found = false;
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    while (!found && fgets(line, sizeof(line), f))
        found = strstr(line, text) != NULL;
    fclose(f);
    return found;
}

/* Of this thread's namespace: 198.19.255.0 in the order of /proc, and a socket in LISTEN. */
static bool has_route_of_fake_peers(void)
{
    return file_has("/proc/thread-self/net/route", "00FF13C6");
}

static bool has_listener(void)
{
    return file_has("/proc/thread-self/net/tcp", " 00000000:0000 0A ");
}

/* The port of the socket in LISTEN. */
static uint16_t listener_port(void)
{
    unsigned port = 0, state = 0;
    char line[512];
    FILE *f = fopen("/proc/thread-self/net/tcp", "r");

    assert_non_null(f);
    while (state != 10 && fgets(line, sizeof(line), f))
        (void)!sscanf(line, "%*d: %*8x:%x %*8x:%*x %x", &port, &state);
    fclose(f);
    assert_int_equal(state, 10);
    return (uint16_t)port;
}

static void status_has(struct world *w, const char *line)
{
    char text[2048];

    for (int i = 0; i < 1000; i++) { /* it may be some milliseconds old */
        assert_true(adit_status(w->a, text, sizeof(text)) < (int)sizeof(text));
        if (strstr(text, line))
            return;
        usleep(10000);
    }
    fprintf(stderr, "%s", text);
    fail();
}

static void the_kernels_half_begins_with_the_first_flow_that_asks_for_it(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, "10.66.0.1/30");
    page_is_from(81, "userspace");
    assert_false(has_route_of_fake_peers());
    assert_false(has_listener());
    status_has(&w, "stack: mixed\nengine: none\n");
    page_is_from(80, "system");
    page_is_from(81, "userspace");
    assert_true(has_route_of_fake_peers());
    assert_true(has_listener());
    status_has(&w, "stack: mixed\nengine: nat\n");
    status_has(&w, "tcp-kernel: ");
    assert_int_equal(notices, 0);
    world_close(&w);
    assert_false(has_listener());
}

/* An address of the fake peers' own network: the kernel cannot accept there. */
static void where_the_kernel_cannot_accept_flows_stay_in_userspace_and_the_status_says_why(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, "198.19.255.1/24");
    page_is_from(80, "userspace");
    page_is_from(80, "userspace");
    assert_int_equal(notices, 1);
    status_has(&w, "engine: none\nfallback: ");
    world_close(&w);
}

/* A process of the same network, which does not come through the device. */
static void nobody_else_reaches_the_listener(void **state)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct timeval limit = {.tv_usec = 300000};
    struct world w;
    int fd;

    (void)state;
    world_open(&w, "10.66.0.1/30");
    page_is_from(80, "system");
    assert_int_equal(system("ip link set lo up"), 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "10.66.0.1", &to.sin_addr);
    to.sin_port = htons(listener_port());
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    close(fd);
    page_is_from(80, "system");
    assert_int_equal(notices, 0);
    world_close(&w);
}

/* Of the listener, and so of what it accepts. */
static void congestion_control_is_cubic_whatever_the_namespace_prefers(void **state)
{
    struct world w;

    (void)state;
    if (!file_has("/proc/sys/net/ipv4/tcp_available_congestion_control", "cubic"))
        skip();
    world_make(&w, "10.66.0.1/30", "");
    assert_int_equal(system("echo reno >/proc/sys/net/ipv4/tcp_congestion_control"), 0);
    world_start(&w);
    page_is_from(80, "system");
    assert_int_equal(system("ss -Hltni | grep -q ' cubic '"), 0);
    world_close(&w);
}

/* The kernel drops what comes from fake peers, as a firewall would. */
static void a_kernel_that_does_not_answer_is_told_soon_after_the_start(void **state)
{
    struct world w;

    (void)state;
    world_make(&w, "10.66.0.1/30", "system");
    assert_int_equal(system("ip route replace blackhole 198.19.255.0/24 && echo 1 >/proc/sys/net/ipv4/conf/adit0/rp_filter"), 0);
    world_start(&w);
    for (int i = 0; i < 1000 && notices == 0; i++)
        usleep(10000);
    assert_int_equal(notices, 1);
    world_close(&w);
}

static void a_kernel_that_answers_is_no_news(void **state)
{
    struct world w;

    (void)state;
    world_make(&w, "10.66.0.1/30", "system");
    world_start(&w);
    usleep(800000);
    assert_int_equal(notices, 0);
    world_close(&w);
}

/* What connects to the loopback address meets its own server, which sees that address. */
static void a_connection_to_a_loopback_address_is_one_to_oneself(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(7000)}, to = at, peer = {0};
    struct timeval limit = {.tv_sec = 20};
    socklen_t len = sizeof(peer);
    char octets[8] = "";
    struct world w;
    int server, client, accepted;

    (void)state;
    assert_int_equal(adit_addr_parse(&loopback, "198.51.100.7:0"), 0);
    world_open(&w, "10.66.0.1/30");
    server = socket(AF_INET, SOCK_STREAM, 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "198.51.100.7", &to.sin_addr);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    assert_int_equal(bind(server, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
    accepted = accept(server, (struct sockaddr *)&peer, &len);
    assert_true(accepted >= 0);
    assert_int_equal(peer.sin_addr.s_addr, to.sin_addr.s_addr);
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(send(accepted, "octets", 6, 0), 6);
    assert_int_equal(recv(client, octets, sizeof(octets), 0), 6);
    assert_string_equal(octets, "octets");
    close(accepted);
    close(client);
    close(server);
    loopback = (adit_addr){0};
    world_close(&w);
}

/* The kernel that terminates is the one of the device's namespace: its listeners and the program live there, and mixed makes them
 * long after the instance was begun. */
static void the_device_may_live_in_another_namespace(void **state)
{
    static const struct {
        const char *stack, *engine, *status;
    } rows[] = {
        {"system", "nat", "stack: system\nengine: nat\n"},
        {"system", "bpf", "stack: system\nengine: bpf\n"},
        {"system", "bpf-clsact", "stack: system\nengine: bpf\n"},
        {"mixed", "nat", "stack: mixed\nengine: nat\n"},
        {"mixed", "bpf", "stack: mixed\nengine: bpf\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        int outside;

        assert_int_equal(unshare(CLONE_NEWNET), 0);
        inside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        engine = rows[i].engine;
        world_make(&w, "10.66.0.1/30", rows[i].stack);
        world_start(&w);
        outside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        assert_int_equal(if_nametoindex("adit0"), 0);
        assert_int_equal(setns(inside, CLONE_NEWNET), 0);
        page_is_from(80, "system");
        page_is_from(80, "system");
        assert_true(has_listener());
        assert_int_equal(setns(outside, CLONE_NEWNET), 0);
        assert_false(has_listener());
        status_has(&w, rows[i].status);
        status_has(&w, " open, 2 in all\nudp:");
        world_close(&w);
        assert_int_equal(notices, 0);
        close(outside);
        close(inside);
    }
    inside = ADIT_NO_SOCKET;
    engine = "nat";
}

/* What another process does: it has the tunnel. */
static void tunnel_begin(void)
{
    static struct world w;

    world_make_here(&w, "10.66.0.1/30", "system");
    world_start(&w);
}

static bool has_filter(void)
{
    return system("tc filter show dev adit0 egress 2>/dev/null | grep -q direct-action") == 0;
}

/* The tunnel of a process that was killed, begun again with the same name and prefix: over a device that went with the process,
 * and over one that stays. A flow of the dead one has ended (its socket by a FIN, if the device lived for that long) or is
 * reset when its client says something; new ones know nothing of it. */
static void after_a_kill_the_same_tunnel_begins_again(void **state)
{
    static const struct {
        const char *engine, *status;
        bool stays, leaves_filter;
    } rows[] = {
        {"nat", "engine: nat\n", false, false},        {"nat", "engine: nat\n", true, false},
        {"bpf", "engine: bpf\n", false, false},        {"bpf", "engine: bpf\n", true, false},
        {"bpf-clsact", "engine: bpf\n", false, false}, {"bpf-clsact", "engine: bpf\n", true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        char octet;
        ssize_t got;
        pid_t pid;
        int old;

        assert_int_equal(unshare(CLONE_NEWNET), 0);
        assert_int_equal(rows[i].stays ? system("ip tuntap add dev adit0 mode tun") : 0, 0);
        engine = rows[i].engine;
        pid = elsewhere_start(tunnel_begin);
        page_is_from(80, "system");
        old = client_of(80);
        elsewhere_kill(pid);
        assert_int_equal(if_nametoindex("adit0") != 0, rows[i].stays);
        assert_int_equal(has_filter(), rows[i].leaves_filter);
        world_make_here(&w, "10.66.0.1/30", "system");
        world_start(&w);
        for (int page = 0; page < 20; page++)
            page_is_from(80, "system");
        (void)!send(old, "x", 1, MSG_NOSIGNAL);
        got = recv(old, &octet, 1, 0);
        assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
        close(old);
        status_has(&w, rows[i].status);
        assert_int_equal(notices, 0);
        world_close(&w);
        assert_false(has_filter()); /* in order: nothing is left on a device that stays */
    }
    engine = "nat";
}

/* Fake peers have a range of their own, so nothing beside the device's own address is needed of its prefix. */
static void a_prefix_may_be_as_small_as_its_address(void **state)
{
    static const char *const prefixes[] = {"10.66.0.1/32", "10.66.0.1/31", "10.66.0.2/30"};

    (void)state;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct world w;

        world_open(&w, prefixes[i]);
        page_is_from(80, "system");
        assert_int_equal(notices, 0);
        world_close(&w);
    }
}

/* Of another interface's, and of another tunnel's of the same namespace. */
static void a_route_to_the_fake_peers_that_is_there_already_stays(void **state)
{
    struct world w;

    (void)state;
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_int_equal(system("ip link add other type veth peer name far && ip link set far up && ip link set other up"), 0);
    assert_int_equal(system("ip addr add 192.0.2.1/24 dev other && ip route add 198.19.255.0/24 dev other"), 0);
    assert_int_equal(system("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter"), 0);
    world_make_here(&w, "10.66.0.1/30", "system");
    world_start(&w);
    page_is_from(80, "system");
    assert_int_equal(system("ip route show 198.19.255.0/24 | grep -q 'dev other'"), 0);
    assert_int_equal(system("ip route show 198.19.255.0/24 | grep -q 'dev adit0'"), 0);
    assert_int_equal(notices, 0);
    world_close(&w);
    assert_int_equal(system("ip route show 198.19.255.0/24 | grep -q 'dev other'"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernels_half_begins_with_the_first_flow_that_asks_for_it),
        cmocka_unit_test(where_the_kernel_cannot_accept_flows_stay_in_userspace_and_the_status_says_why),
        cmocka_unit_test(nobody_else_reaches_the_listener),
        cmocka_unit_test(congestion_control_is_cubic_whatever_the_namespace_prefers),
        cmocka_unit_test(a_kernel_that_does_not_answer_is_told_soon_after_the_start),
        cmocka_unit_test(a_kernel_that_answers_is_no_news),
        cmocka_unit_test(a_connection_to_a_loopback_address_is_one_to_oneself),
        cmocka_unit_test(the_device_may_live_in_another_namespace),
        cmocka_unit_test(after_a_kill_the_same_tunnel_begins_again),
        cmocka_unit_test(a_prefix_may_be_as_small_as_its_address),
        cmocka_unit_test(a_route_to_the_fake_peers_that_is_there_already_stays),
    };

    if (geteuid() != 0) {
        puts("skipped: needs root");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
