/* SPDX-License-Identifier: MIT */
/* socks5 URL [DEVICE [NETNS]]: a ready-made handler with a rule of one's own in front of it: what is meant for the private
 * networks of RFC 1918 is refused and never reaches the server. As root:
 *
 *     ip netns add app; ./socks5 socks5://127.0.0.1:1080 adit0 app &  ip netns exec app curl http://example.com/ */
#include <adit/proxy.h>
#include <signal.h>
#include <stdio.h>

static adit *tunnel;

static void on_signal(int number)
{
    (void)number;
    adit_stop(tunnel);
}

static int is_private(const adit_addr *a)
{
    const uint8_t *ip = a->ip + 12; /* IPv4 is mapped into the last four octets */

    return a->family == 4 && (ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
                              (ip[0] == 192 && ip[1] == 168));
}

static void prepare(void *ctx, adit *a, const adit_flow *f, adit_decision *out)
{
    (void)ctx, (void)a;
    if (is_private(&f->dst.addr))
        out->verdict = ADIT_UNREACH_ADMIN;
}

static void on_log(void *ctx, const adit_log_record *r)
{
    (void)ctx;
    fprintf(stderr, "%s: %s\n", r->module, r->msg);
}

int main(int argc, char **argv)
{
    const char *addrs[] = {"10.77.0.1/24", "fd77::1/64"};
    adit_options options;
    adit_handler handler;
    adit_proxy *proxy;
    adit_error err;

    if (argc < 2 || adit_proxy_new(&proxy, argv[1], &err)) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: socks5 URL [DEVICE [NETNS]]" : err.msg);
        return 2;
    }
    handler = *adit_proxy_handler(proxy);
    handler.prepare = prepare;
    adit_options_init(&options, ADIT_PRESET_DESKTOP);
    options.name = argc > 2 ? argv[2] : "adit0";
    options.netns = argc > 3 ? argv[3] : NULL;
    options.default_route = argc > 3;
    options.addrs = addrs;
    options.addrs_count = 2;
    options.log = on_log;
    if (adit_new(&tunnel, &options, &handler, adit_proxy_ctx(proxy), &err)) {
        fprintf(stderr, "%s: %s\n%s\n", err.op, err.msg, err.hint);
        adit_proxy_free(proxy);
        return 1;
    }
    signal(SIGINT, on_signal);
    adit_run(tunnel, NULL);
    adit_free(tunnel);
    adit_proxy_free(proxy);
    return 0;
}
