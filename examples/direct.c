/* SPDX-License-Identifier: MIT */
/* direct [DEVICE [NETNS [STACK]]]: carries what comes out of a network namespace to its real destination. As root:
 *
 *     ip netns add app; ./direct adit0 app &  ip netns exec app ping -c 1 1.1.1.1
 *
 * STACK is who terminates TCP: userspace, system, mixed. What it was is printed at the end. */
#include <adit/adit.h>
#include <signal.h>
#include <stdio.h>

static adit *tunnel;

static void on_signal(int number)
{
    (void)number;
    adit_stop(tunnel);
}

/* The client has no answer yet: it gets the one that the destination gave. */
static void on_dialled(adit_conn *c, int err, adit_socket s, void *user)
{
    (void)user;
    if (err)
        adit_conn_reject(c, adit_verdict_for(err));
    else
        adit_conn_relay(c, s);
}

static void on_tcp(void *ctx, adit_conn *c)
{
    (void)ctx;
    if (adit_conn_dial(c, &adit_conn_flow(c)->dst, on_dialled))
        adit_conn_reject(c, ADIT_RESET);
}

static void on_udp(void *ctx, adit_udp *u)
{
    (void)ctx;
    if (adit_udp_relay(u))
        adit_udp_reject(u, ADIT_RESET);
}

int main(int argc, char **argv)
{
    static const adit_handler handler = {.size = sizeof(handler), .tcp = on_tcp, .udp = on_udp};
    const char *addrs[] = {"10.77.0.1/24", "fd77::1/64"};
    adit_options options;
    adit_error err;
    char status[1024];

    adit_options_init(&options, ADIT_PRESET_DESKTOP);
    options.name = argc > 1 ? argv[1] : "adit0";
    options.netns = argc > 2 ? argv[2] : NULL; /* the device is there; our own sockets are here */
    options.default_route = argc > 2;
    options.stack = argc > 3 ? argv[3] : "";
    options.addrs = addrs;
    options.addrs_count = 2;
    if (adit_new(&tunnel, &options, &handler, NULL, &err)) {
        fprintf(stderr, "%s: %s\n%s\n", err.op, err.msg, err.hint);
        return 1;
    }
    signal(SIGINT, on_signal);
    adit_run(tunnel, NULL);
    adit_status(tunnel, status, sizeof(status));
    fputs(status, stdout);
    adit_free(tunnel);
    return 0;
}
