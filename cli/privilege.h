/* SPDX-License-Identifier: MIT */
/* privilege: which capabilities this process has, and giving them up. */
#pragma once
#include <stdbool.h>
#include "complaint.h"

/* Network and mount namespaces can be made without a user namespace. */
bool privilege_makes_namespaces(void);
/* Gives up what leads out of the namespaces: everything in a user namespace of ours, else the capabilities that enter
 * other namespaces or change the network. No program executed later gets them back. */
int privilege_drop(struct complaint *why);
