# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the namespace suites share. A suite sources it first, then calls `enter "$@"`, `need ...`, `topology`, and its cases; its
# last line is `finish`.
#
# enter runs the suite again in network, mount and PID namespaces of its own, with a /run and a /dev/net of its own. The names
# in there are nobody else's, and whatever happens to the suite (a signal, a time limit, kill -9) the kernel ends its processes
# and takes its namespaces away.
#
#    $server                        the suite's own network              made by adit exec
#  +-----------------------+      +--------------------------+      +------------------------+
#  | talk.py serve         | veth | adit's sockets           | TUN  | the clients ($inside)  |
#  | 10.99.0.2, fd99::2    |------| 10.99.0.1, fd99::1       |======| adit0: 192.0.0.1       |
#  | $extra on request     |      | proxies on 127.0.0.1     |      | fd61:6469:7400::1      |
#  +-----------------------+      +--------------------------+      +------------------------+
#
# One adit serves many cases: `tunnel_open OPTION...` starts it with a command that waits, and `"${inside[@]}" CLIENT` runs
# a client in that command's namespaces. `tunnel_close` ends it and keeps its summary in $run/tunnel.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
talk=$here/talk.py
run=/run/test
server=server
server4=10.99.0.2
server6=fd99::2
adit=${adit:-} # the suite's first argument
failed=0
adit_pid= # of the open tunnel
inside=() # what leads a client into the network of its command

enter()
{
    [ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
    if [ "${NETNS_ENTERED:-}" = "" ]; then
        NETNS_ENTERED=1 setpriv --pdeathsig KILL \
            unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$BASH" "$0" "$@" &
        trap "kill -KILL $!" INT TERM HUP
        wait $!
        exit
    fi
    unset NETNS_ENTERED
    mount -t tmpfs -o mode=0755 run /run
    mkdir -p /run/netns $run
    mount -t tmpfs -o dev,mode=0755 node /dev/net
    mknod -m 0666 /dev/net/tun c 10 200
}

# need PROGRAM PACKAGE...: a tool that is missing is a failure.
need()
{
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || { echo "FAIL $1 is missing: apt-get install $2"; exit 1; }
        shift 2
    done
}

# What most machines have, if this one allows it in a namespace.
common_congestion_control()
{
    sysctl -qw net.ipv4.tcp_congestion_control=cubic 2>/dev/null
}
export -f common_congestion_control

# Duplicate address detection is over: addresses and routes stay as they are.
settled()
{
    ! ip -6 addr | grep -q tentative
}

# The server's own network, and the link to it.
topology()
{
    ulimit -n 16384
    ip link set lo up
    common_congestion_control
    sysctl -qw net.ipv4.ping_group_range='0 2147483647'
    ip netns add $server
    ip netns exec $server "$BASH" -c common_congestion_control
    ip link add wire0 type veth peer name wire1 netns $server
    ip addr add 10.99.0.1/24 dev wire0
    ip addr add fd99::1/64 dev wire0 nodad
    ip link set wire0 up
    ip -n $server addr add $server4/24 dev wire1
    ip -n $server addr add $server6/64 dev wire1 nodad
    ip -n $server link set wire1 up
    ip -n $server link set lo up
    wait_for settled
    printf 'nameserver %s\n' $server4 >$run/resolv.conf
    mount --bind $run/resolv.conf "$(readlink -f /etc/resolv.conf)"
    serve talk "$talk" serve $server4 $server6
}

# serve NAME COMMAND...: in the server's network, until it says "ready".
serve()
{
    local name=$1
    shift
    ip netns exec $server "$@" >"$run/$name" 2>&1 &
    wait_for grep -q ready "$run/$name"
}

# Until it succeeds, for at most 10 s.
wait_for()
{
    local _
    for _ in $(seq 100); do
        "$@" 2>/dev/null && return
        sleep 0.1
    done
    echo "FAIL gave up waiting for: $*"
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

# status N SENTENCE COMMAND...: the command exits with N; what it said is in $run/out and, when it fails, here.
status()
{
    local want=$1 sentence=$2 got
    shift 2
    timeout -k 1 "${limit_s:-60}" "$@" >$run/out 2>&1 </dev/null
    got=$?
    [ $got = "$want" ]
    report $? "$sentence"
    [ $got = "$want" ] || { echo "     status $got, not $want: $*"; sed 's/^/     | /' $run/out; }
    return 0
}

# passes SENTENCE COMMAND...: status 0; what it said stands behind the sentence.
passes()
{
    status 0 "$@"
    [ ! -s $run/out ] || [ "$(wc -l <$run/out)" -gt 1 ] || sed 's/^/     /' $run/out
}

# says SENTENCE PATTERN [FILE]
says()
{
    local file=${3:-$run/out} rc
    grep -qE -- "$2" "$file"
    rc=$?
    report $rc "$1"
    [ $rc = 0 ] || { echo "     not found: $2"; sed 's/^/     | /' "$file"; }
}

# at_most SENTENCE NUMBER LIMIT: numbers may have decimals.
at_most()
{
    awk -v n="$2" -v max="$3" 'BEGIN { exit !(n != "" && n + 0 <= max + 0) }'
    report $? "$1: $2, at most $3"
}

# ---- a tunnel for many cases ----

tunnel_open()
{
    rm -f $run/end $run/command
    mkfifo $run/end
    "$adit" exec --summary "$@" -- sh -c "echo \$\$ >$run/command; exec cat $run/end" >$run/tunnel 2>&1 &
    adit_pid=$!
    wait_for test -s $run/command
    # shellcheck disable=SC2034 # the suites use it
    inside=(nsenter -t "$(cat $run/command)" -n -m --)
}

# tunnel_close: adit ends with its command, says its summary, and nothing of it stays behind.
tunnel_close()
{
    local rc
    echo >$run/end
    wait "$adit_pid"
    rc=$?
    [ $rc = 0 ]
    report $? "adit ends in order"
    grep '^adit:' $run/tunnel | sed 's/^/     /'
    adit_pid=
}

# CPU seconds that adit itself has used: user and system.
adit_cpu()
{
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$adit_pid/stat"
}

# adit's own memory in kB: what it has written to, without its program's pages.
adit_memory()
{
    awk '/^Anonymous:/ { print $2 }' "/proc/$adit_pid/smaps_rollup"
}

finish()
{
    exit $failed
}
