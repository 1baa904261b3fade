/* SPDX-License-Identifier: MIT */
/* test_tcp_matrix: RFC 9293 section 3.10.7, cell by cell: each state, each kind of segment, each place in sequence space.
 *
 *   below: before rcv_nxt    at: rcv_nxt    in: inside the window    above: beyond it
 *
 * A cell says what the verdict is, what is answered, and which state follows. */
#include "tcp_rig.h"

enum kind { RST, SYN, ACK, DATA, FIN, KINDS };
enum place { BELOW, AT, IN, ABOVE, PLACES };
enum reply { NO_REPLY, ACK_REPLY, ACK_SOON, ACK_TWICE, RST_REPLY, SYN_ACK_REPLY };

struct cell {
    enum drop verdict;
    enum reply reply;
    enum tcp_state next;
};

static const char *const kind_names[] = {"RST", "SYN", "ACK", "data", "FIN"};
static const char *const place_names[] = {"below", "at", "in", "above"};

#define SAME TCP_STATES /* the state does not change */

/* All synchronized states in which the peer may still send (it has not closed). */
#define RECEIVING(at_data, at_fin, after_fin)                                                       \
    {                                                                                               \
        [RST] = {[BELOW] = {DROP_TCP_SEQUENCE, NO_REPLY, SAME},                                     \
                 [AT] = {DROP_TCP_RESET, NO_REPLY, TCP_CLOSED},                                     \
                 [IN] = {DROP_TCP_RESET_CHALLENGED, ACK_REPLY, SAME},                               \
                 [ABOVE] = {DROP_TCP_SEQUENCE, NO_REPLY, SAME}},                                    \
        [SYN] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},                                    \
                 [AT] = {DROP_TCP_SYN_CHALLENGED, ACK_REPLY, SAME},                                 \
                 [IN] = {DROP_TCP_SYN_CHALLENGED, ACK_REPLY, SAME},                                 \
                 [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                   \
        [ACK] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},                                    \
                 [AT] = {DROP_NONE, NO_REPLY, SAME},                                                \
                 [IN] = {DROP_NONE, NO_REPLY, SAME},                                                \
                 [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                   \
        [DATA] = {[BELOW] = {DROP_TCP_DUPLICATE, ACK_TWICE, SAME},                                  \
                  [AT] = {DROP_NONE, at_data, SAME},                                                \
                  [IN] = {DROP_NONE, ACK_TWICE, SAME},                                              \
                  [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                  \
        [FIN] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},                                    \
                 [AT] = {DROP_NONE, at_fin, after_fin},                                             \
                 [IN] = {DROP_NONE, ACK_REPLY, SAME},                                               \
                 [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                   \
    }

/* States after the peer's FIN: the window still has a place, but nothing new may come. */
#define PEER_CLOSED(reset_state)                                                                    \
    {                                                                                               \
        [RST] = {[BELOW] = {DROP_TCP_SEQUENCE, NO_REPLY, SAME},                                     \
                 [AT] = {DROP_TCP_RESET, NO_REPLY, reset_state},                                    \
                 [IN] = {DROP_TCP_RESET_CHALLENGED, ACK_REPLY, SAME},                               \
                 [ABOVE] = {DROP_TCP_SEQUENCE, NO_REPLY, SAME}},                                    \
        [SYN] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},                                    \
                 [AT] = {DROP_TCP_SYN_CHALLENGED, ACK_REPLY, SAME},                                 \
                 [IN] = {DROP_TCP_SYN_CHALLENGED, ACK_REPLY, SAME},                                 \
                 [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                   \
        [ACK] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},                                    \
                 [AT] = {DROP_NONE, NO_REPLY, SAME},                                                \
                 [IN] = {DROP_NONE, NO_REPLY, SAME},                                                \
                 [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                   \
        [DATA] = {[BELOW] = {DROP_TCP_DUPLICATE, ACK_TWICE, SAME},                                  \
                  [AT] = {DROP_TCP_DUPLICATE, NO_REPLY, SAME},                                      \
                  [IN] = {DROP_TCP_DUPLICATE, NO_REPLY, SAME},                                      \
                  [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                  \
        [FIN] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},                                    \
                 [AT] = {DROP_NONE, NO_REPLY, SAME},                                                \
                 [IN] = {DROP_NONE, NO_REPLY, SAME},                                                \
                 [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},                                   \
    }

static const struct cell matrix[TCP_STATES][KINDS][PLACES] = {
    [TCP_ESTABLISHED] = RECEIVING(ACK_SOON, ACK_SOON, TCP_CLOSE_WAIT),
    [TCP_FIN_WAIT_1] = RECEIVING(ACK_SOON, ACK_REPLY, TCP_CLOSING),
    [TCP_FIN_WAIT_2] = RECEIVING(ACK_SOON, ACK_REPLY, TCP_TIME_WAIT),
    [TCP_CLOSE_WAIT] = PEER_CLOSED(TCP_CLOSED),
    [TCP_CLOSING] = PEER_CLOSED(TCP_CLOSED),
    [TCP_LAST_ACK] = PEER_CLOSED(TCP_CLOSED),
    /* The handshake's ACK may be any acceptable segment that acknowledges our SYN; it establishes the flow. */
    [TCP_SYN_RECEIVED] =
        {
            [RST] = {[BELOW] = {DROP_TCP_SEQUENCE, NO_REPLY, SAME},
                     [AT] = {DROP_TCP_RESET, NO_REPLY, TCP_CLOSED},
                     [IN] = {DROP_TCP_RESET_CHALLENGED, ACK_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_SEQUENCE, NO_REPLY, SAME}},
            [SYN] = {[BELOW] = {DROP_TCP_DUPLICATE, SYN_ACK_REPLY, SAME}, /* seq is the first SYN's */
                     [AT] = {DROP_TCP_SYN_CHALLENGED, ACK_REPLY, SAME},
                     [IN] = {DROP_TCP_SYN_CHALLENGED, ACK_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},
            [ACK] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},
                     [AT] = {DROP_NONE, NO_REPLY, TCP_ESTABLISHED},
                     [IN] = {DROP_NONE, NO_REPLY, TCP_ESTABLISHED},
                     [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},
            [DATA] = {[BELOW] = {DROP_TCP_DUPLICATE, ACK_REPLY, SAME},
                      [AT] = {DROP_NONE, ACK_SOON, TCP_ESTABLISHED},
                      [IN] = {DROP_NONE, ACK_TWICE, TCP_ESTABLISHED},
                      [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},
            [FIN] = {[BELOW] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME},
                     [AT] = {DROP_NONE, ACK_SOON, TCP_CLOSE_WAIT},
                     [IN] = {DROP_NONE, ACK_REPLY, TCP_ESTABLISHED},
                     [ABOVE] = {DROP_TCP_SEQUENCE, ACK_REPLY, SAME}},
        },
    [TCP_TIME_WAIT] =
        {
            [RST] = {[BELOW] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME}, /* RFC 1337 */
                     [AT] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME},
                     [IN] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME}},
            [SYN] = {[BELOW] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME}, /* a newer one: test_tcp_close.c */
                     [AT] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                     [IN] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME}},
            [ACK] = {[BELOW] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME},
                     [AT] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME},
                     [IN] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_TIME_WAIT, NO_REPLY, SAME}},
            [DATA] = {[BELOW] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                      [AT] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                      [IN] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                      [ABOVE] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME}},
            [FIN] = {[BELOW] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                     [AT] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                     [IN] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_TIME_WAIT, ACK_REPLY, SAME}},
        },
    /* Nothing has been promised yet: everything but the client's own reset waits for the handler. */
    [TCP_PENDING] =
        {
            [RST] = {[BELOW] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [AT] = {DROP_TCP_PENDING_RESET, NO_REPLY, TCP_CLOSED},
                     [IN] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_PENDING, NO_REPLY, SAME}},
            [SYN] = {[BELOW] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [AT] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [IN] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_PENDING, NO_REPLY, SAME}},
            [ACK] = {[BELOW] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [AT] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [IN] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_PENDING, NO_REPLY, SAME}},
            [DATA] = {[BELOW] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                      [AT] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                      [IN] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                      [ABOVE] = {DROP_TCP_PENDING, NO_REPLY, SAME}},
            [FIN] = {[BELOW] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [AT] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [IN] = {DROP_TCP_PENDING, NO_REPLY, SAME},
                     [ABOVE] = {DROP_TCP_PENDING, NO_REPLY, SAME}},
        },
};

