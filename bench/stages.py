# SPDX-License-Identifier: MIT
"""stages: where a process's CPU time goes, by the system calls that it is in: stacks by perf, many times a second, of all the
machine, since perf costs a process that it follows more at each of its waits than a round trip does.

A sample is of the first stage that one of its frames names; of none of them and in no call, it is the program's own. What was
taken at a switch from another task tells of no work of this one, and does not count. `copies` and `receiver` are in the other
stages already: the innermost frame moves octets between a process and the kernel; and what the kernel does for the receiver of a
packet, his TCP and his wake-up, runs in the call of the one who sends it, as it does with no tunnel between."""
import re
import signal
import subprocess
import tempfile
import time

STAGES = {
    "TUN read": "tun_chr_read_iter",
    "TUN write": "tun_chr_write_iter",
    "send": "__sys_send(m?msg|to)",
    "receive": "sys_recv(m?msg|from)",
    "splice": "do_splice",
    "connect": "__sys_connect",
    "accept": "__sys_accept4",
    "shutdown, close": "__sys_shutdown|__fput",
    "wait": "sys_epoll_wait|do_epoll_wait",
    "other calls": "entry_SYSCALL|do_syscall|invoke_syscall",
}
OWN, COPIES, RECEIVER = "own", "copies", "receiver"
COPY = re.compile("^_*(copy_(to|from|page_from|page_to)_(iter|user)|rep_movs)")
RECEIVE = re.compile("^_*netif_receive_skb|^process_backlog")
SWITCH = "finish_task_switch"
RATE_HZ = "4000"
PERF_STARTS_SECONDS = 0.4


class Failed(Exception):
    pass


def stage_of(frames):
    for name, pattern in STAGES.items():
        if any(re.search(pattern, f) for f in frames):
            return name
    return OWN


def shares(script):
    """{stage: share of the time}, of the output of perf script."""
    counts, total = dict.fromkeys([*STAGES, OWN, COPIES, RECEIVER], 0), 0
    for block in script.split("\n\n"):
        frames = [line.split(None, 1)[1] for line in block.splitlines() if len(line.split(None, 1)) == 2]
        if not frames or frames[0].startswith(SWITCH):
            continue
        total += 1
        counts[stage_of(frames)] += 1
        counts[COPIES] += bool(COPY.match(frames[0]))
        counts[RECEIVER] += any(RECEIVE.match(f) for f in frames)
    if total == 0:
        raise Failed("perf: no sample")
    return {name: n / total for name, n in counts.items()}


def watched(pid, work):
    """work()'s result, and the shares of the process meanwhile."""
    with tempfile.NamedTemporaryFile() as data:
        perf = subprocess.Popen(["perf", "record", "-q", "-a", "-g", "-e", "cpu-clock", "-F", RATE_HZ, "-o", data.name],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(PERF_STARTS_SECONDS)
        try:
            result = work()
        finally:
            perf.send_signal(signal.SIGINT)
            _, said = perf.communicate()
        script = subprocess.run(["perf", "script", "-i", data.name, "-F", "ip,sym", "--pid", str(pid)],
                                capture_output=True, text=True, check=False)
    if script.returncode:
        raise Failed("perf: " + (said + script.stderr).strip())
    return result, shares(script.stdout)
