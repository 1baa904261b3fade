/* SPDX-License-Identifier: MIT */
/* error: codes, their sentences, and the filling of adit_error. */
#include "base/error.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *adit_strerror(int code)
{
    switch ((enum adit_code)code) {
    case ADIT_OK:
        return "no error";
    case ADIT_EAGAIN:
        return "nothing there yet: try again later";
    case ADIT_EINVAL:
        return "invalid argument";
    case ADIT_ENOMEM:
        return "out of memory";
    case ADIT_ELIMIT:
        return "a limit is reached";
    case ADIT_EPERM:
        return "not permitted";
    case ADIT_ENODEV:
        return "no such device";
    case ADIT_EEXIST:
        return "exists already";
    case ADIT_ENOTSUP:
        return "not supported";
    case ADIT_ESTATE:
        return "not in this state";
    case ADIT_ECLOSED:
        return "closed";
    case ADIT_ERESET:
        return "reset by the peer";
    case ADIT_ETIMEDOUT:
        return "timed out";
    case ADIT_EREFUSED:
        return "refused";
    case ADIT_ENETUNREACH:
        return "network unreachable";
    case ADIT_EHOSTUNREACH:
        return "host unreachable";
    case ADIT_EPROTO:
        return "the peer broke its protocol";
    case ADIT_ECANCELED:
        return "canceled";
    case ADIT_ENOTBUILT:
        return "left out of this build";
    case ADIT_ENAME:
        return "the name does not resolve";
    case ADIT_ESYS:
        return "the system refused";
    }
    return "unknown error";
}

int error_set(adit_error *e, int code, int os, const char *op, const char *msg, const char *hint)
{
    return error_setf(e, code, os, op, hint, "%s", msg);
}

int error_setf(adit_error *e, int code, int os, const char *op, const char *hint, const char *fmt,
               ...)
{
    va_list args;

    if (!e || e->code != ADIT_OK)
        return code;
    *e = (adit_error){.code = code, .os = os};
    snprintf(e->op, sizeof(e->op), "%s", op ? op : "");
    snprintf(e->hint, sizeof(e->hint), "%s", hint ? hint : "");
    va_start(args, fmt);
    vsnprintf(e->msg, sizeof(e->msg), fmt, args);
    va_end(args);
    return code;
}

int error_from_errno(int os)
{
    static const struct {
        int os, code;
    } rows[] = {
        {0, ADIT_OK},
        {EAGAIN, ADIT_EAGAIN},
        {EINPROGRESS, ADIT_EAGAIN},
        {EINVAL, ADIT_EINVAL},
        {EBADF, ADIT_EINVAL},
        {EADDRNOTAVAIL, ADIT_EINVAL},
        {EDESTADDRREQ, ADIT_EINVAL},
        {ENOMEM, ADIT_ENOMEM},
        {ENOBUFS, ADIT_ENOMEM},
        {EMFILE, ADIT_ELIMIT},
        {ENFILE, ADIT_ELIMIT},
        {EPERM, ADIT_EPERM},
        {EACCES, ADIT_EPERM},
        {ENODEV, ADIT_ENODEV},
        {ENXIO, ADIT_ENODEV},
        {ENOENT, ADIT_ENODEV},
        {EEXIST, ADIT_EEXIST},
        {EADDRINUSE, ADIT_EEXIST},
        {EBUSY, ADIT_EEXIST},
        {EOPNOTSUPP, ADIT_ENOTSUP},
        {EAFNOSUPPORT, ADIT_ENOTSUP},
        {EPROTONOSUPPORT, ADIT_ENOTSUP},
        {ENOSYS, ADIT_ENOTSUP},
        {EISCONN, ADIT_ESTATE},
        {ENOTCONN, ADIT_ECLOSED},
        {EPIPE, ADIT_ECLOSED},
        {ESHUTDOWN, ADIT_ECLOSED},
        {ECONNRESET, ADIT_ERESET},
        {ECONNABORTED, ADIT_ERESET},
        {ETIMEDOUT, ADIT_ETIMEDOUT},
        {ECONNREFUSED, ADIT_EREFUSED},
        {ENETUNREACH, ADIT_ENETUNREACH},
        {ENETDOWN, ADIT_ENETUNREACH},
        {EHOSTUNREACH, ADIT_EHOSTUNREACH},
        {EHOSTDOWN, ADIT_EHOSTUNREACH},
        {EPROTO, ADIT_EPROTO},
        {ECANCELED, ADIT_ECANCELED},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].os == os)
            return rows[i].code;
    }
    return ADIT_ESYS;
}
