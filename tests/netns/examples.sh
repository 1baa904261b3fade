#!/bin/bash
# SPDX-License-Identifier: MIT
#
# examples.sh DIRECT ECHO SOCKS5 STACK...: the examples do what they show, direct on each of these stacks. As root.
# The topology is smaller than that of lib.sh:
#
#    the test's own network                               $app
#  +---------------------------------------------+      +----------------------+
#  | 10.98.0.1, 198.51.100.1 (lo):                |      | clients              |
#  |   http.server :8080, udp_check.py :7         | TUN  |                      |
#  | socks5d.py 127.0.0.1:1080                    |======| 10.77.0.1, fd77::1   |
#  | the example                                  |      |                      |
#  +---------------------------------------------+      +----------------------+
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
need curl curl ping iputils-ping socat socat python3 python3

direct=$1 echo=$2 socks5=$3
shift 3
app=app
example=

setup()
{
    ip netns add $app
    ip -n $app link set lo up
    ip link set lo up
    ip addr add 10.98.0.1/32 dev lo
    ip addr add 198.51.100.1/32 dev lo
    serve_pages 10.98.0.1
    head -c 5000000 /dev/urandom >$www/big
    "$here/udp_check.py" serve 10.98.0.1 7 >$run/udp &
    "$here/socks5d.py" --port 1080 >$run/socks5d &
    wait_for grep -q ready $run/udp
    wait_for grep -q ready $run/socks5d
}

start()
{
    "$@" >$run/example &
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
    status 0 "echo: so does a lot" sh -c 'socat -t5 - TCP:10.77.0.3:4711 <$www/big | cmp - $www/big'
    interrupt
}

# direct_carries STACK
direct_carries()
{
    local in=(ip netns exec "$app") kernel=0
    start "$direct" adit0 $app "$1"
    wait_for device_is_up -n $app
    status 0 "direct, $1: a page" "${in[@]}" curl -sS http://10.98.0.1:8080/page
    status 0 "direct, $1: a large download is intact" "${in[@]}" sh -c \
        'curl -sS http://10.98.0.1:8080/big | cmp - $www/big'
    status 7 "direct, $1: a closed port is refused" "${in[@]}" curl -sS -m 5 http://10.98.0.1:9/
    status 0 "direct, $1: a datagram" "${in[@]}" "$here/udp_check.py" ask 10.98.0.1 7
    status 0 "direct, $1: a ping" "${in[@]}" ping -c 1 -W 5 10.98.0.1
    interrupt
    says "direct, $1: the status has that stack" "^stack: $1\$" $run/example
    [ "$1" != system ] || kernel=3
    says "direct, $1: and its flows are where they belong" "^tcp-kernel: .* $kernel in all" $run/example
}

socks5_has_a_rule()
{
    local in=(ip netns exec "$app")
    start "$socks5" socks5://127.0.0.1:1080 adit0 $app
    wait_for device_is_up -n $app
    status 0 "socks5: a page" "${in[@]}" curl -sS http://198.51.100.1:8080/page
    status 7 "socks5: a private address is refused" "${in[@]}" curl -sS -m 5 http://10.98.0.1:8080/page
    interrupt
    ! grep -q 'connect 10.98.0.1' $run/socks5d
    report $? "socks5: and the server never heard of it"
    status 2 "socks5: a bad URL" "$socks5" socks5://host
}

setup
in_turn echo_answers
for name in "$@"; do
    in_turn "direct_carries $name"
done
in_turn socks5_has_a_rule
finish
