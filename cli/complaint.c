/* SPDX-License-Identifier: MIT */
/* complaint: filling and printing (complaint.h). The fix comes last: it is what stays in sight. */
#include "complaint.h"
#include <stdarg.h>
#include <string.h>

#define COMPLAINT_PRINT(c, member, format)                                                         \
    do {                                                                                           \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        vsnprintf((c)->member, sizeof((c)->member), format, args);                                 \
        va_end(args);                                                                              \
    } while (0)

int complaint_what(struct complaint *c, const char *format, ...)
{
    COMPLAINT_PRINT(c, what, format);
    return -1;
}

int complaint_evidence(struct complaint *c, const char *format, ...)
{
    COMPLAINT_PRINT(c, evidence, format);
    return -1;
}

int complaint_fix(struct complaint *c, const char *format, ...)
{
    COMPLAINT_PRINT(c, fix, format);
    return -1;
}

int complaint_os(struct complaint *c, const char *op, int os)
{
    return complaint_evidence(c, "%s: %s", op, strerror(os));
}

int complaint_from_error(struct complaint *c, const adit_error *e)
{
    complaint_what(c, "%s", e->msg[0] ? e->msg : adit_strerror(e->code));
    c->evidence[0] = '\0';
    if (e->op[0])
        complaint_os(c, e->op, e->os);
    if (e->op[0] && !e->os)
        complaint_evidence(c, "%s: %s", e->op, adit_strerror(e->code));
    return complaint_fix(c, "%s", e->hint);
}

void complaint_print(FILE *to, const struct complaint *c)
{
    fprintf(to, "adit: %s\n", c->what);
    if (c->evidence[0])
        fprintf(to, "      evidence  %s\n", c->evidence);
    if (c->fix[0])
        fprintf(to, "      fix       %s\n", c->fix);
}
