#!/bin/bash
# SPDX-License-Identifier: MIT
#
# exec.sh ADIT [OPTION...]: `adit exec` with a real kernel and real clients. As root. The options and the topology are in lib.sh;
# this is added to the suite's own network:
#
#   named.py 127.0.0.53, 10.99.0.1     http.server 127.0.0.1:8081     microsocks 127.0.0.1:1080
#
# and an /etc whose resolv.conf is a link into /run, as with systemd-resolved. /dev/net/tun has mode 0666, so that an
# ordinary user may try.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need curl curl dig bind9-dnsutils ping iputils-ping tcpdump tcpdump python3 python3

ordinary=(setpriv --reuid=65534 --regid=65534 --clear-groups)

setup()
{
    topology
    cp -a /etc $run/etc
    mount --bind $run/etc /etc
    mkdir -p /run/systemd/resolve
    printf 'nameserver 127.0.0.53\nsearch example.test\n' >/run/systemd/resolve/stub-resolv.conf
    ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    serve_pages $server4 "${on_server[@]}"
    head -c 20000000 /dev/urandom >$www/big
    (cd $www && exec python3 -m http.server --bind 127.0.0.1 8081) >/dev/null 2>&1 &
    "$here/named.py" 127.0.0.53 $server4 $server6 >$run/named &
    "$here/named.py" 10.99.0.1 $server4 $server6 >$run/named2 &
    wait_for curl -s -o /dev/null http://127.0.0.1:8081/
    wait_for grep -q ready $run/named
    wait_for grep -q ready $run/named2
}

status_and_descriptors_pass_through()
{
    status 0 "success is passed through" "${adit_exec[@]}" -- true
    status 7 "an exit status is passed through" "${adit_exec[@]}" -- sh -c 'exit 7'
    status 143 "a command killed by SIGTERM is 143" "${adit_exec[@]}" -- sh -c 'kill -TERM $$'
    status 127 "a command that is not found is 127" "${adit_exec[@]}" -- /nonexistent/command
    status 126 "a command that is not executable is 126" "${adit_exec[@]}" -- /etc/passwd
    status 0 "options after the command are the command's" "${adit_exec[@]}" sh -c 'echo "$1"' sh --via
    says "and it sees them" '^--via$'
    local through
    through=$(head -c 1000000 $www/big | "${adit_exec[@]}" -- cat | md5sum)
    [ "$through" = "$(head -c 1000000 $www/big | md5sum)" ]
    report $? "standard input and output are the command's own"
    [ "$("${adit_exec[@]}" -- sh -c 'echo talk >&2' 2>&1 >/dev/null)" = talk ]
    report $? "standard error is the command's own"
    "${adit_exec[@]}" -- sh -c 'echo lost' >&- 2>/dev/null
    [ $? != 125 ]
    report $? "a closed standard output does not get in the way"
    limit_s=10 status 3 "what a command leaves running does not keep adit" "${adit_exec[@]}" -- \
        sh -c 'sleep 60 >/dev/null 2>&1 & exit 3'
    [ "$("${adit_exec[@]}" -- sh -c 'ls /proc/self/fd | wc -l')" = "$(sh -c 'ls /proc/self/fd | wc -l')" ]
    report $? "no descriptor of adit's own is left in the command"
}

said_lines()
{
    [ "$(wc -l <$run/said)" = "$1" ]
}

# A shell's background ignores SIGINT and SIGQUIT, and nohup SIGHUP, which no trap would change.
signals_pass_through()
{
    local pid lines=1 signal
    env --default-signal=HUP,INT,QUIT "${adit_exec[@]}" -- sh -c 'for s in HUP INT QUIT USR1 USR2; do trap "echo $s" $s; done
        trap "exit 42" TERM; echo ready; while :; do sleep 0.05; done' >$run/said &
    pid=$!
    wait_for said_lines 1
    for signal in HUP INT INT QUIT USR1 USR2; do
        kill -$signal $pid
        lines=$((lines + 1))
        wait_for said_lines $lines
    done
    [ "$(xargs <$run/said)" = "ready HUP INT INT QUIT USR1 USR2" ]
    report $? "signals are forwarded, each as often as it comes"
    kill -TERM $pid
    wait $pid
    [ $? = 42 ]
    report $? "SIGTERM too, and the command decides what it means"
    "$here/exec_tty.py" "${adit_exec[@]}" || failed=1
}

