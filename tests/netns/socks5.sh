#!/bin/bash
# SPDX-License-Identifier: MIT
#
# socks5.sh ADIT: the handler socks5 in front of good and bad servers. As root; it works in namespaces of its own and
# leaves nothing behind.
#
#    the test's own network                                             made by adit
#  +----------------------------------------------------------+      +----------------------+
#  | 10.98.0.1, fd98::1 (lo):                                  |      | the command          |
#  |   http.server :8080, named.py :53, udp_check.py :7        | TUN  |                      |
#  |   a server that speaks first :2222                        |======| 192.0.0.1            |
#  | socks5d.py 127.0.0.1:$port, one for each test             |      | fd61:6469:7400::1    |
#  +----------------------------------------------------------+      +----------------------+
set -u
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
if [ "${SOCKS5_SH_INSIDE:-}" = "" ]; then
    SOCKS5_SH_INSIDE=1 exec unshare --net --mount --propagation private "$BASH" "$0" "$@"
fi

adit=$1
here=$(cd "$(dirname "$0")" && pwd)
failed=0
pids=()
daemon=
port=1080
run=()

cleanup()
{
    for pid in "${pids[@]}" $daemon; do
        kill "$pid"
        wait "$pid"
    done 2>/dev/null
}

setup()
{
    mount -t tmpfs -o mode=0755 run /run
    mkdir /run/test
    mount -t tmpfs -o dev,mode=0755 node /dev/net
    mknod -m 0666 /dev/net/tun c 10 200
    ip link set lo up
    ip addr add 10.98.0.1/32 dev lo
    ip addr add fd98::1/128 dev lo nodad

    mkdir /run/test/www
    echo "a page" >/run/test/www/page
    head -c 20000000 /dev/urandom >/run/test/www/big
    (cd /run/test/www && exec python3 -m http.server --bind :: 8080) >/dev/null 2>&1 &
    pids+=($!)
    socat TCP-LISTEN:2222,bind=10.98.0.1,fork,reuseaddr EXEC:'echo spoken first' &
    pids+=($!)
    "$here/udp_check.py" serve 10.98.0.1 7 >/run/test/echo4 &
    pids+=($!)
    "$here/udp_check.py" serve fd98::1 7 >/run/test/echo6 &
    pids+=($!)
    "$here/named.py" 10.98.0.1 192.0.2.1 2001:db8::1 >/run/test/named &
    pids+=($!)
    wait_for curl -s -o /dev/null http://10.98.0.1:8080/
    wait_for grep -q ready /run/test/named
    wait_for grep -q ready /run/test/echo4
    wait_for grep -q ready /run/test/echo6
}

# Until it succeeds, for at most 10 s.
wait_for()
{
    for _ in $(seq 100); do
        "$@" && return
        sleep 0.1
    done
    echo "gave up waiting for: $*"
    exit 1
}

# server MODE...: a socks5d.py in the place of the one before. What it says goes to /run/test/socks5d.
server()
{
    stop_server
    port=$((port + 1))
    start_server "$@"
    run=("$adit" exec -v --via "socks5://127.0.0.1:$port" --)
}

start_server()
{
    rm -f /run/test/socks5d # or the "ready" of the one before is read
    "$here/socks5d.py" --port $port "$@" >/run/test/socks5d &
    daemon=$!
    wait_for grep -qs ready /run/test/socks5d
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
    run=("$adit" exec -v --via "socks5://$1@127.0.0.1:$port" --)
}

report()
{
    if [ "$1" = 0 ]; then
        echo "ok   $2"
    else
        echo "FAIL $2"
        failed=1
    fi
}

# status N SENTENCE COMMAND...: the command exits with N. Its output goes to /run/test/out.
status()
{
    local want=$1 sentence=$2
    shift 2
    timeout -k 1 30 "${run[@]}" "$@" >/run/test/out 2>&1 </dev/null
    local got=$?
    [ $got = "$want" ]
    report $? "$sentence"
    [ $got = "$want" ] || { echo "     status $got, not $want: $*"; sed 's/^/     | /' /run/test/out; }
}

# says SENTENCE PATTERN [FILE]: what the last command, or another, printed matches.
says()
{
    grep -qE -- "$2" "${3:-/run/test/out}"
    local rc=$?
    report $rc "$1"
    [ $rc = 0 ] || { echo "     not found: $2"; sed 's/^/     | /' "${3:-/run/test/out}"; }
}

saw()
{
    says "$1" "$2" /run/test/socks5d
}

