#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""exec_tty.py ADIT exec [OPTION...]: `adit exec` on a terminal. What a person types reaches the command, Ctrl-C ends it with
130, a shell that suspends itself gives the terminal back, and the window's size is the terminal's."""
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import time

ADIT = sys.argv[1:]


def spawn(*command):
    pid, fd = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a script's background ignores it
        os.execv(ADIT[0], [*ADIT, "--", *command])
    return pid, fd


def read_until(fd, text, seconds=10):
    got, end = b"", time.monotonic() + seconds
    while text not in got and time.monotonic() < end:
        try:
            piece = os.read(fd, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        got += piece
    return got


def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def typed_text_reaches_the_command():
    pid, fd = spawn("cat")
    os.write(fd, b"hello\n\x04")
    return read_until(fd, b"hello\r\nhello") and status(pid) == 0


def ctrl_c_ends_it_with_130():
    pid, fd = spawn("sh", "-c", "echo ready; exec cat")
    read_until(fd, b"ready")
    time.sleep(0.2)
    os.write(fd, b"\x03")
    return status(pid) == 130


def ctrl_c_that_the_command_handles_is_its_own_affair():
    pid, fd = spawn("sh", "-c", 'trap "exit 9" INT; echo ready; while :; do sleep 0.05; done')
    read_until(fd, b"ready")
    os.write(fd, b"\x03")
    return status(pid) == 9


def the_window_size_is_the_terminals():
    pid, fd = spawn("sh", "-c", "read x; stty size")
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    os.write(fd, b"\n")
    return b"33 77" in read_until(fd, b"33 77") and status(pid) == 0


def a_command_that_stops_itself_stops_adit_too():
    pid, fd = spawn("sh", "-c", "kill -STOP $$; echo resumed")
    _, how = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(how):
        return False
    os.kill(pid, signal.SIGCONT)
    return b"resumed" in read_until(fd, b"resumed") and status(pid) == 0


signal.alarm(60)
failed = 0
for test in [typed_text_reaches_the_command, ctrl_c_ends_it_with_130,
             ctrl_c_that_the_command_handles_is_its_own_affair, the_window_size_is_the_terminals,
             a_command_that_stops_itself_stops_adit_too]:
    ok = test()
    failed += not ok
    print("ok  " if ok else "FAIL", test.__name__.replace("_", " "), flush=True)
sys.exit(failed > 0)
