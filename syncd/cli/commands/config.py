"""`syncd config check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.commands.local import region_names
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import Output, OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, settings
from syncd.errors import Conflict

if TYPE_CHECKING:
    from rich.console import Console

    from syncd.config import Config


StrictOption = Annotated[bool, typer.Option("--strict", help="Take warnings for errors: exit code 2 if there is one.")]
app = typer.Typer(
    help="Write and check the configuration.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Write and check the configuration."""


@app.command()
def check(
    config: ConfigOption = DEFAULT_CONFIG,
    strict: StrictOption = False,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Check the configuration file: every problem with its key, the expected and the actual value.

    No registry, target or function is contacted; the record is read if there is one. Warnings are about settings that
    are allowed but probably unintended, and about weak ones: secrets or a record that others can read, short secrets of
    webhooks, credentials over plain HTTP, an API that everybody reaches.

    Exit codes: 0 it can be used, 2 it cannot, or `--strict` and there is a warning.

    Example: syncd config check -c /etc/syncd/config.toml
    """
    from syncd.config import warnings  # noqa: PLC0415

    loaded = settings(config, verbose=verbose)
    doubtful = warnings(loaded)
    notes = [str(problem) for problem in doubtful] + _about_the_record(loaded)
    counts = {
        "registries": len(loaded.registries),
        "targets": len(loaded.targets),
        "runtimes": len(loaded.runtimes),
        "bindings": len(loaded.bindings),
        "models": len(loaded.models()),
    }

    def text(console: Console) -> None:
        for note in notes:
            console.print(f"{'error' if strict else 'warning'}: {note}", markup=False)
        if strict and notes:
            return
        listed = ", ".join(f"{number} {noun}" for noun, number in counts.items())
        console.print(f"{config}: good; {listed}", markup=False)

    details = [problem.as_json(config.name) for problem in doubtful]
    is_good = not (strict and notes)
    Output(output).show({"file": str(config), "good": is_good, **counts, "warnings": notes, "problems": details}, text)
    if not is_good:
        raise typer.Exit(Exit.USAGE)


@app.command()
def init(
    local: Annotated[
        bool, typer.Option("--local", help="For the local cloud: a configuration, and a seed.toml beside it.")
    ] = False,
    regions: Annotated[str, typer.Option("--regions", help="Of the local cloud, as in `local up`.")] = "cn-hangzhou",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the local cloud's first region.")] = 9001,
    config: Annotated[Path, typer.Option("--config", "-c", envvar="SYNCD_CONFIG", help="The file to write.")] = Path(
        "config.toml"
    ),
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Write a configuration to begin with: every setting with its default, or one that works with the local cloud.

    A file that exists is not overwritten.

    Example: syncd config init --local -c config.toml
    """
    from syncd.cli import local_config  # noqa: PLC0415

    home = config.absolute().parent
    texts = {config: local_config.example_text()}
    following = [f"edit it, then: syncd config check -c {config}"]
    if local:
        names = region_names(regions)
        endpoints = {name: f"http://127.0.0.1:{port + index}" for index, name in enumerate(names)}
        seed = config.with_name("seed.toml")
        texts = {config: local_config.config_text(home, endpoints), seed: local_config.seed_text(names)}
        up = f"syncd local up --root {home / 'cloud'} --regions {','.join(names)} --port {port} --seed {seed}"
        ready = f"export SYNCD_CONFIG={config.absolute()} {local_config.SECRET_NAME}=local-access-secret"
        following = [f"in another terminal: {up}", ready, "syncd db create"]
    for path in texts:
        if path.exists():
            raise Conflict(f"{path} exists already", hint="move it away, or name another file with --config")
    home.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    if local:
        (home / "registry").mkdir(exist_ok=True)
    written = [str(path) for path in texts]
    lines = [*(f"wrote {path}" for path in written), *(f"next: {each}" for each in following)]
    Output(output).show(
        {"files": written, "next": following}, lambda console: console.print("\n".join(lines), markup=False)
    )


def _about_the_record(config: Config) -> list[str]:
    """Warnings about the record, before a daemon is started on it."""
    from syncd.errors import SyncdError  # noqa: PLC0415
    from syncd.state import schema_version  # noqa: PLC0415 -- SQLAlchemy
    from syncd.state.access import record_info  # noqa: PLC0415
    from syncd.state.state import State  # noqa: PLC0415

    state = State(config.state.connect_url.render_as_string(hide_password=False))
    try:
        schema_version.check(state)
        with state.read() as conn:
            reason = record_info.automatic_off(conn)
    except SyncdError as error:
        return [f"{error.message}; {error.hint}" if error.hint else error.message]
    finally:
        state.close()
    return [f"automatic releases are off: {reason}; {record_info.ADOPT_HINT}"] if reason else []
