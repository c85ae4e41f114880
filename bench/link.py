"""A long line: two TUN devices, one in a network namespace of its own, and a process that passes packets late.

`python -m bench.link NAMESPACE BYTES_S RTT_S LOSS` makes them, prints a line when it is ready, and removes them when
its standard input ends. The near end is 10.77.0.1, the far one, in the namespace, 10.77.0.2. The kernel's own TCP runs
over it. What comes from the far end is capped, and dropped where more than two round trips of it wait, as a router
does; loss is drawn for each packet in both directions. Needs root and /dev/net/tun.
"""

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque

NEAR, FAR = "10.77.0.1", "10.77.0.2"
_MTU = 9000  # Python passes some 10 000 packets a second
_SET_NAME = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001


def main() -> None:
    namespace, bytes_s, rtt_s, loss = sys.argv[1], *map(float, sys.argv[2:])
    near, far = _tun("syncd-near"), _tun("syncd-far")
    try:
        _ip(f"netns add {namespace}")
        _ip(f"link set syncd-far netns {namespace}")
        _ip(f"addr add {NEAR}/24 dev syncd-near")
        _ip(f"link set syncd-near mtu {_MTU} up")
        _ip(f"-n {namespace} addr add {FAR}/24 dev syncd-far")
        _ip(f"-n {namespace} link set syncd-far mtu {_MTU} up")
        print("ready", flush=True)
        _pass(near, far, bytes_s, rtt_s / 2, loss)
    finally:
        os.close(near)  # a device ends with its last user
        os.close(far)
        _ip(f"netns del {namespace}")


def _pass(near: int, far: int, bytes_s: float, delay_s: float, loss: float) -> None:
    """Until standard input ends."""
    to_far, to_near = deque[tuple[float, bytes]](), deque[tuple[float, bytes]]()
    chance, free_s = random.Random(1), 0.0
    while True:
        now_s = time.monotonic()
        for waiting, device in ((to_far, far), (to_near, near)):
            while waiting and waiting[0][0] <= now_s:
                os.write(device, waiting.popleft()[1])
        due_s = min((waiting[0][0] for waiting in (to_far, to_near) if waiting), default=now_s + 1)
        ready, _, _ = select.select([near, far, sys.stdin], [], [], max(0.0, due_s - now_s))
        now_s = time.monotonic()
        if sys.stdin in ready:
            return
        if near in ready and chance.random() >= loss:
            to_far.append((now_s + delay_s, os.read(near, _MTU)))
        elif near in ready:
            os.read(near, _MTU)
        if far in ready:
            packet = os.read(far, _MTU)
            if free_s - now_s < 4 * delay_s and chance.random() >= loss:
                free_s = max(free_s, now_s) + len(packet) / bytes_s
                to_near.append((free_s + delay_s, packet))


def _tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _SET_NAME, struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER))
    return device


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


if __name__ == "__main__":
    main()
