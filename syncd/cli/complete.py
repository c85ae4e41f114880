"""Names for the shell's completion: from the configuration and the record of this machine, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from syncd.config import Config

_RELEASES_MAX = 50


def models(incomplete: str) -> list[str]:
    """Models that a binding serves."""
    return _begun(incomplete, lambda: _config().models())


def bindings(incomplete: str) -> list[str]:
    """Bindings and models."""
    return _begun(incomplete, lambda: [*_config().bindings, *_config().models()])


def versions(incomplete: str) -> list[str]:
    """`MODEL@VERSION` of every version in the record, and the models."""

    def read(conn: Connection) -> Iterable[str]:
        from syncd.state.content import versions as recorded  # noqa: PLC0415

        return [f"{model}@{v.name}" for model in _config().models() for v in recorded.known(conn, model)]

    return _begun(incomplete, lambda: [*_recorded(read), *_config().models()])


def releases(incomplete: str) -> list[str]:
    """The newest releases."""

    def read(conn: Connection) -> Iterable[str]:
        from syncd.state.releases import releases as recorded  # noqa: PLC0415

        return [release.id for release in recorded.recent(conn, _RELEASES_MAX)]

    return _begun(incomplete, lambda: _recorded(read))


def releases_and_models(incomplete: str) -> list[str]:
    """For a command that takes either."""
    return [*releases(incomplete), *models(incomplete)]


def _config() -> Config:
    from syncd.cli.session import DEFAULT_CONFIG  # noqa: PLC0415
    from syncd.config import load  # noqa: PLC0415

    return load(Path(os.environ.get("SYNCD_CONFIG") or DEFAULT_CONFIG), os.environ)


def _recorded(read: Callable[[Connection], Iterable[str]]) -> list[str]:
    from syncd.state.state import State  # noqa: PLC0415 -- SQLAlchemy

    state = State(_config().state.connect_url.render_as_string(hide_password=False))
    try:
        with state.read() as conn:
            return list(read(conn))
    finally:
        state.close()


def _begun(incomplete: str, names: Callable[[], Iterable[str]]) -> list[str]:
    """Names that begin so. None where they cannot be read: a shell shows no errors while a person types."""
    from syncd.errors import SyncdError  # noqa: PLC0415

    try:
        return [name for name in dict.fromkeys(names()) if name.startswith(incomplete)]
    except (SyncdError, ImportError):
        return []
