/* SPDX-License-Identifier: MIT */
/* handshake: who makes room, when, and that clients get their turn in a flood. The flows here are nobody's: the limits are
 * counted by hand, as the engines do. */
#include "rig.h"
#include "net/handshake.h"

enum { PLACES = 200 /* half-open flows, in all */ };

struct seat {
    struct flow flow;
    struct handshake handshake;
    bool is_free;
};

struct handshake_rig {
    struct net_rig r;
    struct seat seats[PLACES];
    const struct flow *evicted; /* the last one */
    unsigned evicted_count;
};

static void seat_leave(struct handshake_rig *h, struct seat *s)
{
    handshake_end(&s->handshake);
    s->flow.client->half_open--;
    h->r.net.stats.tcp_half_open--;
    flow_remove(&h->r.net, &s->flow);
    s->is_free = true;
}

static void on_evict(void *tcp, struct flow *f)
{
    struct handshake_rig *h = tcp;

    h->evicted = f;
    h->evicted_count++;
    seat_leave(h, LIST_ENTRY(f, struct seat, flow));
}

static const struct net_tcp_ops tcp_ops = {.evict = on_evict};

static int handshake_up(void **state)
{
    static struct handshake_rig h;
    struct net_config config = rig_config();

    memset(&h, 0, sizeof(h));
    config.tcp_max = PLACES;
    config.tcp_half_open_max = config.tcp_half_open_per_client_max = PLACES;
    rig_init_with(&h.r, &config, 64 * 1024 * 1024, NULL);
    net_set_tcp(&h.r.net, &tcp_ops, &h);
    for (int i = 0; i < PLACES; i++)
        h.seats[i].is_free = true;
    *state = &h;
    return 0;
}

static int handshake_down(void **state)
{
    struct handshake_rig *h = *state;

    for (int i = 0; i < PLACES; i++)
        if (!h->seats[i].is_free)
            seat_leave(h, &h->seats[i]);
    assert_true(list_is_empty(&h->r.net.handshakes));
    rig_deinit(&h->r);
    return 0;
}

/* A flow of this client is accepted and waits for the client's ACK. */
static struct seat *seat_take(struct handshake_rig *h, uint8_t client)
{
    struct flow_key key = {.proto = IP_PROTO_TCP, .remote_port = 80};
    struct seat *s = h->seats;

    while (!s->is_free)
        s++;
    ip_map4(key.client, (const uint8_t[]){10, 0, 0, client});
    key.client_port = (uint16_t)(1 + (s - h->seats));
    memset(s, 0, sizeof(*s));
    assert_true(flow_insert(&h->r.net.flows, &s->flow, &key, flow_hash(&h->r.net.flows, &key)));
    s->flow.client->half_open++;
    h->r.net.stats.tcp_half_open++;
    handshake_begin(&h->r.net, &s->handshake, &s->flow, h->r.now_ns);
    return s;
}

static bool has_room(struct handshake_rig *h, const struct client *c)
{
    return handshake_has_room(&h->r.net, c, h->r.now_ns);
}

static void below_the_limit_nobody_has_to_go(void **state)
{
    struct handshake_rig *h = *state;

    seat_take(h, 2);
    h->r.now_ns += 100 * RIG_SECOND_NS;
    assert_true(has_room(h, NULL));
    assert_int_equal(h->evicted_count, 0);
}

static void the_oldest_makes_room_once_its_client_would_have_answered(void **state)
{
    struct handshake_rig *h = *state;
    const struct seat *first;

    h->r.net.config.tcp_half_open_max = 2;
    first = seat_take(h, 2);
    h->r.now_ns += RIG_SECOND_NS / 2;
    seat_take(h, 3);
    h->r.now_ns += RIG_SECOND_NS / 2 - 1;
    for (int i = 0; i < 1000; i++)
        assert_false(has_room(h, NULL));
    h->r.now_ns += RIG_SECOND_NS;
    assert_true(has_room(h, NULL));
    assert_ptr_equal(h->evicted, &first->flow);
    assert_int_equal(h->evicted_count, 1);
    assert_int_equal(h->r.net.stats.tcp_evicted, 1);
}

static void who_has_spoken_or_was_not_answered_yet_stays(void **state)
{
    struct handshake_rig *h = *state;

    h->r.net.config.tcp_half_open_max = 1;
    handshake_end(&seat_take(h, 2)->handshake);
    h->r.now_ns += 100 * RIG_SECOND_NS;
    assert_false(has_room(h, NULL));
    assert_int_equal(h->evicted_count, 0);
}

static void at_a_clients_limit_one_of_its_own_makes_room(void **state)
{
    struct handshake_rig *h = *state;
    const struct seat *own;

    h->r.net.config.tcp_half_open_per_client_max = 1;
    seat_take(h, 2);
    own = seat_take(h, 3);
    h->r.now_ns += 2 * RIG_SECOND_NS;
    assert_true(has_room(h, own->flow.client));
    assert_ptr_equal(h->evicted, &own->flow);
}

/* Nobody answers, all places are taken at once, and five times as many SYNs come in a second as there are places: who repeats
 * his SYN after whole seconds, as kernels do, meets a free place about as often as the flood does. */
static void who_repeats_his_syn_gets_a_place_in_a_flood(void **state)
{
    enum { CLIENTS = 50, TRIES = 16, SYNS_PER_MS = 4 * PLACES / 1000 + 1 };
    struct handshake_rig *h = *state;
    uint32_t tries[CLIENTS] = {0}, served = 0;
    bool has[CLIENTS] = {false};

    for (uint32_t ms = 0; ms < (TRIES + 1) * 1000; ms++) {
        for (uint32_t i = 0; i < SYNS_PER_MS; i++)
            if (has_room(h, NULL))
                seat_take(h, 2);
        for (uint32_t c = 0; c < CLIENTS; c++) {
            if (has[c] || ms < 1000 + c * 20 + tries[c] * 1000)
                continue;
            tries[c]++;
            has[c] = has_room(h, NULL);
            served += has[c];
        }
        h->r.now_ns += RIG_SECOND_NS / 1000;
    }
    assert_true(served > CLIENTS * 3 / 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, handshake_up, handshake_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(below_the_limit_nobody_has_to_go),
        T(the_oldest_makes_room_once_its_client_would_have_answered),
        T(who_has_spoken_or_was_not_answered_yet_stays),
        T(at_a_clients_limit_one_of_its_own_makes_room),
        T(who_repeats_his_syn_gets_a_place_in_a_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
