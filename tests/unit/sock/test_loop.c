/* SPDX-License-Identifier: MIT */
#include "rig.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "sock/loop_private.h"

struct notes {
    struct adit_loop *loop;
    int count;
    int order[64];
};

struct note {
    struct notes *notes;
    int value;
};

static void write_down(void *arg)
{
    struct note *n = arg;

    n->notes->order[n->notes->count++] = n->value;
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

/* ----------------------------------------------------------------------------------------- posts -- */

enum { POSTS = 32 };

static void *post_many(void *arg)
{
    struct note *notes = arg;
    int i;

    for (i = 0; i < POSTS; i++)
        assert_int_equal(adit_post(notes[i].notes->loop, write_down, &notes[i]), 0);
    assert_int_equal(adit_post(notes[0].notes->loop, stop_loop, notes[0].notes->loop), 0);
    return NULL;
}

static void posts_of_another_thread_run_in_order(void **state)
{
    struct notes n = {.loop = rig_loop()};
    struct note each[POSTS];
    pthread_t thread;
    int i;

    (void)state;
    for (i = 0; i < POSTS; i++)
        each[i] = (struct note){&n, i};
    pthread_create(&thread, NULL, post_many, each);
    loop_run(n.loop);
    pthread_join(thread, NULL);
    assert_int_equal(n.count, POSTS);
    for (i = 0; i < POSTS; i++)
        assert_int_equal(n.order[i], i);
    loop_free(n.loop);
}

static void what_was_posted_before_the_loop_is_freed_runs(void **state)
{
    struct notes n = {.loop = rig_loop()};
    struct note one = {&n, 7};

    (void)state;
    assert_int_equal(adit_post(n.loop, write_down, &one), 0);
    loop_free(n.loop);
    assert_int_equal(n.count, 1);
}

struct chain {
    struct adit_loop *loop;
    int left, refused;
};

static void post_again(void *arg)
{
    struct chain *c = arg;

    if (c->left-- > 0 && adit_post(c->loop, post_again, c) == ADIT_ECLOSED)
        c->refused++;
}

static void a_post_from_a_post_runs_without_a_wake_up_and_is_refused_at_the_end(void **state)
{
    struct chain c = {.loop = rig_loop(), .left = 3};

    (void)state;
    adit_post(c.loop, post_again, &c);
    rig_turn(c.loop, 1000);
    assert_int_equal(adit_loop_timeout_ns(c.loop), 0);
    rig_turn(c.loop, 0);
    rig_turn(c.loop, 0);
    rig_turn(c.loop, 0);
    assert_int_equal(c.left, -1);
    assert_int_equal(c.refused, 0);
    c.left = 1;
    adit_post(c.loop, post_again, &c);
    loop_free(c.loop);
    assert_int_equal(c.refused, 1);
}

/* ----------------------------------------------------------------------------------------- wakes -- */

static struct adit_loop *signalled; /* for the handler of the test below, and only while it runs */

static void on_signal(int number)
{
    (void)number;
    loop_wake(signalled);
}

static void count_up(void *arg)
{
    ++*(int *)arg;
}

static void a_signal_handler_wakes_the_loop_once_for_many_calls(void **state)
{
    struct adit_loop *l = rig_loop();
    int woken = 0;

    (void)state;
    loop_set_wake(l, count_up, &woken);
    rig_turn(l, 0);
    signalled = l;
    signal(SIGUSR1, on_signal);
    raise(SIGUSR1);
    raise(SIGUSR1);
    rig_until(l, &woken, 1);
    rig_for_ms(l, 10);
    assert_int_equal(woken, 1);
    signal(SIGUSR1, SIG_DFL);
    loop_free(l);
}

/* ---------------------------------------------------------------------------------------- timers -- */

static void timers_fire_in_order_and_never_early(void **state)
{
    struct notes n = {.loop = rig_loop()};
    struct note each[] = {{&n, 30}, {&n, 10}, {&n, 20}};
    uint64_t begin_ns = rig_clock_ns();
    adit_timer *stopped;

    (void)state;
    adit_timer_start(n.loop, 30, write_down, &each[0]);
    adit_timer_start(n.loop, 10, write_down, &each[1]);
    adit_timer_start(n.loop, 20, write_down, &each[2]);
    stopped = adit_timer_start(n.loop, 15, write_down, &each[2]);
    adit_timer_stop(stopped);
    rig_until(n.loop, &n.count, 3);
    assert_true(rig_clock_ns() - begin_ns >= 30 * 1000000u);
    assert_int_equal(n.order[0], 10);
    assert_int_equal(n.order[1], 20);
    assert_int_equal(n.order[2], 30);
    loop_free(n.loop);
}

struct clock {
    uint64_t now_ns, next_ns, turn_ns;
    int turns;
};

static uint64_t clock_now_ns(void *ctx)
{
    return ((struct clock *)ctx)->now_ns;
}

static uint64_t clock_next_ns(void *ctx)
{
    return ((struct clock *)ctx)->next_ns;
}

static void clock_turn(void *ctx, uint64_t now_ns)
{
    struct clock *c = ctx;

    c->turns++;
    c->turn_ns = now_ns;
}

static struct loop_config clock_config(struct clock *c)
{
    return (struct loop_config){
        .now_ns = clock_now_ns,
        .now_ctx = c,
        .hooks = {.ctx = c, .turn = clock_turn, .next_ns = clock_next_ns},
    };
}

static void the_timeout_is_that_of_the_earliest_deadline_by_the_hosts_clock(void **state)
{
    struct clock c = {.now_ns = 5000000000u, .next_ns = WHEEL_NEVER};
    struct loop_config config = clock_config(&c);
    struct adit_loop *l = rig_loop_with(&config);
    int fired = 0;

    (void)state;
    assert_int_equal(adit_loop_timeout_ns(l), 0); /* the first turn does not wait */
    adit_loop_dispatch(l);
    assert_int_equal(adit_loop_timeout_ns(l), -1);
    c.next_ns = c.now_ns + 1500;
    assert_int_equal(adit_loop_timeout_ns(l), 1500);
    adit_timer_start(l, 40, count_up, &fired);
    c.next_ns = c.now_ns + 1000000000u;
    assert_in_range(adit_loop_timeout_ns(l), 40000000, 41000000);
    c.now_ns += 39999999;
    adit_loop_dispatch(l);
    assert_int_equal(fired, 0);
    c.now_ns += 1000001;
    adit_loop_dispatch(l);
    assert_int_equal(fired, 1);
    c.now_ns += 2000000000u;
    assert_int_equal(adit_loop_timeout_ns(l), 0);
    loop_free(l);
}

/* ------------------------------------------------------------------------------------------ turn -- */

static void the_turn_comes_once_after_all_callbacks_with_one_time(void **state)
{
    struct clock c = {.now_ns = 1000000000u, .next_ns = WHEEL_NEVER};
    struct loop_config config = clock_config(&c);
    struct adit_loop *l = rig_loop_with(&config);
    int posted = 0;

    (void)state;
    adit_loop_dispatch(l);
    adit_post(l, count_up, &posted);
    adit_post(l, count_up, &posted);
    c.now_ns += 77;
    adit_loop_dispatch(l);
    assert_int_equal(posted, 2);
    assert_int_equal(c.turns, 2);
    assert_true(c.turn_ns == 1000000077u);
    loop_stop(l);
    assert_int_equal(adit_loop_dispatch(l), ADIT_ECLOSED);
    loop_free(l);
}

struct again {
    struct loop_task task;
    struct adit_loop *loop;
    int runs;
};

static void run_again(struct loop_task *t)
{
    struct again *a = LIST_ENTRY(t, struct again, task);

    a->runs++;
    loop_task_start(a->loop, t);
}

static void a_task_that_starts_itself_runs_once_an_iteration(void **state)
{
    struct again a = {.loop = rig_loop()};
    int posted = 0;

    (void)state;
    loop_task_init(&a.task, run_again);
    loop_task_start(a.loop, &a.task);
    loop_task_start(a.loop, &a.task);
    adit_loop_dispatch(a.loop);
    assert_int_equal(a.runs, 1);
    assert_int_equal(adit_loop_timeout_ns(a.loop), 0);
    adit_post(a.loop, count_up, &posted);
    adit_loop_dispatch(a.loop);
    assert_int_equal(a.runs, 2);
    assert_int_equal(posted, 1);
    loop_task_stop(&a.task);
    adit_loop_dispatch(a.loop);
    assert_int_equal(a.runs, 2);
    loop_free(a.loop);
}

/* --------------------------------------------------------------------------------------- watches -- */

struct pair {
    struct watch watch;
    struct pair *other; /* is removed by whichever is told first */
    int fds[2], told;
    unsigned events;
};

static void pair_ready(struct watch *w, unsigned events)
{
    struct pair *p = LIST_ENTRY(w, struct pair, watch);

    p->told++;
    p->events = events;
    if (p->other) {
        watch_remove(&p->other->watch);
        close(p->other->fds[0]);
        /* The slot is used again at once: the event that is left over is not for the new one. */
        watch_add(w->loop, &p->other->watch, p->other->fds[1], ADIT_READ, false, pair_ready);
    }
}

static void pair_open(struct pair *p)
{
    *p = (struct pair){.told = 0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
}

static void an_event_of_a_removed_watch_is_not_delivered_in_the_same_batch(void **state)
{
    struct adit_loop *l = rig_loop();
    struct pair a, b;

    (void)state;
    pair_open(&a);
    pair_open(&b);
    a.other = &b;
    b.other = &a;
    watch_add(l, &a.watch, a.fds[0], ADIT_READ, false, pair_ready);
    watch_add(l, &b.watch, b.fds[0], ADIT_READ, false, pair_ready);
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    adit_loop_dispatch(l);
    assert_int_equal(a.told + b.told, 1);
    watch_remove(&a.watch);
    watch_remove(&b.watch);
    loop_free(l);
    close(a.fds[1]);
    close(b.fds[1]);
    close(a.told ? a.fds[0] : b.fds[0]);
}

static void a_level_triggered_watch_repeats_is_changed_and_pauses(void **state)
{
    struct adit_loop *l = rig_loop();
    struct pair p;

    (void)state;
    pair_open(&p);
    watch_add(l, &p.watch, p.fds[0], ADIT_READ, false, pair_ready);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    adit_loop_dispatch(l);
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 2);
    assert_int_equal(p.events, ADIT_READ);
    watch_set(&p.watch, ADIT_WRITE);
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 3);
    assert_int_equal(p.events, ADIT_WRITE);
    watch_set(&p.watch, 0);
    close(
        p.fds
            [1]); /* a hang-up: no pause is deep enough for that unless the descriptor is out of the set */
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 3);
    watch_set(&p.watch, ADIT_READ);
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 4);
    assert_true(p.events & WATCH_HANGUP);
    watch_remove(&p.watch);
    close(p.fds[0]);
    loop_free(l);
}

