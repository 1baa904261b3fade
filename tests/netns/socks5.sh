#!/bin/bash
# SPDX-License-Identifier: MIT
#
# socks5.sh ADIT [OPTION...]: the handler socks5 in front of good and bad servers. As root. The options are in lib.sh; the
# topology is smaller than the one there:
#
#    the test's own network                                             made by adit
#  +----------------------------------------------------------+      +----------------------+
#  | 10.98.0.1, fd98::1 (lo):                                  |      | the command          |
#  |   http.server :8080, named.py :53, udp_check.py :7        | TUN  |                      |
#  |   a server that speaks first :2222                        |======| 192.0.0.1            |
#  | socks5d.py 127.0.0.1:$port, one for each test             |      | fd61:6469:7400::1    |
#  +----------------------------------------------------------+      +----------------------+
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need curl curl dig bind9-dnsutils ping iputils-ping socat socat python3 python3

daemon=
servers=0 # of this case so far
through=() # adit, by way of the server

setup()
{
    ip link set lo up
    ip addr add 10.98.0.1/32 dev lo
    ip addr add fd98::1/128 dev lo nodad
    serve_pages 10.98.0.1
    head -c 20000000 /dev/urandom >$www/big
    socat TCP-LISTEN:2222,bind=10.98.0.1,fork,reuseaddr EXEC:'echo spoken first' &
    "$here/udp_check.py" serve 10.98.0.1 7 >$run/echo4 &
    "$here/udp_check.py" serve fd98::1 7 >$run/echo6 &
    "$here/named.py" 10.98.0.1 192.0.2.1 2001:db8::1 >$run/named &
    wait_for grep -q ready $run/named
    wait_for grep -q ready $run/echo4
    wait_for grep -q ready $run/echo6
}

# server MODE...: a socks5d.py in the place of the one before. What it says goes to $run/socks5d.
server()
{
    stop_server
    servers=$((servers + 1))
    port=$((1000 + 100 * turn + servers))
    start_server "$@"
    through=("${adit_exec[@]}" --summary -v --via "socks5://127.0.0.1:$port" --)
}

start_server()
{
    rm -f $run/socks5d # or the "ready" of the one before is read
    "$here/socks5d.py" --port $port "$@" >$run/socks5d &
    daemon=$!
    wait_for grep -qs ready $run/socks5d
}

stop_server()
{
    [ -z "$daemon" ] && return
    kill $daemon
    wait $daemon 2>/dev/null
    daemon=
}

with_account()
{
    through=("${adit_exec[@]}" --summary -v --via "socks5://$1@127.0.0.1:$port" --)
}

# tries N SENTENCE COMMAND...: status, through the server.
tries()
{
    status "$1" "$2" "${through[@]}" "${@:3}"
    carried $run/out
}

saw()
{
    says "$1" "$2" $run/socks5d
}

