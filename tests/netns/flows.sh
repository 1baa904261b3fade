#!/bin/bash
# SPDX-License-Identifier: MIT
#
# flows.sh ADIT [--stack STACK] [--workers N] [--only WORD]: what programs do with TCP, UDP and ping, through `adit exec`
# with a real kernel at both ends. As root. The topology is drawn in lib.sh, the two ends of most cases are in talk.py.
#
# Every stack runs the same table (cases, below). WORD picks the cases whose names contain it.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
need curl curl iperf3 iperf3 dig bind9-dnsutils ping iputils-ping tcpdump tcpdump python3 python3

adit=$1
stack=userspace
workers=1
only=
shift
while [ $# -gt 1 ]; do
    case $1 in
    --stack) stack=$2 ;;
    --workers) workers=$2 ;;
    --only) only=$2 ;;
    esac
    shift 2
done

GB=1000000000
MB=1000000

# talks SENTENCE CASE NUMBER...: the case over IPv4 and over IPv6.
talks()
{
    local sentence=$1 case=$2
    shift 2
    passes "$sentence, IPv4" "${inside[@]}" "$talk" "$case" $server4 "$@"
    passes "$sentence, IPv6" "${inside[@]}" "$talk" "$case" $server6 "$@"
}

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

# costs SENTENCE COMMAND...: it moves one gigabyte; adit's CPU for it is printed and has a limit.
costs()
{
    local before after sentence=$1
    shift
    before=$(adit_cpu)
    passes "$sentence" "$@"
    after=$(adit_cpu)
    at_most "adit's CPU seconds for it" "$(awk "BEGIN { print $after - $before }")" 0.9
}

gigabytes()
{
    costs "a gigabyte up is intact" "${inside[@]}" "$talk" upload $server4 $GB
    costs "a gigabyte down is intact" "${inside[@]}" "$talk" download $server4 $GB
    passes "100 MB up over IPv6 are intact" "${inside[@]}" "$talk" upload $server6 $((100 * MB))
    passes "100 MB down over IPv6 are intact" "${inside[@]}" "$talk" download $server6 $((100 * MB))
}

# iperf SENTENCE OPTION...: one gigabyte.
iperf()
{
    local sentence=$1 before after
    shift
    before=$(adit_cpu)
    limit_s=60 status 0 "$sentence" "${inside[@]}" iperf3 -c $server4 -n $GB --json "$@"
    after=$(adit_cpu)
    python3 -c 'import json, sys
end = json.load(open(sys.argv[1]))["end"]["sum_received"]
cpu = float(sys.argv[2]) / end["bytes"] * 1e9
print("     %.2f Gbit/s, adit %.2f CPU s/GB" % (end["bits_per_second"] / 1e9, cpu))
sys.exit(cpu > 1.2)' $run/out "$(awk "BEGIN { print $after - $before }")"
    report $? "at most 1.2 CPU seconds a gigabyte"
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
    passes "a neighbour that is not there" "${inside[@]}" "$talk" refused 10.99.0.77 80 'EHOSTUNREACH'
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
    watch_memory passes "a server that does not read for 3 s" "${inside[@]}" "$talk" slow-server $server4 $((200 * MB)) 3000
    at_most "kB of adit's memory for it" "$(cat $run/most)" 10000
    watch_memory passes "a client that does not read for 3 s, and rests" \
        "${inside[@]}" "$talk" slow-client $server4 $((100 * MB)) 3000
    at_most "kB of adit's memory for it" "$(cat $run/most)" 10000
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
    local before after first
    hold 8 500
    first=$!
    before=$(adit_memory)
    hold 9 2000
    after=$(adit_memory)
    echo >&9
    wait $!
    report $? "2,000 connections at once, all of them talk, twice"
    echo >&8
    wait $first
    report $? "and 500 that waited for them"
    exec 8>&- 9>&-
    sed '/^open$/d; s/^/     | /' $run/hold8 $run/hold9
    at_most "octets of adit's memory for each of the 2,000" $(((after - before) * 1024 / 2000)) 1024
}

