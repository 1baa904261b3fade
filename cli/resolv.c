/* SPDX-License-Identifier: MIT */
/* resolv: reading and writing resolv.conf (resolv.conf(5)).
 *
 * The host's file is the administrator's, but it may still be anything: too long, without a newline, with zones that the
 * parser of addresses does not take. What is not understood is passed over, as the C library does. */
#include "resolv.h"
#include <stdio.h>
#include <string.h>

/* True when the line [line, end) begins with the keyword and a blank; *value is what follows. */
static bool line_has_keyword(const char *line, const char *end, const char *keyword,
                             const char **value)
{
    size_t len = strlen(keyword);
    if ((size_t)(end - line) <= len || memcmp(line, keyword, len) != 0)
        return false;
    if (line[len] != ' ' && line[len] != '\t')
        return false;
    *value = line + len + strspn(line + len, " \t");
    return true;
}

static const char *line_end(const char *line)
{
    return line + strcspn(line, "\n");
}

static bool address_is_any(const adit_addr *a)
{
    static const uint8_t zeros[16];
    return memcmp(a->ip + (a->family == 4 ? 12 : 0), zeros, a->family == 4 ? 4 : 16) == 0;
}

bool resolv_nameserver(const char *text, adit_addr *out)
{
    for (const char *line = text; *line;) {
        const char *end = line_end(line), *value;
        char word[ADIT_ADDR_TEXT];
        if (line_has_keyword(line, end, "nameserver", &value)) {
            size_t len = strcspn(value, " \t\r\n");
            if (len < sizeof(word)) {
                memcpy(word, value, len);
                word[len] = '\0';
                if (adit_addr_parse(out, word) == ADIT_OK && !address_is_any(out)) {
                    out->port = 53;
                    return true;
                }
            }
        }
        line = *end ? end + 1 : end;
    }
    return false;
}

static size_t text_append(char *out, size_t used, const char *piece, size_t len)
{
    if (len >= RESOLV_TEXT_BYTES - used)
        return used;
    memcpy(out + used, piece, len);
    out[used + len] = '\0';
    return used + len;
}

void resolv_compose(char out[RESOLV_TEXT_BYTES], const char *nameserver, const char *host_text,
                    bool over_tcp)
{
    static const char *const kept[] = {"search", "domain", "options"};
    int n = snprintf(out, RESOLV_TEXT_BYTES, "# made by adit for this command\nnameserver %s\n%s",
                     nameserver, over_tcp ? "options use-vc\n" : "");
    size_t used = (size_t)n;
    for (const char *line = host_text; *line;) {
        const char *end = line_end(line), *value;
        const char *next = *end ? end + 1 : end;
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
            if (line_has_keyword(line, end, kept[i], &value))
                used = text_append(out, used, line, (size_t)(next - line));
        line = next;
    }
}
