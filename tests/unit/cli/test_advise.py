"""`syncd advise` beside a record: the version of the registry, and a platform that does not answer."""

from __future__ import annotations

import os

from tests.unit.cli.calling import Calling


def test_a_version_of_the_registry_is_advised_without_history(call: Calling) -> None:
    missing = call("advise", "m")
    assert (missing.code, missing.out) == (3, "")
    assert "m has no version, in the record or in its registry" in missing.err
    directory = call.home / "registry" / "m" / "v1"
    directory.mkdir()
    (directory / "weights.bin").write_bytes(b"x" * 1000)
    (directory / "READY").touch()
    for there in (directory, *directory.iterdir()):
        os.utime(there, (1, 1))  # longer ago than the registry waits for
    reported = call("advise", "m", "--starts", "12")
    assert reported.code == 0
    assert reported.out.startswith("m@v1: 1 files, 1.0 kB, no earlier version\n")
    assert "cn-shanghai: oss with accelerator" in reported.out
    assert "12 instances may start at once" in reported.out
    assert "Function Compute: GPU instance model storage best practices" in reported.out
    found = call("advise", "m@v1", "-o", "json").document
    assert found["regions"][0]["now"] == ["nas"]
    assert found["regions"][0]["peak_starts"] is None
    call.change("[policy]", '[advice]\nnas_bandwidth = "1B/s"\n[policy]')
    slow = call("advise", "m@v1", "--starts", "2").out
    assert "2 instances at once read 0.0 MB in 2000 s; the start-up limit is 120 s: use OSS with Accelerator" in slow


def test_what_is_not_served_or_not_there(call: Calling) -> None:
    assert call("advise", "nothing").code == 3
    assert call("advise", "m@v9").code == 3
    assert call("advise", "m@").code == 2
