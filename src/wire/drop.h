/* SPDX-License-Identifier: MIT */
/* drop: the verdicts on packets. Their packets are verdicts, our failures are errors: whatever arrives gets
 * DROP_NONE or exactly one reason from drop.def, which is counted and which tests assert. */
#pragma once
#include <stdint.h>

enum drop {
    DROP_NONE,
#define DROP(name, counter, text) DROP_##name,
#include "wire/drop.def"
#undef DROP
    DROP_COUNT
};

/* The counter's name and the sentence; "none" for DROP_NONE, NULL beyond the last reason. */
const char *drop_name(unsigned why);
const char *drop_text(unsigned why);