static uint32_t seq_at(const struct tcp_rig *r, enum kind k, enum place p)
{
    switch (p) {
    case BELOW:
        /* The one place below the window that means something: the SYN's own number while it is unanswered. */
        if (r->t->state <= TCP_SYN_RECEIVED && (k == SYN || k == RST) && !(r->t->state == TCP_SYN_RECEIVED && k == RST))
            return r->t->work->irs;
        return r->t->rcv_nxt - 20;
    case AT:
        return r->t->rcv_nxt;
    case IN:
        return r->t->rcv_nxt + 100;
    case ABOVE:
        return r->edge + 1;
    case PLACES:
        break;
    }
    return 0;
}

static const uint8_t kind_flags[] = {
    [RST] = TCP_RST, [SYN] = TCP_SYN, [ACK] = TCP_ACK, [DATA] = TCP_ACK, [FIN] = TCP_FIN | TCP_ACK};

static void check_reply(struct tcp_rig *r, enum reply reply)
{
    const struct rig_segment *o = rig_next(r);

    switch (reply) {
    case NO_REPLY:
        assert_null(o);
        return;
    case ACK_SOON:
        assert_null(o);
        rig_sleep(r, 2 * TCP_QUICK_ACK_NS);
        o = rig_next(r);
        assert_non_null(o);
        assert_int_equal(o->s.flags, TCP_ACK);
        break;
    case ACK_REPLY:
        assert_non_null(o);
        assert_int_equal(o->s.flags & (TCP_ACK | TCP_RST | TCP_SYN), TCP_ACK);
        break;
    case ACK_TWICE: /* something was lost */
        assert_non_null(o);
        assert_int_equal(o->s.flags, TCP_ACK);
        rig_out(r, TCP_ACK, o->s.seq, o->s.ack, 0);
        break;
    case RST_REPLY:
        assert_non_null(o);
        assert_true(o->s.flags & TCP_RST);
        break;
    case SYN_ACK_REPLY:
        assert_non_null(o);
        assert_int_equal(o->s.flags, TCP_SYN | TCP_ACK);
        break;
    }
    rig_silent(r);
}

