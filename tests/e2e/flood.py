# SPDX-License-Identifier: BSD-3-Clause
"""flood.py IFNAME SECONDS RATE FRAME: sends FRAME (hex) at RATE per second for SECONDS; prints the number sent."""

import socket
import sys
import time


def main():
    ifname, seconds, rate, frame = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), bytes.fromhex(sys.argv[4])
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((ifname, 0))
    start, sent, lost = time.monotonic(), 0, 0
    while (now := time.monotonic() - start) < seconds:
        due = int(now * rate)
        for _ in range(min(due - sent - lost, 256)):
            try:
                s.send(frame)
                sent += 1
            except OSError:  # the interface's queue is full
                lost += 1
        if sent + lost >= due:
            time.sleep(0.001)
    print(sent)


if __name__ == "__main__":
    main()
