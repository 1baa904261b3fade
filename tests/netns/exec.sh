#!/bin/bash
# SPDX-License-Identifier: MIT
#
# exec.sh ADIT: `adit exec` with a real kernel and real clients. As root; it works in namespaces of its own and leaves
# nothing behind.
#
#   $server                    the test's own network                    made by adit
#  +-------------------+      +---------------------------------+      +----------------------+
#  | http.server :8080 |      | adit's sockets                  |      | the command          |
#  |                   | veth |                                 | TUN  |                      |
#  | 10.99.0.2         |------| 10.99.0.1                       |======| 192.0.0.1            |
#  | fd99::2           |      | fd99::1                         |      | fd61:6469:7400::1    |
#  +-------------------+      | named.py 127.0.0.53, 10.99.0.1  |      | resolv.conf:         |
#                             | http.server 127.0.0.1:8081      |      |   192.0.0.2          |
#                             | microsocks 127.0.0.1:1080       |      |                      |
#                             +---------------------------------+      +----------------------+
#
# The test's mount namespace has its own /run, /etc (resolv.conf is a link into /run, as with systemd-resolved) and
# /dev/net/tun (mode 0666, so that an ordinary user may try).
set -u
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
if [ "${EXEC_SH_INSIDE:-}" = "" ]; then
    EXEC_SH_INSIDE=1 exec unshare --net --mount --propagation private "$BASH" "$0" "$@"
fi

adit=$1
here=$(cd "$(dirname "$0")" && pwd)
server=adit-exec
ordinary=(setpriv --reuid=65534 --regid=65534 --clear-groups)
failed=0
pids=()

cleanup()
{
    for pid in "${pids[@]}"; do
        kill "$pid"
        wait "$pid"
    done 2>/dev/null
    ip netns del $server
}

