/* SPDX-License-Identifier: MIT */
/* shortcut: what the options have to say about it, on every system (shortcut.h). */
#include "dev/shortcut.h"

bool shortcut_is_allowed(const adit_options *o, const char **why)
{
    *why = "";
    if (o->capture)
        *why = "a capture needs the payload";
    else if (o->fault)
        *why = "fault injection needs the payload";
    return **why == '\0';
}
