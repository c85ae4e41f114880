"""How much processor time the local OSS server spends on a gigabyte of parts in and of objects out.

The server runs as a process of its own and its CPU time is read from the kernel, so what the client costs
is left out. Run it as `python bench/localcloud_oss.py [--gib 1] [--part-mib 16] [--rounds 3]`.
"""

import argparse
import http.client
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import oss2

_SERVER = """
import signal, sys
from pathlib import Path
from syncd.localcloud.server import LocalCloud
with LocalCloud(Path(sys.argv[1]), ["bench"]) as cloud:
    print(cloud.endpoint("bench"), cloud.access_key_id, cloud.access_key_secret, flush=True)
    signal.sigwait({signal.SIGTERM})
"""


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_all(bucket: oss2.Bucket, key: str) -> int:
    """Read with a plain connection: the SDK's own CRC would make this a benchmark of the SDK."""
    url = bucket.sign_url("GET", key, 600, slash_safe=True)
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host)
    connection.request("GET", f"/{path}")
    response = connection.getresponse()
    buffer = bytearray(1 << 20)
    size = 0
    while got := response.readinto(buffer):
        size += got
    connection.close()
    return size


def measure(root: str, gib: float, part_mib: int, rounds: int) -> None:
    """Print CPU seconds per GB for both ways, round by round.

    The first round pays for memory the machine had not touched yet: read the later ones.
    """
    server = subprocess.Popen([sys.executable, "-c", _SERVER, root], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    endpoint, key_id, secret = server.stdout.readline().split()
    bucket = oss2.Bucket(oss2.Auth(key_id, secret), endpoint, "bench-bucket", enable_crc=False)
    bucket.create_bucket()
    part = os.urandom(part_mib << 20)
    count = int(gib * 1024 / part_mib)
    for _ in range(rounds):
        upload_id = bucket.init_multipart_upload("big").upload_id
        parts: list[oss2.models.PartInfo] = []
        with _Meter(server.pid, "UploadPart", count * len(part)):
            for number in range(1, count + 1):
                etag = bucket.upload_part("big", upload_id, number, part).etag
                parts.append(oss2.models.PartInfo(number, etag))
        with _Meter(server.pid, "Complete", count * len(part)):
            bucket.complete_multipart_upload("big", upload_id, parts)
        with _Meter(server.pid, "GetObject", count * len(part)):
            assert _read_all(bucket, "big") == count * len(part)
        bucket.delete_object("big")
    server.send_signal(signal.SIGTERM)
    server.wait()
    print(f"server RSS {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


class _Meter:
    """Prints what the server's processor time came to between enter and exit."""

    def __init__(self, pid: int, name: str, size_bytes: int) -> None:
        self._pid, self._name, self._gb = pid, name, size_bytes / 1e9

    def __enter__(self) -> None:
        self._cpu_s, self._wall_s = _cpu_s(self._pid), time.monotonic()

    def __exit__(self, *_: object) -> None:
        cpu_s, wall_s = _cpu_s(self._pid) - self._cpu_s, time.monotonic() - self._wall_s
        rate = self._gb * 1000 / max(cpu_s, 0.01)
        print(f"{self._name:<10} {cpu_s / self._gb:5.2f} CPU s/GB {rate:6.0f} MB/s a core, wall {wall_s:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--part-mib", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="localcloud-oss-") as root:
        measure(root, options.gib, options.part_mib, options.rounds)


if __name__ == "__main__":
    main()
