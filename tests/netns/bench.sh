#!/bin/bash
# SPDX-License-Identifier: MIT
# bench.sh ADIT: `adit bench` measures every stack that is built, says so in JSON that has a number wherever one belongs, needs no
# root, leaves no process and no listening port behind, and can be told to end.
set -u
adit=$1
[ "$(id -u)" -eq 0 ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

check() { # file: every stack of this build, and of each everything but what `direct` has not
    python3 - "$1" "$("$adit" version --features | tr '\n' ' ')" <<'PYTHON'
import json
import sys
with open(sys.argv[1], encoding="utf-8") as f:
    stacks = json.load(f)["stacks"]
want = ["direct"] + [s for s in ("userspace", "system", "mixed") if s in sys.argv[2].split()]
assert list(stacks) == want, (list(stacks), want)
for name, figures in stacks.items():
    assert len(figures) == 12, figures
    for key, value in figures.items():
        if name == "direct" and "_cpu_" in key:
            assert value is None, (name, key, value)
        else:
            assert value > 0, (name, key, value)
PYTHON
}

failed=0
step() { # name, command
    if "${@:2}"; then echo "ok $1"; else echo "not ok $1"; failed=1; fi
}
as_root() { timeout 120 "$adit" bench --json >"$work/root.json" && check "$work/root.json"; }
as_user() { # with a device node that an ordinary user may open
    cp "$adit" "$work/adit"
    timeout 120 unshare -m --propagation private sh -c 'mount -t tmpfs -o dev,mode=0755 node /dev/net
        mknod -m 0666 /dev/net/tun c 10 200
        exec setpriv --reuid 65534 --regid 65534 --clear-groups "$1" bench --json' sh "$work/adit" >"$work/user.json" &&
        check "$work/user.json"
}
nothing_left() { # in a namespace of its own, whose sockets are all of this run
    timeout 120 unshare -n sh -c "ip link set lo up; '$adit' bench --stack userspace >/dev/null && ! ss -Hltn | grep ."
}
told_to_end() { # while it measures directly; the client of the stack gets the signal
    local pid rc
    "$adit" bench --stack system >/dev/null 2>"$work/told" &
    pid=$!
    sleep 1
    kill -TERM $pid
    wait $pid
    rc=$?
    [ $rc = 1 ] && [ "$(grep -c 'the client ended without a report' "$work/told")" = 4 ]
}
step "root: every stack, every figure" as_root
step "without root: the same" as_user
step "no port is left" nothing_left
step "SIGTERM ends it" told_to_end
exit $failed
