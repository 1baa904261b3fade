/* SPDX-License-Identifier: MIT */
/* complaint: a failure that a person must mend, in the three parts such a person needs: what, evidence, fix.
 *
 * It is plain octets, so that the process inside a namespace can send it to the one outside. */
#pragma once
#include <stdio.h>
#include "adit/base.h"

struct complaint {
    char what[256];
    char evidence[512];
    char fix[320]; /* may be empty */
};

/* The three setters print like printf and return -1, so that a failing function can end with one. */
int complaint_what(struct complaint *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int complaint_evidence(struct complaint *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int complaint_fix(struct complaint *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "op: the system's sentence" as the evidence. */
int complaint_os(struct complaint *c, const char *op, int os);
/* What the library says about a call of its own. */
int complaint_from_error(struct complaint *c, const adit_error *e);
void complaint_print(FILE *to, const struct complaint *c);
