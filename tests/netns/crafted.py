#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packets that no ordinary client sends, made by hand. As root.

    crafted.py flood ADDRESS COUNT            segments of connections that never were; RSTs must come for many of them
    crafted.py forged ADDRESS COUNT RATE      so many SYNs, so many a second, from clients that there are not: nobody answers
    crafted.py extension ADDRESS hop|destination   TCP behind an IPv6 extension header: an echo through it
    crafted.py fragments ADDRESS              a SYN in two fragments; SYN|ACK must come
    crafted.py smaller-path ADDRESS           a packet was too big for a router toward the client; they must become smaller"""
import random
import socket
import struct
import sys
import time

ECHO = 7
SYN, RST, ACK = 2, 4, 16
PORT = 900  # outside of what the kernel gives to others


def check(condition, sentence):
    if not condition:
        sys.exit(sentence)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def own_address(address):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as s:
        s.connect((address, ECHO))
        return s.getsockname()[0]


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(source, target, ports, seq, flags, data=b""):
    """With a checksum. data: of even length."""
    family = family_of(source)
    length = 24 + len(data)
    mss = struct.pack(">BBH", 2, 4, 1200)
    header = struct.pack(">HHIIBBHHH", *ports, seq, 1 if flags & ACK else 0, 6 << 4, flags, 8192, 0, 0) + mss + data
    pseudo = socket.inet_pton(family, source) + socket.inet_pton(family, target) + struct.pack(">II", length, 6)
    return header[:16] + struct.pack(">H", checksum(pseudo + header)) + header[18:]


def receiver(address):
    """Hears every TCP segment that comes in."""
    sock = socket.socket(family_of(address), socket.SOCK_RAW, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return sock


def parsed(packet, is_v4):
    """flags, ports, sequence number, what is acknowledged"""
    tcp = packet[(packet[0] & 15) * 4:] if is_v4 else packet
    source, target, seq, ack, _, flags = struct.unpack(">HHIIBB", tcp[:14])
    return flags, source, target, seq, ack


def count_resets(sock, wait_s=0.0):
    """Of what is there, and what comes until it is quiet for so long."""
    got = 0
    sock.settimeout(wait_s)
    try:
        while True:
            flags, *_ = parsed(sock.recv(2048), True)
            got += (flags & RST) != 0
    except (BlockingIOError, TimeoutError):
        return got


def flood(address, count):
    source, hears = own_address(address), receiver(address)
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    rng, got = random.Random(1), 0
    for number in range(count):
        ports = (rng.randrange(1024, 65536), rng.randrange(1, 65536))
        flags = rng.choice((ACK, ACK | 1, ACK | 8, SYN | ACK, 1, 0x20))
        sender.sendto(segment(source, address, ports, number, flags), (address, 0))
        if number % 50 == 49:
            got += count_resets(hears)
    got += count_resets(hears, 1.0)
    print(f"{got} RSTs for {count} segments")
    check(got > count // 2, "too few")


def with_header4(source, target, tcp, fragment=0):
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 77, fragment, 64, 6, 0, socket.inet_aton(source),
                       socket.inet_aton(target)) + tcp


def forged(address, count, rate):
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    rng, begun = random.Random(1), time.monotonic()
    for number in range(count):
        source = f"198.51.100.{rng.randrange(1, 255)}"
        tcp = segment(source, address, (rng.randrange(1024, 65536), ECHO), rng.getrandbits(32), SYN)
        sender.sendto(with_header4(source, address, tcp), (address, 0))
        time.sleep(max(0, begun + number / rate - time.monotonic()))


def check_echo(sock):
    data = random.Random(1).randbytes(200000)
    got = b""
    for at in range(0, len(data), 20000):
        sock.sendall(data[at:at + 20000])
        while len(got) < at + 20000:
            part = sock.recv(65536)
            check(part, "cut")
            got += part
    check(got == data, "not what was sent")


def extension(address, kind):
    header = bytes((0, 0, 1, 4, 0, 0, 0, 0))  # a PadN
    option = socket.IPV6_HOPOPTS if kind == "hop" else socket.IPV6_DSTOPTS
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.IPPROTO_IPV6, option, header)
        s.settimeout(10)
        s.connect((address, ECHO))
        check_echo(s)


def fragments4(source, address, tcp):
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for offset, more in ((0, 0x2000), (24, 0)):
        sender.sendto(with_header4(source, address, tcp[offset:offset + 24], more | offset // 8), (address, 0))


def fragments6(source, address, tcp):
    sender = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for offset, more in ((0, 1), (24, 0)):
        part = tcp[offset:offset + 24]
        header = struct.pack(">IHBB16s16s", 6 << 28, 8 + len(part), 44, 64, socket.inet_pton(socket.AF_INET6, source),
                             socket.inet_pton(socket.AF_INET6, address))
        sender.sendto(header + struct.pack(">BBHI", 6, 0, offset | more, 77) + part, (address, 0))


def fragments(address):
    source, hears = own_address(address), receiver(address)
    tcp = segment(source, address, (PORT, ECHO), 1000, SYN, b"0123456789abcdef")
    (fragments6 if ":" in address else fragments4)(source, address, tcp)
    hears.settimeout(5)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        flags, source_port, target_port, _, ack = parsed(hears.recv(2048), ":" not in address)
        if (source_port, target_port) == (ECHO, PORT):
            check(flags & (SYN | ACK | RST) == SYN | ACK, f"answered with flags {flags:#x}")
            check(ack in (1001, 1017), f"acknowledges {ack}")
            return
    sys.exit("no answer")


def too_big(source, target, ports, seq, mtu):
    """The ICMP error and its protocol: a segment from source to target, of which this is quoted, was too big."""
    tcp = struct.pack(">HHI", *ports, seq)
    ends = b"".join(socket.inet_pton(family_of(source), address) for address in (source, target))
    if ":" in source:
        return struct.pack(">BBHIIHBB", 2, 0, 0, mtu, 6 << 28, 1460, 6, 64) + ends + tcp, socket.IPPROTO_ICMPV6
    header = struct.pack(">BBHHHBBH", 0x45, 0, 1500, 0, 0x4000, 64, 6, 0) + ends
    quote = header[:10] + struct.pack(">H", checksum(header)) + header[12:] + tcp
    message = struct.pack(">BBHHH", 3, 4, 0, 0, mtu) + quote
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:], socket.IPPROTO_ICMP


def smaller_path(address, mtu=1280):
    own, hears = own_address(address), receiver(address)
    with socket.create_connection((address, ECHO), 10) as s:
        port = s.getsockname()[1]
        seq = next(seq for _, source, target, seq, _ in iter(lambda: parsed(hears.recv(65536), ":" not in address), None)
                   if (source, target) == (ECHO, port))
        message, proto = too_big(address, own, (ECHO, port), seq + 1, mtu)
        with socket.socket(family_of(address), socket.SOCK_RAW, proto) as router:
            router.sendto(message, (address, 0))
        check_echo(s)
        rcv_mss, = struct.unpack("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 24)[20:])
    print(f"segments of {rcv_mss} octets")
    check(rcv_mss <= mtu - 40, "too large")


def main():
    case, address, *arguments = sys.argv[1:]
    cases = {"flood": flood, "forged": forged, "extension": extension, "fragments": fragments, "smaller-path": smaller_path}
    cases[case](address, *(int(a) if a.isdigit() else a for a in arguments))


main()