static void an_edge_triggered_watch_is_told_once_for_each_change(void **state)
{
    struct adit_loop *l = rig_loop();
    struct pair p;

    (void)state;
    pair_open(&p);
    watch_add(l, &p.watch, p.fds[0], 0, true, pair_ready);
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 1);
    assert_int_equal(p.events, ADIT_WRITE);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    adit_loop_dispatch(l);
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 2);
    assert_int_equal(p.events & ADIT_READ, ADIT_READ);
    close(p.fds[1]);
    adit_loop_dispatch(l);
    assert_int_equal(p.told, 3);
    assert_true(p.events & WATCH_HANGUP);
    watch_remove(&p.watch);
    close(p.fds[0]);
    loop_free(l);
}

static void more_watches_than_the_first_slots_find_their_own_functions(void **state)
{
    enum { PAIRS = 100 };
    struct adit_loop *l = rig_loop();
    struct pair *p = calloc(PAIRS, sizeof(*p));
    int i;

    (void)state;
    for (i = 0; i < PAIRS; i++) {
        pair_open(&p[i]);
        assert_int_equal(watch_add(l, &p[i].watch, p[i].fds[0], ADIT_READ, false, pair_ready), 0);
    }
    for (i = 0; i < PAIRS; i += 3)
        assert_int_equal(write(p[i].fds[1], "x", 1), 1);
    adit_loop_dispatch(l);
    for (i = 0; i < PAIRS; i++) {
        assert_int_equal(p[i].told, i % 3 == 0);
        watch_remove(&p[i].watch);
        close(p[i].fds[0]);
        close(p[i].fds[1]);
    }
    free(p);
    loop_free(l);
}

