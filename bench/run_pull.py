"""One pull as a process: from an HTTP index to a directory target, every digest on, and the version sealed.

Its arguments are the index's address and a directory with an empty record, `record.db`. It begins and leaves as the
`syncd` command does.
"""

import sys
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from syncd import tuning


def main(url: str, directory: Path) -> None:
    from syncd.artifact.names import parse_model  # noqa: PLC0415 - nothing before the collector is set
    from syncd.http.client import HttpClient, HttpSettings  # noqa: PLC0415
    from syncd.reconcile.discovery.catalog import catalog  # noqa: PLC0415
    from syncd.registry.base import RevisionSource  # noqa: PLC0415
    from syncd.registry.settings import IndexSettings  # noqa: PLC0415
    from syncd.registry.sources.index import IndexRegistry  # noqa: PLC0415
    from syncd.state.content import versions  # noqa: PLC0415
    from syncd.state.content.journal import SqlJournal  # noqa: PLC0415
    from syncd.state.state import State  # noqa: PLC0415
    from syncd.store.nas.store import NasSettings, NasStore  # noqa: PLC0415
    from syncd.targets.versioned_tree import TreeTarget  # noqa: PLC0415
    from syncd.transfer import CopySettings, Destination, Progress, copy  # noqa: PLC0415

    state = State(f"sqlite:///{directory / 'record.db'}")
    parts = urlsplit(url)
    registry = IndexRegistry(IndexSettings(url, ("*",)), HttpClient(HttpSettings(f"{parts.scheme}://{parts.netloc}")))
    model = parse_model("m")
    revision = registry.resolve(model, "v1")
    manifest = catalog(registry, model, revision, Event())
    with state.write() as conn:
        known = versions.record(conn, manifest, "files", revision.pin, state.now(conn))
    (directory / "target").mkdir()
    target = TreeTarget("t", NasStore(NasSettings(directory / "target")))
    journal = SqlJournal(state, known.id, "t")
    source, progress = RevisionSource(registry, model, revision), Progress(manifest, ["t"])
    report = copy(manifest, source, [Destination(target, journal)], CopySettings(), progress=progress, stop=Event())
    if report.failed:
        raise SystemExit(f"failed: {report.failed}")
    target.seal(manifest, journal)
    state.close()


if __name__ == "__main__":
    tuning.collect_rarely()
    main(sys.argv[1], Path(sys.argv[2]))
    tuning.skip_final_collection()
