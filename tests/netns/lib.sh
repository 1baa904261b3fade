# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the namespace suites share. A suite sources it first, then calls `enter "$@"`, `arguments "$@"`, `need ...`, `topology`,
# and its cases; its last line is `finish`.
#
# SUITE ADIT [--stack STACK] [--engine ENGINE] [--kernel-for PORTS] [--workers N] [--amount brief] [--only WORD]: every suite
# runs on every stack and engine, and the rows are in meson.build; brief is the same cases with less payload. Who carried TCP is
# read from the summary of each adit: one that fell back to something else is a failure. Where a case needs what the engine bpf
# cannot have (payload, an ordinary user), it says so: `instead=REASON tunnel_open`, or `open_exec` and `carried FILE REASON`;
# then nat must have carried it, and adit must have said that reason.
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
export run=/run/test # what a suite says in single quotes finds it, too
export www=$run/www  # what the web servers serve
stacks=$run/stacks   # what each adit said of its stack
server=server
server4=10.99.0.2
server6=fd99::2
adit=   # the suite's first argument
stack=  # "": what adit takes by itself
engine= # of stacks with the kernel's TCP
only=   # cases whose names contain it
amount=full
adit_exec=() # adit exec, on that stack and engine
open_exec=() # the same without bpf, which adit itself gives up
failed=0
turn=0 # of the case, among those that run together
adit_pid= # of the open tunnel
tunnel_instead= # why it is not on bpf; "": it is, if asked for
on_server=(ip netns exec "$server")
inside=() # what leads a client into the network of its command

enter()
{
    [ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
    if [ "${NETNS_ENTERED:-}" = "" ]; then
        NETNS_ENTERED=1 setpriv --pdeathsig KILL \
            unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$BASH" "$0" "$@" &
        entered=$!
        trap 'kill -KILL $entered' INT TERM HUP
        wait $entered
        exit
    fi
    unset NETNS_ENTERED
    mount -t tmpfs -o mode=0755 run /run
    mkdir -p /run/netns $run
    mount -t tmpfs -o dev,mode=0755 node /dev/net
    mknod -m 0666 /dev/net/tun c 10 200
}

# arguments "$@": of every suite.
arguments()
{
    local others=()
    adit=$1
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --only) only=$2 ;;
        --stack) stack=$2 ;;
        --engine) engine=$2 ;;
        --amount) amount=$2 ;;
        --kernel-for | --workers) others+=("$1" "$2") ;;
        *) echo "FAIL unknown: $1"; exit 1 ;;
        esac
        shift 2
    done
    open_exec=("$adit" exec ${stack:+--stack "$stack"} "${others[@]}")
    adit_exec=("${open_exec[@]}" ${engine:+--engine "$engine"})
    [ "$engine" = bpf ] || open_exec=("${adit_exec[@]}")
}

# megabytes FULL BRIEF: what a case moves in this row, in octets.
megabytes()
{
    if [ "$amount" = brief ]; then
        echo "${2}000000"
    else
        echo "${1}000000"
    fi
}

wanted()
{
    case $1 in
    *"$only"*) return 0 ;;
    esac
    return 1
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
    ulimit -Sn 16384
    ip link set lo up
    common_congestion_control
    sysctl -qw net.ipv4.ping_group_range='0 2147483647'
    ip netns add $server
    "${on_server[@]}" "$BASH" -c common_congestion_control
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

# serve_pages ADDRESS [COMMAND...]: a web server where COMMAND leads to: /page, and what else a suite puts into $www.
serve_pages()
{
    local address=$1
    shift
    mkdir -p $www
    echo "a page" >$www/page
    (cd $www && exec "$@" python3 -m http.server --bind :: 8080) >/dev/null 2>&1 &
    wait_for curl -s -o /dev/null "http://$address:8080/"
}

# serve NAME COMMAND...: in the server's network, until it says "ready".
serve()
{
    local name=$1
    shift
    "${on_server[@]}" "$@" >"$run/$name" 2>&1 &
    wait_for grep -q ready "$run/$name"
}

