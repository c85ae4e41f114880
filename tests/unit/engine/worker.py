"""Worker as a separate process, for tests that kill it: `python -m tests.unit.engine.worker URL ends|waits`.

It says on its standard output what it does, one word a line, and a worker that `waits` goes on with each line it reads.
"""

from __future__ import annotations

import sys
import threading

from syncd.engine.dbos import DbosEngine
from syncd.errors import Fenced
from syncd.state.releases import steps
from syncd.state.state import State


def main(url: str, manner: str) -> None:
    state, engine, ended = State(url), DbosEngine(url, poll_s=0.02), threading.Event()

    def say(word: str) -> None:
        print(word, flush=True)  # noqa: T201 -- this is how it is heard

    def run(step_id: str, attempt: int) -> None:
        try:
            with state.write() as conn:
                steps.begin(conn, step_id, attempt, f"worker-{manner}", 30, state.now(conn))
            say("begun")
            if manner == "waits":
                sys.stdin.readline()
            with state.fenced(step_id, attempt) as conn:
                steps.done(conn, step_id, attempt, state.now(conn))
            say("done")
        except Fenced:
            say("fenced")
        finally:
            ended.set()

    engine.serve({"q": 1}, run)
    say("serving")
    ended.wait()
    engine.stop(10)
    engine.close()
    state.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
