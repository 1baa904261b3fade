# SPDX-License-Identifier: MIT
"""lab: the namespaces of the benchmark, the systems under test in them, and what /proc says of their processes.

    app (one for each system)        client                               server
    +-----------------+     +-----------------------------+      +---------------------------+
    | load tool       |     | adit / pasta / slirp4netns  |      | bench_server on 10.99.0.2 |
    |  kernel - TUN --+-----+--> its sockets ----- c0 ----+-veth-+---- s0   (address of lo)   |
    +-----------------+     +-----------------------------+      +---------------------------+
                              direct: the load tool itself runs here       loopback: ... here, over lo

Every name has this process's number in it, and everything is removed at the end. The route to the server asks for cubic,
since a namespace may not be allowed to change the default of its sockets."""
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

SERVER = "10.99.0.2"
PORT = "9000"
OTHERS = [f"10.99.1.{i}" for i in range(1, 9)]  # nobody is there: for a handler that asks nobody
ADIT_READY_SECONDS = 5


class Absent(Exception):
    """What was asked for is not built or not installed here."""


def run(*argv, **more):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **more)


def cpu_seconds(pid):
    """What the scheduler gave to all threads of a process, kernel time and the softirqs on top of it included."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


def machine_busy_seconds():
    with open("/proc/stat", encoding="ascii") as f:
        fields = [int(x) for x in f.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def wakeups(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def peak_kb(pid):
    """The most that was ever resident."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has ended")


def memory_kb(pid):
    """Resident, and anonymous, kB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        fields = {line.split()[0]: int(line.split()[1]) for line in f.readlines()[1:]}
    return fields["Rss:"], fields["Anonymous:"]


class Lab:
    def __init__(self, build):
        self.tools = os.path.join(build, "bench")
        self.adit = os.path.join(build, "cli", "adit")
        self.names = {side: f"adit-bench-{os.getpid()}-{side}" for side in ("cli", "srv")}
        self.started = []

    def open(self):
        cli, srv = self.names["cli"], self.names["srv"]
        c0, s0 = f"abc{os.getpid() % 100000}", f"abs{os.getpid() % 100000}"
        for name in (cli, srv):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", c0, "netns", cli, "type", "veth", "peer", "name", s0, "netns", srv)
        for name, old, new, address in ((cli, c0, "c0", "10.1.0.1/24"), (srv, s0, "s0", "10.1.0.2/24")):
            run("ip", "-n", name, "link", "set", old, "name", new)
            run("ip", "-n", name, "addr", "add", address, "dev", new)
            run("ip", "-n", name, "link", "set", new, "up")
        run("ip", "-n", srv, "addr", "add", SERVER + "/32", "dev", "lo")
        run("ip", "-n", cli, "route", "add", "default", "via", "10.1.0.2", "dev", "c0", "congctl", "cubic")
        for name in (cli, srv):
            self.tune(f"/run/netns/{name}")
        self.server = self.spawn(self.enter(srv, os.path.join(self.tools, "bench_server"), SERVER, PORT))
        self.server.stdout.readline()

    @staticmethod
    def tune(net):
        """Enough ports, and ports that wait in TIME-WAIT are used again."""
        run("nsenter", f"--net={net}", "sh", "-c", "echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range;"
            "echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse")

    def enter(self, name, *argv):
        return ["nsenter", f"--net=/run/netns/{name}", *argv]

    def spawn(self, argv, **more):
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)
        self.started.append(p)
        return p

    def end(self, p):
        if p.stdin:
            p.stdin.close()
        try:
            p.wait(2)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(2)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for stream in (p.stdout, p.stderr):
            if stream:
                stream.close()
        self.started.remove(p)

    def close(self):
        for p in list(self.started):
            self.end(p)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class System:
    """Something that carries the load tool's packets; used with `with`. pid: its process, None for direct. net: where the load
    tools run."""
    pid = None

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.net = f"/run/netns/{lab.names['cli']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def queue_packets(self):
        """The length of the transmit queue of the device that the load tools send through."""
        route = json.loads(run("nsenter", f"--net={self.net}", "ip", "-j", "route", "get", SERVER).stdout)[0]
        link = json.loads(run("nsenter", f"--net={self.net}", "ip", "-j", "link", "show", "dev", route["dev"]).stdout)[0]
        return link.get("txqlen", 0)

    def tool_argv(self, tool, *args):
        return ["nsenter", f"--net={self.net}", os.path.join(self.lab.tools, "bench_" + tool), *map(str, args)]


class Loopback(System):
    """The load tool beside its server: no veth, no TUN, nothing but the kernel's TCP. What the tools can do at most."""

    def __init__(self, lab, name):
        super().__init__(lab, name)
        self.net = f"/run/netns/{lab.names['srv']}"


class RelayLoopback(System):
    """bench_relay: the library's relay between a connection over lo and one over the veth: the stack system without an engine,
    which the engines are compared with."""
    LISTEN = "127.0.0.1"

    def __enter__(self):
        self.process = self.lab.spawn(self.lab.enter(
            self.lab.names["cli"], os.path.join(self.lab.tools, "bench_relay"), self.LISTEN, SERVER, PORT))
        self.process.stdout.readline()
        self.pid = self.process.pid
        return self

    def __exit__(self, *_):
        self.lab.end(self.process)

    def tool_argv(self, tool, *args):
        return super().tool_argv(tool, *(self.LISTEN if a == SERVER else a for a in args))


