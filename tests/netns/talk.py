#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Both ends of what the namespace tests say to each other.

    talk.py serve ADDRESS...            every server below on each address; prints "ready"
    talk.py serve-late ADDRESS MS       a server that answers no SYN for so long
    talk.py CASE ADDRESS [NUMBER...]    the client of one case: status 0, or a sentence that says what went wrong

A server and its client stand side by side. A stream is made of numbered pieces of random octets, so that what is lost,
doubled or swapped changes its digest; a datagram says which one it is and how long. What a server saw at the end of a
connection (a digest, the name of an error) is asked for on another one: `results`."""
import asyncio
import concurrent.futures
import errno
import hashlib
import os
import random
import select
import socket
import struct
import sys
import threading
import time

ECHO, PLAIN_ECHO = 7, 8
UPLOAD, DOWNLOAD, WHOLE, RESET, OBSERVE, SLOW, LATE, RESULTS = range(7001, 7009)
CLOSED = 9
UDP_SEGMENT, UDP_GRO, SO_RCVBUFFORCE, SO_SNDBUFFORCE, IP_RECVERR, IPV6_RECVERR = 103, 104, 33, 32, 11, 25
PIECE_BYTES = 1 << 18
PIECE = random.Random(1).randbytes(PIECE_BYTES)
DIGEST_BYTES = 32
PATIENCE_S = 10  # with what comes at once on a machine that has nothing else to do

results = {}


def check(condition, sentence):
    if not condition:
        sys.exit(sentence)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def dial(address, port, timeout=60):
    return socket.create_connection((address, port), timeout)


def receive(conn, length):
    data = b""
    while len(data) < length and (part := conn.recv(length - len(data))):
        data += part
    return data


def line(conn):
    text = b""
    while not text.endswith(b"\n") and (octet := conn.recv(1)):
        text += octet
    return text.decode().strip()


def send_stream(conn, length):
    """Returns the digest of what was sent."""
    digest = hashlib.sha256()
    for number in range(-(-length // PIECE_BYTES)):
        piece = (struct.pack(">Q", number) + PIECE[8:])[: length - number * PIECE_BYTES]
        digest.update(piece)
        conn.sendall(piece)
    return digest.digest()


def receive_stream(conn, length=None, pause=None):
    """Until the end or so many octets: (how many, their digest). pause: called after each read."""
    digest, total, buffer = hashlib.sha256(), 0, memoryview(bytearray(PIECE_BYTES))
    while length is None or total < length:
        want = PIECE_BYTES if length is None else min(PIECE_BYTES, length - total)
        got = conn.recv_into(buffer, want)
        if got == 0:
            break
        digest.update(buffer[:got])
        total += got
        if pause:
            pause()
    return total, digest.digest()


def abort(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def result_of(address, key):
    with dial(address, RESULTS) as conn:
        conn.sendall(key.encode() + b"\n")
        return line(conn)


def serve_results(conn):
    key = line(conn)
    deadline = time.monotonic() + PATIENCE_S
    while key not in results and time.monotonic() < deadline:
        time.sleep(0.02)
    conn.sendall((str(results.get(key)) + "\n").encode())


# ---- TCP: streams ----


def serve_upload(conn):
    total, digest = receive_stream(conn)
    conn.sendall(struct.pack(">Q", total) + digest)


def upload(address, length):
    """The client ends first and still receives: the digest comes after its end."""
    with dial(address, UPLOAD) as conn:
        digest = send_stream(conn, length)
        conn.shutdown(socket.SHUT_WR)
        answer = receive(conn, 8 + DIGEST_BYTES)
        check(answer == struct.pack(">Q", length) + digest, "the server got something else")
        check(conn.recv(1) == b"", "the server's end is missing")


def serve_download(conn):
    key, length = line(conn).split()
    digest = send_stream(conn, int(length))
    conn.shutdown(socket.SHUT_WR)
    theirs = receive(conn, DIGEST_BYTES)
    results[key] = "equal" if theirs == digest and conn.recv(1) == b"" else "different"


def download(address, length, pause=None):
    """The server ends first and still receives: the client says afterwards what it got."""
    key = os.urandom(8).hex()
    with dial(address, DOWNLOAD) as conn:
        conn.sendall(f"{key} {length}\n".encode())
        total, digest = receive_stream(conn, pause=pause)
        check(total == length, f"{total} octets, not {length}")
        time.sleep(0.1)
        conn.sendall(digest)
        conn.shutdown(socket.SHUT_WR)
    check(result_of(address, key) == "equal", "what arrived is not what was sent")


def serve_whole(conn):
    data = b"".join(iter(lambda: conn.recv(65536), b""))
    conn.sendall(data)


def half_close(address, length):
    """The server says nothing before the client's end, and then everything."""
    data = PIECE * (length // PIECE_BYTES + 1)
    with dial(address, WHOLE) as conn:
        conn.sendall(data[:length])
        conn.shutdown(socket.SHUT_WR)
        check(receive(conn, length + 1) == data[:length], "not what was sent")


def exchange(address, length):
    """Both ways at once, and no end is half closed: there are proxies that end both directions with one."""
    digests = []
    with dial(address, ECHO) as conn:
        sender = threading.Thread(target=lambda: digests.append(send_stream(conn, length)))
        sender.start()
        total, digest = receive_stream(conn, length)
        sender.join()
        check(total == length and digests == [digest], "what came back is not what was sent")


# ---- TCP: slow ends. RSS of adit is watched by the script. ----


def serve_slow(conn):
    key, wait_ms = line(conn).split()
    time.sleep(int(wait_ms) / 1000)
    total, digest = receive_stream(conn)
    conn.sendall(struct.pack(">Q", total) + digest)


def slow_server(address, length, wait_ms):
    """The server does not read for a while; then all of it is there."""
    with dial(address, SLOW) as conn:
        conn.sendall(f"x {wait_ms}\n".encode())
        digest = send_stream(conn, length)
        conn.shutdown(socket.SHUT_WR)
        check(receive(conn, 8 + DIGEST_BYTES) == struct.pack(">Q", length) + digest, "the server got something else")


def slow_client(address, length, wait_ms):
    """The client does not read for a while, and then takes a rest after each read."""
    pauses = iter([wait_ms / 1000])
    download(address, length, lambda: time.sleep(next(pauses, 0.0005)))


def drip(address, count):
    """One octet at a time, each back before the next but ten is sent."""
    with dial(address, ECHO) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            conn.sendall(bytes([number & 255]))
            time.sleep(0.001)
        check(receive(conn, count) == bytes(number & 255 for number in range(count)), "not what was sent")


def latency(address, count):
    """Round trips of one octet, as at a terminal."""
    times = []
    with dial(address, ECHO) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            start = time.perf_counter()
            conn.sendall(b"x")
            conn.recv(1)
            times.append((time.perf_counter() - start) * 1e6)
    times.sort()
    print(f"median {times[count // 2]:.0f} us, 99 % below {times[count * 99 // 100]:.0f} us")


# ---- TCP: many ----


class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def serve_echo(addresses):
    async def run():
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(EchoProtocol, a, ECHO, backlog=4096) for a in addresses]
        await asyncio.gather(*(s.serve_forever() for s in servers))

    asyncio.run(run())


