#!/bin/bash
# SPDX-License-Identifier: MIT
#
# faults.sh ADIT [OPTION...]: what happens when something goes away under `adit exec`, or runs out. As root. The options and the
# topology are in lib.sh.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need curl curl ping iputils-ping prlimit util-linux python3 python3

# What a dead adit may not leave on the host.
traces()
{
    { ip link; ip addr; ip route show table all; ip rule; ip -6 rule; ip netns; mount; } |
        sed 's/ \(expires\|valid_lft\) [^ ]*//g'
}

# What is open toward port 7 of the server.
connections()
{
    ss -Htn state established "dst $server4 and dport = 7" | wc -l
}

none_open()
{
    [ "$(connections)" = 0 ]
}

# The device is deleted inside. The command is not killed, since it may have work to save; adit says why it is cut off, and
# still passes its status on.
device_deleted()
{
    local pid before
    tunnel_open
    rm -f $run/hold
    mkfifo $run/go
    "${inside[@]}" "$talk" hold $server4 50 <$run/go >$run/hold 2>&1 &
    pid=$!
    exec 9>$run/go
    wait_for grep -q open $run/hold
    [ "$(connections)" = 50 ]
    report $? "50 connections are open toward the server"
    "${inside[@]}" ip link del adit0
    wait_for grep -q 'device is gone' $run/tunnel
    report $? "a device that is deleted: adit says so"
    wait_for none_open
    report $? "the server's connections end"
    status 7 "the command has no network" "${inside[@]}" curl -sS -m 5 http://$server4:8080/page
    before=$(adit_cpu)
    sleep 1
    at_most "adit's CPU in a second without a device" "$(awk "BEGIN { print $(adit_cpu) - $before }")" 0.1
    exec 9>&-
    kill $pid
    wait $pid 2>/dev/null
    tunnel_close
}

killed()
{
    traces >$run/before
    tunnel_open
    status 0 "a page before" "${inside[@]}" curl -sS -o /dev/null http://$server4:8080/page
    kill -KILL "$adit_pid"
    wait "$adit_pid" 2>/dev/null
    status 7 "killed with -9: no page afterwards" "${inside[@]}" curl -sS -m 5 http://$server4:8080/page
    "${inside[@]}" ip link >$run/out
    ! grep -q adit0 $run/out
    report $? "the device is gone"
    status 2 "no route is left" "${inside[@]}" ip route get $server4
    echo >$run/end
    traces >$run/after
    diff $run/before $run/after
    report $? "nothing is left on the host"
}

# 64 descriptors: what is open stays, what is new is refused, and nothing turns in circles. The last case: the limit stays.
few_descriptors()
{
    local pid before held=30
    [ "$stack" != system ] || held=15 # a socket of the kernel's toward the client, and one toward the server
    ulimit -n 64
    tunnel_open
    rm -f $run/hold
    mkfifo $run/many
    "${inside[@]}" "$talk" hold $server4 $held <$run/many >$run/hold 2>&1 &
    pid=$!
    exec 9>$run/many
    wait_for grep -q open $run/hold
    before=$(adit_cpu)
    limit_s=15 status 0 "of 60 more connections some are refused, at once" "${inside[@]}" "$talk" crowd $server4 60
    sed 's/^/     /' $run/out
    sleep 1
    at_most "adit's CPU for that and a second more" "$(awk "BEGIN { print $(adit_cpu) - $before }")" 0.5
    says "adit says why" 'Too many open files' $run/tunnel
    at_most "and says it so often" "$(grep -c 'Too many open files' $run/tunnel)" 60
    echo >&9
    exec 9>&-
    wait $pid
    report $? "the old connections still talk"
    status 0 "there is room again" "${inside[@]}" curl -sS -o /dev/null http://$server4:8080/page
    tunnel_close
}

# Forged SYNs, three times as many as there may be half-open flows, and nobody answers: who is in earnest is served all the same.
forged()
{
    local flood page
    tunnel_open
    page=("${inside[@]}" curl -sS -m 8 -o /dev/null -w '%{time_total} s\n' "http://$server4:8080/page")
    "${inside[@]}" python3 "$here/crafted.py" forged $server4 24000 2000 &
    flood=$!
    sleep 5
    while kill -0 $flood 2>/dev/null; do
        passes "a page in the flood" "${page[@]}"
        sleep 1
    done
    wait $flood
    report $? "the flood is over"
    passes "a page right after it" "${page[@]}"
    tunnel_close
    says "flows made room for others" '^adit: [0-9]+ half-open tcp flows made room for others$' $run/tunnel
}

# UDP from many more ports than there are descriptors: TCP gets its own, and so does the next datagram.
udp_from_many_ports()
{
    local pid
    adit_exec=(prlimit --nofile=64:64 "${adit_exec[@]}")
    open_exec=(prlimit --nofile=64:64 "${open_exec[@]}")
    tunnel_open
    "${inside[@]}" "$talk" udp-ports $server4 3000 &
    pid=$!
    sleep 1
    limit_s=10 status 0 "64 descriptors, and UDP from 3,000 ports: a page" "${inside[@]}" curl -sS -m 5 -o /dev/null \
        http://$server4:8080/page
    kill -0 $pid
    report $? "meanwhile"
    limit_s=10 status 0 "connections too" "${inside[@]}" "$talk" crowd $server4 10 0
    wait $pid
    report $? "all was sent"
    limit_s=10 status 0 "a page afterwards" "${inside[@]}" curl -sS -m 5 -o /dev/null http://$server4:8080/page
    limit_s=10 status 0 "a datagram from one more port comes back" "${inside[@]}" "$talk" udp-size $server4 100
    tunnel_close
    says "those that ended are counted" '^adit: [0-9]+ udp flows made room for others$' $run/tunnel
    adit_exec=("${adit_exec[@]:2}")
    open_exec=("${open_exec[@]:2}")
}

# The soft limit is a default that adit raises for itself, and not for the command.
soft_limit()
{
    ulimit -Sn 200
    tunnel_open
    says "the command keeps its own limit of open files" '^Max open files +200 ' "/proc/$(cat $run/command)/limits"
    ulimit -Sn 4096
    limit_s=20 status 0 "adit carries more connections than that" "${inside[@]}" "$talk" crowd $server4 300 0
    tunnel_close
}

# Two at once have the same addresses and do not know of each other.
two_at_once()
{
    local i pids=() rc=0
    for i in 1 2; do
        "${adit_exec[@]}" -- sh -c "curl -sS http://$server4:8080/page >$run/page$i; $talk upload $server4 50000000" \
            >$run/two$i 2>&1 &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || rc=1
    done
    [ $rc = 0 ] && cmp $run/page1 $www/page && cmp $run/page2 $www/page
    report $? "two at once"
    [ $rc = 0 ] || sed 's/^/     | /' $run/two1 $run/two2
    "${adit_exec[@]}" -- "${open_exec[@]}" -- curl -sS http://$server4:8080/page >$run/out 2>&1
    says "one in the other" '^a page$'
}

setup()
{
    topology
    serve_pages $server4 "${on_server[@]}"
}

setup
in_turn killed device_deleted two_at_once forged soft_limit udp_from_many_ports few_descriptors
finish
