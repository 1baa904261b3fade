/* SPDX-License-Identifier: MIT */
/* The core as a whole: its two queues, the flow table and its clients, what happens when memory runs short. */
#include "rig.h"

static struct net_rig rig;

static int begin(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static int end(void **state)
{
    (void)state;
    rig_deinit(&rig);
    return 0;
}

/* ------------------------------------------------------------------------------------- flows, clients -- */

static void key_of(struct flow_key *key, const char *client, uint16_t port)
{
    adit_addr a = addr(client);

    *key = (struct flow_key){.client_port = port, .remote_port = 80, .proto = IP_PROTO_TCP};
    memcpy(key->client, a.ip, 16);
}

static void flows_are_found_by_every_part_of_their_key(void **state)
{
    struct flow_table *t = &rig.net.flows;
    struct flow f = {0};
    struct flow_key key, other;

    (void)state;
    key_of(&key, "10.0.0.2", 1000);
    assert_true(flow_insert(t, &f, &key, flow_hash(t, &key)));
    assert_ptr_equal(flow_find(t, &key, flow_hash(t, &key)), &f);
    for (size_t i = 0; i < offsetof(struct flow_key, zero); i++) {
        other = key;
        ((uint8_t *)&other)[i] ^= 1;
        assert_null(flow_find(t, &other, flow_hash(t, &other)));
        assert_null(flow_find(t, &other, flow_hash(t, &key))); /* not even where the hash is the same */
    }
    flow_remove(&rig.net, &f);
    assert_null(flow_find(t, &key, flow_hash(t, &key)));
}

static void flows_of_one_address_share_a_client(void **state)
{
    struct flow_table *t = &rig.net.flows;
    struct flow f[3] = {{.mark = 0}};
    struct flow_key key;

    (void)state;
    for (uint16_t i = 0; i < 3; i++) {
        key_of(&key, i < 2 ? "10.0.0.2" : "10.0.0.3", i);
        assert_true(flow_insert(t, &f[i], &key, flow_hash(t, &key)));
    }
    assert_ptr_equal(f[0].client, f[1].client);
    assert_ptr_not_equal(f[0].client, f[2].client);
    assert_int_equal(f[0].client->refs, 2);
    assert_true(f[0].id && f[0].id < f[1].id && f[1].id < f[2].id);
    assert_int_equal(t->clients.count, 2);
    for (int i = 0; i < 3; i++)
        flow_remove(&rig.net, &f[i]);
    assert_int_equal(t->clients.count, 0);
}

static void a_full_table_refuses_and_leaves_the_flow_untouched(void **state)
{
    static const struct flow untouched;
    struct flow_table *t = &rig.net.flows;
    struct flow f[2] = {{.mark = 0}};
    struct flow_key key;

    (void)state;
    t->flows.items_max = 1;
    key_of(&key, "10.0.0.2", 1);
    assert_true(flow_insert(t, &f[0], &key, flow_hash(t, &key)));
    key_of(&key, "10.0.0.3", 1);
    assert_false(flow_insert(t, &f[1], &key, flow_hash(t, &key)));
    assert_memory_equal(&f[1], &untouched, sizeof(untouched));
    assert_int_equal(t->clients.count, 1);
    flow_remove(&rig.net, &f[0]);
}

static void a_removed_flow_is_on_no_queue_and_has_no_timer(void **state)
{
    struct flow_table *t = &rig.net.flows;
    struct flow f = {0};
    struct flow_key key;

    (void)state;
    key_of(&key, "10.0.0.2", 1);
    assert_true(flow_insert(t, &f, &key, flow_hash(t, &key)));
    net_set_ready(&rig.net, &f);
    net_set_output(&rig.net, &f);
    wheel_set(&rig.net.wheel, &f.timer, rig.now_ns);
    flow_remove(&rig.net, &f);
    assert_null(net_next_ready(&rig.net));
    assert_true(list_is_empty(&rig.net.output));
    assert_int_equal(net_next_ns(&rig.net), WHEEL_NEVER);
}

/* -------------------------------------------------------------------------------------------- queues -- */

struct sender {
    struct flow flow;
    bool again, is_bulk; /* is_bulk: sends all that one call may, and has more */
    int sent, expired;
};

static struct sender senders[3];
static int device_takes;

static bool sender_output(void *tcp, struct flow *f, uint64_t now_ns)
{
    struct sender *s = LIST_ENTRY(f, struct sender, flow);

    assert_ptr_equal(tcp, &rig);
    assert_int_equal(now_ns, rig.now_ns);
    if (s->again)
        net_set_output(&rig.net, f);
    if (device_takes == 0)
        return false;
    device_takes--;
    s->sent++;
    if (s->is_bulk)
        rig.net.output_left = 0;
    return !s->is_bulk;
}

static void sender_expire(void *tcp, struct flow *f, uint64_t now_ns)
{
    assert_ptr_equal(tcp, &rig);
    assert_int_equal(now_ns, rig.now_ns);
    LIST_ENTRY(f, struct sender, flow)->expired++;
}

static const struct net_tcp_ops sender_ops = {.output = sender_output, .expire = sender_expire};

static void senders_begin(void)
{
    struct flow_key key;

    memset(senders, 0, sizeof(senders));
    device_takes = 100;
    net_set_tcp(&rig.net, &sender_ops, &rig);
    for (uint16_t i = 0; i < 3; i++) {
        key_of(&key, "10.0.0.2", i);
        assert_true(flow_insert(&rig.net.flows, &senders[i].flow, &key, flow_hash(&rig.net.flows, &key)));
        net_set_output(&rig.net, &senders[i].flow);
        net_set_output(&rig.net, &senders[i].flow); /* twice is once */
    }
}

static void senders_end(void)
{
    for (int i = 0; i < 3; i++)
        flow_remove(&rig.net, &senders[i].flow);
    net_set_tcp(&rig.net, NULL, NULL);
}

static void whoever_asks_again_waits_for_the_next_call(void **state)
{
    (void)state;
    senders_begin();
    senders[0].again = true;
    net_output(&rig.net, rig.now_ns);
    assert_int_equal(senders[0].sent, 1);
    assert_int_equal(senders[1].sent, 1);
    assert_int_equal(senders[2].sent, 1);
    net_output(&rig.net, rig.now_ns);
    assert_int_equal(senders[0].sent, 2);
    assert_int_equal(senders[1].sent, 1);
    senders_end();
}

static void when_the_device_is_full_the_others_keep_their_turns(void **state)
{
    (void)state;
    senders_begin();
    senders[0].again = senders[1].again = true;
    device_takes = 1;
    net_output(&rig.net, rig.now_ns); /* 0 sends and wants more, 1 finds it full */
    assert_int_equal(senders[0].sent, 1);
    senders[0].again = senders[1].again = false;
    device_takes = 2;
    net_output(&rig.net, rig.now_ns); /* 1 and 2 go first */
    assert_int_equal(senders[0].sent, 1);
    assert_int_equal(senders[1].sent, 1);
    assert_int_equal(senders[2].sent, 1);
    device_takes = 100;
    net_output(&rig.net, rig.now_ns);
    assert_int_equal(senders[0].sent, 2);
    assert_true(list_is_empty(&rig.net.output));
    senders_end();
}

static void who_has_sent_all_that_one_call_may_goes_behind_the_others(void **state)
{
    (void)state;
    senders_begin();
    senders[0].is_bulk = true;
    net_output(&rig.net, rig.now_ns);
    assert_int_equal(senders[0].sent, 1);
    assert_int_equal(senders[1].sent, 0);
    device_takes = 2;
    net_output(&rig.net, rig.now_ns);
    assert_int_equal(senders[0].sent, 1);
    assert_int_equal(senders[1].sent, 1);
    assert_int_equal(senders[2].sent, 1);
    senders_end();
}

static void timers_of_tcp_flows_go_to_the_engine(void **state)
{
    (void)state;
    senders_begin();
    wheel_set(&rig.net.wheel, &senders[1].flow.timer, rig.now_ns + 5 * WHEEL_TICK_NS);
    assert_int_equal(net_next_ns(&rig.net), rig.now_ns + 5 * WHEEL_TICK_NS);
    rig_sleep(&rig, 5 * WHEEL_TICK_NS);
    assert_int_equal(senders[1].expired, 1);
    assert_int_equal(senders[0].expired, 0);
    senders_end();
}

static void a_ready_flow_shows_once(void **state)
{
    (void)state;
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1", "1.2.3.4:5", "a", 1), DROP_NONE);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:2", "1.2.3.4:5", "a", 1), DROP_NONE);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1", "1.2.3.4:5", "b", 1), DROP_NONE);
    assert_int_equal(rig_ready_udp(&rig)->flow.key.client_port, 1);
    assert_int_equal(rig_ready_udp(&rig)->flow.key.client_port, 2);
    assert_null(rig_ready_udp(&rig));
}