def hold(address, count):
    """Opens so many connections; each says something and hears it. Prints "open", waits for a line, does it again."""

    async def say(reader, writer, text):
        writer.write(text)
        check(await reader.readexactly(len(text)) == text, "not what was sent")

    async def run():
        gate = asyncio.Semaphore(100)

        async def begin(number):
            async with gate:
                conn = await asyncio.open_connection(address, ECHO)
                await say(*conn, b"first %d" % number)
                return conn

        conns = await asyncio.gather(*(begin(n) for n in range(count)))
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await asyncio.gather(*(say(*c, b"second %d" % n) for n, c in enumerate(conns)))
        for _, writer in conns:
            writer.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def crowd(address, count, refused_min=1):
    """So many connections at once. Each echoes an octet within 8 s, or is refused or reset; at least so many of them."""

    def dial_one(_):
        try:
            return dial(address, ECHO, 8)
        except (ConnectionRefusedError, ConnectionResetError) as e:
            return e

    def talk_one(conn):
        try:
            conn.sendall(b"x")
            check(conn.recv(1) == b"x", "an end instead of an echo")
            return conn
        except (ConnectionResetError, BrokenPipeError) as e:
            return e

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        conns = list(pool.map(dial_one, range(count)))
    conns = [c if isinstance(c, OSError) else talk_one(c) for c in conns]
    refused = sum(isinstance(c, ConnectionRefusedError) for c in conns)
    reset = sum(isinstance(c, OSError) for c in conns) - refused
    print(f"{count - refused - reset} opened, {refused} refused, {reset} reset")
    check(refused + reset < count, "none was opened")
    check(refused + reset >= refused_min if refused_min else refused + reset == 0, "not as it should be")


