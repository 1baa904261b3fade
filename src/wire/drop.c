/* SPDX-License-Identifier: MIT */
/* drop: names and sentences of the verdicts, from drop.def. */
#include "wire/drop.h"
#include <assert.h>
#include <stddef.h>
#include "adit/adit.h"

static_assert(DROP_COUNT <= ADIT_DROPS_MAX, "every reason has a counter in adit_stats");

const char *drop_name(unsigned why)
{
    static const char *const names[DROP_COUNT] = {
        [DROP_NONE] = "none",
#define DROP(name, counter, text) [DROP_##name] = counter,
#include "wire/drop.def"
#undef DROP
    };

    return why < DROP_COUNT ? names[why] : NULL;
}

const char *drop_text(unsigned why)
{
    static const char *const texts[DROP_COUNT] = {
        [DROP_NONE] = "not dropped",
#define DROP(name, counter, text) [DROP_##name] = text,
#include "wire/drop.def"
#undef DROP
    };

    return why < DROP_COUNT ? texts[why] : NULL;
}
