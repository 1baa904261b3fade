/* SPDX-License-Identifier: MIT */
/* echo [DEVICE]: sends back whatever a TCP client says, at every address and port behind the device. As root:
 *
 *     ./echo &  nc 10.77.0.2 7 */
#include <adit/adit.h>
#include <signal.h>
#include <stdio.h>

static adit *tunnel;

static void on_signal(int number)
{
    (void)number;
    adit_stop(tunnel);
}

static void on_event(adit_conn *c, unsigned ev, void *user)
{
    adit_iov in;
    ptrdiff_t sent = 0;
    int n;

    (void)ev, (void)user;
    while ((n = adit_conn_peek(c, &in, 1)) == 1 && (sent = adit_conn_send(c, in.base, in.len)) > 0)
        adit_conn_consume(c, (size_t)sent);
    if (n == 1 && sent == ADIT_EAGAIN)
        adit_conn_want(c, ADIT_WRITE); /* what was not consumed keeps the client's window closed */
    else if (n == ADIT_EAGAIN)
        adit_conn_want(c, ADIT_READ);
    else if (n == 0)
        adit_conn_close(c);
    else
        adit_conn_abort(c);
}

static void on_tcp(void *ctx, adit_conn *c)
{
    static const adit_conn_ops ops = {.size = sizeof(ops), .event = on_event};

    (void)ctx;
    adit_conn_set_ops(c, &ops, NULL);
    adit_conn_accept(c);
    adit_conn_want(c, ADIT_READ);
}

int main(int argc, char **argv)
{
    static const adit_handler handler = {.size = sizeof(handler), .tcp = on_tcp};
    const char *addr = "10.77.0.1/24";
    adit_options options;
    adit_error err;

    adit_options_init(&options, ADIT_PRESET_DESKTOP);
    options.name = argc > 1 ? argv[1] : "adit0";
    options.addrs = &addr;
    options.addrs_count = 1;
    if (adit_new(&tunnel, &options, &handler, NULL, &err)) {
        fprintf(stderr, "%s: %s\n%s\n", err.op, err.msg, err.hint);
        return 1;
    }
    signal(SIGINT, on_signal);
    adit_run(tunnel, NULL);
    adit_free(tunnel);
    return 0;
}
