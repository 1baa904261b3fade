/* SPDX-License-Identifier: MIT */
/* adit: the composition root. */
#include "adit/adit.h"
