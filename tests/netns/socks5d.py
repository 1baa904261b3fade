#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A SOCKS5 server for tests, as good or as bad as it is told to be.

    socks5d.py [--listen ADDRESS] [--port N] [--user NAME --password WORD] [MODE...]

Without a mode it is a good server: CONNECT and UDP ASSOCIATE, IPv4, IPv6 and names. It prints "ready PORT", and then a
line for what it saw: "greeting pipelined", "greeting stepwise", "connect HOST PORT", "associate", "associate end".

Modes, of the greeting and of connections:
    slow             every answer octet by octet
    discard          throws away what came together with the methods, as servers with a large buffer do
    unasked          chooses "no authentication", offered or not
    method=N         chooses method N
    reply=N          replies code N to CONNECT
    short=N          the same in two octets, then the end
    stall=method     accepts and says nothing; stall=reply: not after the method
    die=method       ends in the middle of the method, die=reply: of the reply; die=close: instead of the reply
    lie=length       a reply with a name that is longer than what follows; lie=type: of an unknown type
    http             is a web server
    glued            sends the reply and the first octets of the stream together
Modes of UDP:
    udp=refuse       replies "command not supported"; udp=close: ends instead; udp=stall: says nothing
    bound=any        gives 0.0.0.0 as the relay address; bound=name: a name
    udp=fragments    puts a fragment, garbage and a stranger's datagram in front of every answer
    udp=die          ends the control connection at the first datagram
"""
import argparse
import ipaddress
import os
import select
import socket
import struct
import threading
import time

CONNECT, ASSOCIATE = 1, 3
SUCCEEDED, REFUSED, NO_COMMAND = 0, 5, 7


class Over(Exception):
    """This client has got all it is going to get."""


def say(*words):
    """One write for a line: threads that say something at once must not cut each other's words."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def address_octets(host, port):
    ip = ipaddress.ip_address(host)
    return bytes([1 if ip.version == 4 else 4]) + ip.packed + struct.pack(">H", port)


def resolve(host, port, kind):
    return socket.getaddrinfo(host, port, type=kind)[0]


