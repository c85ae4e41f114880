"""The worked examples of the platform's pages, to their last digit: a wrong factor or tier changes one of them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from syncd.cost.bill import money
from syncd.cost.price_list import PriceQuestion
from syncd.cost.serving import (
    DAY_S,
    InstanceSize,
    ServingUsage,
    machine,
    saved_percent,
    serving,
    units,
    usage,
    utilisation,
)
from syncd.cost.shipped import shipped

BEFORE_CU = PriceQuestion("international", "ap-southeast-1", date(2024, 8, 26))
ABROAD = PriceQuestion("international", "ap-southeast-1", date(2026, 11, 30))
CHINA = PriceQuestion("china", "cn-hangzhou", date(2026, 11, 30))
T4_4_GB = InstanceSize(card="tesla.1", gpu_gb=Decimal(4))
HOUR_S = Decimal(3600)


@pytest.mark.parametrize(
    ("calls", "cost", "shown", "page", "exact", "saved"),
    [
        (3_600, "0.2592", "USD 0.259", "4.1", "4.1667", "99.46"),
        (50_000, "3.6", "USD 3.60", "57", "57.8704", "92.50"),
    ],
)
def test_the_guidance_under_the_tariff_of_its_time(
    calls: int, cost: str, shown: str, page: str, exact: str, saved: str
) -> None:
    used = usage(calls=calls, call_s=Decimal(1))
    bill = serving(shipped(), BEFORE_CU, T4_4_GB, used)
    assert bill.totals == {"USD": Decimal(cost)}
    assert bill.text == shown
    assert {line.label for line in bill.lines} == {"legacy"}
    busy = utilisation(used)
    assert busy.as_page_counts == page
    assert round(busy.exact_percent, 4) == Decimal(exact)
    ecs = machine(shipped(), BEFORE_CU, "tesla.1", Decimal(24))
    assert ecs.totals == {"USD": Decimal(48)}
    less = saved_percent(bill, ecs)
    assert less is not None
    assert round(less, 2) == Decimal(saved)


def test_the_same_case_today_for_the_gpu_alone() -> None:
    bill = serving(shipped(), ABROAD, T4_4_GB, ServingUsage(active_s=HOUR_S))
    assert bill.totals == {"USD": Decimal("0.6048")}
    assert bill.text == "USD 0.605"
    assert bill.lines[0].label == ""


@pytest.mark.parametrize(
    ("size", "cu", "exact", "page"),
    [
        (("tesla.1", 16, 8, 32), 3_290_700, "361.97700", "361.977"),
        (("blackwell.1", 32, 8, 64), 5_272_140, "579.93540", "579.94"),
    ],
)
def test_the_totals_of_the_tariff_page(size: tuple[str, int, int, int], cu: int, exact: str, page: str) -> None:
    card, gpu_gb, vcpu, memory_gb = size
    of = InstanceSize(card=card, gpu_gb=Decimal(gpu_gb), vcpu=Decimal(vcpu), memory_gb=Decimal(memory_gb))
    used = ServingUsage(active_s=10 * HOUR_S, asleep_s=40 * HOUR_S, calls=1_000_000)
    assert units(shipped().units, of, used).total == cu
    amount = serving(shipped(), CHINA, of, used).totals["CNY"]
    assert amount == Decimal(exact)
    assert round(amount, -Decimal(page).as_tuple().exponent) == Decimal(page)  # type: ignore[operator]


def test_the_cpu_case_of_the_tariff_page() -> None:
    """The page gives 33 600 CU and CNY 3.7."""
    amount = shipped().find("fc.cu", CHINA).of(Decimal(33_600))
    assert amount == Decimal("3.696")
    assert round(amount, 1) == Decimal("3.7")


def test_each_tier_is_paid_at_its_own_price() -> None:
    price = shipped().find("fc.cu", CHINA)
    assert price.of(Decimal(200_000_000)) == 22_000
    assert price.of(Decimal(200_000_001)) == Decimal("22000.0001")
    assert price.of(Decimal(1_000_000_000)) == 22_000 + 80_000
    assert price.of(Decimal(2_000_000_000)) == 22_000 + 80_000 + 90_000


def test_kept_instances_sleep_while_they_serve_nothing_and_count_by_ten_seconds() -> None:
    used = usage(calls=3, call_s=Decimal("0.4"), minimum=2)
    assert used.active_s == 10
    assert used.asleep_s == 2 * DAY_S - 10


def test_an_on_demand_call_counts_whole_seconds_and_calls_together_share_them() -> None:
    assert usage(calls=100, call_s=Decimal("0.1")).active_s == 100
    assert usage(calls=100, call_s=Decimal("0.1"), concurrency=4).active_s == 3


def test_no_traffic_costs_nothing() -> None:
    bill = serving(shipped(), CHINA, T4_4_GB, usage(calls=0, call_s=Decimal(1)))
    assert bill.text == "0"
    assert bill.lines == ()
    assert utilisation(ServingUsage()).as_page_counts == "0"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "USD 0.00"),
        ("0.0000123", "USD 0.0000123"),
        ("6.6E-9", "USD 0.00000000660"),
        ("0.605", "USD 0.605"),
        ("12345.678", "USD 12 345.68"),
    ],
)
def test_money_has_two_decimals_or_three_digits(amount: str, shown: str) -> None:
    assert money(Decimal(amount), "USD") == shown
    assert money(None, "USD") == "USD unknown"
