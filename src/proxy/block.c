/* SPDX-License-Identifier: MIT */
/* block: one verdict for everything, given before any flow exists. */
#include "proxy.h"
#include <string.h>

struct block {
    const char *option; /* NULL: the word alone */
    int verdict;
};

static const struct block blocks[] = {
    {NULL, ADIT_RESET},          {"net", ADIT_UNREACH_NET},
    {"host", ADIT_UNREACH_HOST}, {"admin", ADIT_UNREACH_ADMIN},
    {"drop", ADIT_DROP},
};

static void block_prepare(void *ctx, adit *a, const adit_flow *f, adit_decision *out)
{
    const struct block *b = ctx;

    (void)a, (void)f;
    out->verdict = b->verdict;
}

static int block_icmp(void *ctx, adit *a, const adit_echo *e)
{
    const struct block *b = ctx;

    (void)a, (void)e;
    return b->verdict;
}

static const struct block *block_find(const char *option)
{
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        if (option ? blocks[i].option && strcmp(option, blocks[i].option) == 0 : !blocks[i].option)
            return &blocks[i];
    return NULL;
}

int block_open(adit_proxy *p, const struct proxy_target *t, adit_error *err)
{
    static const adit_handler handler = {
        .size = sizeof(handler),
        .prepare = block_prepare,
        .icmp = block_icmp,
    };
    const struct block *b = block_find(t->option);

    if (!b)
        return url_refuse(err, "block, block:net, block:host, block:admin, block:drop",
                          "there is no way to block called \"%s\"", t->option);
    p->handler = &handler;
    p->ctx = (void *)b; /* only read from */
    return 0;
}