# Until it succeeds, for at most $wait_s, else 30 s.
wait_for()
{
    local _
    for _ in $(seq $((${wait_s:-30} * 10))); do
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
    timeout -k 1 "${limit_s:-120}" "$@" >$run/out 2>&1 </dev/null
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

# talks SENTENCE CASE NUMBER...: a case of talk.py over IPv4 and over IPv6.
talks()
{
    local sentence=$1 case=$2
    shift 2
    passes "$sentence, IPv4" "${inside[@]}" "$talk" "$case" $server4 "$@"
    passes "$sentence, IPv6" "${inside[@]}" "$talk" "$case" $server6 "$@"
}

# in_turn CASE...: one after the other, those that are wanted. A case is a function, perhaps with arguments.
in_turn()
{
    local name
    for name in "$@"; do
        wanted "$name" || continue
        echo "-- $name"
        $name || failed=1
    done
}

# together CASE...: cases that mostly wait, at the same time, each with a $run and a $turn of its own. What they say comes in
# their order.
together()
{
    local name jobs=()
    for name in "$@"; do
        wanted "$name" || continue
        turn=$((turn + 1))
        (
            run=$run/$name
            mkdir "$run"
            failed=0
            $name || failed=1
            exit $failed
        ) >"$run/said.$name" 2>&1 &
        jobs+=("$name" $!)
    done
    set -- "${jobs[@]}"
    while [ $# -gt 0 ]; do
        wait "$2" || failed=1
        echo "-- $1"
        cat "$run/said.$1"
        shift 2
    done
}

# at_most SENTENCE NUMBER LIMIT: numbers may have decimals.
at_most()
{
    awk -v n="$2" -v max="$3" 'BEGIN { exit !(n != "" && n + 0 <= max + 0) }'
    report $? "$1: $2, at most $3"
}

# memory_at_most SENTENCE NUMBER LIMIT: the same of adit's memory; with a sanitizer's beside it, it is told and not judged.
memory_at_most()
{
    if grep -q __asan_init "$adit"; then
        echo "     $1: $2, with the sanitizer's"
    else
        at_most "$@"
    fi
}

# ---- a tunnel for many cases ----

tunnel_open()
{
    local command=("${adit_exec[@]}")
    tunnel_instead=${instead:-}
    [ -z "$tunnel_instead" ] || command=("${open_exec[@]}")
    rm -f $run/end $run/command
    mkfifo $run/end
    "${command[@]}" --summary "$@" -- sh -c "echo \$\$ >$run/command; exec cat $run/end" >$run/tunnel 2>&1 &
    adit_pid=$!
    wait_for test -s $run/command
    # shellcheck disable=SC2034 # the suites use it
    inside=(nsenter -t "$(cat $run/command)" -n -m --)
}

# carried [FILE [REASON]]: the summary in there has the stack and the engine that were asked for, and TCP flows where they belong.
# Says something only when it is not so. REASON: bpf could not be had, so nat has its place and that is the reason.
carried()
{
    local file=${1:-$run/tunnel} by=${engine:-none} why='' rc
    [ -n "$stack" ] || return 0
    [ -z "${2:-}" ] || [ "$engine" != bpf ] || by=nat why=", fallback: .*$2.*"
    case $stack in
    userspace) set -- "none, 0 of [0-9]+ tcp flows" ;;
    system) set -- "$by, ([0-9]+) of \\1 tcp flows" ;;
    mixed) set -- "($by, [0-9]+|none, 0) of [0-9]+ tcp flows" ;;
    esac
    grep -E '^adit: stack ' "$file" >>$stacks
    grep -qE "^adit: stack $stack, engine $1 in the kernel$why\$" "$file"
    rc=$?
    [ $rc = 0 ] || { report 1 "carried by $stack $engine${why}"; sed 's/^/     | /' "$file"; }
}

# Over all tunnels of the suite both halves of mixed carried flows.
both_halves()
{
    [ "$stack" = mixed ] || return 0
    awk '{ kernel += $6; all += $8 } END { print kernel " of " all; exit !(kernel > 0 && kernel < all) }' $stacks >$run/out
    report $? "both halves of mixed had flows: $(cat $run/out) by the kernel"
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
    carried $run/tunnel "$tunnel_instead"
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

# comes_to SENTENCE LIMIT: adit's memory in kB is, or within 10 s becomes, at most that.
comes_to()
{
    local _ now
    for _ in $(seq 50); do
        now=$(adit_memory)
        [ "$now" -gt "$2" ] || break
        sleep 0.2
    done
    memory_at_most "$1" "$now" "$2"
}

finish()
{
    both_halves
    exit $failed
}