struct shared_watch {
    struct watch watch;
    size_t share, least;
};

static void shared_ready(struct watch *w, unsigned events)
{
    struct shared_watch *s = LIST_ENTRY(w, struct shared_watch, watch);

    (void)events;
    s->share = loop_share(w->loop, 4000, 100);
    s->least = loop_share(w->loop, 4000, 3000);
}

static void those_that_an_iteration_serves_share_it(void **state)
{
    enum { SERVED = 5 };
    struct adit_loop *l = rig_loop();
    struct shared_watch w[SERVED];
    struct again tasks[2 * SERVED];
    int fds[2];

    (void)state;
    assert_int_equal(loop_share(l, 4000, 100), 4000);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    for (int i = 0; i < SERVED; i++) /* a socket that can be written to is ready */
        assert_int_equal(watch_add(l, &w[i].watch, dup(fds[0]), ADIT_WRITE, false, shared_ready), 0);
    adit_loop_dispatch(l);
    for (int i = 0; i < SERVED; i++) {
        assert_int_equal(w[i].share, 4000 / SERVED);
        assert_int_equal(w[i].least, 3000);
    }
    for (int i = 0; i < 2 * SERVED; i++) {
        tasks[i] = (struct again){.loop = l};
        loop_task_init(&tasks[i].task, run_again);
        loop_task_start(l, &tasks[i].task);
    }
    adit_loop_dispatch(l);
    assert_int_equal(w[0].share, 4000 / (2 * SERVED));
    for (int i = 0; i < 2 * SERVED; i++)
        loop_task_stop(&tasks[i].task);
    for (int i = 0; i < SERVED; i++) {
        watch_remove(&w[i].watch);
        close(w[i].watch.fd);
    }
    close(fds[0]);
    close(fds[1]);
    loop_free(l);
}

