#!/bin/bash
# SPDX-License-Identifier: MIT
# measure.sh RUN BUILD: bench/run --quick has a figure in every row, and --compare finds what became worse, and where there is
# nothing to compare.
set -u
run=$1
build=$2
[ "$(id -u)" -eq 0 ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# measured STATUS SENTENCE OPTION...: bench/run ends with that status; what it said is in $work/said.
measured()
{
    local want=$1 sentence=$2 got
    timeout 120 "$run" "$build" --quick "${@:3}" >"$work/said" 2>"$work/rounds"
    got=$?
    [ $got = "$want" ] && { echo "ok $sentence"; return; }
    echo "not ok $sentence: status $got"
    cat "$work/said" "$work/rounds"
    failed=1
}

says()
{
    grep -q "$1" "$work/said" && { echo "ok says: $1"; return; }
    echo "not ok does not say: $1"
    cat "$work/said"
    failed=1
}

figures() # of each row of adit's, and of those that it is compared with
{
    python3 - "$work/saved" <<'PYTHON'
import json
import sys
with open(sys.argv[1], encoding="utf-8") as f:
    saved = json.load(f)
rows = {"up-1", "down-1", "crr-16", "rr-1", "udp-up-64", "start", "idle-1000"}
assert set(saved["summary"]) == rows, set(saved["summary"]) ^ rows
for name, systems in saved["summary"].items():
    assert "adit-1500" in systems, name
    for system, row in systems.items():
        assert row["rounds"] == 1 or row["absent"] == "no process", (name, system, row)
    for figure, (median, least, most) in systems["adit-1500"]["figures"].items():
        assert median > 0 or figure in ("failed", "lossless/s") or figure.endswith("before"), (name, figure, median)
        assert least <= median <= most
for what in ("cpu", "kernel", "adit", "built"):
    assert saved["machine"][what], what
PYTHON
}

# A run in which round trips were a hundred times as fast, and connections a hundredth as large.
better()
{
    python3 - "$work/saved" "$work/better" <<'PYTHON'
import json
import sys
with open(sys.argv[1], encoding="utf-8") as f:
    saved = json.load(f)
saved["summary"]["rr-1"]["adit-1500"]["ratio"] /= 100
saved["summary"]["idle-1000"]["adit-1500"]["figures"]["bytes per connection"][0] /= 100
with open(sys.argv[2], "w", encoding="utf-8") as f:
    json.dump(saved, f)
PYTHON
}

# Five samples: one of a switch, which does not count, a copy within a read of the TUN, and the receiver's work in a send.
stages()
{
    PYTHONDONTWRITEBYTECODE=1 python3 - "$(dirname "$run")" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import stages
calls = ["finish_task_switch __schedule ep_poll __x64_sys_epoll_wait entry_SYSCALL_64_after_hwframe epoll_wait",
         "_copy_to_iter tun_do_read tun_chr_read_iter vfs_read entry_SYSCALL_64_after_hwframe __libc_read",
         "tcp_v4_rcv __netif_receive_skb_one_core tcp_sendmsg __sys_sendmsg do_syscall_64 "
         "entry_SYSCALL_64_after_hwframe __libc_sendmsg relay_pump",
         "fput do_syscall_64 entry_SYSCALL_64_after_hwframe epoll_wait", "net_input worker_receive"]
script = "\n\n".join("\n".join("\tffff " + f for f in c.split()) for c in calls)
want = {"TUN read": 0.25, "send": 0.25, "other calls": 0.25, "own": 0.25, "copies": 0.25, "receiver": 0.25}
assert {k: v for k, v in stages.shares(script).items() if v} == want, stages.shares(script)
PYTHON
}

stages || failed=1
measured 0 "everything is measured" --save "$work/saved"
figures || failed=1
says "idle-1000"
better || failed=1
measured 0 "what is as it was is no fault" --only '^(start|idle-1000)$' --compare "$work/saved" --tolerance 0.5
says "2 rows compared"
measured 1 "what became worse is a fault" --only '^(rr-1|idle-1000)$' --compare "$work/better" --tolerance 0.5
says "rr-1 adit-1500: ratio"
says "idle-1000 adit-1500: bytes per connection"
measured 1 "nothing to compare is a fault" --only '^wakeups-0$' --systems '^adit-1500$' --compare "$work/saved"
says "nothing in"
exit $failed