page=(curl -sS -m 8 http://10.98.0.1:8080/page)

a_good_server()
{
    server
    tries 0 "a page over IPv4" "${page[@]}"
    says "is the page" '^a page$'
    saw "the server connected" 'connect 10.98.0.1 8080'
    tries 0 "a page over IPv6" curl -sS -m 8 -g 'http://[fd98::1]:8080/page'
    tries 0 "a large download is intact" \
        sh -c 'curl -sS http://10.98.0.1:8080/big | cmp - $www/big'
    tries 7 "a closed port is refused" curl -sS -m 8 http://10.98.0.1:9/
    tries 0 "two pages, one after the other" sh -c \
        'curl -sS http://10.98.0.1:8080/page && sleep 0.5 && curl -sS http://10.98.0.1:8080/page'
    saw "the second greeting was pipelined" 'pipelined'
    tries 1 "a ping does not go round the server" ping -c 1 -W 5 10.98.0.1
    says "and is told so" 'Packet filtered|prohibited'
}

ways_to_greet()
{
    local two=(sh -c 'for i in 1 2; do curl -sS -m 8 http://10.98.0.1:8080/page || exit; sleep 0.5; done')
    server --user user --password 'p@ss'
    with_account user:p%40ss
    tries 0 "an account, stepwise and pipelined" "${two[@]}"
    saw "the second was pipelined" 'pipelined'
    with_account user:wrong
    tries 7 "a wrong password is a refused connection" "${page[@]}"
    says "and it is said why" 'refuses the user or the password'
    through=("${adit_exec[@]}" --summary -v --via "socks5://127.0.0.1:$port" --)
    tries 7 "so is a missing account" "${page[@]}"
    says "and it is said why" 'wants a user and password'
    server --user user --password word slow
    with_account user:word
    tries 0 "a server that answers octet by octet" "${two[@]}"
    server --user user --password word unasked
    with_account user:word
    tries 0 "a server that does not ask for the account" "${two[@]}"
    server
    with_account user:word
    tries 0 "a server that knows no accounts" "${two[@]}"
    server discard
    tries 0 "a server that throws away what is pipelined" \
        sh -c 'for i in 1 2 3; do curl -sS -m 2 http://10.98.0.1:8080/page || exit; sleep 2; done'
    server glued
    tries 0 "octets that come with the reply belong to the stream" \
        socat -T5 - TCP:10.98.0.1:2222
    says "and are not lost" '^spoken first$'
}

# changes SENTENCE SECOND MODE...: what was learned of a server, while the command fetched a page, is no longer
# true when it runs SECOND.
changes()
{
    local sentence=$1 second=$2
    shift 2
    rm -f $run/first $run/changed
    timeout -k 1 30 "${through[@]}" sh -c \
        "curl -sS -m 8 http://10.98.0.1:8080/page; sleep 0.5; touch $run/first
         while [ ! -e $run/changed ]; do sleep 0.1; done; $second" >$run/out 2>&1 </dev/null &
    local pid=$!
    wait_for test -e $run/first
    stop_server
    start_server "$@"
    touch $run/changed
    wait $pid
    report $? "$sentence"
}

a_server_that_changes()
{
    server --user user --password word
    with_account user:word
    changes "a server without accounts any more is greeted again, stepwise" \
        'curl -sS -m 8 http://10.98.0.1:8080/page'
    server
    changes "a server that bears pipelining no longer costs time, but no connection" \
        'curl -sS -m 15 http://10.98.0.1:8080/page && for i in 1 2 3; do
             curl -sS -m 1 http://10.98.0.1:8080/page && exit; done; exit 1' discard
}

refusals()
{
    local row
    for row in 1:refused 2:'No route to host' 3:'Network is unreachable' 4:'No route to host' 5:refused \
        6:'No route to host' 7:refused 8:'Network is unreachable' 200:refused; do
        server "reply=${row%%:*}"
        tries 1 "reply ${row%%:*} is a refusal" socat -T5 - TCP:10.98.0.1:8080
        says "of its kind" "${row#*:}"
    done
    server short=5
    tries 1 "a refusal of two octets" socat -T5 - TCP:10.98.0.1:8080
    says "is a refusal" 'refused'
}

bad_servers()
{
    local mode
    for mode in die=method die=reply die=close lie=length lie=type method=7 method=255 http; do
        server $mode
        tries 7 "a server with $mode is a refused connection" "${page[@]}"
    done
    says "and it is said that a web server is none" 'not a SOCKS5 server'
    server
    stop_server
    tries 7 "a server that is not there is a refused connection" "${page[@]}"
    says "and it is said why" 'cannot be reached: refused'
}

stalls_in_the_method()
{
    server stall=method
    tries 7 "a server that stalls before the method is given up" curl -sS -m 20 http://10.98.0.1:8080/page
}

stalls_in_the_reply()
{
    server stall=reply
    tries 7 "a server that stalls before the reply is given up" curl -sS -m 20 http://10.98.0.1:8080/page
}

datagrams()
{
    local ask=("$here/udp_check.py" ask)
    server
    tries 0 "a datagram over IPv4" "${ask[@]}" 10.98.0.1 7
    tries 0 "a datagram over IPv6" "${ask[@]}" fd98::1 7
    tries 0 "a train of 40" "${ask[@]}" 10.98.0.1 7 40 1200
    tries 0 "one of 8000 octets" "${ask[@]}" 10.98.0.1 7 1 8000
    tries 0 "a name" dig +time=10 +tries=1 +short @10.98.0.1 www.example.test A
    says "has its address" '^192.0.2.1$'
    wait_for grep -q 'associate end' $run/socks5d
    report $? "the association ends with the mapping"
    for mode in bound=any bound=name; do
        server $mode
        tries 0 "a server with $mode" "${ask[@]}" 10.98.0.1 7
    done
    server udp=fragments
    tries 0 "fragments, garbage and strangers are dropped" "${ask[@]}" 10.98.0.1 7
    server udp=die
    tries 1 "an association that dies" "${ask[@]}" 10.98.0.1 7
    server --user user --password word slow
    with_account user:word
    tries 0 "an account, octet by octet" "${ask[@]}" 10.98.0.1 7
    server
    stop_server
    tries 111 "a server that is not there" "${ask[@]}" 10.98.0.1 7
}

no_datagrams()
{
    local mode
    for mode in udp=refuse udp=close; do
        server $mode
        tries 111 "with $mode a datagram is refused" "$here/udp_check.py" ask 10.98.0.1 7
        says "and it is said why" 'does not carry UDP'
        tries 0 "but names are asked for over TCP" dig +time=10 +tries=1 +short @10.98.0.1 www.example.test A
        says "and found" '^192.0.2.1$'
        saw "by the server" 'connect 10.98.0.1 53'
    done
}

setup
together stalls_in_the_method stalls_in_the_reply ways_to_greet a_server_that_changes
together a_good_server refusals bad_servers datagrams no_datagrams
finish
