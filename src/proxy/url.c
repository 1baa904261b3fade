/* SPDX-License-Identifier: MIT */
/* url: see url.h. RFC 3986 section 3.2 names the parts: userinfo "@" host ":" port. */
#include "url.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SERVER_HINT "socks5://host:1080, with an account: socks5://user:password@host:1080"

int url_refuse(adit_error *err, const char *hint, const char *format, ...)
{
    va_list args;

    if (!err)
        return ADIT_EINVAL;
    *err = (adit_error){.code = ADIT_EINVAL};
    snprintf(err->op, sizeof(err->op), "proxy");
    snprintf(err->hint, sizeof(err->hint), "%s", hint);
    va_start(args, format);
    vsnprintf(err->msg, sizeof(err->msg), format, args);
    va_end(args);
    return ADIT_EINVAL;
}

/* A part of the text, which need not be terminated. */
struct part {
    const char *at;
    size_t len_bytes;
};

static bool char_is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ---------------------------------------------------------------------------------------- account -- */

/* -1: not a %XX of something other than NUL. */
static int percent_decode(const char *at, const char *end)
{
    int high = end - at > 2 ? hex_value(at[1]) : -1, low = end - at > 2 ? hex_value(at[2]) : -1;

    return high < 0 || low < 0 || (high | low) == 0 ? -1 : high << 4 | low;
}

static int secret_parse(uint8_t *out, uint8_t *out_bytes, struct part text, const char *what,
                        adit_error *err)
{
    const char *end = text.at + text.len_bytes;
    size_t n = 0;

    for (const char *at = text.at; at < end; at++) {
        int c = (uint8_t)*at;

        if (n == URL_SECRET_MAX)
            return url_refuse(err, "SOCKS5 allows 255 octets (RFC 1929)", "the %s is too long",
                              what);
        if (c == '%') {
            c = percent_decode(at, end);
            at += 2;
            if (c < 0)
                return url_refuse(err,
                                  "two hexadecimal digits follow a percent sign: %25 is one itself",
                                  "the %s has a percent sign that encodes nothing", what);
        } else if (c <= ' ' || c == 0x7f || c == '[' || c == ']') {
            return url_refuse(err, "write it as % and two hexadecimal digits: a space is %20",
                              "the %s has a character that a URL cannot have", what);
        }
        out[n++] = (uint8_t)c;
    }
    *out_bytes = (uint8_t)n;
    return 0;
}

static int account_parse(struct url_account *out, struct part text, adit_error *err)
{
    const char *colon = memchr(text.at, ':', text.len_bytes);
    struct part user = {text.at, colon ? (size_t)(colon - text.at) : text.len_bytes};
    struct part password = {"", 0};
    int e;

    if (memchr(text.at, '@', text.len_bytes))
        return url_refuse(err, "write the one of the password as %40",
                          "there are two @ in the URL");
    if (user.len_bytes == 0)
        return url_refuse(err, SERVER_HINT, "the user in front of the @ is empty");
    if (colon)
        password = (struct part){colon + 1, text.len_bytes - user.len_bytes - 1};
    e = secret_parse(out->user, &out->user_bytes, user, "user", err);
    return e ? e : secret_parse(out->password, &out->password_bytes, password, "password", err);
}

/* ------------------------------------------------------------------------------------------- host -- */

static int port_parse(adit_addr *out, struct part text, adit_error *err)
{
    uint32_t port = 0;
    bool good = text.len_bytes > 0 && text.len_bytes <= 5 && text.at[0] != '0';

    for (size_t i = 0; good && i < text.len_bytes; i++) {
        good = text.at[i] >= '0' && text.at[i] <= '9';
        port = port * 10 + (uint32_t)(text.at[i] - '0');
    }
    if (!good || port > UINT16_MAX)
        /* Not shown: where the @ was forgotten this is the password. */
        return url_refuse(err, "1 to 65535; SOCKS5 servers usually listen on 1080",
                          "what follows the host is not a port");
    out->port = (uint16_t)port;
    return 0;
}

