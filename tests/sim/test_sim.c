/* SPDX-License-Identifier: MIT */
/* test_sim: our TCP against itself over links that misbehave. See sim.h.
 *
 * Most of it is one test: random worlds, each from a seed. A failing seed is printed, and
 * `ADIT_SIM_SEED=<seed> test_sim` runs that world alone; ADIT_SIM_SEEDS=<n> runs n of them (from
 * ADIT_SIM_FIRST, else from 1). ADIT_SIM_TRACE=1 prints every packet that arrives and its verdict.
 * The others are the figures that a good TCP has to reach. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "sim.h"

#define MIB (1024 * 1024ull)
#define MS 1000000ull
#define SECOND 1000000000ull

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* ------------------------------------------------------------------------------------ random worlds -- */

struct coverage {
    uint64_t states;
    uint64_t drops[DROP_COUNT];
    uint64_t seeds, megabytes, timeouts, retransmitted, evicted;
    uint64_t large; /* worlds in which some flow was to move 1 MiB or more each way */
};

static uint64_t pick(struct random *r, const uint64_t *choices, size_t n)
{
    return choices[random_below(r, n)];
}

static bool chance(struct random *r, double p)
{
    return (double)(random_next(r) >> 11) / 9007199254740992.0 < p;
}

static void random_link(struct random *r, struct sim_link_config *c)
{
    static const uint64_t rates[] = {0, 10000000, 100000000, 1000000000, 10000000000};
    static const uint64_t delays[] = {0, 20000, 1 * MS, 10 * MS, 50 * MS};
    static const uint64_t queues[] = {64 * 1024, 256 * 1024, MIB, 8 * MIB};
    static const uint64_t losses[] = {0, 1, 5, 10, 30, 100}; /* thousandths */

    *c = (struct sim_link_config){0};
    c->rate_bps = pick(r, rates, 5);
    c->delay_ns = pick(r, delays, 5);
    c->queue_bytes = (uint32_t)pick(r, queues, 4);
    if (chance(r, 0.5))
        c->loss = (double)pick(r, losses, 6) / 1000;
    if (chance(r, 0.2)) {
        c->burst_enter = 0.002;
        c->burst_leave = 0.3;
    }
    if (chance(r, 0.3)) {
        c->reorder = chance(r, 0.1) ? 0.5 : 0.05; /* a little, or more islands than are kept */
        c->reorder_ns = 1 + random_below(r, 20 * MS);
    }
    if (chance(r, 0.3))
        c->duplicate = 0.02;
    if (chance(r, 0.3))
        c->corrupt = 0.01;
    c->whole = chance(r, 0.3);
}

static void random_side(struct random *r, struct sim_side *a)
{
    static const uint64_t reads[] = {0, 0, 1, 100, 4096, 65536};

    if (chance(r, 0.3)) {
        a->pause = 0.05;
        a->pause_ns = pick(r, (const uint64_t[]){MS, 100 * MS, 3 * SECOND}, 3);
    }
    if (chance(r, 0.3))
        a->read_max = (uint32_t)pick(r, reads, 6);
    if (a->read_max == 1)
        a->pause = 0; /* an octet at a time is slow enough */
}

/* One of the limits is within a stranger's reach, with room for the flows of the world. */
static void random_limits(struct random *r, struct sim_options *o)
{
    uint32_t *const limits[] = {&o->tcp_max, &o->half_open_max};
    uint32_t *const client_limits[] = {&o->tcp_per_client_max, &o->half_open_per_client_max};

    if (chance(r, 0.5))
        *limits[random_below(r, 2)] = 8;
    else
        *client_limits[random_below(r, 2)] = 4;
}

