"""`syncd cost`: the figures, and clear answers where there are none."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from syncd.cost.shipped import text
from syncd.plan.phases import PlacementPhase
from syncd.state.content import placements, versions
from syncd.state.db.schema import placements as placement_rows
from syncd.state.state import State

from tests.support.sources import manifest_of
from tests.unit.cli.calling import Calling

ABROAD = ("--site", "international", "--region", "ap-southeast-1")
T4 = ("--card", "tesla.1", "--gpu-gb", "4")


def test_the_guidance_under_its_own_tariff_and_today(bare: Calling) -> None:
    then = bare("cost", "serving", *T4, "--calls", "3600", *ABROAD, "--date", "2024-08-01")
    assert then.code == 0
    assert then.out.startswith("USD 0.259 for 1 day, prices of 2024-08-01 in ap-southeast-1\n")
    assert "4.1 % of the time, as the platform's page counts (4.1667 %)" in then.out
    assert "legacy" in then.out
    assert "99.46 % less than the ECS" in then.out
    today = bare("cost", "serving", *T4, "--active-h", "1", *ABROAD, "--date", "2026-11-30", "-o", "json").document
    assert today["serving"]["totals"] == {"USD": "0.6048"}
    assert today["ecs"]["totals"] == {"USD": "48"}


def test_the_tariff_page_with_sleeping_instances(bare: Calling) -> None:
    size = ("--card", "tesla.1", "--gpu-gb", "16", "--vcpu", "8", "--memory-gb", "32")
    hours = ("--active-h", "10", "--asleep-h", "40", "--calls", "1000000", "--days", "31")
    found = bare("cost", "serving", *size, *hours, "--date", "2026-11-30", "-o", "json").document
    assert found["serving"]["totals"] == {"CNY": "361.977"}
    assert found["ecs"]["totals"] == {"": "unknown"}
    assert found["saved_percent"] is None


def test_no_traffic_is_said_to_cost_nothing(bare: Calling) -> None:
    reported = bare("cost", "serving", *T4)
    assert reported.code == 0
    assert reported.out.startswith("0 for 1 day")
    assert "no calls and no instance kept ready: nothing is billed for serving" in reported.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("serving", *T4, "--region", "mars-1"), 3, "the shipped price list has no region 'mars-1' of the china site"),
        (("serving", "--card", "gtx", "--gpu-gb", "1", "--calls", "1"), 2, "no tariff for the card 'gtx'"),
        (("serving", *T4, "--calls", "1", "--date", "2020-01-01"), 3, "no price of fc.gpu.tesla.1 in cn-hangzhou"),
        (("serving", "--site", "mars"), 2, "expected china or international, got 'mars'"),
        (("serving", "--gpu-gb", "four"), 2, "expected a number such as 4 or 0.5, got 'four'"),
        (("serving", "--date", "today"), 2, "expected a date such as 2026-11-30, got 'today'"),
        (("prices", "--prices", "/nowhere/p.toml"), 2, "/nowhere/p.toml: No such file or directory"),
        (("prices", "--region", "mars-1"), 3, "has no region 'mars-1'"),
        (("storage", "--prices", "/nowhere/p.toml"), 2, "/nowhere/p.toml: No such file or directory"),
        (("storage", "nothing"), 3, "no binding serves the model 'nothing'"),
        (("saved", "nothing"), 3, "no binding serves the model 'nothing'"),
        (("saved", "m@v1"), 3, "no version m@v1 in the record"),
    ],
)
def test_what_cannot_be_reckoned_is_one_line(
    call: Calling, arguments: tuple[str, ...], code: int, message: str
) -> None:
    reported = call("cost", *arguments)
    assert (reported.code, reported.out) == (code, "")
    assert message in reported.err.splitlines()[0]


def test_a_wrong_price_list_names_the_row(bare: Calling, tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text().replace('price = "0.12"', 'price = "cheap"'))
    reported = bare("cost", "serving", "--prices", str(own))
    assert reported.code == 2
    assert f"{own}: prices[4] (oss.storage.lrs): price: expected a number in quotes" in reported.err
    own.write_bytes(b"\xff")
    assert "not UTF-8" in bare("cost", "prices", "--prices", str(own)).err


def test_prices_are_shown_with_their_source_and_what_is_unknown_as_that(bare: Calling, tmp_path: Path) -> None:
    listed = bare("cost", "prices", "--date", "2026-11-30").out
    assert "CNY 0.00011 up to 200000000, 0.0001 up to 1000000000, 0.00009" in listed
    assert "CNY unknown" in listed
    assert "fc.gpu.tesla.1" not in listed  # the tariff before compute units has ended
    own = tmp_path / "prices.toml"
    own.write_text(bare("cost", "prices", "--template", "-o", "json").document["toml"])
    assert bare("cost", "prices", "--prices", str(own), "-o", "json").document["name"] == str(own)
    assert bare("cost", "prices", "--template").out.startswith("# Prices, by item.")


def test_a_record_without_versions_stores_nothing_and_saved_nothing(call: Calling) -> None:
    assert call("cost", "storage").out == "nothing is stored\n"
    assert call("cost", "storage", "m").out == "nothing is stored\n"
    assert "the record has no copy of m yet" in call("cost", "saved", "m").out

    directory = call.home / "registry" / "m" / "v1"
    directory.mkdir()
    (directory / "weights.bin").write_bytes(b"x" * 1000)
    (directory / "READY").touch()
    for there in (directory, *directory.iterdir()):
        os.utime(there, (1, 1))  # longer ago than the registry waits for
    adds = call("cost", "storage", "m@v1", "-o", "json").document["targets"]
    assert [(t["what"], t["size_bytes"], t["monthly"]["totals"]) for t in adds] == [
        ("a release adds", 1000, {"CNY": "unknown"})
    ]
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        now = datetime.now(UTC)
        known = versions.record(conn, manifest_of({"weights.bin": b"x" * 1000}, "m"), "models", "p", now)
        placements.ensure(conn, known.id, "nas", now)
        conn.execute(sa.update(placement_rows).values(phase=PlacementPhase.SEALED))
    state.close()
    assert call("cost", "storage", "m@v1", "-o", "json").document["targets"][0]["what"] == "retiring frees"
    assert call("cost", "storage", "-o", "json").document["targets"][0]["size_bytes"] == 1000
    call.change("[policy]", f'[cost]\nprices = "{call.home}/p.toml"\n[policy]')
    priced = text().replace(
        'price = "unknown"\nsource = "not found: the performance type"', 'price = "1"\nsource = "x"'
    )
    (call.home / "p.toml").write_text(priced)
    found = call("cost", "storage", "m@v1", "-o", "json").document["targets"][0]["monthly"]["totals"]
    assert found["CNY"].startswith("0.0000009313225746")
