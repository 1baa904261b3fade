#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""udp_check.py serve ADDRESS PORT: sends every datagram back to where it came from; prints "ready" once it listens.

udp_check.py ask ADDRESS PORT [COUNT [SIZE]]: sends COUNT different datagrams of SIZE octets as one train (UDP_SEGMENT) and
wants each of them back, once, from that address, and nothing else. Exit status 0: so it was; 1: not; 111: refused; 113: no
route to the host."""
import errno
import socket
import sys
import time

UDP_SEGMENT = 103


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(address, port):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.bind((address, port))
    print("ready", flush=True)
    while True:
        data, where = sock.recvfrom(65536)
        sock.sendto(data, where)


def ask(address, port, count, size):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.connect((address, port))
    sent = [(b"%08d" % i + bytes([65 + i % 26]) * size)[:size] for i in range(count)]
    if count > 1:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    sock.send(b"".join(sent))
    sock.settimeout(5)
    wanted = set(sent)
    while wanted:
        data = sock.recv(65536)
        if data not in wanted:
            sys.exit(f"not one of ours, or a second time: {data[:40]!r}")
        wanted.remove(data)
    time.sleep(0.2)
    sock.setblocking(False)
    try:
        sys.exit(f"one too many: {sock.recv(65536)[:40]!r}")
    except BlockingIOError:
        pass


def main():
    role, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    size = int(sys.argv[5]) if len(sys.argv) > 5 else 100
    if role == "serve":
        serve(address, port)
    try:
        ask(address, port, count, size)
    except TimeoutError:
        sys.exit("not all came back")
    except OSError as e:
        print(e)
        sys.exit(e.errno if e.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH) else 1)


main()
