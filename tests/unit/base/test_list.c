/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/list.h"

struct item {
    char name;
    struct list node;
};

static struct list head;
static struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};

static int setup(void **state)
{
    (void)state;
    list_init(&head);
    list_init(&a.node);
    list_init(&b.node);
    list_init(&c.node);
    return 0;
}

/* The names of a list's items, and the way back agrees with the way there. */
static void assert_list(const struct list *l, const char *names)
{
    const struct list *node = l;

    for (const char *name = names; *name; name++) {
        assert_ptr_equal(node->next->prev, node);
        node = node->next;
        assert_ptr_not_equal(node, l);
        assert_int_equal(LIST_ENTRY(node, struct item, node)->name, *name);
    }
    assert_ptr_equal(node->next, l);
    assert_ptr_equal(l->prev, node);
}

static void items_stand_where_they_were_put(void **state)
{
    (void)state;
    assert_true(list_is_empty(&head));
    list_push_back(&head, &b.node);
    list_push_back(&head, &c.node);
    list_push_front(&head, &a.node);
    assert_list(&head, "abc");
    assert_ptr_equal(list_first(&head), &a.node);
}

static void item_removed_twice_is_removed_once(void **state)
{
    (void)state;
    list_push_back(&head, &a.node);
    list_push_back(&head, &b.node);
    assert_true(list_is_linked(&a.node));
    list_remove(&a.node);
    list_remove(&a.node);
    assert_false(list_is_linked(&a.node));
    assert_list(&head, "b");
}

static void items_are_popped_until_none_is_left(void **state)
{
    (void)state;
    list_push_back(&head, &a.node);
    list_push_back(&head, &b.node);
    assert_ptr_equal(list_pop_front(&head), &a.node);
    assert_ptr_equal(list_pop_front(&head), &b.node);
    assert_null(list_pop_front(&head));
    assert_null(list_first(&head));
}

static void lists_are_joined_in_order(void **state)
{
    struct list other;

    (void)state;
    list_init(&other);
    list_splice_back(&head, &other);
    assert_list(&head, "");
    list_push_back(&head, &a.node);
    list_push_back(&other, &b.node);
    list_push_back(&other, &c.node);
    list_splice_back(&head, &other);
    assert_list(&head, "abc");
    assert_list(&other, "");
    list_splice_back(&other, &head);
    assert_list(&other, "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(items_stand_where_they_were_put, setup),
        cmocka_unit_test_setup(item_removed_twice_is_removed_once, setup),
        cmocka_unit_test_setup(items_are_popped_until_none_is_left, setup),
        cmocka_unit_test_setup(lists_are_joined_in_order, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
