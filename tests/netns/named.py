#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""named.py ADDRESS A AAAA: a nameserver for tests. Every name has these two addresses; other questions get no answer
records. UDP and TCP, port 53. It prints "ready" once it listens."""
import ipaddress
import socket
import struct
import sys
import threading

A, AAAA = 1, 28


def answer(query, records):
    end = query.index(b"\0", 12) + 5  # name, its end, type, class
    qtype = struct.unpack("!H", query[end - 4:end - 2])[0]
    data = records.get(qtype)
    header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if data else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", qtype, 1, 60, len(data)) + data if data else b""
    return header + query[12:end] + record


def serve_tcp(listener, records):
    while True:
        conn, _ = listener.accept()
        with conn, conn.makefile("rwb") as stream:
            while len(head := stream.read(2)) == 2:
                reply = answer(stream.read(struct.unpack("!H", head)[0]), records)
                stream.write(struct.pack("!H", len(reply)) + reply)
                stream.flush()


def main():
    at, a, aaaa = sys.argv[1:]
    records = {A: ipaddress.ip_address(a).packed, AAAA: ipaddress.ip_address(aaaa).packed}
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((at, 53))
    tcp = socket.create_server((at, 53))
    threading.Thread(target=serve_tcp, args=(tcp, records), daemon=True).start()
    print("ready", flush=True)
    while True:
        query, client = udp.recvfrom(4096)
        udp.sendto(answer(query, records), client)


main()
