#!/bin/bash
# SPDX-License-Identifier: MIT
#
# system.sh ADIT CHURN --stack system --engine nat|bpf [--only WORD]: what goes wrong around a kernel that terminates TCP for us:
# ports that come back, packets of nobody, firewalls, routes that go, descriptors by the thousand, headers that the program on
# the device leaves to the process. As root. The topology is drawn in lib.sh; churn.c is the load.
#
# COUNT in the environment: the connections of the case "churns"; 200000 take minutes.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
need curl curl nft nftables python3 python3

churn=$(realpath "$2") # nsenter goes elsewhere
arguments "$1" "${@:3}"
count=${COUNT:-10000}
port=7100

# As many ports as there are, and each again after a second, so that they do come back.
many_ports()
{
    sysctl -qw net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1
}
export -f many_ports

still_works()
{
    passes "flows go on" "${inside[@]}" "$churn" short $server4 $port 200 8
}

# Half of them are ended by the client, half by the server. None is crossed, cut or stalled (churn.c).
churns()
{
    tunnel_open -v
    "${inside[@]}" "$BASH" -c many_ports
    limit_s=600 passes "short connections" "${inside[@]}" "$churn" short $server4 $port "$count" 64
    limit_s=600 passes "over IPv6" "${inside[@]}" "$churn" short $server6 $port $((count / 4)) 64
    tunnel_close
}

# Two descriptors each, and no pipe for what says a few octets: the limit has no room for more (setup).
thousands()
{
    tunnel_open -v
    limit_s=300 passes "9000 that are open at once" "${inside[@]}" "$churn" hold $server4 $port 9000 100
    at_most "descriptors that adit keeps" "$(find "/proc/$adit_pid/fd" -mindepth 1 | wc -l)" 200
    tunnel_close
}

# Segments of connections that never were: each gets a RST, and nothing of them is kept.
flood()
{
    local before
    tunnel_open -v
    still_works
    before=$(adit_memory)
    status 0 "50000 segments of nobody, and RSTs for them" "${inside[@]}" python3 "$here/crafted.py" flood $server4 50000
    sed 's/^/     /' $run/out
    memory_at_most "adit's memory grew by kB" $(($(adit_memory) - before)) 2000
    still_works
    tunnel_close
}

# What is open stays open, when everything that leads to the device goes and comes back.
routes()
{
    local pid
    tunnel_open -v
    rm -f $run/go $run/hold
    mkfifo $run/go
    "${inside[@]}" "$talk" hold $server4 50 <$run/go >$run/hold 2>&1 &
    pid=$!
    exec 9>$run/go
    wait_for grep -q open $run/hold
    "${inside[@]}" ip route save table main >$run/routes
    "${inside[@]}" ip route flush table main
    status 7 "without routes: no page" "${inside[@]}" curl -sS -m 5 http://$server4:8080/page
    "${inside[@]}" ip route restore <$run/routes
    echo >&9
    exec 9>&-
    wait $pid
    report $? "50 connections talk after the routes came back"
    [ "$(wc -l <$run/hold)" = 1 ] || sed 's/^/     | /' $run/hold
    still_works
    tunnel_close
}

# Connection tracking sees the client's side and the fake peer's side, and finds nothing wrong with either.
conntrack()
{
    tunnel_open -v
    status 0 "a firewall with connection tracking" "${inside[@]}" nft '
        table inet t {
            chain in { type filter hook input priority 0; ct state invalid counter drop; }
            chain out { type filter hook output priority 0; ct state invalid counter drop; }
        }'
    still_works
    passes "10 MB up" "${inside[@]}" "$talk" upload $server4 10000000
    passes "10 MB down over IPv6" "${inside[@]}" "$talk" download $server6 10000000
    tunnel_close
}

# What the kernel says of a SYN that it got from a fake peer is said again to the client.
rejects()
{
    tunnel_open -v
    status 0 "a firewall that rejects what would reach the listener" "${inside[@]}" nft '
        table inet t {
            chain in {
                type filter hook input priority 0;
                ip saddr 198.19.255.0/24 reject with icmp type host-unreachable
                ip6 saddr fd61:6469:7470:6565:7200::/120 reject with icmpv6 type addr-unreachable
            }
        }'
    talks "the client is told so" refused 7 EHOSTUNREACH
    tunnel_close
}

# A firewall that lets in answers only. The kernel's half of mixed begins with the first flow: its probe says what is wrong.
firewall()
{
    local kernels=$engine rules='
        table inet t {
            chain in {
                type filter hook input priority 0; policy drop;
                ct state established,related accept
                meta l4proto ipv6-icmp accept
            }
        }'
    "$adit" version --features | grep -qw userspace || return
    arguments "$adit" --stack mixed --engine "$engine" --kernel-for all
    tunnel_open -v
    "${inside[@]}" nft "$rules"
    status 28 "a firewall in front of the listener: no page" "${inside[@]}" curl -sS -m 2 http://$server4:8080/page
    wait_for grep -q 'does not answer flows' $run/tunnel
    says "and it is said why" 'the kernel does not answer flows' $run/tunnel
    says "and what helps" 'the stack .*userspace.* needs no such rule' $run/tunnel
    tunnel_close
    engine=
    arguments "$adit" --stack userspace
    tunnel_open
    "${inside[@]}" nft "$rules"
    status 0 "userspace needs no rule" "${inside[@]}" curl -sS -m 20 http://$server4:8080/page
    tunnel_close
    arguments "$adit" --stack system --engine "$kernels"
}

# Headers and pieces that only the process takes apart.
crafted()
{
    tunnel_open -v
    status 0 "IPv6 with hop-by-hop options in front of TCP" "${inside[@]}" python3 "$here/crafted.py" extension $server6 hop
    status 0 "with destination options" "${inside[@]}" python3 "$here/crafted.py" extension $server6 destination
    status 0 "a SYN in two fragments is answered" "${inside[@]}" python3 "$here/crafted.py" fragments $server4
    status 0 "over IPv6 too" "${inside[@]}" python3 "$here/crafted.py" fragments $server6
    passes "a router toward the client asks for smaller packets" "${inside[@]}" python3 "$here/crafted.py" smaller-path $server4
    passes "over IPv6 too" "${inside[@]}" python3 "$here/crafted.py" smaller-path $server6
    tunnel_close
}

setup()
{
    topology
    ulimit -Hn 20000 2>/dev/null # 9000 flows of two descriptors each, and none of a pipe's
    many_ports
    ip netns exec $server "$BASH" -c many_ports
    mkdir $run/www
    echo "a page" >$run/www/page
    (cd $run/www && exec ip netns exec $server python3 -m http.server --bind :: 8080) >/dev/null 2>&1 &
    serve churn4 "$churn" serve $server4 $port
    serve churn6 "$churn" serve $server6 $port
    wait_for curl -s -o /dev/null http://$server4:8080/
}

setup
for name in churns thousands flood routes conntrack rejects firewall crafted; do
    wanted $name || continue
    echo "-- $name"
    $name
done
finish
