"""`syncd bench`: measurements on this machine."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import OutputOption
from syncd.errors import Invalid, NotFound

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measure on this machine.",
)


@app.callback()
def bench() -> None:
    """Measure on this machine."""


@app.command("switching")
def switching(
    scale: Annotated[
        float, typer.Option("--scale", min=0.0001, max=1, help="Size of the checkpoints; 1 is 40.57 GB.")
    ] = 0.01,
    latency_ms: Annotated[float, typer.Option("--latency-ms", min=0, max=1000, help="Of a request to OSS.")] = 10.0,
    mb_s: Annotated[float, typer.Option("--mb-s", min=1, help="MB a second of the OSS mount, in all.")] = 400.0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=100, help="How often; medians are shown.")] = 5,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep the checkpoints here; a temporary directory if left out.")
    ] = None,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Switch a function between ten Stable Diffusion checkpoints, twice, by storage and loader.

    An OSS mount is a real FUSE mount, which needs root and /dev/fuse; without them only a directory is measured.

    Example: syncd bench switching --scale 0.01 --rounds 1
    """
    from syncd.cli import switching as test  # noqa: PLC0415 -- for this command only
    from syncd.localcloud.fuse import MountPace, can_mount  # noqa: PLC0415

    shown = Output(output)
    with tempfile.TemporaryDirectory(prefix="syncd-switching-") as home:
        root, where = directory or Path(home) / "models", Path(home) / "mnt"
        where.mkdir()
        test.checkpoints(root, scale)
        pace = MountPace(latency_ms / 1000, mb_s * 1e6)
        times = list(test.measure(root, where, pace, rounds, _progress(output)))
    rows = test.table(times)
    document: dict[str, Any] = {
        "scale": scale,
        "rounds": rounds,
        "mounts": can_mount(),
        "loaders": test.versions(),
        "rows": rows,
        "times": [asdict(each) for each in times],
    }
    lines = [f"{'STORAGE':<32} {'LOADER':<22} {'FIRST s':>9} {'SECOND s':>9}"]
    lines += [f"{r['storage']:<32} {r['loader']:<22} {r['first_s']:>9.3f} {r['second_s']:>9.3f}" for r in rows]
    if not can_mount():
        lines.append("no OSS mounts: they need root and /dev/fuse")
    shown.show(document, lambda console: console.print("\n".join(lines), markup=False, highlight=False))


@app.command("plots")
def plots(
    results: Annotated[Path, typer.Argument(help="What `syncd bench switching -o json` printed.")],
    directory: Annotated[Path, typer.Option("--dir", help="Where the pictures go.")] = Path(),
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Draw the switching test: seconds to switch to each checkpoint, one SVG for NAS and one for OSS.

    Each shows the application's way (hash, then read) and syncd.serving, first and second switch.

    Example: syncd bench plots switching.json --dir plots
    """
    from syncd.cli.switching_plots import pictures, times_of  # noqa: PLC0415 -- for this command only

    try:
        document = json.loads(results.read_bytes())
    except FileNotFoundError as error:
        hint = f"make it with `syncd bench switching -o json > {results}`"
        raise NotFound(f"{results}: no such file", hint=hint) from error
    except (OSError, ValueError) as error:
        raise Invalid(f"{results}: expected a JSON document: {error}") from error
    drawn = pictures(times_of(document))
    if not drawn:
        raise Invalid(f"{results}: no times of a directory or an OSS mount with both loaders")
    directory.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        (directory / name).write_text(picture, encoding="utf-8")
    written = [str(directory / name) for name in drawn]
    Output(output).show(
        {"written": written}, lambda console: console.print("\n".join(written), markup=False, highlight=False)
    )


def _progress(output: OutputFormat) -> Any:
    return (lambda what: typer.echo(what, err=True)) if output is OutputFormat.TEXT else (lambda _what: None)
