"""A price list of one's own: which row counts, and what is said of one that is wrong."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from syncd.cost.price_list import PriceQuestion, parse
from syncd.cost.shipped import shipped, text
from syncd.cost.storage import StoredBytes, brought, stored
from syncd.errors import Invalid, NotFound

DAY = date(2026, 11, 30)
CHINA = PriceQuestion("china", "cn-hangzhou", DAY)
GB = 10**9


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "p.toml: format: expected 1, got 2"),
        ("format = 1", "format = 1\nextra = 1", "p.toml: unknown key 'extra'"),
        ("format = 1", "format = ", "p.toml: not TOML: "),
        ('price = "0.12"', "price = 0.12", "p.toml: prices[4] (oss.storage.lrs): price: expected a number in quotes"),
        ('price = "0.12"', 'price = "-1"', "prices[4] (oss.storage.lrs): price: expected a number in quotes"),
        ('price = "0.12"', 'prize = "0.12"', "prices[4] (oss.storage.lrs): unknown key 'prize'"),
        ('price = "0.12"', "", "prices[4] (oss.storage.lrs): expected either price or tiers"),
        ('price = "0.12"', 'tiers = [{ up_to = 5, price = "1" }]', "tiers[0]: expected `up_to` in every tier but the"),
        ('price = "0.12"', "tiers = []", "tiers: expected a list of"),
        ("up_to = 1_000_000_000", "up_to = 1_000", "tiers[1].up_to: expected more than 200000000, got 1000"),
        ("to = 2024-08-26", "to = 2020-01-01", "prices[2] (fc.gpu.tesla.1): to: 2020-01-01 is before from: 2022-01-01"),
        ("to = 2024-08-26", "to = 2024-08-26T00:00:00", "to: expected a date such as 2024-08-27"),
        ('currency = "CNY"', 'currency = ""', "prices[0] (fc.cu): currency: expected text, got ''"),
        ('site = "china"', 'site = "mars"', "prices[0] (fc.cu): site: expected china or international, got 'mars'"),
        ('asleep = "0.5"', 'asleep = "x"', "p.toml: cu.cards.tesla.1.asleep: expected a number in quotes"),
        ("[cu.cards]", "[cu.other]", "p.toml: cu: expected the table [cu] with [cu.cards]"),
        ("vcpu_s =", "vcpus_s =", "p.toml: cu.vcpu_s: expected a number in quotes such as"),
        ("[regions]\nchina = [", "[regions]\nother = [", "regions: the site 'china' has prices and no list of regions"),
    ],
)
def test_a_wrong_list_is_refused_with_the_row_and_the_key(old: str, new: str, message: str) -> None:
    shown = text()
    assert old in shown
    with pytest.raises(Invalid) as refused:
        parse("p.toml", shown.replace(old, new, 1))
    assert message in refused.value.message
    assert "\n" not in refused.value.message


def test_a_row_of_the_region_wins_and_then_the_later_one() -> None:
    row = """
[[prices]]
item = "oss.storage.lrs"
site = "china"
region = "{region}"
from = {since}
currency = "CNY"
per = "GB and month"
price = "{price}"
source = "a contract"
"""
    more = row.format(region="cn-hangzhou", since="2026-01-01", price="0.09")
    more += row.format(region="cn-hangzhou", since="2026-11-01", price="0.08")
    more += row.format(region="cn-hangzhou", since="2027-01-01", price="0.07")
    prices = parse("ours", text().replace("# CU for each", more + "\n#", 1))
    assert prices.find("oss.storage.lrs", CHINA).of(Decimal(1)) == Decimal("0.08")
    elsewhere = PriceQuestion("china", "cn-shanghai", DAY)
    assert prices.find("oss.storage.lrs", elsewhere).of(Decimal(1)) == Decimal("0.12")


def test_a_region_and_a_site_that_are_not_known() -> None:
    with pytest.raises(NotFound) as unknown:
        shipped().find("fc.cu", PriceQuestion("china", "mars-1", DAY))
    assert unknown.value.message == "the shipped price list has no region 'mars-1' of the china site"
    assert "cn-hangzhou" in unknown.value.hint
    with pytest.raises(NotFound, match="has no site 'moon'"):
        shipped().find("fc.cu", PriceQuestion("moon", "cn-hangzhou", DAY))
    with pytest.raises(NotFound, match=r"has no price of gold in cn-hangzhou \(china site\) on 2026-11-30"):
        shipped().find("gold", CHINA)
    with pytest.raises(NotFound, match="on 2020-01-01"):
        shipped().find("fc.cu", PriceQuestion("china", "cn-hangzhou", date(2020, 1, 1)))


def test_an_unknown_price_is_shown_and_makes_the_total_unknown() -> None:
    oss = stored(shipped(), CHINA, StoredBytes("hz", "oss", "cn-hangzhou", 10 * GB))
    assert oss.text == "CNY 1.20"
    nas = stored(shipped(), CHINA, StoredBytes("nas", "nas", "cn-hangzhou", 10 * GB))
    assert nas.text == "CNY unknown"
    assert (oss + nas).text == "CNY unknown"
    assert [line["amount"] for line in (oss + nas).as_json()["lines"]] == ["1.2", "unknown"]  # type: ignore[attr-defined]
    assert stored(shipped(), CHINA, StoredBytes("hz", "oss", "", 10 * GB, accelerator_bytes=GB)).text == "CNY unknown"


def test_hong_kong_has_no_price_of_the_mainland() -> None:
    assert not shipped().find("oss.storage.lrs", PriceQuestion("china", "cn-hongkong", DAY)).is_known


def test_replication_costs_and_sending_does_not() -> None:
    assert brought(shipped(), CHINA, StoredBytes("hz", "oss", "", 10 * GB, replicated=True)).text == "CNY 5.00"
    assert brought(shipped(), CHINA, StoredBytes("hz", "oss", "", 10 * GB)).text == "0"
    assert brought(shipped(), CHINA, StoredBytes("i", "image", "", 10 * GB, replicated=True)).text == "0"


def test_a_gib_is_counted_as_one() -> None:
    list_ = text().replace('item = "nas.storage.capacity"', 'item = "nas.storage.performance"')
    prices = parse("ours", list_)
    where = PriceQuestion("international", "cn-hangzhou", DAY)
    assert stored(prices, where, StoredBytes("nas", "nas", "", 10 * 2**30)).text == "USD 0.600"
