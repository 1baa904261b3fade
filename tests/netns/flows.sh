#!/bin/bash
# SPDX-License-Identifier: MIT
#
# flows.sh ADIT [OPTION...]: what programs do with TCP, UDP and ping, through `adit exec` with a real kernel at both ends. As
# root. The options and the topology are in lib.sh, the two ends of most cases are in talk.py.
#
# Every stack runs the same table (cases, below).
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need curl curl iperf3 iperf3 dig bind9-dnsutils ping iputils-ping tcpdump tcpdump python3 python3

# CPU seconds a gigabyte. A loaded machine needs up to 1.6; packets of the MTU's size, one by one, 2.4 and more.
cpu_max=2.2
MB=1000000

# ---- TCP ----

pages()
{
    status 0 "a page over IPv4" "${inside[@]}" curl -sS http://$server4:8080/page
    says "is the page" '^a page$'
    status 0 "a page over IPv6" "${inside[@]}" curl -sS -g "http://[$server6]:8080/page"
    says "is the page" '^a page$'
    status 0 "a page by name" "${inside[@]}" curl -sS http://www.example.test:8080/page
    says "is the page" '^a page$'
}

# costs SENTENCE OCTETS COMMAND...: adit's CPU for them is printed and has a limit.
costs()
{
    local before sentence=$1 octets=$2
    shift 2
    before=$(adit_cpu)
    passes "$sentence" "$@"
    at_most "adit's CPU seconds a gigabyte" "$(awk "BEGIN { print ($(adit_cpu) - $before) * 1e9 / $octets }")" $cpu_max
}

bulk()
{
    local octets
    octets=$(megabytes 500 100)
    costs "bulk up is intact" "$octets" "${inside[@]}" "$talk" upload $server4 "$octets"
    costs "bulk down is intact" "$octets" "${inside[@]}" "$talk" download $server4 "$octets"
    octets=$(megabytes 100 20)
    passes "bulk up over IPv6 is intact" "${inside[@]}" "$talk" upload $server6 "$octets"
    passes "bulk down over IPv6 is intact" "${inside[@]}" "$talk" download $server6 "$octets"
}

# iperf SENTENCE OPTION...
iperf()
{
    local sentence=$1 octets
    octets=$(megabytes 500 100)
    shift
    costs "$sentence" "$octets" "${inside[@]}" iperf3 -c $server4 -n "$octets" --json "$@"
    awk '/"sum_received"/ { on = 1 } on && /bits_per_second/ { printf "     %.2f Gbit/s\n", $2 / 1e9; exit }' $run/out
}

iperf3_rates()
{
    iperf "iperf3 up, 1 stream"
    iperf "iperf3 up, 8 streams" -P 8
    iperf "iperf3 down, 1 stream" -R
    iperf "iperf3 down, 8 streams" -R -P 8
}

half_closes()
{
    talks "the client ends, the server answers afterwards" half-close $((3 * MB))
    talks "the client ends first, and receives" upload $((3 * MB))
    talks "the server ends first, and receives" download $((3 * MB))
    talks "both ways at once" exchange $((20 * MB))
    talks "an end without a single octet" upload 0
}

refusals()
{
    talks "a closed port is refused at once" refused 9 ECONNREFUSED
    passes "no route is unreachable at once" "${inside[@]}" "$talk" refused 203.0.113.1 80 'ENETUNREACH|EHOSTUNREACH'
    passes "no route over IPv6 likewise" "${inside[@]}" "$talk" refused 2001:db8::1 80 'ENETUNREACH|EHOSTUNREACH'
}

absent_neighbour4()
{
    passes "a neighbour that is not there" "${inside[@]}" "$talk" refused 10.99.0.77 80 'EHOSTUNREACH'
}

absent_neighbour6()
{
    passes "a neighbour that is not there, IPv6" "${inside[@]}" "$talk" refused fd99::77 80 'EHOSTUNREACH'
}

resets()
{
    talks "a reset by the server reaches the client" reset-by-server
    talks "a reset by the client reaches the server" reset-by-client
}

# The most that adit's memory grew while a command ran, in kB: sampled, so a lower bound.
watch_memory()
{
    local before now most=0 pid
    before=$(adit_memory)
    "$@" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        now=$(adit_memory)
        [ $((now - before)) -le $most ] || most=$((now - before))
        sleep 0.2
    done
    echo $most >$run/most
    wait $pid
}

