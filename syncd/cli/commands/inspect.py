"""`syncd inspect`."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import Annotated

import typer

from syncd.artifact.names import parse_model_at_version
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat, size, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.formats.contents import Contents
from syncd.formats.parsers.safetensors import FORMAT as SAFETENSORS
from syncd.reconcile.discovery.catalog import pin
from syncd.reconcile.discovery.inspection import VersionInspection
from syncd.reconcile.discovery.inspection import inspect as inspect_version
from syncd.reconcile.requests import operations
from syncd.values.source import SourceFile


def inspect(
    model_at_ref: Annotated[str, typer.Argument(metavar="MODEL@REF", show_default=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = OutputFormat.TEXT,
    verbose: VerboseOption = False,
) -> int:
    """Show a version at its source: its pin, files, digests, types and number of parameters.

    Only headers and tails of files are read. A file that is truncated, missing, or not of the format of its name is
    an error, as in `publish`.

    Example: syncd inspect sdxl@v2
    """
    model, ref = parse_model_at_version(model_at_ref)
    with session(config, output, verbose=verbose) as opened:
        operations.check_served(opened.topology, model)
        world = opened.world()
        registry = world.registries[world.topology.registry_of(model)]
        found = inspect_version(registry, model, pin(world.state, registry, model, ref), threading.Event())
        unchecked = frozenset(found.unchecked)
        document = {
            "model": model,
            "version": found.revision.version,
            "pin": found.revision.pin,
            "size_bytes": sum(file.size_bytes for file in found.files),
            "parameters": found.parameters,
            "adapters": {path: each.base for path, each in found.contents.items() if each.base is not None},
            "warnings": list(found.warnings),
            "files": [_file(file, found, unchecked) for file in found.files],
        }
        rows = [_row(file, found, unchecked) for file in found.files]
        total = (f"{model}@{found.revision.version}", size(sum(f.size_bytes for f in found.files)), found.revision.pin)
        rows.append((*total, _counts(found.parameters)))
        for warning in found.warnings:
            opened.output.warn(warning)
        opened.output.show(
            document, lambda console: tabulate(console, ("FILE", "SIZE", "SHA256 OR PIN", "PARAMETERS"), rows)
        )
    return Exit.OK


def _file(file: SourceFile, found: VersionInspection, unchecked: Collection[str]) -> Mapping[str, object]:
    contents = found.contents.get(file.path, Contents())
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256.hex if file.sha256 else None,
        "format": contents.format or None,
        "tensors": contents.tensors,
        "parameters": contents.parameters if contents.format == SAFETENSORS else None,
        "checked": file.path not in unchecked and contents.is_whole,
    }


def _row(file: SourceFile, found: VersionInspection, unchecked: Collection[str]) -> tuple[str, str, str, str]:
    sha256 = file.sha256.hex if file.sha256 else "none: computed by reading the file once"
    inside = "checked while it is copied" if file.path in unchecked else _inside(found.contents.get(file.path))
    return (file.path, size(file.size_bytes), sha256, inside)


def _inside(contents: Contents | None) -> str:
    if contents is None:
        return ""
    if contents.base is not None:
        return f"for {contents.base or 'a base that it does not name'}"[:200]
    if contents.format == SAFETENSORS:
        return _counts(contents.parameters) or f"{contents.tensors} tensors"
    return f"{contents.tensors} tensors" if contents.tensors is not None else ""


def _counts(parameters: Mapping[str, int]) -> str:
    """`BF16 7 241 732 096`."""
    return ", ".join(f"{dtype} {count:_}".replace("_", " ") for dtype, count in sorted(parameters.items()))