static void random_world(struct sim *s, uint64_t seed)
{
    static const uint64_t mtus[] = {1280, 1500, 1500, 1500, 9000, 65535};
    static const uint64_t sizes[] = {0, 1000, 100000, MIB, MIB, MIB, MIB, MIB + 1, MIB + 12345, 2 * MIB, 4 * MIB};
    struct random r = {.state = seed * 0x9e3779b97f4a7c15};
    struct sim_options o = {
        .seed = seed,
        .budget_bytes = 64 * MIB,
    };
    int flows = chance(&r, 0.2) ? 3 : 1;
    bool hostile = chance(&r, 0.2);

    /* One call a statement: the order must not be the compiler's choice, or a seed would not be the same world everywhere. */
    o.mtu_bytes = (uint32_t)pick(&r, mtus, 6);
    o.cc = chance(&r, 0.2) ? &cc_reno : &cc_cubic;
    o.rx_window_bytes = (uint32_t)pick(&r, (const uint64_t[]){16384, 65535, 262144, 4 * MIB}, 4);
    o.tx_buffer_bytes = (uint32_t)pick(&r, (const uint64_t[]){65536, 262144, 4 * MIB}, 3);
    if (hostile)
        random_limits(&r, &o);
    random_link(&r, &o.link[0]);
    random_link(&r, &o.link[1]);
    sim_init(s, &o);
    for (int i = 0; i < flows; i++) {
        uint64_t up = pick(&r, sizes, 11), down = pick(&r, sizes, 11);
        struct sim_flow *f = sim_add_flow(s, up, down);

        random_side(&r, &f->side[0]);
        random_side(&r, &f->side[1]);
        if (chance(&r, 0.2))
            f->side[1].accept_at_ns = s->now_ns + random_below(&r, 4 * SECOND);
        if (chance(&r, 0.1)) {
            struct sim_side *a = &f->side[random_below(&r, 2)];

            a->abort_at = 1 + random_below(&r, MIB);
            a->gives_up_politely = chance(&r, 0.5);
        }
    }
    if (hostile)
        s->hostile = 0.05;
    if (chance(&r, 0.1))
        s->host[random_below(&r, 2)].device_full = 0.05;
    if (chance(&r, 0.1) && o.mtu_bytes > 1280) {
        s->mtu_change_at_ns = s->now_ns + random_below(&r, SECOND);
        s->mtu_after_bytes = 1280;
    }
}

static void coverage_add(struct coverage *c, const struct sim *s)
{
    c->seeds++;
    for (int f = 0; f < s->flows; f++)
        if (s->flow[f].side[0].to_send >= MIB && s->flow[f].side[1].to_send >= MIB) {
            c->large++;
            break;
        }
    for (int i = 0; i < 2; i++) {
        const struct sim_host *h = &s->host[i];

        c->states |= h->engine.states_visited;
        c->timeouts += h->net.stats.tcp_timeouts;
        c->evicted += h->net.stats.tcp_evicted;
        c->retransmitted += h->net.stats.tcp_segments_retransmitted;
        for (int d = 0; d < DROP_COUNT; d++)
            c->drops[d] += h->net.stats.drops[d];
        for (int f = 0; f < s->flows; f++)
            c->megabytes += s->flow[f].side[i].received / MIB;
    }
}

/* A world that ends within its time: 2 hours of virtual time are beyond what any of these links needs. */
static bool run_seed(uint64_t seed, struct coverage *c)
{
    struct sim *s = calloc(1, sizeof(*s));
    bool good;

    random_world(s, seed);
    good = sim_run(s, 7200 * SECOND);
    coverage_add(c, s);
    good = sim_deinit(s) && good;
    if (!good)
        fprintf(stderr, "ADIT_SIM_SEED=%llu: %s\n", (unsigned long long)seed, s->failure);
    free(s);
    return good;
}

/* The worlds as a whole have seen every state and every reason to drop a TCP segment, half-open flows made room for others, and
 * most moved at least 1 MiB each way. */
static void check_coverage(const struct coverage *c)
{
    int missed = 0;

    if (c->seeds < 600)
        return; /* too few to ask */
    for (int i = TCP_PENDING; i < TCP_STATES; i++)
        if (!(c->states & 1u << i)) {
            fprintf(stderr, "state %s was not visited\n", tcp_state_name((enum tcp_state)i));
            missed++;
        }
    for (int i = DROP_TCP_HEADER; i <= DROP_TCP_TIME_WAIT; i++)
        if (c->drops[i] == 0) {
            fprintf(stderr, "no segment was dropped as %s\n", drop_name((unsigned)i));
            missed++;
        }
    assert_int_equal(missed, 0);
    assert_true(c->evicted > 0);
    assert_true(c->large * 2 > c->seeds);
}

