#!/bin/bash
# SPDX-License-Identifier: MIT
#
# demo.sh ADIT: `adit demo` plays the same steps on every stack of this build, all of them well, and says which stack and engine
# carried them. As root.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"

# built WORD: it is in this build.
built()
{
    "$adit" version --features | grep -qx "$1"
}

# steps STACK: the results of its steps, without what was measured.
steps()
{
    awk -v want="stack $1" '/^stack / { on = $0 == want } on && /^  (ok|FAIL)/ { print substr($0, 1, 24) }' $run/out
}

# plays STACK CARRIED: as the first stack did, and CARRIED is what it says of TCP.
plays()
{
    steps "$1" >$run/steps
    [ "$(grep -c '^  ok ' $run/steps)" = 7 ] && diff $run/first $run/steps
    report $? "$1: all steps are well, as they are elsewhere"
    says "$1: carried as it should be" "^ +$1, engine $2 tcp flows in the kernel\$"
}

demo()
{
    local engine=nat
    ! built bpf || engine=bpf
    status 0 "a demo" "$adit" demo
    steps system >$run/first
    plays system "$engine, 2 of 2"
    if built userspace; then
        plays userspace 'none, 0 of 2'
        plays mixed "$engine, 2 of 2"
    fi
}

in_turn demo
finish