# Buffers toward a slow end have a limit: windows close.
slow_ends()
{
    watch_memory passes "a server that does not read for 1.5 s" "${inside[@]}" "$talk" slow-server $server4 $((200 * MB)) 1500
    memory_at_most "kB of adit's memory for it" "$(cat $run/most)" 10000
    watch_memory passes "a client that does not read for 1.5 s, and rests" \
        "${inside[@]}" "$talk" slow-client $server4 $((100 * MB)) 1500
    memory_at_most "kB of adit's memory for it" "$(cat $run/most)" 10000
    talks "single octets, one after the other" drip 500
}

latencies()
{
    talks "round trips of an octet" latency 2000
}

# hold N COUNT: a client with so many connections, which waits for a line on descriptor N.
hold()
{
    rm -f $run/go$1 && mkfifo $run/go$1
    "${inside[@]}" "$talk" hold $server4 "$2" <$run/go$1 >$run/hold$1 2>&1 &
    eval "exec $1>$run/go$1"
    wait_for grep -q open $run/hold$1
    sleep 0.5
}

# An idle connection holds no buffer: what is left is the flow and its relay. The pools, the tables and what many dials at once
# need are there after the first 500, so the growth by the next 2,000 is theirs alone.
many_connections()
{
    local before first
    hold 8 500
    first=$!
    before=$(adit_memory)
    hold 9 2000
    comes_to "kB of adit's memory with 2,000 more, 1,024 octets each" $((before + 2000))
    echo "     $((($(adit_memory) - before) * 1024 / 2000)) octets each"
    echo >&9
    wait $!
    report $? "2,000 connections at once, all of them talk, twice"
    echo >&8
    wait $first
    report $? "and 500 that waited for them"
    exec 8>&- 9>&-
    sed '/^open$/d; s/^/     | /' $run/hold8 $run/hold9
}

# capture NAME COMMAND...: `tcpdump` (or what leads to it) writes what it sees of port 7007 to NAME.pcap.
capture()
{
    local name=$1
    shift
    "$@" -U --immediate-mode -w "$run/$name.pcap" 'tcp port 7007' 2>"$run/$name.tcpdump" &
    dumps+=($!)
    wait_for grep -q listening "$run/$name.tcpdump"
}

# synacks NAME: when they came, by the clock that both captures share.
synacks()
{
    tcpdump -nr "$run/$1.pcap" -tt 'tcp[13] & 0x12 = 0x12' 2>/dev/null | cut -d ' ' -f 1
}

# The SYN of a client is not answered before its server has answered, 3 s later.
late_server()
{
    local dumps=() dump
    capture inside "${inside[@]}" tcpdump -i adit0
    capture wire tcpdump -i wire0
    serve late "$talk" serve-late $server4 3000
    passes "100 MB pass to a server that answers late" "${inside[@]}" "$talk" late $server4 $((100 * MB))
    sleep 0.3
    for dump in "${dumps[@]}"; do
        kill "$dump"
        wait "$dump"
    done
    [ "$(tcpdump -nr $run/inside.pcap 'tcp[13] = 2' 2>/dev/null | wc -l)" -ge 2 ]
    report $? "the client's SYN came more than once"
    { synacks wire | head -n 1; synacks inside | head -n 1; } >$run/out
    [ "$(wc -l <$run/out)" = 2 ] && sort -cn $run/out
    report $? "and was not answered before the server had answered"
}

# ---- UDP ----

names()
{
    status 0 "a name over UDP" "${inside[@]}" dig +time=10 +tries=1 +short @192.0.0.2 www.example.test A
    says "has its address" "^$server4\$"
    status 0 "a name over TCP" "${inside[@]}" dig +tcp +time=10 +tries=1 +short @192.0.0.2 www.example.test AAAA
    says "has its address" "^$server6\$"
    status 0 "a name of the server itself" "${inside[@]}" dig +time=10 +tries=1 +short @$server4 www.example.test A
    says "has its address" "^$server4\$"
}

datagrams()
{
    talks "10 bursts of 64 datagrams of 1,200 to 1,350 octets" udp-burst 64 10
    talks "a burst of 300" udp-burst 300 1
    talks "20 trains of 40 by UDP_SEGMENT and UDP_GRO" udp-trains 40 1200
    talks "20 trains of 64 small ones" udp-trains 64 100
    talks "1, 1,472, 1,473, 4,000, 9,000 and 60,000 octets" udp-size 1 1472 1473 4000 9000 60000
    talks "a closed port is refused" udp-error 9 ECONNREFUSED
    passes "no route is unreachable" "${inside[@]}" "$talk" udp-error 203.0.113.1 80 'ENETUNREACH|EHOSTUNREACH'
    passes "no route is unreachable, IPv6" "${inside[@]}" "$talk" udp-error 2001:db8::1 80 'ENETUNREACH|EHOSTUNREACH'
}