# The SYN of a client is not answered before its server has answered.
late_server()
{
    local log=$run/late
    ip netns exec $server "$talk" serve-late $server4 1500 >$log 2>&1 &
    wait_for grep -q ready $log
    "${inside[@]}" tcpdump -U --immediate-mode -i adit0 -w $run/late.pcap 'tcp port 7007' 2>$run/late.tcpdump &
    local dump=$!
    wait_for grep -q listening $run/late.tcpdump
    passes "a server that answers late is reached" "${inside[@]}" "$talk" late $server4
    sleep 0.3
    kill $dump
    wait $dump
    tcpdump -nr $run/late.pcap -tt >$run/out 2>/dev/null
    awk '/Flags \[S\],/ && !syn { syn = $1 } /Flags \[S\.\],/ && !ack { ack = $1 }
        END { exit !(syn && ack && ack - syn > 0.9) }' $run/out
    report $? "and the SYN was left open until then"
}

# ---- UDP ----

names()
{
    status 0 "a name over UDP" "${inside[@]}" dig +time=3 +tries=1 +short @192.0.0.2 www.example.test A
    says "has its address" "^$server4\$"
    status 0 "a name over TCP" "${inside[@]}" dig +tcp +time=3 +tries=1 +short @192.0.0.2 www.example.test AAAA
    says "has its address" "^$server6\$"
    status 0 "a name of the server itself" "${inside[@]}" dig +time=3 +tries=1 +short @$server4 www.example.test A
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

# Every case here, with an MTU of 1,500.
cases=(pages half_closes refusals resets names datagrams pings latencies late_server slow_ends many_connections
    gigabytes iperf3_rates)

wanted()
{
    case $1 in
    *"$only"*) return 0 ;;
    esac
    return 1
}

run_cases()
{
    local name
    tunnel_open --stack "$stack" --workers "$workers"
    for name in "${cases[@]}"; do
        wanted "$name" || continue
        echo "-- $name"
        $name
    done
    tunnel_close
}

# Other MTUs, and packets of one MTU each: the octets must be the same.
other_devices()
{
    local options
    for options in '--mtu 1280' '--mtu 9000' '--mtu 65535' --no-offload; do
        echo "-- $options"
        tunnel_open --stack "$stack" --workers "$workers" $options
        talks "100 MB up" upload $((100 * MB))
        talks "100 MB down" download $((100 * MB))
        talks "datagrams of 1, 1,252, 4,000, 9,000 and 60,000 octets" udp-size 1 1252 4000 9000 60000
        talks "trains" udp-trains 40 1200
        tunnel_close
    done
}

# A bad link, and what was captured of it.
bad_links()
{
    local spec
    for spec in loss=1% loss=2%,reorder=2%,dup=1%,corrupt=0.5% delay=10ms,jitter=5ms; do
        echo "-- fault $spec"
        tunnel_open --stack "$stack" --workers "$workers" --fault "$spec" --pcap $run/bad.pcap
        talks "20 MB up" upload $((20 * MB))
        talks "20 MB down" download $((20 * MB))
        tunnel_close
        status 0 "the capture can be read" sh -c "tcpdump -nr $run/bad.pcap | wc -l | grep -v '^[0-9]\{,3\}\$'"
    done
}

setup()
{
    topology
    mkdir $run/www
    echo "a page" >$run/www/page
    (cd $run/www && exec ip netns exec $server python3 -m http.server --bind :: 8080) >/dev/null 2>&1 &
    wait_for curl -s -o /dev/null http://$server4:8080/
    serve named "$here/named.py" $server4 $server4 $server6
    ip netns exec $server iperf3 -s >/dev/null 2>&1 &
}

setup
run_cases
! wanted other_devices || other_devices
! wanted bad_links || bad_links
finish