/* -------------------------------------------------------------------------------------------- memory -- */

static enum drop ping(const char *client, uint16_t id)
{
    uint8_t p[100];
    struct icmp_message m = {.kind = ICMP_ECHO_REQUEST, .id = id, .data = p};

    return rig_input(&rig, p, make_icmp(p, client, "1.2.3.4", &m));
}

static void under_critical_pressure_new_flows_are_refused_and_the_oldest_idle_mappings_go(void **state)
{
    uint64_t ballast_bytes = rig.memory.budget_bytes / 100 * 96;
    struct udp *u;
    void *ballast;

    (void)state;
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1", "1.2.3.4:5", "a", 1), DROP_NONE);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:2", "1.2.3.4:5", "a", 1), DROP_NONE);
    rig_sleep(&rig, 1);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:1", "1.2.3.4:5", "a", 1), DROP_NONE);
    rig_sleep(&rig, UDP_EVICT_IDLE_NS - 1);
    while (rig_ready_udp(&rig))
        ;
    ballast = memory_alloc(&rig.memory, ballast_bytes);
    assert_int_equal(memory_pressure(&rig.memory), MEMORY_CRITICAL);

    assert_int_equal(rig_udp(&rig, "10.0.0.2:3", "1.2.3.4:5", "a", 1), DROP_NO_MEMORY);
    assert_int_equal(ping("10.0.0.2", 1), DROP_NO_MEMORY);
    assert_int_equal(rig_drops(&rig, DROP_NO_MEMORY), 2);
    net_expire(&rig.net, rig.now_ns);
    u = rig_ready_udp(&rig); /* the first of them was used a nanosecond too late */
    assert_int_equal(u->flow.key.client_port, 2);
    assert_true(u->is_closing);
    assert_int_equal(u->closed_why, ADIT_ELIMIT);
    udp_free(u);
    assert_null(rig_ready_udp(&rig));
    memory_free(&rig.memory, ballast, ballast_bytes);
    assert_int_equal(rig_udp(&rig, "10.0.0.2:3", "1.2.3.4:5", "a", 1), DROP_NONE);
}