static void every_seed_delivers_every_octet_and_leaves_nothing_behind(void **state)
{
    uint64_t one = env_number("ADIT_SIM_SEED", 0), first = env_number("ADIT_SIM_FIRST", 1);
    uint64_t n = env_number("ADIT_SIM_SEEDS", 600), failed = 0;
    struct coverage c = {0};

    (void)state;
    if (one) {
        assert_true(run_seed(one, &c));
        return;
    }
    for (uint64_t seed = first; seed < first + n; seed++)
        failed += !run_seed(seed, &c);
    fprintf(stderr, "%llu seeds, %llu MiB, %llu segments retransmitted, %llu timeouts\n",
            (unsigned long long)c.seeds, (unsigned long long)c.megabytes,
            (unsigned long long)c.retransmitted, (unsigned long long)c.timeouts);
    assert_int_equal(failed, 0);
    check_coverage(&c);
}

/* ------------------------------------------------------------------------------------------- figures -- */

struct figures {
    double goodput_bps, goal_bps;
    uint64_t lost, timeouts, fast, retransmitted;
};

/* 10 ms round trip, 1 Gbit/s, MTU 1500, random loss on the data's way only. */
static struct figures lossy_transfer(double loss, uint64_t bytes, int direction, uint64_t seed)
{
    struct sim_options o = {
        .seed = seed,
        .mtu_bytes = 1500,
        .cc = &cc_cubic,
        .rx_window_bytes = 4 * MIB,
        .tx_buffer_bytes = 4 * MIB,
        .budget_bytes = 256 * MIB,
    };
    struct sim *s = calloc(1, sizeof(*s));
    uint64_t begun_ns;
    struct figures f = {0};
    double mathis = 1.22 * 1448 * 8 / (0.010 * sqrt(loss));

    for (int i = 0; i < 2; i++)
        o.link[i] = (struct sim_link_config){.rate_bps = 1000000000,
                                             .delay_ns = 5 * MS,
                                             .queue_bytes = 2 * MIB,
                                             .loss = i == direction ? loss : 0};
    sim_init(s, &o);
    sim_add_flow(s, direction == 0 ? bytes : 0, direction == 1 ? bytes : 0);
    begun_ns = s->now_ns;
    if (!sim_run(s, 3600 * SECOND))
        fail_msg("seed %llu: %s", (unsigned long long)seed, s->failure);
    f.goodput_bps = (double)bytes * 8 * 1e9 / (double)(s->finished_ns - begun_ns);
    f.goal_bps = 0.7 * (mathis < 1e9 ? mathis : 1e9);
    f.lost = s->link[direction].lost + s->link[direction].queue_drops;
    f.timeouts = s->host[direction].net.stats.tcp_timeouts;
    f.fast = s->host[direction].net.stats.tcp_fast_retransmits;
    f.retransmitted = s->host[direction].net.stats.tcp_segments_retransmitted;
    assert_true(sim_deinit(s));
    free(s);
    return f;
}

static void check_lossy_transfer(double loss, int direction)
{
    for (uint64_t seed = 2; seed < 8; seed++) {
        struct figures f = lossy_transfer(loss, 64 * MIB, direction, seed);

        fprintf(stderr,
                "loss %.3f way %d: %.1f Mbit/s (goal %.1f), %llu lost, %llu retransmitted, %llu "
                "fast, %llu timeouts\n",
                loss, direction, f.goodput_bps / 1e6, f.goal_bps / 1e6, (unsigned long long)f.lost,
                (unsigned long long)f.retransmitted, (unsigned long long)f.fast,
                (unsigned long long)f.timeouts);
        assert_true(f.goodput_bps >= f.goal_bps);
        assert_true((double)f.fast >= 0.95 * (double)f.lost);
        assert_true((double)f.timeouts <= 0.05 * (double)f.lost);
        assert_true((double)f.retransmitted <= 1.2 * (double)f.lost + 20);
    }
}

static void one_percent_loss_up_is_repaired_without_timeouts_at_a_good_rate(void **state)
{
    (void)state;
    check_lossy_transfer(0.01, 0);
}

static void one_percent_loss_down_is_repaired_without_timeouts_at_a_good_rate(void **state)
{
    (void)state;
    check_lossy_transfer(0.01, 1);
}

static void three_percent_loss_up_is_repaired_without_timeouts_at_a_good_rate(void **state)
{
    (void)state;
    check_lossy_transfer(0.03, 0);
}