struct public_watch {
    adit_watch *watch;
    int told;
    unsigned ev;
};

static void public_ready(void *arg, adit_socket s, unsigned ev)
{
    struct public_watch *w = arg;
    char c;

    w->told++;
    w->ev = ev;
    if (read(s, &c, 1) == 0)
        adit_watch_stop(w->watch);
}

static void a_public_watch_tells_only_what_was_asked_and_may_stop_itself(void **state)
{
    struct adit_loop *l = rig_loop();
    struct public_watch w = {0};
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    w.watch = adit_watch_start(l, fds[0], ADIT_READ, public_ready, &w);
    assert_non_null(w.watch);
    assert_int_equal(write(fds[1], "x", 1), 1);
    rig_until(l, &w.told, 1);
    close(fds[1]);
    rig_until(l, &w.told, 2);
    assert_int_equal(w.ev, ADIT_READ);
    rig_for_ms(l, 10);
    assert_int_equal(w.told, 2);
    close(fds[0]);
    loop_free(l);
}

static void memory_of_a_host_is_on_the_workers_budget_and_what_is_left_goes_with_the_loop(void **state)
{
    struct memory memory;
    struct loop_config config = {.memory = &memory};
    struct adit_loop *l;
    uint8_t *small, *large;

    (void)state;
    memory_init(&memory, 64 * 1024, NULL);
    l = rig_loop_with(&config);
    small = adit_loop_alloc(l, 100);
    large = adit_loop_alloc(l, 20000);
    assert_non_null(small);
    assert_non_null(large);
    assert_true(memory.used_bytes >= 20100);
    for (size_t i = 0; i < 20000; i++)
        assert_int_equal(large[i], 0);
    assert_null(adit_loop_alloc(l, 50000));
    assert_null(adit_loop_alloc(l, SIZE_MAX));
    adit_loop_free(large);
    adit_loop_free(NULL);
    large = adit_loop_alloc(l, 30000);
    assert_non_null(large);
    memset(small, 1, 100);
    memset(large, 1, 30000);
    loop_free(l);
    assert_int_equal(memory.used_bytes, 0);
}

