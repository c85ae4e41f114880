"""What a binding costs to read, counted in calls: a fleet has tens of thousands of them."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import syncd
from syncd.config import load

ROOM = str(Path(syncd.__file__).parent)
CALLS_MAX = 45  # of our own functions, for a binding with one model
HEAD = """
[state]
url = "sqlite:////srv/syncd/syncd.db"
[credentials.main]
access_key_id = "id"
access_key_secret = { env = "KEY" }
[targets.hangzhou]
kind = "oss"
region = "cn-hangzhou"
endpoint = "https://oss-cn-hangzhou.aliyuncs.com"
bucket = "models"
credentials = "main"
[runtimes.hangzhou]
kind = "fc"
region = "cn-hangzhou"
endpoint = "1234567890123456.cn-hangzhou.fc.aliyuncs.com"
credentials = "main"
"""
BINDING = """
[bindings.b{n:04}]
runtime = "hangzhou"
function = "paint-{n:04}"
models = [{{ model = "model-{n:04}", target = "hangzhou", mount_dir = "/mnt/m" }}]
"""


def calls_of_reading(path: Path, bindings: int) -> Counter[str]:
    path.write_text(HEAD + "".join(BINDING.format(n=n) for n in range(bindings)))
    found: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOM):
            found[f"{frame.f_code.co_filename.removeprefix(ROOM)}:{frame.f_code.co_qualname}"] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        load(path, {"KEY": "secret-of-the-account"})
    finally:
        sys.setprofile(before)
    return found


def test_a_binding_takes_few_calls_and_each_as_many_as_the_one_before(tmp_path: Path) -> None:
    calls_of_reading(tmp_path / "c.toml", 10)  # validators are built once
    few, many, more = (calls_of_reading(tmp_path / "c.toml", n) for n in (100, 200, 300))
    assert more.total() - many.total() == many.total() - few.total()
    each = (many - few).total() / 100
    assert each <= CALLS_MAX, (many - few).most_common(10)


def test_the_collector_runs_again_after_a_file_was_read(tmp_path: Path) -> None:
    assert gc.isenabled()
    calls_of_reading(tmp_path / "c.toml", 1)
    assert gc.isenabled()
    gc.disable()
    try:
        calls_of_reading(tmp_path / "c.toml", 1)
        assert not gc.isenabled()
    finally:
        gc.enable()