/* Labels of 1 to 63 letters, digits, - and _, the last one not a number: what looks like an address must be one. */
static bool host_is_name(struct part text)
{
    size_t label_bytes = 0;
    bool is_number = true;

    if (text.len_bytes > URL_HOST_MAX)
        return false;
    for (size_t i = 0; i < text.len_bytes; i++) {
        char c = text.at[i];

        if (c == '.') {
            if (label_bytes == 0)
                return false;
            if (i + 1 == text.len_bytes)
                break; /* the root may be written */
            label_bytes = 0;
            is_number = true;
            continue;
        }
        if ((!char_is_alnum(c) && c != '-' && c != '_') || ++label_bytes > 63)
            return false;
        is_number = is_number && c >= '0' && c <= '9';
    }
    return label_bytes > 0 && !is_number;
}

static int host_parse(struct url_server *out, struct part text, bool in_brackets, adit_error *err)
{
    char copy[URL_HOST_MAX + 1];
    adit_addr addr;

    if (text.len_bytes == 0)
        return url_refuse(err, SERVER_HINT, "the host is missing");
    if (text.len_bytes > URL_HOST_MAX)
        return url_refuse(err, "a name has at most 253 characters", "the host is too long");
    memcpy(copy, text.at, text.len_bytes);
    copy[text.len_bytes] = '\0';
    if (in_brackets == (strchr(copy, ':') != NULL) && adit_addr_parse(&addr, copy) == ADIT_OK) {
        addr.port = out->addr.port;
        out->addr = addr;
        return 0;
    }
    if (in_brackets)
        return url_refuse(err, "socks5://[2001:db8::1]:1080", "\"%s\" is not an IPv6 address",
                          copy);
    if (!host_is_name(text))
        return url_refuse(err, "a name such as proxy.example, or an address",
                          "\"%s\" is neither a name nor an address", copy);
    memcpy(out->host, copy, text.len_bytes + 1);
    return 0;
}

/* host ":" port */
static int endpoint_parse(struct url_server *out, struct part text, adit_error *err)
{
    const char *end = text.at + text.len_bytes, *colon, *host_end;
    bool in_brackets = text.len_bytes > 0 && text.at[0] == '[';
    int e;

    if (in_brackets) {
        host_end = memchr(text.at, ']', text.len_bytes);
        colon = host_end ? host_end + 1 : NULL;
        if (!host_end || (colon < end && *colon != ':'))
            return url_refuse(err, "socks5://[2001:db8::1]:1080",
                              "the brackets around the address are not closed");
        text.at++;
    } else {
        host_end = colon = memchr(text.at, ':', text.len_bytes);
        if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
            return url_refuse(err,
                              "an IPv6 address stands in brackets: socks5://[2001:db8::1]:1080",
                              "there is more than one colon in the host");
    }
    if (!colon || colon == end)
        return url_refuse(err, "SOCKS5 servers usually listen on 1080: socks5://host:1080",
                          "the port is missing");
    e = port_parse(&out->addr, (struct part){colon + 1, (size_t)(end - colon - 1)}, err);
    return e ? e
             : host_parse(out, (struct part){text.at, (size_t)(host_end - text.at)}, in_brackets,
                          err);
}

int url_server_parse(struct url_server *out, const char *text, adit_error *err)
{
    size_t len_bytes = strcspn(text, "/?#");
    const char *rest = text + len_bytes, *at = NULL;
    struct part endpoint = {text, len_bytes};
    int e;

    *out = (struct url_server){0};
    for (size_t i = 0; i < len_bytes; i++)
        at = text[i] == '@' ? text + i : at;
    if (*rest && strcmp(rest, "/") != 0)
        return url_refuse(err,
                          "nothing may follow the port; in a user or a password write / as %2F, ? "
                          "as %3F, # as %23",
                          "there is more in the URL than a server");
    if (at) {
        e = account_parse(&out->account, (struct part){text, (size_t)(at - text)}, err);
        if (e)
            return e;
        out->has_account = true;
        endpoint = (struct part){at + 1, len_bytes - (size_t)(at + 1 - text)};
    }
    return endpoint_parse(out, endpoint, err);
}
