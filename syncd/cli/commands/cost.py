"""`syncd cost serving`, `storage`, `saved` and `prices`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.artifact.names import parse_model, parse_model_at_version
from syncd.cli.output.output import Output, OutputFormat, size, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.cost import serving as reckoned
from syncd.cost import shipped
from syncd.cost.bill import Bill, plain
from syncd.cost.price_list import SITES, PriceList, PriceQuestion

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.reconcile.views.plans.costs import TargetCost

app = typer.Typer(
    help="What serving and storing cost.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number < 0:
        raise ValueError(f"expected a number such as 4 or 0.5, got {text!r}")
    return number


def _site(text: str) -> str:
    if text not in SITES:
        raise ValueError(f"expected {' or '.join(SITES)}, got {text!r}")
    return text


def _day(text: str) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError(f"expected a date such as 2026-11-30, got {text!r}") from error


SiteOption = Annotated[
    str, typer.Option("--site", parser=_site, metavar="SITE", help="Site of the account: china or international.")
]
DayOption = Annotated[
    date | None,
    typer.Option("--date", parser=_day, metavar="DATE", help="Prices of this day; default: today.", show_default=False),
]
PricesOption = Annotated[
    Path | None,
    typer.Option("--prices", help="A price list instead of the shipped one.", show_default=False),
]
RegionOption = Annotated[str, typer.Option("--region", help="The region.")]


def _listed(path: Path | None) -> PriceList:
    from syncd.config.price_list_file import price_list_of  # noqa: PLC0415 -- pydantic: not for --help

    return price_list_of(path)


@app.callback()
def _group() -> None:
    """What serving and storing cost, by a dated price list."""


@app.command()
def serving(  # one option for each factor
    card: Annotated[str, typer.Option("--card", help="Card, such as tesla.1; empty for none.")] = "",
    gpu_gb: Annotated[Decimal, typer.Option("--gpu-gb", parser=_number, metavar="GB", help="GPU memory.")] = Decimal(0),
    vcpu: Annotated[Decimal, typer.Option("--vcpu", parser=_number, metavar="N", help="vCPUs.")] = Decimal(0),
    memory_gb: Annotated[Decimal, typer.Option("--memory-gb", parser=_number, metavar="GB", help="Memory.")] = Decimal(
        0
    ),
    disk_gb: Annotated[Decimal, typer.Option("--disk-gb", parser=_number, metavar="GB", help="Disk.")] = Decimal(0),
    calls: Annotated[int, typer.Option("--calls", min=0, help="Calls in the period.")] = 0,
    call_s: Annotated[
        Decimal, typer.Option("--call-s", parser=_number, metavar="S", help="Seconds that one call takes.")
    ] = Decimal(1),
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=200, help="Calls at once per instance.")] = 1,
    minimum: Annotated[int, typer.Option("--minimum", min=0, help="Instances that are always kept ready.")] = 0,
    days: Annotated[int, typer.Option("--days", min=1, max=31, help="The period, within one month.")] = 1,
    active_h: Annotated[
        Decimal | None,
        typer.Option(
            "--active-h",
            parser=_number,
            metavar="H",
            help="Active hours, instead of --call-s and --minimum.",
            show_default=False,
        ),
    ] = None,
    asleep_h: Annotated[
        Decimal, typer.Option("--asleep-h", parser=_number, metavar="H", help="Hours asleep, with --active-h.")
    ] = Decimal(0),
    region: RegionOption = "cn-hangzhou",
    site: SiteOption = "china",
    day: DayOption = None,
    prices: PricesOption = None,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """What serving costs: instances of a size, active and asleep, beside an ECS of the same card.

    The configured size counts, not what is used of it. Instances that are kept ready are asleep while they serve
    nothing. Needs no configuration.

    Example: syncd cost serving --card tesla.1 --gpu-gb 4 --calls 3600 --region ap-southeast-1 --site international
    """
    listed = _listed(prices)
    where = PriceQuestion(site, region, day or datetime.now(UTC).date())
    listed.check(where)
    period_s = Decimal(days * reckoned.DAY_S)
    of = reckoned.InstanceSize(card=card, gpu_gb=gpu_gb, vcpu=vcpu, memory_gb=memory_gb, disk_gb=disk_gb)
    used = (
        reckoned.usage(calls=calls, call_s=call_s, concurrency=concurrency, minimum=minimum, period_s=period_s)
        if active_h is None
        else reckoned.ServingUsage(active_s=active_h * 3600, asleep_s=asleep_h * 3600, calls=calls)
    )
    bill = reckoned.serving(listed, where, of, used)
    machine = reckoned.machine(listed, where, card, Decimal(24 * days)) if card else Bill(())
    busy = reckoned.utilisation(used, period_s)
    saved = reckoned.saved_percent(bill, machine) if card else None
    document = {
        "site": site,
        "region": region,
        "date": where.day.isoformat(),
        "prices": listed.name,
        "days": days,
        "active_s": plain(used.active_s),
        "asleep_s": plain(used.asleep_s),
        "utilisation_percent": {"page": busy.as_page_counts, "exact": plain(round(busy.exact_percent, 4))},
        "serving": bill.as_json(),
        "ecs": machine.as_json(),
        "saved_percent": None if saved is None else plain(round(saved, 2)),
    }

    def text(console: Console) -> None:
        console.print(f"{bill.text} for {days} day{'s' * (days > 1)}, prices of {where.day} in {region}", markup=False)
        if used.is_empty:
            console.print("no calls and no instance kept ready: nothing is billed for serving", markup=False)
        share = f"{busy.as_page_counts} % of the time, as the platform's page counts ({busy.exact_percent:.4f} %)"
        console.print(f"one instance would be busy {share}", markup=False)
        _lines(console, bill + machine)
        if saved is not None:
            console.print(f"{abs(saved):.2f} % {'less' if saved >= 0 else 'more'} than the ECS", markup=False)

    Output(output).show(document, text)


@app.command()
def storage(
    which: Annotated[
        str | None, typer.Argument(metavar="[MODEL[@VERSION]]", help="Only this.", show_default=False)
    ] = None,
    day: DayOption = None,
    prices: PricesOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """What sealed versions cost a month at each target; of one version, what its release adds and retiring it frees.

    A version that the record does not know is looked up at its registry.

    Example: syncd cost storage sdxl@v2
    """
    from syncd.reconcile.views.plans import costs  # noqa: PLC0415 -- the record: not for --help

    with session(config, output, verbose=verbose) as opened:
        settings = opened.config.cost
        reckon = costs.Reckoning(
            _listed(prices or settings.prices), settings.site, day or datetime.now(UTC).date(), opened.topology
        )
        if which is not None and "@" in which:
            model, version = parse_model_at_version(which)
            found = costs.of_version(opened.world(), reckon, model, version)
        else:
            found = costs.of_targets(opened.read_from, reckon, parse_model(which) if which is not None else None)
        document = {"of": which, "prices": reckon.prices.name, "targets": [each.as_json() for each in found]}
        opened.output.show(document, lambda console: _targets(console, found))


@app.command()
def saved(
    model_at_version: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", show_default=False)],
    starts: Annotated[
        int | None,
        typer.Option("--starts", min=0, help="Number of cold starts; default: the recorded ones.", show_default=False),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """What instance seconds are not billed since the bytes were there before the function started.

    A function that fetched the version itself would take as long for it as the recorded copy to the target of its
    region did, at each cold start. The record has the cold starts of probes; a function has more: see --starts.

    Example: syncd cost saved sdxl --starts 1000
    """
    from syncd.reconcile.views.plans import costs  # noqa: PLC0415 -- as above

    with session(config, output, verbose=verbose) as opened:
        model, _, version = model_at_version.partition("@")
        found = costs.saved(opened.state, opened.topology, parse_model(model), version, starts)
        rows = [
            (s.region, s.target, size(s.size_bytes), s.starts, f"{s.copy_s:.1f}", f"{s.saved_s:.1f}") for s in found
        ]

        def text(console: Console) -> None:
            if not found:
                console.print(f"the record has no copy of {model_at_version} yet: nothing to reckon with", markup=False)
                return
            columns = ("REGION", "TARGET", "SIZE", "COLD STARTS", "COPY S", "NOT BILLED S")
            tabulate(console, columns, rows)

        opened.output.show({"of": model_at_version, "regions": [each.as_json() for each in found]}, text)


@app.command("prices")
def prices_(
    template: Annotated[
        bool, typer.Option("--template", help="Print the shipped list as TOML, to copy and change.")
    ] = False,
    region: RegionOption = "cn-hangzhou",
    site: SiteOption = "china",
    day: DayOption = None,
    prices: PricesOption = None,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Show the prices that are in force in a region on a day, with their sources; an unknown one as that.

    Example: syncd cost prices --region cn-hangzhou
    """
    if template:
        Output(output).show({"toml": shipped.text()}, lambda console: console.print(shipped.text(), markup=False))
        return
    listed = _listed(prices)
    where = PriceQuestion(site, region, day or datetime.now(UTC).date())
    listed.check(where)
    rows = _in_force(listed, where)
    columns = ("ITEM", "PRICE", "PER", "SINCE", "LABEL", "SOURCE")
    keys = [name.lower() for name in columns]
    document = {"site": site, "region": region, "date": where.day.isoformat(), "name": listed.name}
    document |= {"prices": [dict(zip(keys, row, strict=True)) for row in rows]}  # type: ignore[dict-item]
    Output(output).show(document, lambda console: tabulate(console, columns, rows))


