/* SPDX-License-Identifier: MIT */
/* url: [user[:password]@]host:port, the server of a proxy's URL. Pure; strict.
 *
 * Whoever types a URL wants to be told what is wrong with it, so every refusal names the fault and shows the way to
 * write it. No text of an error has the user or the password in it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adit/base.h"

enum { URL_HOST_MAX = 253, URL_SECRET_MAX = 255 /* of a user, of a password: RFC 1929 */ };

struct url_account {
    uint8_t user_bytes, password_bytes;
    uint8_t user[URL_SECRET_MAX], password[URL_SECRET_MAX]; /* decoded; not terminated */
};

struct url_server {
    adit_addr addr;              /* family 0: only host is known; the port is always here */
    char host[URL_HOST_MAX + 1]; /* "" when the host was written as an address */
    bool has_account;
    struct url_account account;
};

/* 0, or ADIT_EINVAL with *err filled. */
int url_server_parse(struct url_server *out, const char *text, adit_error *err);
/* Fills *err (may be NULL) and returns code. */
int url_refuse(adit_error *err, const char *hint, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
