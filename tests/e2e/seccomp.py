# SPDX-License-Identifier: BSD-3-Clause
"""Runs a command with some system calls forbidden: python3 seccomp.py NAME[=FIRST_ARGUMENT]:ERRNO... -- COMMAND

The filter is like that of a container or a service. NAME: io_uring_setup, socket, bpf."""

import ctypes
import os
import platform
import struct
import sys

CALLS = {"x86_64": {"io_uring_setup": 425, "socket": 41, "bpf": 321},
         "aarch64": {"io_uring_setup": 425, "socket": 198, "bpf": 280}}
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data; the low half of the argument
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def rule(text):
    """Returns instructions that answer one call, and fall through for others."""
    call, errno = text.split(":")
    name, _, argument = call.partition("=")
    verdict = (RETURN, 0, 0, ERRNO | int(errno))
    if argument:
        test = [(LOAD, 0, 0, FIRST_ARGUMENT), (EQUAL, 0, 1, int(argument)), verdict]
    else:
        test = [verdict]
    return [(LOAD, 0, 0, NUMBER), (EQUAL, 0, len(test), CALLS[platform.machine()][name]), *test]


def main():
    split = sys.argv.index("--")
    code = [i for text in sys.argv[1:split] for i in rule(text)] + [(RETURN, 0, 0, ALLOW)]
    program = Program(len(code), b"".join(struct.pack("=HBBI", *i) for i in code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "seccomp")
    command = sys.argv[split + 1:]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
