/* SPDX-License-Identifier: MIT */
/* system_shortcut: the translator's shortcut (net/nat.h) by the device's maps (dev/shortcut.h). */
#pragma once
#include "dev/shortcut_map.h"
#include "net/nat.h"

/* flows: the descriptor of the map, borrowed for life. */
struct nat_shortcut system_shortcut(int *flows);
/* The entry for that way, and its key. */
void system_shortcut_entry(const struct nat_way *way, struct shortcut_ends *key, struct shortcut_entry *out);
