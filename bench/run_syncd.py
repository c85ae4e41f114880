"""One run of syncd as a process. Its only argument is a JSON object with the fields of `bench.carry.Order`.

`python -m bench.run_syncd --prepare FILE` makes an empty record; a run takes a copy of that, since a daemon has its
record already when a version comes. What a process pays for being started is measured with it. It begins and leaves as
the `syncd` command does.
"""

import json
import sys

from syncd import tuning


def main() -> None:
    tuning.collect_rarely()
    if sys.argv[1] == "--prepare":
        from syncd.state.upgrade import create  # noqa: PLC0415 - Alembic, which no run needs

        create(f"sqlite:///{sys.argv[2]}")
        return
    from bench.carry import Order, run  # noqa: PLC0415 - nothing before the collector is set

    print(json.dumps(run(Order(**json.loads(sys.argv[1])))))
    tuning.skip_final_collection()


if __name__ == "__main__":
    main()
