"""A daemon with nothing to do: `python -m bench.idle --models 1000` prints a table with targets, then JSON.

`syncd run` serves a record of that many live models; its directory registry does not change. After a warm-up
its CPU time is read from the kernel; with `--postgresql` also the statements that the server logs, and its WAL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.fleet_record import ENVIRONMENT, FleetShape, write_config, write_record

TARGETS_CPU_S = {1000: 1.0, 10_000: 2.0}  # a minute
STATEMENTS_A_SECOND_MAX = 2.0
WAL_A_MINUTE_MAX = 20_000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Idle:
    """What a daemon at rest uses."""

    database: str
    models: int
    cpu_s_a_minute: float
    threads: int
    statements_a_second: float | None = None
    wal_bytes_a_minute: float | None = None


@dataclass(frozen=True, slots=True)
class _Server:
    """A PostgreSQL server that logs every statement; `url` is empty where SQLite is measured."""

    url: str = ""
    log: Path | None = None

    def statements(self) -> int:
        """How many it has logged."""
        text = self.log.read_text(errors="replace") if self.log else ""
        return text.count("LOG:  statement:") + text.count("LOG:  execute ")

    def settle(self) -> None:
        """Do what the server would do later because the record is new."""
        if self.url:
            import psycopg  # noqa: PLC0415 -- for this database alone

            with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as conn:
                conn.execute("VACUUM FREEZE ANALYZE")
                conn.execute("CHECKPOINT")

    def wal_bytes(self) -> int:
        """How far its WAL is."""
        if not self.url:
            return 0
        import psycopg  # noqa: PLC0415 -- for this database alone

        with psycopg.connect(self.url.replace("+psycopg", "")) as conn:
            row = conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return int(row[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=1)
    parser.add_argument("--warm-s", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--postgresql", action="store_true", help="on a server of the test dependencies")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="idle-") as home, _server(is_wanted=options.postgresql) as server:
        found = _measured(FleetShape(options.models, options.regions), Path(home), server, options)
    sys.stdout.write(table(found))
    sys.stdout.write(json.dumps(asdict(found), indent=1) + "\n")


def table(found: Idle) -> str:
    """The figures as lines."""
    rows = [("CPU s a minute", found.cpu_s_a_minute, TARGETS_CPU_S.get(found.models))]
    rows.append(("threads", float(found.threads), None))
    if found.statements_a_second is not None and found.wal_bytes_a_minute is not None:
        rows.append(("statements a second", found.statements_a_second, STATEMENTS_A_SECOND_MAX))
        rows.append(("WAL bytes a minute", found.wal_bytes_a_minute, WAL_A_MINUTE_MAX))
    lines = [f"{found.models} models at rest, {found.database}"]
    for what, value, target in rows:
        said = "" if target is None else f"{target:g} {'met' if value <= target else 'MISSED'}"
        lines.append(f"{what:22} {value:12.2f} {said}")
    return "\n".join(lines) + "\n"


def _measured(shape: FleetShape, home: Path, server: _Server, options: argparse.Namespace) -> Idle:
    url = server.url or f"sqlite:///{home / 'state.db'}"
    (home / "registry").mkdir()
    write_config(shape, url, home / "config.toml", home / "registry")
    write_record(shape, url)
    command = [sys.executable, "-m", "syncd", "run", "-c", str(home / "config.toml")]
    with (home / "log").open("wb") as log:
        server.settle()
        daemon = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stderr=log, stdout=log)
        try:
            time.sleep(options.warm_s)
            cpu_s, statements, wal, began_s = (
                _cpu_s(daemon.pid),
                server.statements(),
                server.wal_bytes(),
                time.monotonic(),
            )
            time.sleep(options.seconds)
            lasted_s = time.monotonic() - began_s
            used_s, threads = _cpu_s(daemon.pid) - cpu_s, len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))
            if daemon.poll() is not None:
                raise SystemExit(f"the daemon ended with {daemon.returncode}: {(home / 'log').read_text()[-2000:]}")
            made, grown = server.statements() - statements, server.wal_bytes() - wal
        finally:
            daemon.terminate()
            daemon.wait()
    per_minute = 60 / lasted_s
    if not server.url:
        return Idle("SQLite", shape.models, used_s * per_minute, threads)
    return Idle("PostgreSQL", shape.models, used_s * per_minute, threads, made / lasted_s, grown * per_minute)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def _server(*, is_wanted: bool) -> Iterator[_Server]:
    if not is_wanted:
        yield _Server()
        return
    import psycopg  # noqa: PLC0415
    from pgserver.postgres_server import get_server  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="syncd-pg-") as home:
        Path(home).chmod(0o755)  # run by root, the server is another user
        server = get_server(Path(home) / "data", cleanup_mode="delete")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as conn:
                conn.execute("ALTER SYSTEM SET log_statement = 'all'")
                conn.execute("ALTER SYSTEM SET autovacuum = off")  # new tables are vacuumed for minutes
                conn.execute("SELECT pg_reload_conf()")
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://").replace(":@", "@")
            yield _Server(url, Path(home) / "data" / "log")
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