def _in_force(listed: PriceList, where: PriceQuestion) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for item in dict.fromkeys(price.item for price in listed.prices):
        price = listed.get(item, where)
        if price is None:
            continue
        tiers = [f"{plain(t.price)}{f' up to {plain(t.up_to)}' if t.up_to else ''}" for t in price.tiers]
        shown = f"{price.currency} {', '.join(tiers) or 'unknown'}"
        rows.append((item, shown, price.per, price.since.isoformat(), price.label, price.source))
    return rows


def _lines(console: Console, bill: Bill) -> None:
    rows = [
        (
            line.what,
            f"{line.currency} {'unknown' if line.amount is None else plain(line.amount)}".strip(),
            line.arithmetic,
            line.label,
            line.source,
        )
        for line in bill.lines
    ]
    if rows:
        tabulate(console, ("WHAT", "AMOUNT", "ARITHMETIC", "LABEL", "SOURCE"), rows)


def _targets(console: Console, found: Sequence[TargetCost]) -> None:
    rows = [
        (t.target, t.region, size(t.size_bytes), t.what, t.monthly.text, t.once.text if t.once.lines else "-", t.source)
        for t in found
    ]
    if not rows:
        console.print("nothing is stored", markup=False)
        return
    tabulate(console, ("TARGET", "REGION", "SIZE", "", "A MONTH", "ONCE", "SOURCE"), rows)
