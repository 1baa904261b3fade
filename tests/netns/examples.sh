#!/bin/bash
# SPDX-License-Identifier: MIT
#
# examples.sh DIRECT ECHO SOCKS5: the examples do what they show. As root; it works in namespaces of its own and leaves
# nothing behind.
#
#    the test's own network                               $app
#  +---------------------------------------------+      +----------------------+
#  | 10.98.0.1, 198.51.100.1 (lo):                |      | clients              |
#  |   http.server :8080, udp_check.py :7         | TUN  |                      |
#  | socks5d.py 127.0.0.1:1080                    |======| 10.77.0.1, fd77::1   |
#  | the example                                  |      |                      |
#  +---------------------------------------------+      +----------------------+
set -u
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
if [ "${EXAMPLES_SH_INSIDE:-}" = "" ]; then
    EXAMPLES_SH_INSIDE=1 exec unshare --net --mount --propagation private "$BASH" "$0" "$@"
fi

direct=$1 echo=$2 socks5=$3
here=$(cd "$(dirname "$0")" && pwd)
app=app
failed=0
pids=()
example=

cleanup()
{
    for pid in "${pids[@]}" $example; do
        kill "$pid"
        wait "$pid"
    done 2>/dev/null
    ip netns del $app
}

setup()
{
    mount -t tmpfs -o mode=0755 run /run
    mkdir -p /run/netns /run/test/www
    mount -t tmpfs -o dev,mode=0755 node /dev/net
    mknod -m 0666 /dev/net/tun c 10 200
    ip netns add $app
    ip -n $app link set lo up
    ip link set lo up
    ip addr add 10.98.0.1/32 dev lo
    ip addr add 198.51.100.1/32 dev lo

    echo "a page" >/run/test/www/page
    head -c 5000000 /dev/urandom >/run/test/www/big
    (cd /run/test/www && exec python3 -m http.server 8080) >/dev/null 2>&1 &
    pids+=($!)
    "$here/udp_check.py" serve 10.98.0.1 7 >/run/test/udp &
    pids+=($!)
    "$here/socks5d.py" --port 1080 >/run/test/socks5d &
    pids+=($!)
    wait_for curl -s -o /dev/null http://10.98.0.1:8080/
    wait_for grep -q ready /run/test/udp
    wait_for grep -q ready /run/test/socks5d
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

report()
{
    if [ "$1" = 0 ]; then
        echo "ok   $2"
    else
        echo "FAIL $2"
        failed=1
    fi
}

# status N SENTENCE COMMAND...
status()
{
    local want=$1 sentence=$2
    shift 2
    timeout -k 1 20 "$@" >/run/test/out 2>&1 </dev/null
    local got=$?
    [ $got = "$want" ]
    report $? "$sentence"
    [ $got = "$want" ] || { echo "     status $got, not $want: $*"; sed 's/^/     | /' /run/test/out; }
}

start()
{
    "$@" &
    example=$!
}

interrupt()
{
    kill -INT "$example"
    wait "$example"
    report $? "SIGINT ends it in order"
    example=
}

device_is_up()
{
    ip "$@" addr show dev adit0 2>/dev/null | grep -q 'inet 10.77.0.1'
}

echo_answers()
{
    start "$echo"
    wait_for device_is_up
    status 0 "echo: what is said comes back" sh -c 'test "$(echo hello | socat -t5 - TCP:10.77.0.2:7)" = hello'
    status 0 "echo: so does a lot" sh -c 'socat -t5 - TCP:10.77.0.3:4711 </run/test/www/big | cmp - /run/test/www/big'
    interrupt
}

direct_carries()
{
    local in=(ip netns exec $app)
    start "$direct" adit0 $app
    wait_for device_is_up -n $app
    status 0 "direct: a page" "${in[@]}" curl -sS http://10.98.0.1:8080/page
    status 0 "direct: a large download is intact" "${in[@]}" sh -c \
        'curl -sS http://10.98.0.1:8080/big | cmp - /run/test/www/big'
    status 7 "direct: a closed port is refused" "${in[@]}" curl -sS -m 5 http://10.98.0.1:9/
    status 0 "direct: a datagram" "${in[@]}" "$here/udp_check.py" ask 10.98.0.1 7
    status 0 "direct: a ping" "${in[@]}" ping -c 1 -W 5 10.98.0.1
    interrupt
}

socks5_has_a_rule()
{
    local in=(ip netns exec $app)
    start "$socks5" socks5://127.0.0.1:1080 adit0 $app
    wait_for device_is_up -n $app
    status 0 "socks5: a page" "${in[@]}" curl -sS http://198.51.100.1:8080/page
    status 7 "socks5: a private address is refused" "${in[@]}" curl -sS -m 5 http://10.98.0.1:8080/page
    interrupt
    ! grep -q 'connect 10.98.0.1' /run/test/socks5d
    report $? "socks5: and the server never heard of it"
    status 2 "socks5: a bad URL" "$socks5" socks5://host
}

trap cleanup EXIT
setup
echo_answers
direct_carries
socks5_has_a_rule
exit $failed