# ---- ICMP ----

pings()
{
    status 0 "a ping over IPv4" "${inside[@]}" ping -c 3 -i 0.2 -W 5 $server4
    status 0 "a ping over IPv6" "${inside[@]}" ping -c 3 -i 0.2 -W 5 $server6
    status 0 "a ping of 1,400 octets" "${inside[@]}" ping -c 1 -s 1400 -W 5 $server4
    status 0 "a ping in fragments" "${inside[@]}" ping -c 1 -s 5000 -W 5 $server4
    status 1 "a ping to where no route leads" "${inside[@]}" ping -c 1 -W 5 203.0.113.1
    says "is told so" 'Unreachable'
    status 1 "the same over IPv6" "${inside[@]}" ping -c 1 -W 5 2001:db8::1
    says "is told so" 'Unreachable|No route'
    status 1 "a ping to a neighbour that is not there" "${inside[@]}" ping -c 1 -W 5 10.99.0.77
    says "is told so" 'Unreachable'
    status 0 "the hop limit is the client's: one hop is enough" "${inside[@]}" ping -c 1 -t 1 -W 5 $server4
}

# ----

# Every case here, with an MTU of 1,500; those that mostly wait at the same time.
waiting=(pages refusals absent_neighbour4 absent_neighbour6 resets names pings late_server)
cases=(half_closes datagrams latencies slow_ends many_connections bulk iperf3_rates)

run_cases()
{
    tunnel_open
    together "${waiting[@]}"
    in_turn "${cases[@]}"
    tunnel_close
}

# What the kernel had for adit, and how much of that found no room in the device's queue.
to_adit()
{
    "${inside[@]}" awk '$1 == "adit0:" { print $11 + $13, $13 }' /proc/net/dev
}

# The clients of many downloads answer more packets than the queue holds, and others would lose theirs: a SYN waits a second then.
# Whoever lets it overflow does so each time, and loses half; a machine that gives adit no turn for a while does it now and then.
# So it is the best of three.
answers_find_room()
{
    local before after lost least=100 _
    for _ in 1 2 3; do
        read -ra before <<<"$(to_adit)"
        passes "16 downloads" "${inside[@]}" iperf3 -c $server4 -n "$(megabytes 500 200)" -P 16 -R -J
        read -ra after <<<"$(to_adit)"
        lost=$((100 * (after[1] - before[1]) / (after[0] - before[0] + 1)))
        [ $lost -ge $least ] || least=$lost
        [ $least -gt 20 ] || break
    done
    at_most "percent of what their clients sent was lost" $least 20
}

# Other MTUs, and packets of one MTU each: the octets must be the same.
other_devices()
{
    local options
    for options in '--mtu 1280' '--mtu 9000' '--mtu 65535' --no-offload; do
        echo "-- $options"
        tunnel_open $options
        talks "bulk up" upload "$(megabytes 100 20)"
        talks "bulk down" download "$(megabytes 100 20)"
        talks "datagrams of 1, 1,252, 4,000, 9,000 and 60,000 octets" udp-size 1 1252 4000 9000 60000
        talks "trains" udp-trains 40 1200
        [ "$options" != --no-offload ] || answers_find_room
        tunnel_close
    done
}

# A bad link, and what was captured of it.
bad_links()
{
    local spec specs=('loss=1%' 'loss=2%,reorder=2%,dup=1%,corrupt=0.5%' 'delay=10ms,jitter=5ms')
    for spec in "${specs[@]}"; do
        echo "-- fault $spec"
        instead='needs the payload' tunnel_open --fault "$spec" --pcap $run/bad.pcap
        talks "bulk up" upload "$(megabytes 10 3)"
        talks "bulk down" download "$(megabytes 10 3)"
        tunnel_close
        status 0 "the capture can be read" sh -c "tcpdump -nr $run/bad.pcap | wc -l | grep -v '^[0-9]\{,3\}\$'"
    done
}

setup()
{
    topology
    serve_pages $server4 "${on_server[@]}"
    serve named "$here/named.py" $server4 $server4 $server6
    "${on_server[@]}" iperf3 -s >/dev/null 2>&1 &
}

setup
run_cases
! wanted other_devices || other_devices
! wanted bad_links || bad_links
finish
