/* SPDX-License-Identifier: MIT */
/* wheel: timers in four rings of slots, after Varghese and Lauck.
 *
 * A deadline belongs to the first tick that begins at or after it, so whatever the slot of a tick holds is
 * due when the tick begins. A slot of level 0 is one tick, a slot of level n is 256^n ticks:
 *
 *     level 0   due 0 ... 255 ticks after w->tick      linked by bits 0..7 of its tick
 *     level 1   due up to 2^16 - 1 ticks after         bits 8..15
 *     level 2   2^24 - 1                               bits 16..23
 *     level 3   2^32 - 1; what is later waits here     bits 24..31
 *
 * Invariants: nothing linked is due before w->tick, and what became due earlier is in the slot of w->tick. On
 * levels 1 to 3 the slot in which w->tick lies was emptied into lower levels when w->tick entered it, so what
 * it holds belongs to the next round. Time moves by jumps from one occupied slot to the next, found in the
 * bitmaps, so a long sleep costs nothing.
 *
 * `linked_ns` decides where a timer is linked. wheel_set() to a later time leaves it there; when the slot comes
 * up, the timer is linked anew by `deadline_ns`. */
#include "base/wheel.h"
#include <assert.h>
#include <stddef.h>

enum { WHEEL_SLOT_BITS = 8, WHEEL_WORDS = WHEEL_SLOTS / 64 };

_Static_assert(1 << WHEEL_SLOT_BITS == WHEEL_SLOTS, "a slot's number is a row of bits of the tick");

static const uint64_t wheel_ticks_max = ((uint64_t)1 << (WHEEL_SLOT_BITS * WHEEL_LEVELS)) - 1;

void wheel_init(struct wheel *w, uint64_t now_ns)
{
    *w = (struct wheel){.tick = now_ns / WHEEL_TICK_NS};
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
    }
}

void wheel_timer_init(struct wheel_timer *t)
{
    list_init(&t->node);
    t->deadline_ns = t->linked_ns = WHEEL_NEVER;
}

static uint64_t wheel_tick_of(uint64_t deadline_ns)
{
    return deadline_ns / WHEEL_TICK_NS + (deadline_ns % WHEEL_TICK_NS != 0);
}

static void wheel_link(struct wheel *w, struct wheel_timer *t)
{
    uint64_t tick = wheel_tick_of(t->deadline_ns);
    unsigned level = 0, slot;

    t->linked_ns = t->deadline_ns;
    if (tick < w->tick)
        tick = w->tick;
    if (tick - w->tick > wheel_ticks_max) {
        tick = w->tick + wheel_ticks_max;
        t->linked_ns = tick * WHEEL_TICK_NS;
    }
    if (tick - w->tick >= WHEEL_SLOTS)
        level = (63 - (unsigned)__builtin_clzll(tick - w->tick)) / WHEEL_SLOT_BITS;
    slot = tick >> (WHEEL_SLOT_BITS * level) & (WHEEL_SLOTS - 1);
    list_push_back(&w->slots[level][slot], &t->node);
    w->occupied[level][slot / 64] |= (uint64_t)1 << (slot % 64);
}

static void wheel_unlink(struct wheel *w, struct wheel_timer *t)
{
    struct list *next = t->node.next;
    size_t slot;

    list_remove(&t->node);
    t->linked_ns = WHEEL_NEVER;
    if (!list_is_empty(next))
        return;
    /* Alone with itself: it is the head of a slot. */
    slot = (size_t)(next - &w->slots[0][0]);
    w->occupied[slot / WHEEL_SLOTS][slot % WHEEL_SLOTS / 64] &= ~((uint64_t)1 << (slot % 64));
}

void wheel_stop(struct wheel *w, struct wheel_timer *t)
{
    if (!wheel_is_running(t))
        return;
    wheel_unlink(w, t);
    t->deadline_ns = WHEEL_NEVER;
    w->count--;
}

