/* SPDX-License-Identifier: MIT */
/* print: one line about a packet, for traces and for failing tests:
 * "4 10.0.0.2:40000 > 1.2.3.4:80 S seq 7 win 64240 <mss 1460,...>". */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Always terminated; returns the length as snprintf does. Never reads beyond len_bytes. */
int packet_print(char *text, size_t text_bytes, const uint8_t *packet, size_t len_bytes);