static void three_percent_loss_down_is_repaired_without_timeouts_at_a_good_rate(void **state)
{
    (void)state;
    check_lossy_transfer(0.03, 1);
}

static void a_clean_link_is_filled(void **state)
{
    struct figures f = lossy_transfer(1e-12, 256 * MIB, 0, 4);

    /* Slow start overshoots once: the queue of 2 MiB overflows, what is lost (every other segment, for a while) is repaired and
     * nothing else is sent again, and the link stays full. */
    (void)state;
    fprintf(stderr, "clean: %.1f Mbit/s, %llu lost, %llu retransmitted, %llu timeouts\n",
            f.goodput_bps / 1e6, (unsigned long long)f.lost, (unsigned long long)f.retransmitted,
            (unsigned long long)f.timeouts);
    assert_true(f.goodput_bps > 0.92e9);
    assert_true((double)f.retransmitted <= 1.02 * (double)f.lost);
    assert_int_equal(f.timeouts, 0);
}

/* ---------------------------------------------------------------------------------------- no memory -- */

struct failing {
    uint64_t calls, first, count; /* allocations so far; those from the first on, so many, fail */
};

static void *failing_alloc(void *ctx, size_t len_bytes, size_t align)
{
    struct failing *f = ctx;

    if (++f->calls >= f->first && f->calls - f->first < f->count)
        return NULL;
    return aligned_alloc(align, (len_bytes + align - 1) / align * align);
}

static void failing_free(void *ctx, void *p, size_t len_bytes)
{
    (void)ctx;
    (void)len_bytes;
    free(p);
}

/* A transfer both ways over a link that loses now and then, in which a host is refused memory. Returns how often it asked. */
static uint64_t starved_transfer(int host, uint64_t first, uint64_t count)
{
    struct failing f = {.first = UINT64_MAX, .count = count};
    adit_allocator a = {.size = sizeof(a), .alloc = failing_alloc, .free = failing_free, .ctx = &f};
    struct sim_options o = {
        .seed = 16, /* tcp_check() looks on */
        .mtu_bytes = 1500,
        .cc = &cc_cubic,
        .rx_window_bytes = 65535,
        .tx_buffer_bytes = 65536,
        .budget_bytes = 16 * MIB,
    };
    struct sim *s = calloc(1, sizeof(*s));

    o.allocator[host] = &a;
    for (int i = 0; i < 2; i++)
        o.link[i] = (struct sim_link_config){.delay_ns = MS, .loss = 0.05, .reorder = 0.05, .reorder_ns = MS};
    sim_init(s, &o);
    f.calls = 0; /* a host is made, or it is not */
    f.first = first;
    sim_add_flow(s, 40000, 60000);
    if (!sim_run(s, 7200 * SECOND))
        fail_msg("allocations %llu ... of host %d: %s", (unsigned long long)first, host, s->failure);
    if (!sim_deinit(s))
        fail_msg("allocations %llu ... of host %d: %s", (unsigned long long)first, host, s->failure);
    free(s);
    return f.calls;
}

static void check_starved_transfers(uint64_t count)
{
    for (int host = 0; host < 2; host++)
        for (uint64_t first = 1; first <= starved_transfer(host, first, count); first++)
            ;
}

static void any_one_allocation_may_fail_and_every_flow_ends_honestly(void **state)
{
    (void)state;
    check_starved_transfers(1);
}

static void any_row_of_allocations_may_fail_and_every_flow_ends_honestly(void **state)
{
    (void)state;
    check_starved_transfers(10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_link_is_filled),
        cmocka_unit_test(one_percent_loss_up_is_repaired_without_timeouts_at_a_good_rate),
        cmocka_unit_test(one_percent_loss_down_is_repaired_without_timeouts_at_a_good_rate),
        cmocka_unit_test(three_percent_loss_up_is_repaired_without_timeouts_at_a_good_rate),
        cmocka_unit_test(three_percent_loss_down_is_repaired_without_timeouts_at_a_good_rate),
        cmocka_unit_test(any_one_allocation_may_fail_and_every_flow_ends_honestly),
        cmocka_unit_test(any_row_of_allocations_may_fail_and_every_flow_ends_honestly),
        cmocka_unit_test(every_seed_delivers_every_octet_and_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
