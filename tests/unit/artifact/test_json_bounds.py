"""JSON from outside is refused before it is built, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

MIB = 1 << 20
PROBE = """
import resource, sys
from syncd.errors import Invalid
from syncd.http.responses import parse_json
body = eval(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    parse_json(body, "the index")
except Invalid as error:
    print("refused", end=" ")
else:
    print("accepted", end=" ")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
ENTRY = 'b\'{"path":"unet/model-00001-of-99999.safetensors","size":123456789,"sha256":"\' + b"a" * 64 + b\'"},\''


def peak(body: str) -> tuple[str, int]:
    """What became of a document, and by how many MiB it raised the peak RSS of a child process."""
    run = subprocess.run([sys.executable, "-c", PROBE, body], capture_output=True, check=True, text=True)
    verdict, mib = run.stdout.split()
    return verdict, int(mib)


@pytest.mark.parametrize(
    "body",
    [
        "b'[' + b'[],' * (20 << 20) + b'0]'",
        "b'[' + b'{},' * (20 << 20) + b'0]'",
        "b'[' + b'{\"a\":1},' * (7 << 20) + b'0]'",
        "b'[' + b'1.5,' * (15 << 20) + b'0]'",
        "b'[\"\\\\xf0\\\\x9f\\\\x98\\\\x80' + b'a' * (62 << 20) + b'\"]'".replace("\\\\", "\\"),
    ],
    ids=["lists", "objects", "members", "numbers", "wide text"],
)
def test_a_document_that_would_fill_memory_is_refused_before_it_is_built(body: str) -> None:
    verdict, mib = peak(body)
    assert (verdict, mib <= 64) == ("refused", True), f"{verdict}, {mib} MiB"


def test_a_hundred_thousand_files_are_read_in_bounded_memory() -> None:
    verdict, mib = peak(f"b'[' + ({ENTRY}) * 100_000 + b'0]'")
    assert (verdict, mib <= 64) == ("accepted", True), f"{verdict}, {mib} MiB"
