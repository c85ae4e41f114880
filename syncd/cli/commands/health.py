"""`syncd health`."""

from __future__ import annotations

from syncd.cli.exit_codes import Exit
from syncd.cli.output.output import OutputFormat
from syncd.cli.session import DEFAULT_CONFIG, ConfigOption, OutputOption, VerboseOption, session
from syncd.state.access import processes


def health(
    config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = OutputFormat.TEXT, verbose: VerboseOption = False
) -> int:
    """Report whether a daemon works on this record, for liveness probes.

    Exit code 0 if one reported within 30 seconds, 7 if none did.

    Example: syncd health -c /etc/syncd/config.toml
    """
    with session(config, output, verbose=verbose) as opened:
        with opened.state.read() as conn:
            found = processes.alive(conn, opened.state.now(conn))
        listed = [{"owner": p.owner, "host": p.host, "pid": p.pid, "seen_at": p.seen_at} for p in found]
        text = f"alive: {found[0].owner}" if found else "no daemon reported in the last 30 seconds"
        opened.output.show(
            {"alive": bool(found), "processes": listed}, lambda console: console.print(text, markup=False)
        )
        return Exit.OK if found else Exit.UNAVAILABLE
