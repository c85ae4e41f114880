"""`syncd doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, set_up_logs, settings

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.cli.doctor.checkup import CheckResult


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Resolve what is safe: modes of secret files and of the record.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Check everything that syncd needs: each finding with its cure.

    The configuration, the record, its disk, clocks and certificates; of each registry, target, bucket, NAS, base image
    and function whether it answers and permits what syncd does. A small document is written to each target and deleted.
    No release, version or alias is changed.

    Exit code 0 if nothing is wrong; warnings do not count. 8 if something is wrong. Where nothing else is: 10 if
    something was refused, 7 if something did not answer.

    Example: syncd doctor -c /etc/syncd/config.toml
    """
    from syncd.cli.doctor import checkup, machine, places  # noqa: PLC0415 -- adapters: for this command alone
    from syncd.reconcile.views.shapes.doctor import DoctorDocument, FindingOfDoctorDocument  # noqa: PLC0415
    from syncd.state.state import State  # noqa: PLC0415
    from syncd.wiring import world_of  # noqa: PLC0415

    loaded = settings(config, verbose=verbose)
    set_up_logs(loaded, verbose=verbose)
    state = State(loaded.state.connect_url.render_as_string(hide_password=False))
    try:
        checks = [*machine.checks(loaded, state, fix=fix), *places.checks(loaded, world_of(loaded, state))]
        findings = checkup.run(checks)
    finally:
        state.close()
    left = [each for each in findings if not each.fixed]
    document = DoctorDocument(
        good=all(each.kind == "warning" for each in left),
        checks=len(checks),
        findings=[FindingOfDoctorDocument.model_validate(each) for each in findings],
    )

    def tell(console: Console) -> None:
        if findings:
            tabulate(console, ("", "CHECK", "WHERE", "FOUND", "CURE"), [_row(each) for each in findings])
        else:
            console.print(f"nothing is wrong: {len(checks)} checks", markup=False)

    Output(output).show(document.as_json(), tell)
    return _code(left)


def _row(found: CheckResult) -> tuple[str, ...]:
    return ("fixed" if found.fixed else found.kind, found.check, found.where, found.what, found.cure)


def _code(left: list[CheckResult]) -> Exit:
    kinds = {each.kind for each in left}
    if "wrong" in kinds:
        return Exit.DIFFERS
    if "refused" in kinds:
        return Exit.REFUSED
    return Exit.UNAVAILABLE if "unavailable" in kinds else Exit.OK
