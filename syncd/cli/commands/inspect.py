"""`syncd inspect`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated

import typer

from syncd.artifact.names import FilePath, parse_model_at_version
from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat, size, tabulate
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
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
    """Show a version where it comes from: its pin, files, digests, types and number of parameters.

    Only heads of files are read. A file that was cut off or a shard that is missing is an error, as in `publish`.

    Example: syncd inspect sdxl@v2
    """
    model, ref = parse_model_at_version(model_at_ref)
    with session(config, output, verbose=verbose) as opened:
        operations.check_served(opened.topology, model)
        world = opened.world()
        registry = world.registries[world.topology.registry_of(model)]
        found = inspect_version(registry, model, pin(world.state, registry, model, ref), threading.Event())
        document = {
            "model": model,
            "version": found.revision.version,
            "pin": found.revision.pin,
            "size_bytes": sum(file.size_bytes for file in found.files),
            "parameters": found.parameters,
            "adapters": dict(found.bases),
            "files": [_file(file, found) for file in found.files],
        }
        rows = [_row(file, found) for file in found.files]
        total = (f"{model}@{found.revision.version}", size(sum(f.size_bytes for f in found.files)), found.revision.pin)
        rows.append((*total, _counts(found.parameters)))
        opened.output.show(
            document, lambda console: tabulate(console, ("FILE", "SIZE", "SHA256 OR PIN", "PARAMETERS"), rows)
        )
    return Exit.OK


def _file(file: SourceFile, found: VersionInspection) -> Mapping[str, object]:
    header = found.headers.get(file.path)
    known = "safetensors" if header else "gguf" if file.path in found.gguf else None
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256.hex if file.sha256 else None,
        "format": known,
        "tensors": header.tensors if header else found.gguf.get(file.path),
        "parameters": header.parameters if header else None,
    }


def _row(file: SourceFile, found: VersionInspection) -> tuple[str, str, str, str]:
    sha256 = file.sha256.hex if file.sha256 else "none: it is read once to make it"
    return (file.path, size(file.size_bytes), sha256, _inside(file.path, found))


def _inside(path: FilePath, found: VersionInspection) -> str:
    if path in found.headers:
        return _counts(found.headers[path].parameters)
    if path in found.gguf:
        return f"{found.gguf[path]} tensors"
    return f"for {found.bases[path] or 'a base that it does not name'}"[:200] if path in found.bases else ""


def _counts(parameters: Mapping[str, int]) -> str:
    """`BF16 7 241 732 096`."""
    return ", ".join(f"{dtype} {count:_}".replace("_", " ") for dtype, count in sorted(parameters.items()))
