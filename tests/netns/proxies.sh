#!/bin/bash
# SPDX-License-Identifier: MIT
#
# proxies.sh ADIT [OPTION...]: the handler socks5 with servers that people run: microsocks and Dante. As root. The options and the
# topology are in lib.sh; both servers listen on 127.0.0.1 of the suite's own network. What bad servers may do is in socks5.sh.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need curl curl dig bind9-dnsutils microsocks microsocks danted dante-server python3 python3

# listens PORT
listens()
{
    ss -Hltn "src 127.0.0.1 and sport = $1" | grep -q .
}

setup()
{
    topology
    serve_pages $server4 "${on_server[@]}"
    serve named "$here/named.py" $server4 $server4 $server6
    microsocks -i 127.0.0.1 -p 1080 -u user -P secret >/dev/null 2>&1 &
    cat >$run/danted.conf <<CONF
errorlog: $run/danted.errors
internal: 127.0.0.1 port = 1081
external: wire0
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
CONF
    danted -f $run/danted.conf &
    wait_for listens 1080
    wait_for listens 1081
}

# What both of them carry. microsocks ends both directions when one ends.
streams()
{
    status 0 "$1: a page" "${inside[@]}" curl -sS http://$server4:8080/page
    says "is the page" '^a page$'
    passes "$1: octets, both ways at once, are intact" "${inside[@]}" "$talk" exchange $server4 "$(megabytes 50 10)"
    passes "$1: round trips of an octet" "${inside[@]}" "$talk" latency $server4 500
    passes "$1: 100 connections at once" "${inside[@]}" "$talk" crowd $server4 100 0
    status 0 "$1: names, over TCP" "${inside[@]}" dig +time=10 +tries=1 +short @$server4 +tcp www.example.test A
    says "and found" "^$server4\$"
    status 0 "$1: names, over UDP" "${inside[@]}" dig +time=10 +tries=1 +short @$server4 www.example.test A
    says "and found" "^$server4\$"
}

through_microsocks()
{
    tunnel_open -v --via socks5://user:secret@127.0.0.1:1080
    streams microsocks
    passes "microsocks: a page over IPv6" "${inside[@]}" curl -sS -g -o /dev/null "http://[$server6]:8080/page"
    passes "microsocks: a closed port is refused" "${inside[@]}" "$talk" refused $server4 9 ECONNREFUSED
    passes "microsocks: datagrams are refused, since it carries none" \
        "${inside[@]}" "$talk" udp-error $server4 8 ECONNREFUSED
    tunnel_close
    tunnel_open -v --via socks5://user:wrong@127.0.0.1:1080
    passes "microsocks: a wrong password is a refused connection" \
        "${inside[@]}" "$talk" refused $server4 8080 'ECONNREFUSED|EHOSTUNREACH'
    tunnel_close
    says "and adit says why" 'refuses the user or the password' $run/tunnel
}

through_dante()
{
    tunnel_open -v --via socks5://127.0.0.1:1081
    streams dante
    passes "dante: a lot up, and a half-close" "${inside[@]}" "$talk" upload $server4 "$(megabytes 100 20)"
    passes "dante: a lot down, and a half-close" "${inside[@]}" "$talk" download $server4 "$(megabytes 100 20)"
    passes "dante: a closed port is refused" "${inside[@]}" "$talk" refused $server4 9 ECONNREFUSED
    passes "dante: 10 bursts of 64 datagrams of 1,200 to 1,350 octets" "${inside[@]}" "$talk" udp-burst $server4 64 10
    passes "dante: datagrams of 1, 1,472 and 4,000 octets" "${inside[@]}" "$talk" udp-size $server4 1 1472 4000
    passes "dante: trains" "${inside[@]}" "$talk" udp-trains $server4 20 1200
    tunnel_close
}

setup
in_turn through_microsocks through_dante
[ $failed = 0 ] || sed 's/^/     | /' $run/danted.errors
finish
