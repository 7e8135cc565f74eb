# SPDX-License-Identifier: BSD-3-Clause
"""Sends the same frame out of an interface as fast as one CPU can, or at a rate: live_frames.py IFNAME CPU SECONDS RATE
FRAME. RATE 0: no limit. FRAME is in hexadecimal. Prints how many frames were sent.

The kernel runs an XDP program that redirects, on frames that it makes itself (BPF_PROG_RUN with live frames, Linux
5.18), so that no socket limits the rate.
"""

import ctypes
import os
import socket
import struct
import sys
import time

SYS_BPF = 321  # x86-64
PROG_LOAD, PROG_TEST_RUN = 5, 10
TYPE_XDP, LIVE_FRAMES, REDIRECT = 6, 2, 23
CHUNK = 4096
HEADERS = 36  # bytes: Ethernet, IPv4, the source port

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    result = libc.syscall(SYS_BPF, command, attr, len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf: " + os.strerror(ctypes.get_errno()))
    return result


def redirect_program(ifindex, frame):
    """Writes the headers anew, because the kernel uses its frames again as the receiver has left them, and redirects:
    r2 = data; r3 = data_end; r4 = r2 + HEADERS; if (r4 > r3) return XDP_DROP; *(u32 *)(r2 + n) = …;
    return bpf_redirect(ifindex, 0)"""
    insn = struct.Struct("=BBhi")
    code = [(0x61, 0x12, 0, 0), (0x61, 0x13, 4, 0), (0xBF, 0x24, 0, 0), (0x07, 4, 0, HEADERS), (0xB7, 0, 0, 1),
            (0x2D, 0x34, HEADERS // 4 + 3, 0)]
    code += [(0x62, 2, n, struct.unpack_from("=i", frame, n)[0]) for n in range(0, HEADERS, 4)]
    code += [(0xB7, 1, 0, ifindex), (0xB7, 2, 0, 0), (0x85, 0, 0, REDIRECT), (0x95, 0, 0, 0)]
    text = ctypes.create_string_buffer(b"".join(insn.pack(*each) for each in code), len(code) * insn.size)
    license_text = ctypes.create_string_buffer(b"Dual BSD/GPL")
    attr = struct.pack("=IIQQ", TYPE_XDP, len(code), ctypes.addressof(text), ctypes.addressof(license_text))
    return bpf(PROG_LOAD, ctypes.create_string_buffer(attr, 128))


def main():
    ifname, frame = sys.argv[1], bytes.fromhex(sys.argv[5])
    cpu, seconds, rate = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    os.sched_setaffinity(0, {cpu})
    program = redirect_program(socket.if_nametoindex(ifname), frame)
    data = ctypes.create_string_buffer(frame, len(frame))
    chunk = CHUNK if rate == 0 else max(1, min(CHUNK, rate // 1000))
    run = struct.pack("=IIIIQQIIIIQQIII", program, 0, len(frame), 0, ctypes.addressof(data), 0, chunk, 0, 0, 0, 0, 0,
                      LIVE_FRAMES, 0, 64)
    attr = ctypes.create_string_buffer(run, 128)
    begin = time.monotonic()
    sent = 0
    while (now := time.monotonic() - begin) < seconds:
        if rate == 0 or sent < now * rate:
            bpf(PROG_TEST_RUN, attr)
            sent += chunk
        else:
            time.sleep(0.0002)
    print(sent)


if __name__ == "__main__":
    main()
