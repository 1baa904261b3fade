/* SPDX-License-Identifier: MIT */
/* http_wire: as much of HTTP/1 (RFC 9112) as it takes to answer any request with one page. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct http_request {
    bool is_head;  /* HEAD: no body in the answer */
    bool is_plain; /* a tool that prints what it gets (curl, wget): text instead of HTML */
};

enum http_parse {
    HTTP_REQUEST, /* the whole head is there */
    HTTP_MORE,    /* so far it may become one */
    HTTP_NO_HTTP, /* it will not */
};
/* What has arrived so far, from the first octet on. */
enum http_parse http_request_parse(struct http_request *out, const char *data, size_t len_bytes);