# ---- TCP: ends that are not polite ----


def refused(address, *port_and_error):
    """connect() fails with this error: one of five attempts at once, or (a neighbour that is not there takes the kernel 3 s)
    before the dial timeout."""
    port, wanted = port_and_error
    for _ in range(5):
        start = time.monotonic()
        try:
            dial(address, port, 20)
            sys.exit("connected")
        except OSError as e:
            name = errno.errorcode.get(e.errno, type(e).__name__)
        took = time.monotonic() - start
        check(name in wanted.split("|"), f"{name} after {took:.1f} s")
        if took < (0.5 if wanted == "ECONNREFUSED" else 8):
            return
    sys.exit(f"{name}, but after {took:.1f} s")


def serve_reset(conn):
    receive(conn, 1)
    abort(conn)


def reset_by_server(address):
    with dial(address, RESET) as conn:
        conn.sendall(b"x")
        try:
            check(False, f"no error, but {conn.recv(1)!r}")
        except ConnectionResetError:
            pass


def serve_observe(conn):
    key = line(conn)
    conn.sendall(b"!")
    try:
        while conn.recv(65536):
            pass
        results[key] = "end"
    except OSError as e:
        results[key] = errno.errorcode[e.errno]


def reset_by_client(address):
    key = os.urandom(8).hex()
    conn = dial(address, OBSERVE)
    conn.sendall(key.encode() + b"\n")
    receive(conn, 1)
    abort(conn)
    seen = result_of(address, key)
    check(seen == "ECONNRESET", f"the server saw {seen}")


def serve_late(address, wait_ms):
    """A queue of one that is full: no SYN is answered before everything is accepted."""
    listener = socket.socket(family_of(address))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, LATE))
    listener.listen(0)
    first = dial(address, LATE)
    print("ready", flush=True)
    time.sleep(wait_ms / 1000)
    first.close()
    while True:
        threading.Thread(target=serve_upload, args=(listener.accept()[0],), daemon=True).start()


def late(address, length):
    """upload() to it."""
    start = time.monotonic()
    with dial(address, LATE, 20) as conn:
        print(f"connected after {time.monotonic() - start:.1f} s")
        digest = send_stream(conn, length)
        conn.shutdown(socket.SHUT_WR)
        check(receive(conn, 8 + DIGEST_BYTES) == struct.pack(">Q", length) + digest, "the server got something else")


# ---- UDP ----


def udp_socket(family):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        sock.setsockopt(socket.SOL_SOCKET, option, 16 << 20)
    return sock


def datagram(number, length):
    head = struct.pack(">II", number, length)
    at = number * 97 % 4096
    return (head + PIECE[at:at + length])[:length]


def is_intact(data):
    number, length = struct.unpack(">II", data[:8])
    return data == datagram(number, length)


def receive_train(sock):
    """One recvmsg with UDP_GRO: (datagrams, from whom)."""
    data, extra, _, where = sock.recvmsg(65536, 64)
    size = next((struct.unpack("i", value)[0] for level, kind, value in extra
                 if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO)), max(len(data), 1))
    return [data[at:at + size] for at in range(0, max(len(data), 1), size)], where


def serve_udp_plain(address):
    sock = udp_socket(family_of(address))
    sock.bind((address, PLAIN_ECHO))
    while True:
        data, where = sock.recvfrom(65536)
        sock.sendto(data, where)


def serve_udp_trains(address):
    """Trains come and go: received with UDP_GRO, sent back with UDP_SEGMENT."""
    sock = udp_socket(family_of(address))
    sock.bind((address, ECHO))
    sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    while True:
        train, where = receive_train(sock)
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(train[0])))] if len(train) > 1 else []
        sock.sendmsg([b"".join(train)], control, 0, where)


def collect(sock, wanted, seconds, read):
    """Takes what comes off `wanted` until nothing is left or nothing comes."""
    while wanted and select.select([sock], [], [], seconds)[0]:
        for data in read(sock):
            check(data in wanted, f"{len(data)} octets that are not ours, or come a second time")
            wanted.remove(data)


