/* SPDX-License-Identifier: MIT */
/* options: from what a host writes to what an instance runs on. */
#pragma once
#include "adit/adit.h"

/* A complete copy: every 0 replaced by the preset's value, whatever version of the struct came in. 0, or ADIT_EINVAL,
 * ADIT_ENOTSUP with the option and the reason. Strings and arrays are still the caller's. */
int options_take(adit_options *out, const adit_options *in, adit_error *err);
/* Copies the strings and arrays that are needed for life. 0 or ADIT_ENOMEM. */
int options_keep(adit_options *o);
void options_forget(adit_options *o); /* those copies */
