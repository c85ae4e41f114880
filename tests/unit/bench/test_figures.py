from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from bench.contenders import Contender
from bench.figures import ONE, SMALL, Spread, slope, spread, verdicts
from bench.plot import svg
from bench.report import Setting, markdown, number_in
from bench.trials import Sample

SYNCD = Sample(ONE, "syncd", 1, 2.0, 1.0, 1, 0.1, 10, 1, '{"before_s": 0.2, "copy_s": 0.7, "after_s": 0.1}')


def samples() -> list[Sample]:
    own = [replace(SYNCD, round=n, cpu_s=cpu_s) for n, cpu_s in enumerate((1.0, 0.6, 9.0), 1)]
    return [*own, replace(SYNCD, contender="s5cmd", cpu_s=2.0, wall_s=1.0, said="")]


def test_a_spread_is_median_least_and_most() -> None:
    assert spread(samples(), ONE, "syncd", "cpu_s") == Spread(1.0, 0.6, 9.0)
    assert spread(samples(), SMALL, "syncd", "cpu_s") is None


def test_a_verdict_is_by_the_ratio_of_medians_and_none_without_a_rival() -> None:
    by_what = {(v.target.trial, v.target.what): v for v in verdicts(samples())}
    cpu = by_what[ONE, "CPU, compared with s5cmd"]
    assert (cpu.ratio, cpu.is_met) == (0.5, True)
    wall = by_what[ONE, "wall, compared with the fastest that checks what it sends"]
    assert (wall.ratio, wall.is_met) == (2.0, False)
    rclone = by_what[ONE, "CPU, compared with rclone"]
    assert (rclone.ratio, rclone.is_met) == (None, False)


def test_a_slope_tells_the_first_from_each() -> None:
    assert slope({1: 5.5, 2: 6.0, 4: 7.0}) == pytest.approx((0.5, 5.0))


def test_the_page_says_what_is_met_what_is_not_and_what_was_left_out() -> None:
    series = [replace(SYNCD, trial=f"files {n}", cpu_s=1 + n / 100) for n in (100, 200)]
    assert number_in(series[0]) == 100
    contender = Contender("syncd", "1", lambda _: [], "how")
    setting = Setting(0.05, 3, 16, (1.0, 2.0), [contender], ["rclone"])
    page = markdown(samples(), [("number of files", series)], setting)
    assert "| one bucket | CPU, compared with s5cmd | 0.70 | 0.50 | met |" in page
    assert "| **not met** |" in page
    assert "| not measured |" in page
    assert "left out: rclone" in page
    assert "| syncd | 2.00 | 3.00 | 10.000 | 1.00 |" in page
    assert "| one bucket, syncd | 1.00 | 0.20 | 0.70 | 0.10 |" in page


def test_the_plot_is_a_document_with_two_bars_for_each_contender() -> None:
    document = ET.fromstring(svg(samples()))
    bars = [node for node in document.iter() if node.tag.endswith("rect")]
    assert len(bars) == 1 + 2 * 2  # the ground, and CPU and wall for two
