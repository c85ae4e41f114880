"""`syncd bench switching`: every storage that this machine can play, with every loader."""

import json

import pytest
from syncd.cli.main import main
from syncd.cli.switching import CHECKPOINTS_GB, loaders, storages
from syncd.localcloud.fuse import MountPace, can_mount


def test_the_checkpoints_are_those_of_the_page() -> None:
    assert len(CHECKPOINTS_GB) == 10
    assert round(sum(CHECKPOINTS_GB.values()), 2) == 40.57


def test_each_storage_is_measured_with_each_loader(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "switching", "--scale", "0.0001", "--latency-ms", "0", "--rounds", "1", "-o", "json"])

    answer = json.loads(capsys.readouterr().out)
    kinds = storages(MountPace())
    assert len(kinds) == (4 if can_mount() else 1)
    assert [(row["storage"], row["loader"]) for row in answer["rows"]] == [
        (storage, loader) for storage in kinds for loader in loaders()
    ]
    assert all(row["first_s"] > 0 and row["second_s"] > 0 for row in answer["rows"])
    assert len(answer["times"]) == len(kinds) * len(loaders()) * 10 * 2
    assert sum(each["size_bytes"] for each in answer["times"][:10]) == pytest.approx(4_057_000, rel=0.05)


def test_the_text_is_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.localcloud.fuse.can_mount", lambda: False)
    monkeypatch.setattr("syncd.cli.switching.can_mount", lambda: False)

    with pytest.raises(SystemExit, match="0"):
        main(["bench", "switching", "--scale", "0.0001", "--rounds", "1"])

    shown = capsys.readouterr()
    assert "NAS, image layer (a directory)" in shown.out
    assert "no OSS mounts: they need root and /dev/fuse" in shown.out
    assert "syncd.serving" in shown.err
