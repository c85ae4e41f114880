"""`publish --from` refuses a directory whose files are not whole, before anything of it is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit

from tests.acceptance.stage import write_files
from tests.unit.cli.calling import Calling
from tests.unit.formats.table import HTML, LFS, SHARD, index

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def reported(call: Calling, tmp_path: Path, files: Mapping[str, bytes]) -> tuple[int, str]:
    """The code of the command and what stands on standard error; the record is never reached."""
    out = write_files(tmp_path / "out", files)
    done = call("publish", "m@v1", "--from", str(out), "--server", "http://127.0.0.1:9")
    return done.code, done.err


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"model.safetensors": SHARD[:-1]}, Exit.DIFFERS, f"model.safetensors has {len(SHARD) - 1} bytes"),
        ({"model.safetensors": HTML}, Exit.DIFFERS, "model.safetensors is an HTML page"),
        ({"tokenizer.model": LFS}, Exit.DIFFERS, "tokenizer.model is a pointer of git LFS"),
        ({ONE: SHARD, INDEX: index(ONE, TWO)}, Exit.USAGE, f"{TWO} is missing"),
    ],
)
def test_what_is_not_whole_is_refused_in_a_line(
    call: Calling, tmp_path: Path, files: Mapping[str, bytes], code: int, says: str
) -> None:
    came, err = reported(call, tmp_path, files)
    assert came == code
    assert says in err.splitlines()[0]
    assert err.splitlines()[1].startswith("hint:")
    assert "Traceback" not in err
    assert not list((call.home / "registry/m").iterdir())


def test_a_file_that_the_registry_leaves_out_is_not_checked(call: Calling, tmp_path: Path) -> None:
    files = {"model.safetensors": SHARD, INDEX: index(TWO)}
    code, err = reported(call, tmp_path, files)
    hint = err.splitlines()[1]
    assert code == Exit.USAGE
    setting = hint[hint.index("`") + 1 : hint.rindex("`")]
    assert json.loads(setting.partition("= ")[2]) == [INDEX]
    call.change("[registries.models]", f"[registries.models]\n{setting}")
    assert reported(call, tmp_path, files)[0] == Exit.UNAVAILABLE  # the server is asked: the version was copied
    assert (call.home / "registry/m/v1/model.safetensors").is_file()


def test_a_warning_does_not_stop_it(call: Calling, tmp_path: Path) -> None:
    code, err = reported(call, tmp_path, {"model.safetensors": SHARD, ONE: SHARD, TWO: SHARD, INDEX: index(ONE, TWO)})
    assert code == Exit.UNAVAILABLE
    assert err.startswith(f"warning: model.safetensors and {INDEX} are the same weights twice")
