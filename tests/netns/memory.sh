#!/bin/bash
# SPDX-License-Identifier: MIT
#
# memory.sh ADIT SERVER HOLD BULK UDP: what adit needs at rest, for each connection on which nothing happens, after a burst, in
# the preset `mobile`, and after a burst where TCP is the kernel's. As root. The topology is drawn in lib.sh; many connections,
# and the load, are those of bench/tools. Memory is what adit has written to, without its program's pages. A process may have
# 16,384 descriptors here: more connections, more clients.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
need ss iproute2 nsenter util-linux

arguments "$1" --stack userspace
tool_server=$(realpath "$2") # clients begin elsewhere
hold=$(realpath "$3")
bulk=$(realpath "$4")
udp=$(realpath "$5")
port=9000
mobile_kb=8192 # what the preset promises

MB=1000000
holders=()

# roomy_open OPTION...: a tunnel whose device has room for a packet of every connection at once: none is lost, and repeated late.
roomy_open()
{
    tunnel_open --dns 192.0.2.53 "$@"
    "${inside[@]}" ip link set dev adit0 txqueuelen 20000
    sleep 1
}

# open_many MODE COUNT ADDRESS...: so many connections to each address, by one process for each. $opened: how many there are.
open_many()
{
    local mode=$1 count=$2 address said
    shift 2
    holders=()
    for address in "$@"; do
        rm -f "$run/go-$address"
        mkfifo "$run/go-$address"
        "${inside[@]}" "$hold" "$mode" "$address" $port "$count" <"$run/go-$address" >"$run/hold-$address" 2>&1 &
        holders+=($!)
        exec {said}>"$run/go-$address"
        gates+=("$said")
    done
    for address in "$@"; do
        wait_s=40 wait_for grep -q . "$run/hold-$address"
        grep -q ready "$run/hold-$address" || { sed 's/^/FAIL /' "$run/hold-$address"; exit 1; }
    done
    opened=$(awk '/^ready/ { n += $2 } END { print n }' "$run"/hold-*)
    rm -f "$run"/hold-*
}

# Its clients end ..
end_clients()
{
    local gate
    for gate in "${gates[@]}"; do
        exec {gate}>&-
    done
    gates=()
    wait "${holders[@]}"
}

# .. and the kernel has nothing left to say about their connections.
end_many()
{
    end_clients
    wait_s=40 wait_for none_left
}

none_left()
{
    [ "$("${inside[@]}" ss -Htan state established state fin-wait-1 state fin-wait-2 state closing | wc -l)" = 0 ]
}

# How often the threads of adit have run.
adit_runs()
{
    awk '/ctxt_switches/ { n += $2 } END { print n }' /proc/"$adit_pid"/task/*/status
}

# Whoever has a timer that runs in vain shows in each of these; what the kernel says by itself in few of them.
sleeps()
{
    local _ before most=0
    for _ in 1 2 3 4 5; do
        before=$(adit_runs)
        sleep 1.5
        most=$(($(adit_runs) - before))
        [ $most != 0 ] || break
    done
    at_most "$1: wake-ups in a second and a half" $most 0
}

# The most that adit's memory was while a command ran, in kB: sampled.
watch_memory()
{
    local now pid
    most=0
    "$@" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        now=$(adit_memory)
        [ "$now" -le $most ] || most=$now
        sleep 0.1
    done
    wait $pid
}

idle()
{
    local empty full count=9000
    roomy_open --via discard
    empty=$(adit_memory)
    memory_at_most "kB of memory at the start" "$empty" 1024
    sleeps "with no flow at all"
    open_many quiet $count 10.99.1.1 10.99.1.2
    sleep 2
    comes_to "kB for $opened idle connections, 400 octets each" $((empty + 2 * count * 400 / 1024))
    full=$(adit_memory)
    echo "     $(((full - empty) * 1024 / opened)) octets each"
    sleeps "with all of them"
    end_many
    comes_to "kB after they have ended" $((empty + 2048))
    tunnel_close
}

# Nothing for a worker that has nothing to do.
workers()
{
    tunnel_open --dns 192.0.2.53 --workers 4
    sleep 1
    memory_at_most "kB of memory at the start, of four workers" "$(adit_memory)" 1024
    tunnel_close
}

# burst COUNT KB: so many connections, of at most so much each.
burst()
{
    local empty count=$1
    roomy_open
    empty=$(adit_memory)
    open_many stalled "$count" $server4
    [ "$opened" = "$count" ]
    report $? "$opened connections whose readers stall are open"
    memory_at_most "kB of memory" "$(adit_memory)" $((empty + count * $2))
    watch_memory passes "100 MB down beside them" "${inside[@]}" "$talk" download $server4 $((100 * MB))
    end_many
    comes_to "kB after they have ended" $((empty + 2048))
    tunnel_close
}

# Eight downloads, and trains of 44 datagrams beside them.
much_down()
{
    local downloads rc
    "${inside[@]}" "$bulk" down $server4 $port 8 3000 &
    downloads=$!
    "${inside[@]}" "$udp" down $server4 $port 1400 44
    rc=$?
    wait $downloads && [ $rc = 0 ]
}

# meanwhile SENTENCE COMMAND...: succeeds, and the promise holds.
meanwhile()
{
    watch_memory passes "$1 beside them" "${@:2}"
    memory_at_most "kB of memory meanwhile" $most $mobile_kb
}

mobile()
{
    local count=9990 # leaves ten for those beside them
    roomy_open --preset mobile
    watch_memory passes "64 downloads, none of them reset" "${inside[@]}" "$bulk" down $server4 $port 64 2000
    memory_at_most "kB of memory meanwhile" $most $mobile_kb
    open_many stalled 3000 $server4
    echo "     $opened connections whose readers stall"
    memory_at_most "kB of memory" "$(adit_memory)" $mobile_kb
    end_many
    open_many echo $count $server4
    echo "     $opened connections: $(adit_memory) kB"
    meanwhile "100 MB up" "${inside[@]}" "$talk" upload $server4 $((100 * MB))
    meanwhile "100 MB down" "${inside[@]}" "$talk" download $server4 $((100 * MB))
    meanwhile "eight uploads" "${inside[@]}" "$bulk" up $server4 $port 8 2000
    watch_memory much_down >$run/much
    report $? "eight downloads and trains of datagrams beside them"
    memory_at_most "kB of memory meanwhile" $most $mobile_kb
    status 124 "more than 10,000 are refused" "${inside[@]}" timeout 1.5 "$hold" echo $server4 $port 11
    end_clients
    tunnel_close
    says "and counted" 'tcp_flow_limit [1-9]' $run/tunnel
}

gates=()
topology
mkfifo $run/never
# shellcheck disable=SC2034 # held open
exec {never}<>$run/never # the server ends with its standard input
serve tools sh -c "exec '$tool_server' $server4 $port <$run/never"
idle
workers
burst 10000 6 # together, a quarter of the budget
mobile
arguments "$adit" --stack system --engine nat
burst 2000 10
finish