static void check_cell(enum tcp_state state, enum kind k, enum place p)
{
    const struct cell *cell = &matrix[state][k][p];
    struct tcp_rig r;
    uint32_t ours;
    enum drop why;

    rig_init(&r);
    rig_enter(&r, state);
    ours = state == TCP_SYN_RECEIVED || state == TCP_PENDING ? r.t->iss + 1 : r.t->snd_una;
    print_message("%s, %s %s\n", tcp_state_name(state), kind_names[k], place_names[p]);
    why = rig_in(&r, kind_flags[k], seq_at(&r, k, p), kind_flags[k] & TCP_ACK ? ours : 0, k == DATA ? 5 : 0);
    assert_string_equal(why ? drop_name(why) : "none", cell->verdict ? drop_name(cell->verdict) : "none");
    check_reply(&r, cell->reply);
    assert_string_equal(tcp_state_name(r.t->state), tcp_state_name(cell->next == SAME ? state : cell->next));
    rig_deinit(&r);
}

static void every_state_judges_every_segment_at_every_place_as_the_rfc_says(void **state)
{
    (void)state;
    for (int s = TCP_PENDING; s < TCP_STATES; s++)
        for (int k = 0; s != TCP_SYN_SENT && k < KINDS; k++)
            for (int p = 0; p < PLACES; p++)
                check_cell((enum tcp_state)s, (enum kind)k, (enum place)p);
}

/* SYN-SENT has no window yet: what counts is the acknowledgment (3.10.7.3). */
static void syn_sent_judges_by_the_acknowledgment(void **state)
{
    static const struct {
        uint8_t flags;
        int ack; /* relative to iss; INT32_MIN: none */
        struct cell cell;
    } rows[] = {
        {TCP_SYN | TCP_ACK, 1, {DROP_NONE, ACK_REPLY, TCP_ESTABLISHED}},
        {TCP_SYN | TCP_ACK, 0, {DROP_TCP_BAD_SYN_ACK, RST_REPLY, TCP_SYN_SENT}},
        {TCP_SYN | TCP_ACK, 2, {DROP_TCP_BAD_SYN_ACK, RST_REPLY, TCP_SYN_SENT}},
        {TCP_RST | TCP_ACK, 1, {DROP_TCP_RESET, NO_REPLY, TCP_CLOSED}},
        {TCP_RST | TCP_ACK, 0, {DROP_TCP_BAD_SYN_ACK, NO_REPLY, TCP_SYN_SENT}},
        {TCP_RST, INT32_MIN, {DROP_TCP_SEQUENCE, NO_REPLY, TCP_SYN_SENT}},
        {TCP_ACK, 1, {DROP_TCP_NO_ACK, NO_REPLY, TCP_SYN_SENT}},
        {TCP_ACK, 5, {DROP_TCP_BAD_SYN_ACK, RST_REPLY, TCP_SYN_SENT}},
        {TCP_FIN | TCP_ACK, 1, {DROP_TCP_NO_ACK, NO_REPLY, TCP_SYN_SENT}},
        {TCP_SYN, INT32_MIN, {DROP_NONE, SYN_ACK_REPLY, TCP_SYN_RECEIVED}}, /* simultaneous open */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tcp_rig r;
        enum drop why;

        rig_init(&r);
        rig_enter(&r, TCP_SYN_SENT);
        print_message("SYN-SENT, row %zu\n", i);
        why = rig_in(&r, rows[i].flags, 7000, rows[i].ack == INT32_MIN ? 0 : r.t->iss + (uint32_t)rows[i].ack, 0);
        assert_int_equal(why, rows[i].cell.verdict);
        check_reply(&r, rows[i].cell.reply);
        assert_int_equal(r.t->state, rows[i].cell.next);
        rig_deinit(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_judges_every_segment_at_every_place_as_the_rfc_says),
        cmocka_unit_test(syn_sent_judges_by_the_acknowledgment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
