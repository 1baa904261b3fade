/* SPDX-License-Identifier: MIT */
/* namespace: moving this process into network and mount namespaces of its own. */
#pragma once
#include "complaint.h"

/* User namespace where the process may not make the others without one; the uid and gid stay what they are. The mounts
 * are private, the loopback interface is up, ping sockets are allowed where the system lets us. */
int namespace_enter(struct complaint *why);
