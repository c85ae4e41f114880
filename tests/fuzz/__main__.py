"""The long form: `make fuzz` changes the corpus for as long as is asked for, and says what was run.

A failure is made small, shown with its trace, and written to the corpus: from then on a test runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
import traceback
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import changed
from tests.fuzz.seeds import CORPUS
from tests.fuzz.targets import TARGETS, run

EXAMPLES = 100  # of one target at a time
SLOW_S = 5.0  # for one input of some kilobytes


class SlowError(Exception):
    """One input took longer than `SLOW_S`."""


def fuzz_once(target: str, dice: int, done: Counter[str]) -> bytes | None:
    """Run some hundred inputs. Returns the smallest one that fails; its trace is printed."""
    failing = b""

    @seed(dice)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[*HealthCheck],
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(st.data())
    def examples(drawn: st.DataObject) -> None:
        nonlocal failing
        data = drawn.draw(changed(target))
        done[target] += 1
        began_s = time.process_time()
        try:
            run(target, data)
        except Exception:
            failing = data
            raise
        if time.process_time() - began_s > SLOW_S:
            failing = data
            raise SlowError(f"{time.process_time() - began_s:.1f} s for {len(data)} bytes")

    try:
        examples()
    except Exception:  # noqa: BLE001 -- whatever a parser lets through is what is looked for
        traceback.print_exc()
        return failing
    return None


def say(line: str) -> None:
    """Print a line at once: a run of an hour is watched."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Fuzz, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--target", choices=[*TARGETS], help="this one alone")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    dice = random.Random(asked.seed)
    done: Counter[str] = Counter()
    began_s, found = time.monotonic(), 0
    names = [asked.target] if asked.target else [*TARGETS]
    while time.monotonic() - began_s < asked.seconds:
        for target in dice.sample(names, len(names)):
            failing = fuzz_once(target, dice.getrandbits(32), done)
            if failing is not None:
                found += 1
                place = CORPUS / target / hashlib.sha256(failing).hexdigest()[:16]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(failing)
                say(f"FOUND {target}: {place}")
            if time.monotonic() - began_s > asked.seconds:
                break
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        say(f"{time.monotonic() - began_s:.0f} s: {done.total()} inputs of {len(done)} targets, {found} found, "
              f"peak {peak_mib} MiB")  # fmt: skip
    for target, count in sorted(done.items()):
        say(f"{count:8} {target}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