page=(curl -sS -m 8 http://10.98.0.1:8080/page)

a_good_server()
{
    server
    status 0 "a page over IPv4" "${page[@]}"
    says "is the page" '^a page$'
    saw "the server connected" 'connect 10.98.0.1 8080'
    status 0 "a page over IPv6" curl -sS -m 8 -g 'http://[fd98::1]:8080/page'
    status 0 "a large download is intact" \
        sh -c 'curl -sS http://10.98.0.1:8080/big | cmp - /run/test/www/big'
    status 7 "a closed port is refused" curl -sS -m 8 http://10.98.0.1:9/
    status 0 "two pages, one after the other" sh -c \
        'curl -sS http://10.98.0.1:8080/page && sleep 0.5 && curl -sS http://10.98.0.1:8080/page'
    saw "the second greeting was pipelined" 'pipelined'
    status 1 "a ping does not go round the server" ping -c 1 -W 2 10.98.0.1
    says "and is told so" 'Packet filtered|prohibited'
}

ways_to_greet()
{
    local two=(sh -c 'for i in 1 2; do curl -sS -m 8 http://10.98.0.1:8080/page || exit; sleep 0.5; done')
    server --user user --password 'p@ss'
    with_account user:p%40ss
    status 0 "an account, stepwise and pipelined" "${two[@]}"
    saw "the second was pipelined" 'pipelined'
    with_account user:wrong
    status 7 "a wrong password is a refused connection" "${page[@]}"
    says "and it is said why" 'refuses the user or the password'
    run=("$adit" exec -v --via "socks5://127.0.0.1:$port" --)
    status 7 "so is a missing account" "${page[@]}"
    says "and it is said why" 'wants a user and password'
    server --user user --password word slow
    with_account user:word
    status 0 "a server that answers octet by octet" "${two[@]}"
    server --user user --password word unasked
    with_account user:word
    status 0 "a server that does not ask for the account" "${two[@]}"
    server
    with_account user:word
    status 0 "a server that knows no accounts" "${two[@]}"
    server discard
    status 0 "a server that throws away what is pipelined" \
        sh -c 'for i in 1 2 3; do curl -sS -m 2 http://10.98.0.1:8080/page || exit; sleep 2; done'
    server glued
    status 0 "octets that come with the reply belong to the stream" \
        socat -T5 - TCP:10.98.0.1:2222
    says "and are not lost" '^spoken first$'
}

# changes SENTENCE SECOND MODE...: what was learned of a server, while the command fetched a page, is no longer
# true when it runs SECOND.
changes()
{
    local sentence=$1 second=$2
    shift 2
    rm -f /run/test/first /run/test/changed
    timeout -k 1 30 "${run[@]}" sh -c \
        "curl -sS -m 8 http://10.98.0.1:8080/page; sleep 0.5; touch /run/test/first
         while [ ! -e /run/test/changed ]; do sleep 0.1; done; $second" >/run/test/out 2>&1 </dev/null &
    local pid=$!
    wait_for test -e /run/test/first
    stop_server
    start_server "$@"
    touch /run/test/changed
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
        'curl -sS -m 9 http://10.98.0.1:8080/page && curl -sS -m 1 http://10.98.0.1:8080/page' discard
}

refusals()
{
    local row
    for row in 1:refused 2:'No route to host' 3:'Network is unreachable' 4:'No route to host' 5:refused \
        6:'No route to host' 7:refused 8:'Network is unreachable' 200:refused; do
        server "reply=${row%%:*}"
        status 1 "reply ${row%%:*} is a refusal" socat -T5 - TCP:10.98.0.1:8080
        says "of its kind" "${row#*:}"
    done
    server short=5
    status 1 "a refusal of two octets" socat -T5 - TCP:10.98.0.1:8080
    says "is a refusal" 'refused'
}

bad_servers()
{
    local mode
    for mode in die=method die=reply die=close lie=length lie=type method=7 method=255 http; do
        server $mode
        status 7 "a server with $mode is a refused connection" "${page[@]}"
    done
    says "and it is said that a web server is none" 'not a SOCKS5 server'
    for mode in stall=method stall=reply; do
        server $mode
        status 7 "a server with $mode is given up" curl -sS -m 20 http://10.98.0.1:8080/page
    done
    server
    stop_server
    status 7 "a server that is not there is a refused connection" "${page[@]}"
    says "and it is said why" 'cannot be reached: refused'
}

datagrams()
{
    local ask=("$here/udp_check.py" ask)
    server
    status 0 "a datagram over IPv4" "${ask[@]}" 10.98.0.1 7
    status 0 "a datagram over IPv6" "${ask[@]}" fd98::1 7
    status 0 "a train of 40" "${ask[@]}" 10.98.0.1 7 40 1200
    status 0 "one of 8000 octets" "${ask[@]}" 10.98.0.1 7 1 8000
    status 0 "a name" dig +time=3 +tries=1 +short @10.98.0.1 www.example.test A
    says "has its address" '^192.0.2.1$'
    wait_for grep -q 'associate end' /run/test/socks5d
    report $? "the association ends with the mapping"
    for mode in bound=any bound=name; do
        server $mode
        status 0 "a server with $mode" "${ask[@]}" 10.98.0.1 7
    done
    server udp=fragments
    status 0 "fragments, garbage and strangers are dropped" "${ask[@]}" 10.98.0.1 7
    server udp=die
    status 1 "an association that dies" "${ask[@]}" 10.98.0.1 7
    server --user user --password word slow
    with_account user:word
    status 0 "an account, octet by octet" "${ask[@]}" 10.98.0.1 7
    server
    stop_server
    status 111 "a server that is not there" "${ask[@]}" 10.98.0.1 7
}

no_datagrams()
{
    local mode
    for mode in udp=refuse udp=close; do
        server $mode
        status 111 "with $mode a datagram is refused" "$here/udp_check.py" ask 10.98.0.1 7
        says "and it is said why" 'does not carry UDP'
        status 0 "but names are asked for over TCP" dig +time=3 +tries=1 +short @10.98.0.1 www.example.test A
        says "and found" '^192.0.2.1$'
        saw "by the server" 'connect 10.98.0.1 53'
    done
}

trap cleanup EXIT
setup
a_good_server
ways_to_greet
a_server_that_changes
refusals
bad_servers
datagrams
no_datagrams
exit $failed
