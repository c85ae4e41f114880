"""A courier as a process: `python -m syncd.daemon.upload_helper`. See `oci.courier`."""

from __future__ import annotations

import io
import signal
import sys

from syncd.oci.upload_helper import serve


def main() -> None:
    """Serve whoever began this process, until it says that it is enough, or is dead."""
    for each in (signal.SIGTERM, signal.SIGINT):  # sent to all of a service: who orders says when it is over
        signal.signal(each, signal.SIG_IGN)
    with io.FileIO(1, "w", closefd=False) as outbox:
        serve(sys.stdin.buffer, outbox, _inherit)


def _inherit(record: str, was: str, now: str) -> None:
    from syncd.state.content.layers import moved  # noqa: PLC0415 -- few couriers ever need the record, and it is large
    from syncd.state.state import State  # noqa: PLC0415

    state = State(record)
    try:
        moved(state, was, now)
    finally:
        state.close()


if __name__ == "__main__":
    main()
