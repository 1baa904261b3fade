/* SPDX-License-Identifier: MIT */
/* adit/proxy.h: ready-made handlers, chosen by a URL. They are written on the other public headers only, so each
 * is also an example of how to write one.
 *
 *   direct                            to the real destination
 *   socks5://[user[:password]@]host:port   through a SOCKS5 server (RFC 1928, 1929), TCP and UDP
 *   hello                             answers HTTP and DNS itself: shows what a flow was
 *   echo, discard                     RFC 862, 863 on every port, TCP and UDP
 *   block, block:net, block:host, block:admin, block:drop   refuses: RST (port unreachable), ICMP kinds, silence
 */
#ifndef ADIT_PROXY_H
#define ADIT_PROXY_H
#include "adit.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef struct adit_proxy adit_proxy;

/* The password of a URL is kept in memory until the free. One proxy serves one instance. */
ADIT_API int adit_proxy_new(adit_proxy **out, const char *url, adit_error *err);
/* Where the stack is mixed, TCP to these destination ports ends in the host's kernel: "80", "80,443,8000-8080", "all". Elsewhere
 * it changes nothing. Before the two functions that follow. 0, or a code with *err filled: the ports are what they were. */
ADIT_API int adit_proxy_kernel_for(adit_proxy *p, const char *ports, adit_error *err);
/* For adit_new(): the table, and the context that goes with it. Both live as long as p. */
ADIT_API const adit_handler *adit_proxy_handler(const adit_proxy *p);
ADIT_API void *adit_proxy_ctx(adit_proxy *p);
/* After adit_free() of the instance. NULL is allowed. */
ADIT_API void adit_proxy_free(adit_proxy *p);

#ifdef __cplusplus
}
#endif
#endif