struct ending {
    struct adit_loop *loop;
    struct loop_timer timer;
};

static void ending_fire(struct loop_timer *t)
{
    loop_stop(LIST_ENTRY(t, struct ending, timer)->loop);
}

/* What was posted is an event, and after it nothing comes for longer than any window. */
static void a_long_wait_after_an_event_takes_the_spin_back(void **state)
{
    struct notes n = {.loop = rig_loop()};
    struct note one = {&n, 0};
    struct ending e = {.loop = n.loop};

    (void)state;
    n.loop->spin.window_ns = SPIN_MAX_NS;
    loop_timer_init(&e.timer, ending_fire);
    loop_timer_set(n.loop, &e.timer, loop_now_ns(n.loop) + 20 * 1000000);
    assert_int_equal(adit_post(n.loop, write_down, &one), 0);
    loop_run(n.loop);
    assert_int_equal(n.count, 1);
    assert_int_equal(n.loop->spin.window_ns, SPIN_MIN_NS);
    loop_free(n.loop);
}

/* In a process of its own, which has no loop yet. */
static int loop_with_descriptors(rlim_t count)
{
    const struct rlimit limit = {.rlim_cur = count, .rlim_max = count};
    const struct loop_config config = {0};
    struct adit_loop *l;
    adit_error err = {0};

    if (setrlimit(RLIMIT_NOFILE, &limit))
        return -1;
    return loop_new(&l, &config, &err);
}

static void without_descriptors_there_is_an_error_and_no_end_of_the_process(void **state)
{
    int failed = 0, made = 0, status;

    (void)state;
    for (rlim_t count = 3; count < 12; count++) {
        pid_t pid = fork();
        int rc = pid == 0 ? loop_with_descriptors(count) : 0;

        if (pid == 0)
            _exit(rc == ADIT_ELIMIT ? 1 : rc == 0 ? 2 : 3);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        failed += WEXITSTATUS(status) == 1;
        made += WEXITSTATUS(status) == 2;
    }
    assert_int_equal(failed + made, 9);
    assert_true(failed > 0 && made > 0);
}

static void a_loop_that_saves_power_never_looks_again(void **state)
{
    const struct loop_config config = {.saves_power = true};
    struct adit_loop *l = rig_loop_with(&config);

    (void)state;
    assert_false(spin_begins(&l->spin));
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_descriptors_there_is_an_error_and_no_end_of_the_process), /* before any loop */
        cmocka_unit_test(posts_of_another_thread_run_in_order),
        cmocka_unit_test(what_was_posted_before_the_loop_is_freed_runs),
        cmocka_unit_test(a_post_from_a_post_runs_without_a_wake_up_and_is_refused_at_the_end),
        cmocka_unit_test(a_signal_handler_wakes_the_loop_once_for_many_calls),
        cmocka_unit_test(timers_fire_in_order_and_never_early),
        cmocka_unit_test(the_timeout_is_that_of_the_earliest_deadline_by_the_hosts_clock),
        cmocka_unit_test(the_turn_comes_once_after_all_callbacks_with_one_time),
        cmocka_unit_test(a_task_that_starts_itself_runs_once_an_iteration),
        cmocka_unit_test(an_event_of_a_removed_watch_is_not_delivered_in_the_same_batch),
        cmocka_unit_test(a_level_triggered_watch_repeats_is_changed_and_pauses),
        cmocka_unit_test(an_edge_triggered_watch_is_told_once_for_each_change),
        cmocka_unit_test(more_watches_than_the_first_slots_find_their_own_functions),
        cmocka_unit_test(those_that_an_iteration_serves_share_it),
        cmocka_unit_test(a_public_watch_tells_only_what_was_asked_and_may_stop_itself),
        cmocka_unit_test(memory_of_a_host_is_on_the_workers_budget_and_what_is_left_goes_with_the_loop),
        cmocka_unit_test(a_long_wait_after_an_event_takes_the_spin_back),
        cmocka_unit_test(a_loop_that_saves_power_never_looks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