# Without a terminal adit is not stopped with it.
a_command_is_stopped_and_continued()
{
    "${adit_exec[@]}" -- sh -c 'echo $$ >$run/stopped; kill -STOP $$; exec curl -sS http://10.99.0.2:8080/page' >$run/out &
    local pid=$!
    wait_for test -s $run/stopped
    wait_for grep -q '^State:.T' "/proc/$(cat $run/stopped)/status"
    kill -CONT "$(cat $run/stopped)"
    wait $pid
    report $? "a command that was stopped and continued"
    says "has its network" '^a page$'
}

one_thread_for_each_worker()
{
    local workers=1
    [[ ! ${adit_exec[*]} =~ --workers\ ([0-9]+) ]] || workers=${BASH_REMATCH[1]}
    [ "$("${adit_exec[@]}" -- sh -c 'ls /proc/$PPID/task | wc -l')" = "$workers" ]
    report $? "adit has one thread for each worker, and no other"
}

names_and_connections()
{
    local command=("$@")
    status 0 "a page over IPv4" "${command[@]}" curl -sS http://10.99.0.2:8080/page
    says "is the page" '^a page$'
    status 0 "a page over IPv6" "${command[@]}" curl -sS -g 'http://[fd99::2]:8080/page'
    status 0 "a page by name" "${command[@]}" curl -sS http://www.example.test:8080/page
    says "is the page" '^a page$'
    status 0 "a large download is intact" "${command[@]}" sh -c \
        'curl -sS http://10.99.0.2:8080/big | cmp - $www/big'
    status 7 "a closed port is refused" "${command[@]}" curl -sS -m 5 http://10.99.0.2:9/
    status 7 "the host's loopback is not the command's" "${command[@]}" \
        curl -sS -m 5 http://127.0.0.1:8081/
    status 7 "the nameserver's address has no other port" "${command[@]}" \
        curl -sS -m 5 http://192.0.0.2:8081/
    status 0 "a ping over IPv4" "${command[@]}" ping -c 1 -W 5 10.99.0.2
    status 0 "a ping over IPv6" "${command[@]}" ping -c 1 -W 5 fd99::2
}

inside_is_as_it_should_be()
{
    status 0 "the address is usable at once: no duplicate address detection" "${adit_exec[@]}" -- \
        sh -c '! ip -6 addr | grep -q tentative'
    status 0 "the search domain is the host's" "${adit_exec[@]}" -- grep -q '^search example.test' \
        /etc/resolv.conf
    status 0 "--mtu is the device's" "${adit_exec[@]}" --mtu 1400 -- sh -c 'ip link | grep -q "mtu 1400"'
    grep -q 127.0.0.53 /etc/resolv.conf
    report $? "the host's resolv.conf is as it was"
    status 0 "--dns replaces the nameserver" "${adit_exec[@]}" --dns 10.99.0.2:53 -- true
}

capture_and_summary()
{
    status 0 "--summary and --pcap" "${open_exec[@]}" --summary --pcap $run/out.pcapng -- \
        curl -sS -o /dev/null http://10.99.0.2:8080/page
    says "the summary counts the flow" '^adit: 1 flows \(1 tcp'
    carried $run/out 'a capture needs the payload'
    status 0 "--summary alone" "${adit_exec[@]}" --summary -- sh -c \
        "curl -sS -o /dev/null http://10.99.0.2:8080/page && $talk latency $server4 10"
    carried $run/out
    tcpdump -nr $run/out.pcapng >$run/out 2>&1
    says "the capture has the connection" '10.99.0.2.8080'
}

# read_slowly SECONDS: what comes to port 9000 of the server, after a pause for each piece; how much it was is in $run/reader.
read_slowly()
{
    serve reader python3 -c '
import socket, sys, time
listener = socket.create_server(("10.99.0.2", 9000))
print("ready", flush=True)
conn, total = listener.accept()[0], 0
while piece := conn.recv(1 << 18):
    total += len(piece)
    time.sleep(float(sys.argv[1]))
print(total, flush=True)' "$1"
}

