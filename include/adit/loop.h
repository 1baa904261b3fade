/* SPDX-License-Identifier: MIT */
/* adit/loop.h: the loop that a worker runs: posting to it, timers, and watching sockets that belong to no
 * single flow. Every object lives on one loop; its functions are called there only. adit_post() alone may
 * be called from anywhere. Timers, watches, dials and memory that are left when the instance is freed are released then; their
 * functions are not called any more, and sockets under a watch stay yours. */
#ifndef ADIT_LOOP_H
#define ADIT_LOOP_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

enum { ADIT_READ = 1, ADIT_WRITE = 2 };

typedef struct adit_timer adit_timer;
typedef struct adit_watch adit_watch;
typedef struct adit_dial adit_dial;

/* Runs fn(arg) on the loop, in the order of the posts. Any thread, not from a signal handler. ADIT_ENOMEM,
 * or ADIT_ECLOSED when the loop is gone. What was posted before the loop ends is run. */
ADIT_API int adit_post(adit_loop *l, void (*fn)(void *arg), void *arg);

/* The loop's time: nanoseconds of a monotonic clock (or of adit_options.now_ns). */
ADIT_API uint64_t adit_loop_now_ns(const adit_loop *l);

/* Zeroed memory on the budget of the loop's worker (adit_options.memory_bytes), aligned to 8 bytes: for what a handler keeps for
 * each flow, so that it counts with everything else. NULL: there is none left. */
ADIT_API void *adit_loop_alloc(adit_loop *l, size_t len);
ADIT_API void adit_loop_free(void *p); /* on that loop; NULL is allowed */

/* Once, after ms. The timer is gone before fn runs. NULL: no memory. */
ADIT_API adit_timer *adit_timer_start(adit_loop *l, uint64_t ms, void (*fn)(void *arg), void *arg);
ADIT_API void adit_timer_stop(adit_timer *t); /* frees it; not after it fired; NULL is allowed */

/* Level-triggered readiness of a socket that stays yours. ev: ADIT_READ | ADIT_WRITE, 0 pauses. fn may stop
 * the watch. Stop it before you close the socket. NULL: no memory or descriptors. */
typedef void (*adit_watch_fn)(void *arg, adit_socket s, unsigned ev);
ADIT_API adit_watch *adit_watch_start(adit_loop *l, adit_socket s, unsigned ev, adit_watch_fn fn, void *arg);
ADIT_API void adit_watch_set(adit_watch *w, unsigned ev);
ADIT_API void adit_watch_stop(adit_watch *w);

/* Opens a socket toward `to` (a name is resolved; addresses are tried in turn, 250 ms apart), protected,
 * marked and bound as the instance's options say, and hands it over when it is connected: it is yours then.
 * proto: ADIT_PROTO_TCP or ADIT_PROTO_UDP. fn is called exactly once, later, unless the dial is cancelled;
 * err: 0, or an adit_code with s = ADIT_NO_SOCKET. NULL: no memory. */
typedef void (*adit_dial_fn)(void *arg, int err, adit_socket s);
ADIT_API adit_dial *adit_dial_start(adit *a, adit_loop *l, int proto, const adit_dest *to, adit_dial_fn fn, void *arg);
ADIT_API void adit_dial_cancel(adit_dial *d); /* not after fn was called; NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
