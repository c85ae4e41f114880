"""Actions: a page that says what would move, and the form on it. Each is the request of the command of that name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.responses import RedirectResponse, Response

from syncd.artifact.names import ModelName, parse_model, parse_version
from syncd.errors import Invalid, NotFound
from syncd.reconcile.requests import operations, rollbacks
from syncd.reconcile.requests.operations import Requester
from syncd.reconcile.views.console import moves
from syncd.reconcile.views.console.shapes import ActionDocument
from syncd.reconcile.views.release import parse_release
from syncd.ui.rendering import HEADERS
from syncd.ui.visits import Visit


@dataclass(frozen=True, slots=True)
class Action:
    """An action on a release or a model. `do` returns the page to go to."""

    title: str
    command: str
    do: Callable[[Requester, str, dict[str, str]], str]
    has_reason: bool = True
    has_hours: bool = False
    has_version: bool = False
    is_danger: bool = False


def _approve(requester: Requester, release: str, _form: dict[str, str]) -> str:
    return f"/ui/releases/{operations.approve(requester, release).release_id}"


def _cancel(requester: Requester, release: str, form: dict[str, str]) -> str:
    return f"/ui/releases/{operations.cancel(requester, release, form['why']).id}"


def _retry(requester: Requester, release: str, _form: dict[str, str]) -> str:
    operations.retry(requester, release)
    return f"/ui/releases/{release}"


def _dismiss(requester: Requester, release: str, form: dict[str, str]) -> str:
    return f"/ui/releases/{operations.dismiss(requester, release, form['why']).id}"


def _rollback(requester: Requester, model: str, form: dict[str, str]) -> str:
    return f"/ui/releases/{rollbacks.rollback(requester, model, form['why'], form['to']).id}"


def _hold(requester: Requester, model: str, form: dict[str, str]) -> str:
    operations.hold(requester, model, form["why"] or operations.MANUAL)
    return f"/ui/models/{model}"


def _unhold(requester: Requester, model: str, _form: dict[str, str]) -> str:
    operations.unhold(requester, model)
    return f"/ui/models/{model}"


def _freeze(requester: Requester, model: str, form: dict[str, str]) -> str:
    lasts = operations.freeze_time(_hours(form["hours"]))
    operations.freeze(requester, model or None, form["why"] or operations.MANUAL, lasts)
    return f"/ui/models/{model}" if model else "/ui"


def _unfreeze(requester: Requester, model: str, _form: dict[str, str]) -> str:
    operations.unfreeze(requester, model or None)
    return f"/ui/models/{model}" if model else "/ui"


RELEASE_ACTIONS: Final = {
    "approve": Action("Approve", "syncd approve", _approve, has_reason=False),
    "cancel": Action("Cancel", "syncd cancel", _cancel, is_danger=True),
    "retry": Action("Retry", "syncd retry", _retry, has_reason=False),
    "dismiss": Action("Dismiss", "syncd dismiss", _dismiss),
}
MODEL_ACTIONS: Final = {
    "rollback": Action("Roll back", "syncd rollback", _rollback, has_version=True, is_danger=True),
    "hold": Action("Hold", "syncd hold", _hold),
    "unhold": Action("Lift the hold of", "syncd unhold", _unhold, has_reason=False),
    "freeze": Action("Freeze", "syncd freeze", _freeze, has_hours=True),
    "unfreeze": Action("Unfreeze", "syncd unfreeze", _unfreeze, has_reason=False),
}
ACTIONS: Final = {**RELEASE_ACTIONS, **MODEL_ACTIONS}
OF_ALL: Final = frozenset({"freeze", "unfreeze"})


def _hours(text: str) -> float:
    try:
        return float(text or "0")
    except ValueError as error:
        raise Invalid("hours: expected a number, such as 2 or 0.5", hint="0 freezes until `syncd unfreeze`") from error


async def confirm(visit: Visit) -> Response:
    """The page that says what would move, with the form that does it."""
    verb, action, subject = _chosen(visit)
    site, to = visit.server.site, visit.request.query_params.get("to", "")

    def preview() -> ActionDocument:
        if verb in RELEASE_ACTIONS:
            return moves.of_release(site.state, site.topology, verb, parse_release(subject))
        name: ModelName | None = parse_model(subject) if subject else None
        if verb == "rollback":
            wanted = parse_version(to) if to else None
            return moves.rollback_moves(site.state, site.topology, parse_model(subject), wanted)
        return moves.of_model(site.topology, verb, name)

    found = await visit.server.ask(preview)
    command = " ".join(each for each in (action.command, subject, f"--to {to}" if to else "") if each)
    return visit.page("confirm", action=action, found=found, subject=subject, to=to, command=command)


async def do(visit: Visit) -> Response:
    """Do it, in the person's name, and show what it was done to."""
    _, action, subject = _chosen(visit)
    form = {"why": "", "to": "", "hours": "", **visit.form}
    if action.has_reason and not form["why"].strip():
        raise Invalid("the reason is missing", hint="go back and say why: others read it later")
    to = await visit.server.ask(lambda: action.do(visit.requester, subject, form))
    visit.server.site.wake()
    return RedirectResponse(to, 303, headers=HEADERS)


def _chosen(visit: Visit) -> tuple[str, Action, str]:
    """The action of a path, and what it is about: a release, a model, or "" for all models."""
    verb, subject = visit.request.path_params["verb"], visit.request.path_params.get("subject", "")
    action = ACTIONS.get(verb)
    if action is None or (not subject and verb not in OF_ALL):
        raise NotFound("there is no such action", hint="the pages of releases and models have buttons for them")
    return verb, action, parse_release(subject) if verb in RELEASE_ACTIONS else subject
