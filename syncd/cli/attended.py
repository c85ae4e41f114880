"""Whether a process works on the record: a request that nobody sees must not read like work that is done."""

from __future__ import annotations

from syncd.cli.session import CliSession
from syncd.engine import lock
from syncd.errors import Conflict
from syncd.plan.phases import RELEASE_ENDS, ReleasePhase
from syncd.reconcile.views.release import load
from syncd.state.access import processes
from syncd.state.records import Release
from syncd.state.releases import releases


def is_attended(opened: CliSession) -> bool:
    """Whether a daemon, or a command that carries releases, works on this record now."""
    url = opened.config.state.connect_url.render_as_string(hide_password=False)
    if lock.is_announced(url, lock.Claimant.DAEMON):
        return True
    try:
        with lock.hold(url):
            return False
    except Conflict:
        return True


def warn_unattended(opened: CliSession, *release_ids: str) -> None:
    """Warn where releases are in flight, or those named are, and no process works on the record."""
    with opened.state.read() as conn:
        waiting = [each for each in releases.unfinished(conn) if not release_ids or each.id in release_ids]
    if not waiting or is_attended(opened):
        return
    names = ", ".join(each.id for each in waiting)
    verb = "does" if len(waiting) == 1 else "do"
    opened.output.warn(
        f"no process works on this record, so {names} {verb} not go on: start `syncd run`, "
        f"or take {waiting[0].id} further here: `{further(waiting[0])}`"
    )


def further(release: Release) -> str:
    """The command that takes an unfinished release further where no daemon works."""
    if release.rollback:
        return f"syncd rollback {release.model}"
    return f"syncd publish {release.model}@{release.ref} --wait"


def stop_command(release_id: str, model: str, phase: str, *, is_staged: bool) -> str:
    """The command that ends a release in flight, whatever it has moved."""
    moved = phase in {ReleasePhase.FLIPPING, ReleasePhase.UNDOING} and not is_staged
    return f"syncd rollback {model}" if moved else f"syncd cancel {release_id}"


def tell_what_goes_on(opened: CliSession, release: Release, why: str) -> None:
    """Say where a release stands that this command no longer watches, and which command goes on with it or ends it."""
    scene = load(opened.state, release.id)
    now = scene.release
    if now.phase in RELEASE_ENDS:
        return
    stop = stop_command(now.id, now.model, now.phase, is_staged=scene.rollout is not None)
    with opened.state.read() as conn:
        found = processes.alive(conn, opened.state.now(conn))
    if is_attended(opened):
        where = f"in daemon {found[0].owner}" if found else "in another process"
        opened.output.note(f"{why}: {now.id} goes on {where}; follow: `syncd watch {now.id}`; stop: `{stop}`")
        return
    stands = f"{now.id} stands at {now.phase}"
    if scene.rollout is not None:
        stands += f", {scene.rollout.says}"
    opened.output.warn(
        f"{why}: {stands}; no process works on it now: `{further(now)}` goes on with it, `syncd run` with all; "
        f"stop: `{stop}`"
    )
