/* SPDX-License-Identifier: MIT */
/* proxy: from a URL to a handler. One table says which words there are and what may follow each; the handlers
 * themselves are in the file of their name. */
#include "proxy.h"
#include <stdlib.h>
#include <string.h>
#include "steer.h"

enum proxy_form {
    FORM_WORD,   /* "direct" */
    FORM_OPTION, /* "block", "block:net" */
    FORM_SERVER, /* "socks5://server" */
};

struct proxy_kind {
    const char *word;
    enum proxy_form form;
    int (*open)(adit_proxy *p, const struct proxy_target *t, adit_error *err);
};

static const struct proxy_kind kinds[] = {
    {"direct", FORM_WORD, direct_open},   {"socks5", FORM_SERVER, socks5_open},
    {"hello", FORM_WORD, hello_open},     {"echo", FORM_WORD, echo_open},
    {"discard", FORM_WORD, discard_open}, {"block", FORM_OPTION, block_open},
};

#define KINDS_HINT "direct, socks5://host:port, hello, echo, discard, block"

static const struct proxy_kind *kind_find(const char *word, size_t len_bytes)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strlen(kinds[i].word) == len_bytes && memcmp(kinds[i].word, word, len_bytes) == 0)
            return &kinds[i];
    return NULL;
}

/* What people write who know it from elsewhere. */
static const char *kind_hint(const char *word, size_t len_bytes)
{
    static const char *const rows[][2] = {
        {"socks", "socks5://host:port"},
        {"socks5h", "socks5://host:port; names are passed on to the server as they are"},
        {"http", "HTTP proxies are not supported: " KINDS_HINT},
        {"https", "HTTP proxies are not supported: " KINDS_HINT},
        {"socks4", "SOCKS4 is not supported: socks5://host:port"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strlen(rows[i][0]) == len_bytes && memcmp(rows[i][0], word, len_bytes) == 0)
            return rows[i][1];
    return KINDS_HINT;
}

int proxy_no_memory(adit_error *err)
{
    (void)url_refuse(err, "", "no memory");
    if (err)
        err->code = ADIT_ENOMEM;
    return ADIT_ENOMEM;
}

/* rest: what follows the word. */
static int kind_open(const struct proxy_kind *k, adit_proxy *p, const char *rest, adit_error *err)
{
    struct proxy_target target = {0};
    struct url_server server;
    int e;

    switch (k->form) {
    case FORM_WORD:
        if (*rest)
            return url_refuse(err, KINDS_HINT, "nothing may follow the word \"%s\"", k->word);
        break;
    case FORM_OPTION:
        target.option = *rest ? rest + 1 : NULL;
        break;
    case FORM_SERVER:
        if (strncmp(rest, "://", 3) != 0)
            return url_refuse(err, KINDS_HINT, "a server must follow \"%s\"", k->word);
        e = url_server_parse(&server, rest + 3, err);
        if (e)
            return e;
        target.server = &server;
        break;
    }
    return k->open(p, &target, err);
}

int adit_proxy_new(adit_proxy **out, const char *url, adit_error *err)
{
    size_t word_bytes = url ? strcspn(url, ":") : 0;
    const struct proxy_kind *k = url ? kind_find(url, word_bytes) : NULL;
    adit_proxy *p;
    int e;

    *out = NULL;
    if (err)
        *err = (adit_error){0};
    if (word_bytes == 0)
        return url_refuse(err, KINDS_HINT, "the URL of the proxy is empty");
    if (!k) /* what is not a word may be somebody's password: it is not shown */
        return word_bytes <= 16
                   ? url_refuse(err, kind_hint(url, word_bytes),
                                "there is no proxy called \"%.*s\"", (int)word_bytes, url)
                   : url_refuse(err, KINDS_HINT,
                                "the URL of the proxy begins with no word that is known");
    p = calloc(1, sizeof(*p));
    if (!p)
        return proxy_no_memory(err);
    e = kind_open(k, p, url + word_bytes, err);
    if (e) {
        free(p);
        return e;
    }
    *out = p;
    return 0;
}

int adit_proxy_kernel_for(adit_proxy *p, const char *ports, adit_error *err)
{
    struct steer *s;
    int e;

    if (err)
        *err = (adit_error){0};
    e = steer_new(&s, p->handler, p->ctx, ports, err);
    if (e)
        return e;
    steer_free(p->steer);
    p->steer = s;
    steer_fill(s, &p->steered);
    return 0;
}

const adit_handler *adit_proxy_handler(const adit_proxy *p)
{
    return p->steer ? &p->steered : p->handler;
}

void *adit_proxy_ctx(adit_proxy *p)
{
    return p->steer ? (void *)p->steer : p->ctx;
}

void adit_proxy_free(adit_proxy *p)
{
    if (!p)
        return;
    if (p->close)
        p->close(p->ctx);
    steer_free(p->steer);
    free(p);
}
