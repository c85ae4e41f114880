"""`syncd bench switching`: every storage that this machine can play, with every loader."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from syncd.cli.main import main
from syncd.cli.switching import CHECKPOINTS_GB, SwitchTime, loaders, storages
from syncd.cli.switching_plots import PICTURES, pictures
from syncd.errors import Invalid
from syncd.localcloud.fuse import MountPace, can_mount

DOCS = Path(__file__).parents[3] / "docs" / "bench"
SVG = "{http://www.w3.org/2000/svg}"


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


def test_the_pictures_in_the_docs_are_those_of_their_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "plots", str(DOCS / "switching.json"), "--dir", str(tmp_path / "new"), "-o", "json"])

    assert json.loads(capsys.readouterr().out)["written"] == [str(tmp_path / "new" / name) for name in PICTURES]
    for name in PICTURES:
        assert (tmp_path / "new" / name).read_text() == (DOCS / name).read_text()
        assert f"]({name})" in (DOCS / "switching.md").read_text()


def test_a_picture_has_a_bar_for_each_switch_as_long_as_its_median() -> None:
    longest = {("OSS mount", "hash, then read", "sd_xl_base_1.0", 1): (9.0, 3.0, 4.0)}
    times = [
        SwitchTime(storage, loader, name, turn, 1, seconds)
        for storage in ("OSS mount", "OSS mount, prefetching")
        for loader in ("hash, then read", "syncd.serving", "mmap")
        for name in CHECKPOINTS_GB
        for turn in (1, 2)
        for seconds in longest.get((storage, loader, name, turn), (1.0, 1.0, 1.0))
    ]

    drawn = pictures(times)

    assert list(drawn) == ["switching-oss.svg"]
    root = ET.fromstring(drawn["switching-oss.svg"])
    bars = [float(each.attrib["width"]) for each in root.iter(f"{SVG}rect") if each.attrib.get("height") == "10"]
    assert len(bars) == 40
    assert sorted(set(bars)) == [pytest.approx(max(bars) / 4), max(bars)]
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert set(CHECKPOINTS_GB) <= set(texts)
    assert texts.count("4.000") == 1
    assert texts.count("1.000") == 39


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "expected a JSON document"),
        ("[]", "expected the JSON of the switching test"),
        ('{"times": [{"storage": "OSS mount"}]}', "expected the JSON of the switching test"),
        ('{"times": []}', "no times of a directory or an OSS mount"),
    ],
)
def test_results_that_cannot_be_drawn_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    results = tmp_path / "results.json"
    if text is not None:
        results.write_text(text)

    with pytest.raises(SystemExit) as stopped:
        main(["bench", "plots", str(results), "--dir", str(tmp_path / "new")])

    assert stopped.value.code
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "new").exists()


def test_results_that_lack_a_checkpoint_are_refused() -> None:
    times = [
        SwitchTime("OSS mount", loader, "Deliberate_v2", 1, 1, 1.0) for loader in ("hash, then read", "syncd.serving")
    ]
    with pytest.raises(Invalid, match=r"no time of switch 1 to Anything-v4\.5-pruned-mergedVae with hash, then read"):
        pictures(times)