/* An allocator that says no at the n-th call, or from it on. */
struct failing {
    uint64_t calls, fails_at;
    bool for_good;
};

static void *failing_alloc(void *ctx, size_t len, size_t align)
{
    struct failing *f = ctx;
    void *p;

    f->calls++;
    if (f->calls == f->fails_at || (f->for_good && f->calls > f->fails_at))
        return NULL;
    return posix_memalign(&p, align, len) == 0 ? p : NULL;
}

static void failing_free(void *ctx, void *p, size_t len)
{
    (void)ctx;
    (void)len;
    free(p);
}

static void fragment(uint32_t id, uint32_t at, bool more)
{
    static const uint8_t data[64];
    uint8_t p[200];
    uint32_t n = make_ip(p, "10.0.0.9", "1.2.3.4", IP_PROTO_UDP, data, 64);

    put_be16(p + 4, (uint16_t)id);
    put_be16(p + 6, (uint16_t)(at / 8 | (more ? 0x2000 : 0)));
    mend_ip4(p);
    (void)rig_input(&rig, p, n);
}

/* A little of everything. Whatever fails, nothing may break. */
static void live_a_little(void)
{
    static uint8_t data[3000];
    char client[32];
    struct udp *u;
    adit_dgram d;

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 6; i++) {
            snprintf(client, sizeof(client), "10.0.0.%d:%d", i, 1000 + i);
            rig.decision.verdict = i == 5 ? ADIT_RESET : ADIT_DEFER;
            (void)rig_udp(&rig, client, round < 2 ? "1.2.3.4:5" : "1.2.3.4:6", data, round == 1 ? 3 : 1400);
            rig.decision.verdict = ADIT_DEFER;
            client[8] = 0;
            (void)ping(client, (uint16_t)i);
            fragment((uint32_t)i, 0, true);
            fragment((uint32_t)i, 64, round != 1);
        }
        while ((u = rig_ready_udp(&rig)) != NULL) {
            if (u->is_closing) {
                udp_free(u);
                continue;
            }
            rig_owns(u);
            while (udp_recv(u, &d, 1) == 1) {
                d.data = data;
                d.len = sizeof(data);
                (void)udp_send(u, &d, 1, rig.now_ns);
                udp_release(u, 1);
            }
        }
        rig_sleep(&rig, round == 1 ? 40 * RIG_SECOND_NS : WHEEL_TICK_NS);
    }
}

static void sweep(bool for_good)
{
    struct failing f = {.for_good = for_good};
    adit_allocator a = {.size = sizeof(a), .alloc = failing_alloc, .free = failing_free, .ctx = &f};
    struct net_config config = rig_config();

    do {
        f.fails_at++;
        f.calls = 0;
        rig_init_with(&rig, &config, 64 * 1024 * 1024, &a);
        rig.bufs.cached_max_bytes = 0; /* every buffer is an allocation that may fail */
        live_a_little();
        assert_true(f.calls < f.fails_at || rig.memory.starved > 0);
        rig_deinit(&rig); /* asserts that all memory came back */
    } while (f.calls >= f.fails_at);
    assert_true(f.fails_at > 50);
}

static void any_one_allocation_may_fail(void **state)
{
    (void)state;
    sweep(false);
}

static void all_allocations_from_one_on_may_fail(void **state)
{
    (void)state;
    sweep(true);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        T(flows_are_found_by_every_part_of_their_key),
        T(flows_of_one_address_share_a_client),
        T(a_full_table_refuses_and_leaves_the_flow_untouched),
        T(a_removed_flow_is_on_no_queue_and_has_no_timer),
        T(whoever_asks_again_waits_for_the_next_call),
        T(when_the_device_is_full_the_others_keep_their_turns),
        T(who_has_sent_all_that_one_call_may_goes_behind_the_others),
        T(timers_of_tcp_flows_go_to_the_engine),
        T(a_ready_flow_shows_once),
        T(under_critical_pressure_new_flows_are_refused_and_the_oldest_idle_mappings_go),
        cmocka_unit_test(any_one_allocation_may_fail),
        cmocka_unit_test(all_allocations_from_one_on_may_fail),
    };

    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