# The reader takes 20 MB in about 2 s; the writer is gone long before.
what_is_written_last_arrives()
{
    read_slowly 0.02
    status 0 "a command that exits at once after writing" "${adit_exec[@]}" -- \
        bash -c 'exec cat $www/big >/dev/tcp/10.99.0.2/9000'
    wait_for grep -q '^[0-9]' $run/reader
    cp $run/reader $run/out
    says "loses nothing of what it wrote" '^20000000$'
}

# The reader would take 8 s or more.
what_is_left_can_be_given_up()
{
    local pid began rc
    rm -f $run/writer
    read_slowly 0.5
    "${adit_exec[@]}" -- bash -c 'echo $$ >$run/writer; head -c 4000000 $www/big >/dev/tcp/10.99.0.2/9000; exit 5' &
    pid=$!
    wait_for test -s $run/writer
    while [ -e "/proc/$(cat $run/writer)" ]; do sleep 0.05; done
    began=$SECONDS
    kill -USR1 $pid 2>/dev/null
    kill -TERM $pid 2>/dev/null
    wait $pid
    rc=$?
    [ $rc = 5 ]
    report $? "a signal after the command's end does not change its status"
    at_most "seconds until adit has ended then" $((SECONDS - began)) 2
}

behind_a_proxy()
{
    local via=(--via socks5://user:secret@127.0.0.1:1080)
    if ! command -v microsocks >/dev/null; then
        echo "skipped: a proxy (microsocks is not installed)"
        return
    fi
    microsocks -i 127.0.0.1 -p 1080 -u user -P secret >/dev/null 2>&1 &
    wait_for curl -s -o /dev/null -x socks5://user:secret@127.0.0.1:1080 http://10.99.0.2:8080/
    status 0 "a page through a SOCKS5 server" "${adit_exec[@]}" "${via[@]}" -- \
        curl -sS http://10.99.0.2:8080/page
    status 0 "a page over IPv6 through it" "${adit_exec[@]}" "${via[@]}" -- \
        curl -sS -g 'http://[fd99::2]:8080/page'
    status 0 "names are asked for through it" "${adit_exec[@]}" "${via[@]}" --dns 10.99.0.1 -- \
        curl -sS http://www.example.test:8080/page
    status 7 "a port that it finds closed is refused" "${adit_exec[@]}" "${via[@]}" -- \
        curl -sS -m 5 http://10.99.0.2:9/
    status 6 "a loopback nameserver is not asked through it" "${adit_exec[@]}" "${via[@]}" -- \
        curl -sS -m 5 http://www.example.test:8080/page
    says "and it is said why" 'a proxy cannot ask 127.0.0.53'
    status 0 "its password is not in the list of processes" "${adit_exec[@]}" "${via[@]}" -- \
        sh -c '! tr "\0" " " </proc/$PPID/cmdline | grep -q "user:s[e]cret"'
}

fails_closed()
{
    local files holder
    status 125 "a URL that means nothing" "${adit_exec[@]}" --via nonsense://x -- touch $run/ran
    status 125 "a capture that cannot be written" "${open_exec[@]}" --pcap /nonexistent/x -- \
        touch $run/ran
    says "names the path" '/nonexistent/x: No such file'
    status 125 "a nameserver that is no address" "${adit_exec[@]}" --dns ns.example -- touch $run/ran
    status 125 "an option that does not exist" "${adit_exec[@]}" --nonsense -- touch $run/ran
    status 125 "a fault that means nothing" "${open_exec[@]}" --fault nonsense=1 -- touch $run/ran
    status 125 "a stack that is not there" "${adit_exec[@]}" --stack nonsense -- touch $run/ran
    status 125 "several workers with the kernel's TCP" "$adit" exec --workers 2 --stack system -- touch $run/ran
    says "says why, and what to do" 'runs one worker: the kernel accepts at one place'
    status 125 "ports for the kernel where it has none" "$adit" exec --stack userspace --kernel-for 80 -- touch $run/ran
    says "says what means nothing" '--kernel-for means nothing'
    status 125 "ports for the kernel and several workers" "$adit" exec --workers 2 --kernel-for 80 -- touch $run/ran
    says "says why" '--workers 2 need the stack userspace'
    status 125 "an engine of the kernel's where it has nothing" "$adit" exec --stack gvisor --engine nat -- touch $run/ran
    says "says which" 'evidence .*--stack gvisor'
    status 125 "a preset that is not there" "${adit_exec[@]}" --preset nonsense -- touch $run/ran
    status 125 "no command at all" "${adit_exec[@]}"
    for files in $(seq 12 26); do
        (ulimit -n "$files" && "${adit_exec[@]}" -- true)
    done >$run/out 2>&1
    says "too few open files are named with their limit" 'fix .*ulimit -n'
    ! grep -q 'is it open in this process\|pass on what' $run/out
    report $? "and nothing else is blamed"
    python3 -c 'import array, socket, time
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 60))])
print("held", flush=True)
time.sleep(30)' >$run/held &
    holder=$!
    wait_for grep -q held $run/held
    status 125 "a user with too many descriptors on their way" bash -c 'ulimit -n 40; exec "$@"' - "${adit_exec[@]}" -- \
        touch $run/ran
    says "is told so" 'fix .*ulimit -n'
    kill $holder
    chmod 0600 /dev/net/tun
    status 125 "a device node that this user may not open" "${ordinary[@]}" "${adit_exec[@]}" -- \
        touch $run/ran
    says "shows its mode" 'mode 0600'
    says "and says what to do" 'fix .*chmod 0666'
    chmod 0666 /dev/net/tun
    mv /dev/net/tun /dev/net/away
    status 125 "no device node" "${adit_exec[@]}" -- touch $run/ran
    says "says so" 'there is no /dev/net/tun'
    mv /dev/net/away /dev/net/tun
    status 125 "user namespaces that are refused" unshare -Ur sh -c \
        'echo 0 >/proc/sys/user/max_user_namespaces
         exec setpriv --bounding-set=-all "$1" exec -- touch $run/ran' sh "$adit"
    says "shows the setting" 'user.max_user_namespaces = 0'
    status 125 "root without capabilities" setpriv --bounding-set=-all "${adit_exec[@]}" -- touch $run/ran
    says "is told which one is missing" 'root without the capability CAP_SETFCAP'
    says "and what to do" 'fix .*ordinary user'
    [ ! -e $run/ran ]
    report $? "none of these commands was started"
}