class Client:
    def __init__(self, sock, options):
        self.sock, self.options, self.modes = sock, options, options.modes

    def receive(self, length):
        data = b""
        while len(data) < length:
            part = self.sock.recv(length - len(data))
            if not part:
                raise Over
            data += part
        return data

    def send(self, data):
        if "slow" not in self.modes:
            self.sock.sendall(data)
            return
        for octet in data:
            self.sock.sendall(bytes([octet]))
            time.sleep(0.002)

    def stall(self):
        while self.sock.recv(4096):
            pass
        raise Over

    def waiting(self):
        return bool(select.select([self.sock], [], [], 0)[0])

    def greet(self):
        version, count = self.receive(2)
        methods = self.receive(count)
        if version != 5:
            raise Over
        say("greeting", "pipelined" if self.waiting() else "stepwise")
        if "discard" in self.modes and self.waiting():
            self.sock.recv(4096)
        if "http" in self.modes:
            self.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            raise Over
        if "stall=method" in self.modes:
            self.stall()
        if "die=method" in self.modes:
            self.send(b"\x05")
            raise Over
        self.authenticate(methods)

    def authenticate(self, methods):
        method = 2 if self.options.user else 0
        if "unasked" in self.modes:
            method = 0
        elif method not in methods:
            method = 255
        for mode in self.modes:
            if mode.startswith("method="):
                method = int(mode[7:])
        self.send(bytes([5, method]))
        if method == 255:
            raise Over
        if method != 2:
            return
        _, length = self.receive(2)
        user = self.receive(length)
        password = self.receive(self.receive(1)[0])
        good = (user.decode(), password.decode()) == (self.options.user, self.options.password)
        self.send(bytes([1, 0 if good else 1]))
        if not good:
            raise Over

    def read_address(self):
        kind = self.receive(1)[0]
        if kind == 3:
            host = self.receive(self.receive(1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(self.receive(4 if kind == 1 else 16)))
        return host, struct.unpack(">H", self.receive(2))[0]

    def reply(self, code, where=b"\x01\0\0\0\0\0\0"):
        self.send(bytes([5, code, 0]) + where)

    def spoil_reply(self):
        """The ways not to answer a CONNECT."""
        for mode in self.modes:
            name, _, value = mode.partition("=")
            if name == "reply":
                self.reply(int(value))
                raise Over
            if name == "short":
                self.send(bytes([5, int(value)]))
                raise Over
        if "stall=reply" in self.modes:
            self.stall()
        if "die=reply" in self.modes:
            self.send(b"\x05\0\0\x01\x7f")
            raise Over
        if "die=close" in self.modes:
            raise Over
        if "lie=length" in self.modes:
            self.send(b"\x05\0\0\x03\xffshort\0\x50")
            raise Over
        if "lie=type" in self.modes:
            self.send(b"\x05\0\0\x09\0\0\0\0\0\0")
            self.stall()

    def connect(self, host, port):
        say("connect", host, port)
        self.spoil_reply()
        family, kind, proto, _, at = resolve(host, port, socket.SOCK_STREAM)
        upstream = socket.socket(family, kind, proto)
        try:
            upstream.connect(at)
        except OSError:
            self.reply(REFUSED)
            raise Over
        reply = bytes([5, SUCCEEDED, 0]) + address_octets(*upstream.getsockname()[:2])
        if "glued" in self.modes:
            reply += upstream.recv(4096)
        self.send(reply)
        back = threading.Thread(target=pump, args=(upstream, self.sock), daemon=True)
        back.start()
        pump(self.sock, upstream)
        back.join()
        upstream.close()

    def associate(self):
        say("associate")
        if "udp=refuse" in self.modes:
            self.reply(NO_COMMAND)
            raise Over
        if "udp=close" in self.modes:
            raise Over
        if "udp=stall" in self.modes:
            self.stall()
        own = self.sock.getsockname()[0]
        relay = Relay(self, own)
        bound = address_octets(own, relay.port())
        if "bound=any" in self.modes:
            bound = address_octets("0.0.0.0", relay.port())
        if "bound=name" in self.modes:
            bound = b"\x03\x04name" + struct.pack(">H", relay.port())
        self.reply(SUCCEEDED, bound)
        relay.run()
        say("associate end")

    def serve(self):
        try:
            self.greet()
            version, command, _ = self.receive(3)
            host, port = self.read_address()
            if command == CONNECT:
                self.connect(host, port)
            elif command == ASSOCIATE:
                self.associate()
            else:
                self.reply(NO_COMMAND)
        except (Over, OSError):
            pass
        self.sock.close()


def pump(source, sink):
    """Until the end of source, which becomes sink's."""
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Relay:
    """The datagrams of one association."""

    def __init__(self, client, own):
        self.control, self.modes = client.sock, client.modes
        family = socket.AF_INET6 if ":" in own else socket.AF_INET
        self.inside = socket.socket(family, socket.SOCK_DGRAM)
        self.inside.bind((own, 0))
        self.stranger = socket.socket(family, socket.SOCK_DGRAM)
        self.outside = {}
        self.peer = None

    def port(self):
        return self.inside.getsockname()[1]

    def socket_of(self, family):
        if family not in self.outside:
            self.outside[family] = socket.socket(family, socket.SOCK_DGRAM)
        return self.outside[family]

    def outward(self):
        data, self.peer = self.inside.recvfrom(65536)
        if "udp=die" in self.modes:
            raise Over
        if len(data) < 10 or data[2] != 0:
            return
        kind, at = data[3], 4
        if kind == 3:
            host, at = data[5:5 + data[4]].decode(), 5 + data[4]
        else:
            length = 4 if kind == 1 else 16
            host, at = str(ipaddress.ip_address(data[4:4 + length])), 4 + length
        port = struct.unpack(">H", data[at:at + 2])[0]
        family, _, _, _, where = resolve(host, port, socket.SOCK_DGRAM)
        self.socket_of(family).sendto(data[at + 2:], where)

    def inward(self, sock):
        data, where = sock.recvfrom(65536)
        header = address_octets(*where[:2])
        if "udp=fragments" in self.modes:
            self.inside.sendto(b"\0\0\x01" + header + b"a fragment", self.peer)
            self.inside.sendto(b"\0\0\0\x03\xffgarbage", self.peer)
            self.inside.sendto(b"", self.peer)
            self.stranger.sendto(b"\0\0\0" + header + b"a stranger's", self.peer)
        self.inside.sendto(b"\0\0\0" + header + data, self.peer)

    def run(self):
        try:
            while True:
                socks = [self.control, self.inside, *self.outside.values()]
                ready = select.select(socks, [], [])[0]
                if self.control in ready and not self.control.recv(4096):
                    break
                if self.inside in ready:
                    self.outward()
                for sock in [s for s in self.outside.values() if s in ready]:
                    self.inward(sock)
        finally:
            for sock in [self.inside, self.stranger, *self.outside.values()]:
                sock.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("modes", nargs="*")
    options = parser.parse_args()
    server = socket.create_server((options.listen, options.port), backlog=256,
                                  family=socket.AF_INET6 if ":" in options.listen else socket.AF_INET)
    say("ready", server.getsockname()[1])
    while True:
        sock, _ = server.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Client(sock, options).serve, daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
