#!/bin/bash
# SPDX-License-Identifier: MIT
# manual.sh ADIT MANUAL: every command and every long option that the help names is in the manual page.
set -u
adit=$1 manual=$2 failed=0
for verb in $("$adit" help | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p' | grep -v '^adit$'); do
    grep -q "^\.Cm $verb" "$manual" || { echo "not in the manual: $verb"; failed=1; }
    for option in $("$adit" help "$verb" | sed -n 's/^  .*--\([a-z]*\).*/\1/p'); do
        grep -q "Fl -$option" "$manual" || { echo "not in the manual: $verb --$option"; failed=1; }
    done
done
exit $failed
