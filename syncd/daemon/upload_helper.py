"""Upload helper process: `python -m syncd.daemon.upload_helper`. See `oci.upload_helper`."""

from __future__ import annotations

import io
import signal
import sys

from syncd.oci.upload_helper import serve


def main() -> None:
    """Serve the parent process until it closes the connection or dies."""
    for each in (signal.SIGTERM, signal.SIGINT):  # sent to all processes of a service: the parent decides when to end
        signal.signal(each, signal.SIG_IGN)
    with io.FileIO(1, "w", closefd=False) as outbox:
        serve(sys.stdin.buffer, outbox, _inherit)


def _inherit(record: str, was: str, now: str) -> None:
    from syncd.state.content.layers import moved  # noqa: PLC0415 -- few helpers ever need the record, and it is large
    from syncd.state.state import State  # noqa: PLC0415

    state = State(record)
    try:
        moved(state, was, now)
    finally:
        state.close()


if __name__ == "__main__":
    main()
