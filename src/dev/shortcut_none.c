/* SPDX-License-Identifier: MIT */
/* shortcut_none: for builds without the bpf program (shortcut.h). */
#include "base/error.h"
#include "dev/shortcut.h"

int shortcut_open(const adit_options *o, const char *ifname, adit_socket out[SHORTCUT_FDS_MAX], size_t *count, adit_error *err)
{
    (void)o;
    (void)ifname;
    (void)out;
    *count = 0;
    return error_set(err, ADIT_ENOTBUILT, 0, "bpf", "not built in", "build with -Dbpf=enabled");
}

void shortcut_close(adit_socket *fds, size_t *count)
{
    (void)fds;
    *count = 0;
}

void shortcut_sweep(const char *ifname)
{
    (void)ifname;
}

bool shortcut_add(adit_socket flows, const struct shortcut_ends *from, const struct shortcut_entry *entry)
{
    (void)flows;
    (void)from;
    (void)entry;
    return false;
}

bool shortcut_look(adit_socket flows, const struct shortcut_ends *from, struct shortcut_entry *out)
{
    (void)flows;
    (void)from;
    (void)out;
    return false;
}

void shortcut_remove(adit_socket flows, const struct shortcut_ends *from)
{
    (void)flows;
    (void)from;
}

struct shortcut_count shortcut_counted(adit_socket counts)
{
    (void)counts;
    return (struct shortcut_count){0};
}
