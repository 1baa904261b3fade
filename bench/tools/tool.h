/* SPDX-License-Identifier: MIT */
/* tool: what the load tools share: clock, sockets, percentiles, and the services of the server.
 *
 * Every tool prints one line of JSON about its run, its own CPU time included, and says on stderr why it cannot run (status 1).
 * They are clients of bench_server, which listens on the ports that follow one another from a base port: */
#pragma once
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum tool_service { /* base port + ... */
    TOOL_ECHO,       /* TCP: each octet comes back */
    TOOL_SINK,       /* TCP: takes all; answers FIN with the number of octets, 8 octets, as the machine has them */
    TOOL_SOURCE,     /* TCP: gives without end */
    TOOL_UDP_SINK,   /* UDP: counts */
    TOOL_UDP_SOURCE, /* UDP: answers a struct tool_udp_order with a stream of datagrams */
    TOOL_COUNTS,     /* TCP: a struct tool_udp_counts, then FIN */
    TOOL_PIECE,      /* TCP: TOOL_PIECE_BYTES at once, as far as they fit, then echo */
    TOOL_SERVICES
};

/* What a client of TOOL_UDP_SOURCE asks for. Both ends run on one machine: octets are as it has them. */
struct tool_udp_order {
    uint32_t size_bytes, duration_ms;
    uint32_t rate; /* datagrams a second; 0: as fast as it can */
    uint32_t segments; /* of one UDP_SEGMENT send; 0: none of those */
};

struct tool_udp_counts {
    uint64_t received, sent;
};

enum { TOOL_CHUNK_BYTES = 256 * 1024, TOOL_PIECE_BYTES = 64 * 1024, TOOL_UDP_BYTES_MAX = 1472 };

/* Ends the program: errno's text, and what was tried. */
_Noreturn void tool_fail(const char *what);
/* The number that text is, within [least, most]; else the end of the program. */
uint32_t tool_number(const char *text, uint32_t least, uint32_t most);
uint64_t tool_now_ns(void);
void tool_sleep_until(uint64_t at_ns);
double tool_cpu_seconds(void);
struct sockaddr_in tool_address(const char *host, const char *base_port, enum tool_service service);
/* As many descriptors as the system gives. */
void tool_raise_limits(void);
/* TCP with cubic and without Nagle, so that results do not depend on the machine's defaults. */
int tool_tcp(void);
void tool_tcp_tune(int fd);
int tool_connect(const struct sockaddr_in *to);
void tool_write_all(int fd, const void *bytes, size_t len_bytes);
/* False: the end came first. */
int tool_read_all(int fd, void *bytes, size_t len_bytes);

/* Latencies of a run. */
struct tool_samples {
    float *us;
    size_t count, room;
};
void tool_samples_add(struct tool_samples *s, uint64_t ns);
/* Prints "p50_us":..., with `name` in front of each key. Frees them. */
void tool_samples_print(struct tool_samples *s, const char *name);

/* Sends datagrams for order->duration_ms on a connected socket; returns how many. */
uint64_t tool_udp_send(int fd, const struct tool_udp_order *order);
int tool_udp(void);
/* Reads what is there; the number of datagrams, 0 where none came within timeout_ms. */
uint64_t tool_udp_receive(int fd, int timeout_ms);
