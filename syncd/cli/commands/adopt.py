"""`syncd adopt` and `syncd restore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.plan.binding import Binding
    from syncd.plan.drift import Difference

WhyOption = Annotated[str, typer.Option("--why", help="The reason, kept with the event.")]


def adopt(
    name: Annotated[
        str, typer.Argument(metavar="BINDING|MODEL", help="A binding, or all of a model's.", show_default=False)
    ],
    why: WhyOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Take a manual move of an alias into the record, if it points at a version that served there before.

    Nothing is moved. Automation continues from there; run `syncd hold` first to prevent a newer version.

    Example: syncd adopt embed-hangzhou --why "moved back at 3 a.m."
    """
    from syncd.errors import Conflict  # noqa: PLC0415 -- `--help` needs none of it
    from syncd.reconcile.drift import resolve  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        bindings = resolve.bindings_named(opened.topology, name)
        world, word = opened.world(), resolve.Justification(opened.requester.who, why)
        done: list[dict[str, object]] = []
        for binding in bindings:
            try:
                done.append(_parsed(binding, "adopted", resolve.adopt(world, binding, word)))
            except Conflict as refused:
                if len(bindings) == 1:
                    raise
                done.append({"binding": binding.name, "done": "refused", "why": refused.message, "hint": refused.hint})
        opened.output.show({"bindings": done}, lambda console: _text(console, done))
        return Exit.CONFLICT if any(each["done"] == "refused" for each in done) else Exit.OK


def restore(
    binding: Annotated[str, typer.Argument(metavar="BINDING", help="The binding's name.", show_default=False)],
    why: WhyOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Undo manual changes: an alias, its weights, and the parts of LATEST that syncd staged are restored.

    No byte is moved: the version served before. If the answer of the region is lost, the daemon completes it.

    Example: syncd restore embed-hangzhou --why "edited by mistake"
    """
    from syncd.errors import NotFound  # noqa: PLC0415 -- `--help` needs none of it
    from syncd.reconcile.drift import resolve  # noqa: PLC0415

    with session(config, output, verbose=verbose) as opened:
        if binding not in opened.topology.bindings:
            known = ", ".join(sorted(opened.topology.bindings))
            raise NotFound(f"no binding {binding!r}", hint=f"bindings: {known}")
        restored = resolve.restore(
            opened.world(), opened.topology.bindings[binding], resolve.Justification(opened.requester.who, why)
        )
        done = [_parsed(opened.topology.bindings[binding], "restored", restored)]
        opened.output.show({"bindings": done}, lambda console: _text(console, done))


def _parsed(binding: Binding, word: str, found: Sequence[Difference]) -> dict[str, object]:
    was = [{"what": each.what, "got": each.got, "want": each.want} for each in found]
    return {"binding": binding.name, "done": word if found else "nothing", "was": was}


def _text(console: Console, done: Sequence[Mapping[str, Any]]) -> None:
    verbs = {"adopted": "is adopted, the record said", "restored": "is put back to"}
    for each in done:
        if each["done"] == "nothing":
            console.print(f"{each['binding']} is as recorded", markup=False)
        elif each["done"] == "refused":
            console.print(f"{each['binding']} is left: {each['why']}\n   to do: {each['hint']}", markup=False)
        for was in each.get("was", ()):
            line = f"{each['binding']} {was['what']}: {was['got']} {verbs[each['done']]} {was['want']}"
            console.print(line, markup=False)
