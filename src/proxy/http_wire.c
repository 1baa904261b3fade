/* SPDX-License-Identifier: MIT */
/* http_wire: see http_wire.h. The head is: a line of method, target and version; fields, one a line; an empty line. Lines
 * end in CR LF, or in LF alone (RFC 9112 section 2.2). The first line is judged as soon as it is there, or as soon as it
 * cannot be one. */
#include "http_wire.h"
#include <string.h>
#include <strings.h>

enum { METHOD_MAX = 16 };

/* Without its end. NULL: the line is not all there. */
static const char *line_end(const char *at, const char *end, const char **next)
{
    const char *lf = memchr(at, '\n', (size_t)(end - at));

    if (!lf)
        return NULL;
    *next = lf + 1;
    return lf > at && lf[-1] == '\r' ? lf - 1 : lf;
}

static size_t method_bytes(const char *at, const char *end)
{
    size_t n = 0;

    while (at + n < end && at[n] >= 'A' && at[n] <= 'Z')
        n++;
    return n;
}

/* The beginning of a request line: a method, or a method and more of what a line may have. A CR may be half of its end. */
static bool may_become_request(const char *at, const char *end)
{
    size_t method = method_bytes(at, end);

    if (method > METHOD_MAX || (at + method < end && (method == 0 || at[method] != ' ')))
        return false;
    for (at += method; at < end; at++)
        if ((unsigned char)*at < ' ' && (*at != '\r' || at + 1 < end))
            return false;
    return true;
}

static bool request_line_parse(struct http_request *out, const char *at, const char *end)
{
    static const char version[] = "HTTP/1.";
    size_t method = method_bytes(at, end);
    const char *target = at + method + 1, *space;

    if (!may_become_request(at, end) || method == 0 || target >= end)
        return false;
    space = memchr(target, ' ', (size_t)(end - target));
    if (!space || space == target || (size_t)(end - space) != sizeof(version) + 1)
        return false;
    if (memcmp(space + 1, version, sizeof(version) - 1) != 0 || end[-1] < '0' || end[-1] > '9')
        return false;
    out->is_head = method == 4 && memcmp(at, "HEAD", 4) == 0;
    return true;
}

static void field_take(struct http_request *out, const char *at, const char *end)
{
    static const char name[] = "user-agent:";
    static const char *const tools[] = {"curl/", "Wget/", "HTTPie/"};

    if ((size_t)(end - at) < sizeof(name) - 1 || strncasecmp(at, name, sizeof(name) - 1) != 0)
        return;
    at += sizeof(name) - 1;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        if ((size_t)(end - at) >= strlen(tools[i]) && memcmp(at, tools[i], strlen(tools[i])) == 0)
            out->is_plain = true;
}

enum http_parse http_request_parse(struct http_request *out, const char *data, size_t len_bytes)
{
    const char *end = data + len_bytes, *next = data, *stop = line_end(data, end, &next);

    *out = (struct http_request){0};
    if (!stop)
        return may_become_request(data, end) ? HTTP_MORE : HTTP_NO_HTTP;
    if (!request_line_parse(out, data, stop))
        return HTTP_NO_HTTP;
    for (const char *at = next; (stop = line_end(at, end, &next)); at = next) {
        if (stop == at)
            return HTTP_REQUEST;
        field_take(out, at, stop);
    }
    return HTTP_MORE;
}