setup()
{
    cp -a /etc "$(mktemp -d)/" || exit 1
    local etc=$_
    mount -t tmpfs -o mode=0755 run /run
    mkdir -p /run/netns /run/systemd/resolve /run/test
    cp -a "$etc"etc /run/test/ && rm -rf "$etc"
    mount --bind /run/test/etc /etc
    printf 'nameserver 127.0.0.53\nsearch example.test\n' >/run/systemd/resolve/stub-resolv.conf
    ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    mount -t tmpfs -o dev,mode=0755 node /dev/net
    mknod -m 0666 /dev/net/tun c 10 200

    ip link set lo up
    sysctl -qw net.ipv4.ping_group_range='0 2147483647' # as systemd sets it for ordinary users
    ip netns add $server
    ip link add exec0 type veth peer name exec1 netns $server
    ip addr add 10.99.0.1/24 dev exec0
    ip addr add fd99::1/64 dev exec0 nodad
    ip link set exec0 up
    ip -n $server addr add 10.99.0.2/24 dev exec1
    ip -n $server addr add fd99::2/64 dev exec1 nodad
    ip -n $server link set exec1 up
    ip -n $server link set lo up

    mkdir /run/test/www
    echo "a page" >/run/test/www/page
    head -c 20000000 /dev/urandom >/run/test/www/big
    (cd /run/test/www && exec ip netns exec $server python3 -m http.server --bind :: 8080) \
        >/dev/null 2>&1 &
    pids+=($!)
    (cd /run/test/www && exec python3 -m http.server --bind 127.0.0.1 8081) >/dev/null 2>&1 &
    pids+=($!)
    "$here/named.py" 127.0.0.53 10.99.0.2 fd99::2 >/run/test/named &
    pids+=($!)
    "$here/named.py" 10.99.0.1 10.99.0.2 fd99::2 >/run/test/named2 &
    pids+=($!)
    wait_for curl -s -o /dev/null http://10.99.0.2:8080/
    wait_for curl -s -o /dev/null http://127.0.0.1:8081/
    wait_for grep -q ready /run/test/named
    wait_for grep -q ready /run/test/named2
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

# status N SENTENCE COMMAND...: the command exits with N. Its output goes to /run/test/out.
status()
{
    local want=$1 sentence=$2
    shift 2
    timeout -k 1 30 "$@" >/run/test/out 2>&1 </dev/null
    local got=$?
    [ $got = "$want" ]
    report $? "$sentence"
    [ $got = "$want" ] || { echo "     status $got, not $want: $*"; sed 's/^/     | /' /run/test/out; }
}

# says SENTENCE PATTERN: what the last command printed matches.
says()
{
    grep -qE -- "$2" /run/test/out
    local rc=$?
    report $rc "$1"
    [ $rc = 0 ] || { echo "     not found: $2"; sed 's/^/     | /' /run/test/out; }
}

status_and_descriptors_pass_through()
{
    status 0 "success is passed through" "$adit" exec -- true
    status 7 "an exit status is passed through" "$adit" exec -- sh -c 'exit 7'
    status 143 "a command killed by SIGTERM is 143" "$adit" exec -- sh -c 'kill -TERM $$'
    status 127 "a command that is not found is 127" "$adit" exec -- /nonexistent/command
    status 126 "a command that is not executable is 126" "$adit" exec -- /etc/passwd
    status 0 "options after the command are the command's" "$adit" exec sh -c 'echo "$1"' sh --via
    says "and it sees them" '^--via$'
    local through
    through=$(head -c 1000000 /run/test/www/big | "$adit" exec -- cat | md5sum)
    [ "$through" = "$(head -c 1000000 /run/test/www/big | md5sum)" ]
    report $? "standard input and output are the command's own"
    [ "$("$adit" exec -- sh -c 'echo talk >&2' 2>&1 >/dev/null)" = talk ]
    report $? "standard error is the command's own"
    "$adit" exec -- sh -c 'echo lost' >&- 2>/dev/null
    [ $? != 125 ]
    report $? "a closed standard output does not get in the way"
    [ "$("$adit" exec -- sh -c 'ls /proc/self/fd | wc -l')" = "$(sh -c 'ls /proc/self/fd | wc -l')" ]
    report $? "no descriptor of adit's own is left in the command"
}

signals_pass_through()
{
    mkfifo /run/test/fifo
    "$adit" exec -- sh -c 'trap "exit 42" TERM; echo ready; while :; do sleep 0.05; done' \
        >/run/test/fifo &
    local pid=$!
    read -r </run/test/fifo
    kill -TERM $pid
    wait $pid
    [ $? = 42 ]
    report $? "SIGTERM is forwarded, and the command decides what it means"
    "$here/exec_tty.py" "$adit"
    [ $? = 0 ] || failed=1
}

names_and_connections()
{
    local run=("$@")
    status 0 "a page over IPv4" "${run[@]}" curl -sS http://10.99.0.2:8080/page
    says "is the page" '^a page$'
    status 0 "a page over IPv6" "${run[@]}" curl -sS -g 'http://[fd99::2]:8080/page'
    status 0 "a page by name" "${run[@]}" curl -sS http://www.example.test:8080/page
    says "is the page" '^a page$'
    status 0 "a large download is intact" "${run[@]}" sh -c \
        'curl -sS http://10.99.0.2:8080/big | cmp - /run/test/www/big'
    status 7 "a closed port is refused" "${run[@]}" curl -sS -m 5 http://10.99.0.2:9/
    status 7 "the host's loopback is not the command's" "${run[@]}" \
        curl -sS -m 5 http://127.0.0.1:8081/
    status 7 "the nameserver's address has no other port" "${run[@]}" \
        curl -sS -m 5 http://192.0.0.2:8081/
    status 0 "a ping over IPv4" "${run[@]}" ping -c 1 -W 5 10.99.0.2
    status 0 "a ping over IPv6" "${run[@]}" ping -c 1 -W 5 fd99::2
}

inside_is_as_it_should_be()
{
    status 0 "the address is usable at once: no duplicate address detection" "$adit" exec -- \
        sh -c '! ip -6 addr | grep -q tentative'
    status 0 "the search domain is the host's" "$adit" exec -- grep -q '^search example.test' \
        /etc/resolv.conf
    status 0 "--mtu is the device's" "$adit" exec --mtu 1400 -- sh -c 'ip link | grep -q "mtu 1400"'
    grep -q 127.0.0.53 /etc/resolv.conf
    report $? "the host's resolv.conf is as it was"
    status 0 "--dns replaces the nameserver" "$adit" exec --dns 10.99.0.2:53 -- true
}

capture_and_summary()
{
    status 0 "--summary and --pcap" "$adit" exec --summary --pcap /run/test/out.pcapng -- \
        curl -sS -o /dev/null http://10.99.0.2:8080/page
    says "the summary counts the flow" '^adit: 1 flows \(1 tcp'
    tcpdump -nr /run/test/out.pcapng >/run/test/out 2>&1
    says "the capture has the connection" '10.99.0.2.8080'
}

# The reader takes 20 MB in about 2 s; the writer is gone long before.
what_is_written_last_arrives()
{
    ip netns exec $server python3 -c '
import socket, sys, time
listener = socket.create_server(("10.99.0.2", 9000))
print("ready", flush=True)
conn, total = listener.accept()[0], 0
while piece := conn.recv(1 << 18):
    total += len(piece)
    time.sleep(0.02)
print(total, flush=True)' >/run/test/reader 2>&1 &
    local reader=$!
    wait_for grep -q ready /run/test/reader
    status 0 "a command that exits at once after writing" "$adit" exec -- \
        bash -c 'exec cat /run/test/www/big >/dev/tcp/10.99.0.2/9000'
    wait $reader
    cp /run/test/reader /run/test/out
    says "loses nothing of what it wrote" '^20000000$'
}

behind_a_proxy()
{
    local via=(--via socks5://user:secret@127.0.0.1:1080)
    if ! command -v microsocks >/dev/null; then
        echo "skipped: a proxy (microsocks is not installed)"
        return
    fi
    microsocks -i 127.0.0.1 -p 1080 -u user -P secret >/dev/null 2>&1 &
    pids+=($!)
    wait_for curl -s -o /dev/null -x socks5://user:secret@127.0.0.1:1080 http://10.99.0.2:8080/
    status 0 "a page through a SOCKS5 server" "$adit" exec "${via[@]}" -- \
        curl -sS http://10.99.0.2:8080/page
    status 0 "a page over IPv6 through it" "$adit" exec "${via[@]}" -- \
        curl -sS -g 'http://[fd99::2]:8080/page'
    status 0 "names are asked for through it" "$adit" exec "${via[@]}" --dns 10.99.0.1 -- \
        curl -sS http://www.example.test:8080/page
    status 7 "a port that it finds closed is refused" "$adit" exec "${via[@]}" -- \
        curl -sS -m 5 http://10.99.0.2:9/
    status 6 "a loopback nameserver is not asked through it" "$adit" exec "${via[@]}" -- \
        curl -sS -m 5 http://www.example.test:8080/page
    says "and it is said why" 'a proxy cannot ask 127.0.0.53'
    status 0 "its password is not in the list of processes" "$adit" exec "${via[@]}" -- \
        sh -c '! tr "\0" " " </proc/$PPID/cmdline | grep -q "user:s[e]cret"'
}

fails_closed()
{
    status 125 "a URL that means nothing" "$adit" exec --via nonsense://x -- touch /run/test/ran
    status 125 "a capture that cannot be written" "$adit" exec --pcap /nonexistent/x -- \
        touch /run/test/ran
    says "names the path" '/nonexistent/x: No such file'
    status 125 "a nameserver that is no address" "$adit" exec --dns ns.example -- touch /run/test/ran
    status 125 "an option that does not exist" "$adit" exec --nonsense -- touch /run/test/ran
    status 125 "a fault that means nothing" "$adit" exec --fault nonsense=1 -- touch /run/test/ran
    status 125 "a stack that is not there" "$adit" exec --stack nonsense -- touch /run/test/ran
    status 125 "several workers with the kernel's TCP" "$adit" exec --workers 2 --stack system -- touch /run/test/ran
    says "says why, and what to do" 'runs one worker: the kernel accepts at one place'
    status 125 "a preset that is not there" "$adit" exec --preset nonsense -- touch /run/test/ran
    status 125 "no command at all" "$adit" exec
    chmod 0600 /dev/net/tun
    status 125 "a device node that this user may not open" "${ordinary[@]}" "$adit" exec -- \
        touch /run/test/ran
    says "shows its mode" 'mode 0600'
    says "and says what to do" 'fix .*chmod 0666'
    chmod 0666 /dev/net/tun
    mv /dev/net/tun /dev/net/away
    status 125 "no device node" "$adit" exec -- touch /run/test/ran
    says "says so" 'there is no /dev/net/tun'
    mv /dev/net/away /dev/net/tun
    status 125 "user namespaces that are refused" unshare -Ur sh -c \
        'echo 0 >/proc/sys/user/max_user_namespaces
         exec setpriv --bounding-set=-all "$1" exec -- touch /run/test/ran' sh "$adit"
    says "shows the setting" 'user.max_user_namespaces = 0'
    [ ! -e /run/test/ran ]
    report $? "none of these commands was started"
}

a_dead_adit_leaves_no_way_out()
{
    rm -f /run/test/after
    "$adit" exec -- sh -c 'echo $$ >/run/test/pid; read x </run/test/fifo
        ip route get 10.99.0.2 >/run/test/after 2>&1; echo done >>/run/test/after' &
    local pid=$!
    wait_for test -s /run/test/pid
    kill -KILL $pid
    wait $pid 2>/dev/null
    echo >/run/test/fifo
    wait_for grep -qs done /run/test/after
    grep -q unreachable /run/test/after
    report $? "when adit is killed the command has no network"
}

as_an_ordinary_user()
{
    names_and_connections "${ordinary[@]}" "$adit" exec --
    status 0 "the user stays the same" "${ordinary[@]}" "$adit" exec -- sh -c 'test "$(id -u)" = 65534'
    status 0 "no capability is left" "${ordinary[@]}" "$adit" exec -- \
        sh -c 'test "$(grep -c "Cap[IPEA]..:.0000000000000000" /proc/self/status)" = 4'
    status 0 "no privilege can be gained" "${ordinary[@]}" "$adit" exec -- \
        sh -c 'grep -q "NoNewPrivs:.1" /proc/self/status'
    status 2 "not even by root" "$adit" exec -- ip link set adit0 down
    status 0 "the network cannot be changed" "${ordinary[@]}" "$adit" exec -- \
        sh -c '! ip link set lo down 2>/dev/null'
}

trap cleanup EXIT
setup
status_and_descriptors_pass_through
signals_pass_through
inside_is_as_it_should_be
fails_closed
a_dead_adit_leaves_no_way_out
names_and_connections "$adit" exec --
capture_and_summary
what_is_written_last_arrives
behind_a_proxy
echo "as an ordinary user:"
as_an_ordinary_user
exit $failed
