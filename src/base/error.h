/* SPDX-License-Identifier: MIT */
/* error: filling the public `adit_error`, the failures that a person must act on.
 *
 * The first failure wins: error_set() on an error that is already set does nothing. Returns `code`, so
 * that a failing function ends with `return error_set(...)`. */
#pragma once
#include "adit/base.h"

/* e may be NULL. os: errno or 0. op: the call that failed ("TUNSETIFF"). msg: what happened. hint: what to do. */
int error_set(adit_error *e, int code, int os, const char *op, const char *msg, const char *hint);
/* As above with a printf-formatted msg. */
int error_setf(adit_error *e, int code, int os, const char *op, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* The adit_code that corresponds best to an errno of a socket or device call. */
int error_from_errno(int os);