def udp_burst(address, count, rounds):
    """Datagrams of a QUIC client's sizes, `count` without a pause; every one comes back, in each of the rounds."""
    sock = udp_socket(family_of(address))
    sock.connect((address, PLAIN_ECHO))
    for turn in range(rounds):
        sent = [datagram(turn * count + n, 1200 + n * 7 % 151) for n in range(count)]
        for data in sent:
            sock.send(data)
        wanted = set(sent)
        collect(sock, wanted, PATIENCE_S, lambda s: [s.recv(65536)])
        check(not wanted, f"{len(wanted)} of {count} did not come back in round {turn + 1}")


def udp_trains(address, count, length):
    """20 trains by UDP_SEGMENT, read by UDP_GRO."""
    sock = udp_socket(family_of(address))
    sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    sock.connect((address, ECHO))
    reads = got = 0

    def read(s):
        nonlocal reads, got
        train, _ = receive_train(s)
        reads, got = reads + 1, got + len(train)
        return train

    for turn in range(20):
        sent = [datagram(turn * count + n, length) for n in range(count)]
        sock.sendmsg([b"".join(sent)], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", length))])
        wanted = set(sent)
        collect(sock, wanted, PATIENCE_S, read)
        check(not wanted, f"{len(wanted)} of {count} did not come back in train {turn + 1}")
    print(f"{got} datagrams in {reads} reads")


def udp_size(address, *lengths):
    """One of each size. The large ones are fragments on the way."""
    sock = udp_socket(family_of(address))
    sock.connect((address, PLAIN_ECHO))
    for number, length in enumerate(lengths):
        sent = datagram(number, length)
        sock.send(sent)
        wanted = {sent}
        collect(sock, wanted, PATIENCE_S, lambda s: [s.recv(65536)])
        check(not wanted, f"the one of {length} octets did not come back")


def udp_ports(address, count):
    """A datagram from each of so many ports, 1 ms apart; nobody waits for answers."""
    for number in range(count):
        with udp_socket(family_of(address)) as sock:
            sock.sendto(datagram(number, 100), (address, PLAIN_ECHO))
        time.sleep(0.001)


def udp_error(address, *port_and_error):
    """A datagram is answered by this error. Unreachable is told only to who asked for all errors."""
    port, wanted = port_and_error
    sock = udp_socket(family_of(address))
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    try:
        sock.connect((address, port))
        sock.send(b"x")
        sock.settimeout(PATIENCE_S)
        sys.exit(f"no error, but {sock.recv(65536)!r}")
    except OSError as e:
        name = errno.errorcode.get(e.errno, type(e).__name__)
    check(name in wanted.split("|"), name)


# ----

SERVERS = {UPLOAD: serve_upload, DOWNLOAD: serve_download, WHOLE: serve_whole, RESET: serve_reset,
           OBSERVE: serve_observe, SLOW: serve_slow, RESULTS: serve_results}
CLIENTS = [upload, download, half_close, exchange, slow_server, slow_client, drip, latency, hold, crowd, refused,
           reset_by_server, reset_by_client, late, udp_burst, udp_trains, udp_size, udp_ports, udp_error]


def accept_all(address, port, serve):
    def one(conn):
        try:
            serve(conn)
        except OSError:
            pass
        conn.close()

    listener = socket.create_server((address, port), family=family_of(address), backlog=1024)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=one, args=(conn,), daemon=True).start()


def serve_everything(addresses):
    jobs = [(serve_echo, addresses)]
    for address in addresses:
        jobs += [(accept_all, address, port, serve) for port, serve in SERVERS.items()]
        jobs += [(serve_udp_plain, address), (serve_udp_trains, address)]
    for function, *arguments in jobs:
        threading.Thread(target=function, args=arguments, daemon=True).start()
    for address in addresses:
        while True:
            try:
                for port in (ECHO, *SERVERS):
                    dial(address, port).close()
                break
            except OSError:
                time.sleep(0.05)
    print("ready", flush=True)
    threading.Event().wait()


def main():
    case, *arguments = sys.argv[1:]
    if case == "serve":
        serve_everything(arguments)
    if case == "serve-late":
        serve_late(arguments[0], int(arguments[1]))
    client = {c.__name__: c for c in CLIENTS}[case.replace("-", "_")]
    try:
        client(arguments[0], *(int(a) if a.isdigit() else a for a in arguments[1:]))
    except OSError as e:
        sys.exit(f"{type(e).__name__}: {e}")


main()
