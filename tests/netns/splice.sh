#!/bin/bash
# SPDX-License-Identifier: MIT
#
# splice.sh ADIT [OPTION...]: bulk between two sockets of the kernel's, where all TCP ends in the kernel: octets are exact with
# half-closes and stalled readers, resets pass, and what adit holds meanwhile is bounded. As root. The options and the topology
# are in lib.sh, the two ends are in talk.py.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need python3 python3 strace strace

MB=1000000

# Descriptors of adit's that are ends of pipes.
pipe_ends()
{
    find "/proc/$adit_pid/fd" -lname 'pipe:*' | wc -l
}

# spliced DIRECTION: it moves 200 MB, and adit moves hardly an octet of them itself.
spliced()
{
    local calls=$run/calls pid
    strace -f -qq -e trace=splice,read,readv,recvfrom,recvmsg -o $calls -p "$adit_pid" 2>/dev/null &
    pid=$!
    sleep 0.5
    passes "200 MB ${1%load} are intact under strace" "${inside[@]}" "$talk" "$1" $server4 $((200 * MB))
    kill $pid
    wait $pid
    awk '/splice\(/ && $NF > 0 { n += $NF } END { print int(n / 2) }' $calls >$run/octets
    awk -v n="$(cat $run/octets)" -v want=$((195 * MB)) 'BEGIN { exit !(n >= want) }'
    report $? "nearly all of them went by a pipe: $(cat $run/octets)"
}

bulk()
{
    local before
    before=$(pipe_ends)
    talks "one page only makes no pipe" upload 1000
    [ "$(pipe_ends)" = "$before" ]
    report $? "no pipe for a small flow"
    spliced upload
    spliced download
    talks "a lot up" upload "$(megabytes 500 200)"
    talks "a lot down" download "$(megabytes 500 200)"
    at_most "ends of pipes that are kept" $(($(pipe_ends) - before)) 8
}

ends()
{
    talks "100 MB with half-closes" half-close $((100 * MB))
    talks "a reset by the server" reset-by-server
    talks "a reset by the client" reset-by-client
}

stalls()
{
    local before
    before=$(adit_memory)
    talks "100 MB to a server that waits 1 s" slow-server $((100 * MB)) 1000
    talks "100 MB to a client that waits 1 s" slow-client $((100 * MB)) 1000
    memory_at_most "kB that adit holds more" $(($(adit_memory) - before)) 2048
}

topology
tunnel_open
in_turn bulk ends stalls
tunnel_close
finish