void wheel_relink_(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ns)
{
    wheel_stop(w, t);
    if (deadline_ns == WHEEL_NEVER)
        return;
    t->deadline_ns = deadline_ns;
    wheel_link(w, t);
    w->count++;
}

/* How many slots after `slot` the next occupied one is: 1 to WHEEL_SLOTS, the latter being `slot` itself. 0: none. */
static unsigned wheel_distance(const uint64_t occupied[WHEEL_WORDS], unsigned slot)
{
    unsigned from = (slot + 1) % WHEEL_SLOTS;
    uint64_t word = occupied[from / 64] >> (from % 64);

    if (word)
        return 1 + (unsigned)__builtin_ctzll(word);
    for (unsigned i = 1; i <= WHEEL_WORDS; i++) { /* the last is the first again, with its lower bits */
        unsigned at = (from / 64 + i) % WHEEL_WORDS;

        if (occupied[at])
            return 1 + (at * 64 + (unsigned)__builtin_ctzll(occupied[at]) - from) % WHEEL_SLOTS;
    }
    return 0;
}

/* The next tick at which something is due or moves down a level. UINT64_MAX: never. */
static uint64_t wheel_next_tick(const struct wheel *w)
{
    uint64_t next = UINT64_MAX;

    if (w->count == 0)
        return UINT64_MAX;
    if (!list_is_empty(&w->slots[0][w->tick % WHEEL_SLOTS]))
        return w->tick;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        unsigned shift = WHEEL_SLOT_BITS * level;
        uint64_t at = w->tick >> shift;
        unsigned distance = wheel_distance(w->occupied[level], at % WHEEL_SLOTS);

        if (distance && (at + distance) << shift < next)
            next = (at + distance) << shift;
    }
    return next;
}

uint64_t wheel_next_ns(const struct wheel *w)
{
    uint64_t tick = wheel_next_tick(w);

    return tick == UINT64_MAX ? WHEEL_NEVER : tick * WHEEL_TICK_NS;
}

/* Moves to `tick`, and what is in the slots of the upper levels that begin there to lower levels. */
static void wheel_advance(struct wheel *w, uint64_t tick)
{
    w->tick = tick;
    for (unsigned level = WHEEL_LEVELS - 1; level > 0; level--) {
        unsigned shift = WHEEL_SLOT_BITS * level;
        unsigned slot = tick >> shift & (WHEEL_SLOTS - 1);
        struct list *head = &w->slots[level][slot], moved, *node;

        if (tick & (((uint64_t)1 << shift) - 1) || list_is_empty(head))
            continue;
        list_init(&moved);
        list_splice_back(&moved, head);
        w->occupied[level][slot / 64] &= ~((uint64_t)1 << (slot % 64));
        while ((node = list_pop_front(&moved)))
            wheel_link(w, LIST_ENTRY(node, struct wheel_timer, node));
    }
}

/* The first timer in the slot of w->tick that is due; those that were moved later are put where they belong. */
static struct wheel_timer *wheel_take_due(struct wheel *w)
{
    struct list *head = &w->slots[0][w->tick % WHEEL_SLOTS], *node;

    while ((node = list_first(head))) {
        struct wheel_timer *t = LIST_ENTRY(node, struct wheel_timer, node);

        if (wheel_tick_of(t->deadline_ns) <= w->tick) {
            wheel_stop(w, t);
            return t;
        }
        wheel_unlink(w, t);
        wheel_link(w, t);
    }
    return NULL;
}

struct wheel_timer *wheel_expire(struct wheel *w, uint64_t now_ns)
{
    uint64_t last = now_ns / WHEEL_TICK_NS;

    while (w->tick <= last) {
        struct wheel_timer *t = wheel_take_due(w);
        uint64_t next;

        if (t)
            return t;
        if (w->tick == last)
            break;
        next = wheel_next_tick(w);
        wheel_advance(w, next < last ? next : last);
    }
    return NULL;
}
