"""Probe and prewarm settings, as the packages get them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from syncd.config import Config, load
from syncd.errors import Invalid
from syncd.plan.binding import Binding, PrewarmPolicy
from syncd.values.function import Golden, Latency, Probe
from syncd.wiring import topology_of

GOOD = Path(__file__).parents[2] / "config" / "probes.good.toml"
ENVIRON = {"SYNCD_OSS_SECRET": "x"}


def loaded(text: str, tmp_path: Path) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load(file, ENVIRON)


@pytest.fixture
def binding_with(tmp_path: Path) -> Callable[[str, str], Binding]:
    """The first binding of the good file, with a text exchanged."""

    def made(old: str, new: str) -> Binding:
        text = GOOD.read_text()
        assert old in text
        return topology_of(loaded(text.replace(old, new), tmp_path)).bindings["a"]

    return made


def test_a_binding_asks_what_the_file_says() -> None:
    topology = topology_of(load(GOOD, ENVIRON))
    wanted = {"$": {"a": [1, 2.5, True, "x"]}, "$.a[3]": "x", "a.b-c[0][1].d": False}
    golden = (
        Golden("cube", b'{"prompt": "a cube"}', wanted, 1e-3),
        Golden("golden[1]", b"{}", {}, fails=True),
    )
    assert topology.bindings["a"].probe([]) == Probe(
        b'{"ping": 1}', (), 60.0, golden, Latency(20, 1.5), "$.load.seconds"
    )
    assert topology.bindings["a"].warmth == PrewarmPolicy(2, 60.0, "prod-previous", 1800.0)


def test_a_binding_that_says_nothing_asks_for_digests_alone_and_holds_nothing_ready() -> None:
    binding = topology_of(load(GOOD, ENVIRON)).bindings["b"]
    assert binding.probe([]) == Probe(b"{}", (), 60.0)
    assert binding.warmth is None


def test_the_bytes_of_a_file_are_the_request(binding_with: Callable[[str, str], Binding], tmp_path: Path) -> None:
    file = tmp_path / "request.bin"
    file.write_bytes(b"\x00\xff not text")
    binding = binding_with("""body = '{"prompt": "a cube"}'""", f'body_file = "{file}"')
    assert binding.golden[0].body == b"\x00\xff not text"


def test_a_file_that_went_away_after_the_settings_were_read_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "request.bin"
    file.write_bytes(b"x")
    text = GOOD.read_text().replace("""body = '{"prompt": "a cube"}'""", f'body_file = "{file}"')
    config = loaded(text, tmp_path)
    file.unlink()
    with pytest.raises(Invalid, match="cannot be read"):
        topology_of(config)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "request.bin"
    with file.open("wb") as writing:
        writing.truncate((4 << 20) + 1)
    text = GOOD.read_text().replace("""body = '{"prompt": "a cube"}'""", f'body_file = "{file}"')
    with pytest.raises(Invalid, match="it has 4194305 bytes; expected at most 4194304"):
        loaded(text, tmp_path)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800.0), ("45s", 45.0), ("2h", 7200.0), ("0", None)])
def test_times_are_read_with_their_units(
    binding_with: Callable[[str, str], Binding], text: str, seconds: float | None
) -> None:
    warmth = binding_with('rollback_warm = "30m"', f'rollback_warm = "{text}"').warmth
    assert warmth is not None
    assert warmth.rollback_s == (seconds or 0.0)