a_dead_adit_leaves_no_way_out()
{
    mkfifo $run/fifo
    "${adit_exec[@]}" -- sh -c 'echo $$ >$run/pid; read x <$run/fifo
        ip route get 10.99.0.2 >$run/after 2>&1; echo over >>$run/after' &
    local pid=$!
    wait_for test -s $run/pid
    kill -KILL $pid
    wait $pid 2>/dev/null
    echo >$run/fifo
    wait_for grep -qs over $run/after
    grep -q unreachable $run/after
    report $? "when adit is killed the command has no network"
}

# An ordinary user has a user namespace, where bpf is not to be had.
as_an_ordinary_user()
{
    local command=("${ordinary[@]}" "${open_exec[@]}")
    names_and_connections "${command[@]}" --
    status 0 "--summary of an ordinary user" "${command[@]}" --summary -- curl -sS -o /dev/null http://10.99.0.2:8080/page
    carried $run/out 'in a user namespace'
    status 0 "the user stays the same" "${command[@]}" -- sh -c 'test "$(id -u)" = 65534'
    status 0 "no capability is left" "${command[@]}" -- \
        sh -c 'test "$(grep -c "Cap[IPEA]..:.0000000000000000" /proc/self/status)" = 4'
    status 0 "no privilege can be gained" "${command[@]}" -- \
        sh -c 'grep -q "NoNewPrivs:.1" /proc/self/status'
    status 2 "not even by root" "${adit_exec[@]}" -- ip link set adit0 down
    status 0 "the network cannot be changed" "${command[@]}" -- \
        sh -c '! ip link set lo down 2>/dev/null'
}

as_root()
{
    names_and_connections "${adit_exec[@]}" --
}

setup
in_turn status_and_descriptors_pass_through signals_pass_through a_command_is_stopped_and_continued \
    one_thread_for_each_worker inside_is_as_it_should_be fails_closed a_dead_adit_leaves_no_way_out as_root capture_and_summary \
    what_is_written_last_arrives what_is_left_can_be_given_up behind_a_proxy as_an_ordinary_user
finish