class Adit(System):
    """adit exec. The command inside only waits; the load tools enter its namespace. more: options of adit exec."""

    def __init__(self, lab, name, mtu, more):
        super().__init__(lab, name)
        self.argv = [lab.adit, "exec", "--mtu", mtu, "--dns", "192.0.2.53", *more]

    def __enter__(self):
        started = time.monotonic()
        self.process = self.lab.spawn(self.lab.enter(self.lab.names["cli"], *self.argv, "--", "sh", "-c", "echo $$; exec cat"),
                                      stderr=subprocess.PIPE)
        ready, _, _ = select.select([self.process.stdout], [], [], ADIT_READY_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            why = self.process.stderr.read().strip()
            self.lab.end(self.process)
            if "there is no such option" in why:
                why = "not built: " + why
            raise Absent(" ".join(why.replace("\n", "; ").split()) or "it does not start")
        self.start_seconds = time.monotonic() - started
        self.pid = self.process.pid
        self.net = f"/proc/{int(line)}/ns/net"
        self.lab.tune(self.net)
        return self

    def __exit__(self, *_):
        self.lab.end(self.process)


class Peer(System):
    """A program that takes a namespace by its path."""

    def __init__(self, lab, name, mtu):
        super().__init__(lab, name)
        self.mtu = mtu
        self.app = f"adit-bench-{os.getpid()}-app"

    program = None

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        state = subprocess.run(["ip", "-n", self.app, "-4", "route"], capture_output=True, text=True, check=False)
        return "default" in state.stdout

    def __enter__(self):
        if not shutil.which(self.program):
            raise Absent(f"{self.program} is not installed")
        run("ip", "netns", "add", self.app)
        run("ip", "-n", self.app, "link", "set", "lo", "up")
        self.net = f"/run/netns/{self.app}"
        started = time.monotonic()
        self.process = self.lab.spawn(self.lab.enter(self.lab.names["cli"], *self.command()))
        while not self.is_ready() and self.process.poll() is None and time.monotonic() < started + 3:
            time.sleep(0.005)
        self.start_seconds = time.monotonic() - started
        self.pid = self.process.pid
        self.lab.tune(self.net)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.lab.end(self.process)
        subprocess.run(["ip", "netns", "del", self.app], check=False, capture_output=True)


class Pasta(Peer):
    program = "pasta"

    def command(self):
        return ["pasta", "--config-net", "-f", "-q", "-4", "--runas", "0", "--no-map-gw", "-t", "none", "-u", "none",
                "-T", "none", "-U", "none", "-i", "c0", "-m", self.mtu, "--netns-only", "--netns", self.net]


class Slirp(Peer):
    program = "slirp4netns"

    def command(self):
        return ["slirp4netns", "--netns-type=path", "-c", "--mtu=" + self.mtu, "--disable-host-loopback", self.net, "tap0"]


# name: (MTU, options of adit exec). A variant that this build does not have is reported as absent, with what adit says.
VARIANTS = {
    "adit-1500": ("1500", ["--stack", "userspace"]),
    "adit-9000": ("9000", ["--stack", "userspace"]),
    "adit-65535": ("65535", ["--stack", "userspace"]),
    "adit-system-nat": ("1500", ["--stack", "system", "--engine", "nat"]),
    "adit-system-bpf": ("1500", ["--stack", "system", "--engine", "bpf"]),
    "adit-mixed": ("1500", ["--stack", "mixed", "--kernel-for", "all"]),
    "adit-workers-2": ("1500", ["--stack", "userspace", "--workers", "2"]),
    "adit-plain-1500": ("1500", ["--stack", "userspace", "--no-offload"]),
    "adit-plain-workers-2": ("1500", ["--stack", "userspace", "--no-offload", "--workers", "2"]),
    "adit-plain-9000": ("9000", ["--stack", "userspace", "--no-offload"]),
    "adit-plain-65535": ("65535", ["--stack", "userspace", "--no-offload"]),
    "adit-plain-loss-1%": ("1500", ["--stack", "userspace", "--no-offload", "--fault", "loss=1%"]),
    "adit-discard": ("1500", ["--stack", "userspace", "--via", "discard", "--max-flows", "110000"]),
}


def systems(lab):
    """All that is measured, by name: a function that makes it, to be used with `with`."""
    found = {"loopback": lambda: Loopback(lab, "loopback"), "direct": lambda: System(lab, "direct"),
             "relay-lo": lambda: RelayLoopback(lab, "relay-lo")}
    for name, (mtu, more) in VARIANTS.items():
        found[name] = lambda name=name, mtu=mtu, more=more: Adit(lab, name, mtu, more)
    for kind, program in ((Pasta, "pasta"), (Slirp, "slirp4netns")):
        for mtu in ("1500", "65520"):
            found[f"{program}-{mtu}"] = lambda kind=kind, name=f"{program}-{mtu}", mtu=mtu: kind(lab, name, mtu)
    return found


def program_kb(path):
    """Sizes of a program without its symbols, and of the shared libraries that it names besides the C library."""
    with tempfile.NamedTemporaryFile() as stripped:
        run("strip", "-o", stripped.name, path)
        program = os.path.getsize(stripped.name)
    libraries = 0
    for line in run("ldd", path).stdout.splitlines():
        at = line.split("=>")[-1].split("(")[0].strip()
        if at.startswith("/") and "ld-linux" not in at and not os.path.basename(at).startswith("libc.so"):
            libraries += os.path.getsize(os.path.realpath(at))
    return program / 1024, libraries / 1024
