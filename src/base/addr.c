/* SPDX-License-Identifier: MIT */
/* addr: the public address type, to and from text and sockaddr.
 *
 * Parsing is strict: no leading zeros, no signs, no spaces, no second spelling of IPv4 (1.2.3 or octal). An
 * IPv4-mapped IPv6 address is the IPv4 address, from text as from a sockaddr, so that one host has one
 * adit_addr. A scope ("%eth0", "%3") is taken for link-local unicast and multicast only, where it means
 * something. Text of an address shows the scope as a number: no name is looked up to print. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "adit/base.h"
#include "base/bytes.h"

static const uint8_t addr_mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool addr_is_link_local(const uint8_t ip[16])
{
    return (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) || (ip[0] == 0xff && (ip[1] & 0x0f) == 2);
}

static void addr_set_ip4(adit_addr *a, const void *ip4)
{
    memcpy(a->ip, addr_mapped_prefix, 12);
    memcpy(a->ip + 12, ip4, 4);
    a->family = 4;
}

static void addr_set_ip6(adit_addr *a, const uint8_t ip6[16])
{
    memcpy(a->ip, ip6, 16);
    a->family = memcmp(ip6, addr_mapped_prefix, 12) == 0 ? 4 : 6;
}

/* A decimal number up to `max`, all of `text`, in the one way to write it. */
static bool addr_parse_number(const char *text, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;

    if (!*text || (text[0] == '0' && text[1]))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        v = v * 10 + (uint64_t)(*text - '0');
        if (v > max)
            return false;
    }
    *out = (uint32_t)v;
    return true;
}

static bool addr_parse_scope(adit_addr *a, const char *text)
{
    if (!addr_is_link_local(a->ip))
        return false;
    if (!addr_parse_number(text, INT32_MAX, &a->scope))
        a->scope = if_nametoindex(text);
    return a->scope != 0;
}

/* An IPv6 address with an optional scope, all of `text`, which is cut up. */
static bool addr_parse_ip6(adit_addr *a, char *text)
{
    char *scope = strchr(text, '%');
    uint8_t ip6[16];

    if (scope)
        *scope++ = '\0';
    if (inet_pton(AF_INET6, text, ip6) != 1)
        return false;
    addr_set_ip6(a, ip6);
    return !scope || addr_parse_scope(a, scope);
}

static bool addr_parse_ip4(adit_addr *a, const char *text)
{
    uint8_t ip4[4];

    if (inet_pton(AF_INET, text, ip4) != 1)
        return false;
    addr_set_ip4(a, ip4);
    return true;
}

static bool addr_parse_text(adit_addr *a, char *text)
{
    char *port = NULL;
    uint32_t number = 0;
    bool good;

    if (text[0] == '[') {
        char *end = strchr(text, ']');

        if (!end || (end[1] && end[1] != ':'))
            return false;
        port = end[1] ? end + 2 : NULL;
        *end = '\0';
        good = addr_parse_ip6(a, text + 1);
    } else if (strchr(text, '.') && strchr(text, ':') == strrchr(text, ':')) {
        port = strchr(text, ':');
        if (port)
            *port++ = '\0';
        good = addr_parse_ip4(a, text);
    } else {
        good = addr_parse_ip6(a, text);
    }
    if (!good || (port && !addr_parse_number(port, UINT16_MAX, &number)))
        return false;
    a->port = (uint16_t)number;
    return true;
}

int adit_addr_parse(adit_addr *out, const char *text)
{
    char copy[ADIT_ADDR_TEXT + IF_NAMESIZE];
    size_t len_bytes = text ? strnlen(text, sizeof(copy)) : sizeof(copy);

    *out = (adit_addr){0};
    if (len_bytes >= sizeof(copy))
        return ADIT_EINVAL;
    memcpy(copy, text, len_bytes + 1);
    if (addr_parse_text(out, copy))
        return ADIT_OK;
    *out = (adit_addr){0};
    return ADIT_EINVAL;
}

/* The first longest run of at least two zero groups, as groups [*from, *to). */
static void addr_find_zeros(const uint16_t groups[8], int *from, int *to)
{
    *from = *to = 8;
    for (int i = 0, end; i < 8; i = end + 1) {
        for (end = i; end < 8 && groups[end] == 0; end++)
            ;
        if (end - i >= 2 && (*from == 8 || end - i > *to - *from)) {
            *from = i;
            *to = end;
        }
    }
}

/* RFC 5952, which the C library does not follow for addresses like ::1:5. */
static void addr_print_ip6(char text[INET6_ADDRSTRLEN], const uint8_t ip[16])
{
    uint16_t groups[8];
    int from, to;

    for (int i = 0; i < 8; i++)
        groups[i] = get_be16(ip + 2 * i);
    addr_find_zeros(groups, &from, &to);
    for (int i = 0; i < 8; i++) {
        if (i == from) {
            text += sprintf(text, "::");
            i = to - 1;
            continue;
        }
        text += sprintf(text, i && i != to ? ":%x" : "%x", groups[i]);
    }
}

int adit_addr_format(const adit_addr *a, char *buf, size_t len_bytes)
{
    char ip[INET6_ADDRSTRLEN] = "none", scope[16] = "", port[8] = "";
    bool bracket = a->family == 6 && a->port;

    if (a->family == 4)
        inet_ntop(AF_INET, a->ip + 12, ip, sizeof(ip));
    else if (a->family == 6)
        addr_print_ip6(ip, a->ip);
    if (a->scope)
        snprintf(scope, sizeof(scope), "%%%u", a->scope);
    if (a->port)
        snprintf(port, sizeof(port), ":%u", a->port);
    return snprintf(buf, len_bytes, "%s%s%s%s%s", bracket ? "[" : "", ip, scope,
                    bracket ? "]" : "", port);
}

int adit_addr_to_sockaddr(const adit_addr *a, void *sockaddr_storage, int *len)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

    if (a->family == 4) {
        memcpy(&in4.sin_addr, a->ip + 12, 4);
        memcpy(sockaddr_storage, &in4, sizeof(in4));
        *len = (int)sizeof(in4);
        return ADIT_OK;
    }
    if (a->family == 6) {
        memcpy(&in6.sin6_addr, a->ip, 16);
        in6.sin6_scope_id = a->scope;
        memcpy(sockaddr_storage, &in6, sizeof(in6));
        *len = (int)sizeof(in6);
        return ADIT_OK;
    }
    return ADIT_EINVAL;
}

int adit_addr_from_sockaddr(adit_addr *a, const void *sockaddr)
{
    struct sockaddr sa;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;

    *a = (adit_addr){0};
    memcpy(&sa, sockaddr, sizeof(sa));
    if (sa.sa_family == AF_INET) {
        memcpy(&in4, sockaddr, sizeof(in4));
        addr_set_ip4(a, &in4.sin_addr);
        a->port = ntohs(in4.sin_port);
        return ADIT_OK;
    }
    if (sa.sa_family == AF_INET6) {
        memcpy(&in6, sockaddr, sizeof(in6));
        addr_set_ip6(a, in6.sin6_addr.s6_addr);
        a->port = ntohs(in6.sin6_port);
        if (addr_is_link_local(a->ip))
            a->scope = in6.sin6_scope_id;
        return ADIT_OK;
    }
    return ADIT_EINVAL;
}
