"""The paths of the API, each a few lines around the functions that the commands call too."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from syncd.api.answers import Problem, body_of, document, json_of, number_in, only, text_in
from syncd.api.desk import Desk, desk_of
from syncd.api.openapi import DOCUMENT
from syncd.api.signatures import Sent
from syncd.api.stream import stream
from syncd.artifact.names import parse_model, parse_version
from syncd.errors import Invalid, NotFound, SyncdError
from syncd.plan.roles import Role
from syncd.reconcile import overview, wish
from syncd.reconcile.mend import bindings_named
from syncd.reconcile.scene import document as release_document
from syncd.reconcile.scene import parse_release, release_told, scene_of, story
from syncd.reconcile.wish import Once
from syncd.state import events, idempotency, level, releases
from syncd.state.records import Release

LIST_MAX: Final = 200
LIST_DEFAULT: Final = 20
WHY_MAX: Final = 500
HOURS_MAX: Final = 8784.0  # a year
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")


async def healthz(request: Request) -> Response:
    """Whether the process is alive: its loop turns. Asks nothing of the database."""
    if desk_of(request).site.pulse.is_turning():
        return document({"status": "ok"})
    raise Problem(
        503, "stuck", "the daemon's loop has not begun a pass for a while", hint="restart it; nothing is lost"
    )


async def readyz(request: Request) -> Response:
    """Whether it can be asked: the record is there and at this level, and every registry was looked at once."""
    desk = desk_of(request)
    try:
        await desk.ask(lambda: level.check(desk.site.state))
    except SyncdError as error:
        raise Problem(503, "not_ready", error.message, hint=error.hint) from error
    unseen = desk.site.pulse.unseen()
    if unseen:
        raise Problem(503, "not_ready", f"not looked at yet: {', '.join(unseen)}", hint="wait for the first look")
    return document({"status": "ok"})


async def openapi(request: Request) -> Response:
    """The API, described."""
    del request
    return document(DOCUMENT)


async def list_releases(request: Request) -> Response:
    """Releases, newest first."""
    desk = desk_of(request)
    await desk.caller(request, Role.READ)
    limit, model = _limit(request), _model(request)

    def look() -> list[Release]:
        with desk.site.state.read() as conn:
            found = releases.recent(conn, limit, model)
        if model is not None and not found:
            wish.refuse_unserved(desk.site.fleet, model)
        return found

    return document({"releases": [release_told(release) for release in await desk.ask(look)]})


async def show_release(request: Request) -> Response:
    """A release's whole story."""
    desk = desk_of(request)
    await desk.caller(request, Role.READ)
    release = parse_release(request.path_params["release"])

    def look() -> dict[str, object]:
        scene = scene_of(desk.site.state, release)
        with desk.site.state.read() as conn:
            return story(scene, events.of_release(conn, release))

    return document(await desk.ask(look))


async def list_models(request: Request) -> Response:
    """Every model that is served, and what is live."""
    desk = desk_of(request)
    await desk.caller(request, Role.READ)
    return document({"models": await desk.ask(lambda: overview.models(desk.site.state, desk.site.fleet))})


async def status(request: Request) -> Response:
    """What `syncd status` shows."""
    desk = desk_of(request)
    await desk.caller(request, Role.READ)
    model = _model(request)
    return document(await desk.ask(lambda: overview.overview(desk.site.state, desk.site.fleet, model)))


async def drift(request: Request) -> Response:
    """What `syncd drift` shows: the newest looks, no new one."""
    desk = desk_of(request)
    await desk.caller(request, Role.READ)
    name, ended = request.query_params.get("name"), request.query_params.get("ended", "false")
    if ended not in {"true", "false"}:
        raise Invalid("ended must be true or false")
    fleet = desk.site.fleet
    names = [each.name for each in (fleet.bindings.values() if name is None else bindings_named(fleet, name))]
    most = overview.ENDED_MAX if ended == "true" else 0
    return document(await desk.ask(lambda: overview.drift_told(desk.site.state, fleet, names, ended_max=most)))


async def publish(request: Request) -> Response:
    """Ask for a release."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.PUBLISH)
    asked = await json_of(request)
    only(asked, "model", "ref")
    model = parse_model(text_in(asked, "model", longest=256))
    ref = parse_version(text_in(asked, "ref", longest=256))
    once = _once(request, caller.name)

    def ask() -> Release:
        wish.refuse_unserved(desk.site.fleet, model)
        if not _asked_before(desk, once):
            wish.refuse_unknown(desk.site.registries, desk.site.fleet, model, ref)
        return wish.publish(desk.wisher(caller), model, ref, once)

    return await _under_way(desk, await desk.ask(ask))


async def rollback(request: Request) -> Response:
    """Go back to what was live before, and hold."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    model, why = request.path_params["model"], await _why(request)
    return await _under_way(desk, await desk.ask(lambda: wish.rollback(desk.wisher(caller), model, why)))


async def cancel(request: Request) -> Response:
    """End a release before it moves anything."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    release, why = parse_release(request.path_params["release"]), await _why(request)
    return await _under_way(desk, await desk.ask(lambda: wish.cancel(desk.wisher(caller), release, why)))


async def approve(request: Request) -> Response:
    """Let a release flip that waits for a person."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    only(await json_of(request))
    release = parse_release(request.path_params["release"])
    given = await desk.ask(lambda: wish.approve(desk.wisher(caller), release))
    desk.site.wake()
    return document({"release": given.release_id, "digest": given.digest.hex, "who": given.who, "at": given.at})


async def hold(request: Request) -> Response:
    """Keep automation away from a model."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    model, why = request.path_params["model"], await _why(request)
    held = await desk.ask(lambda: wish.hold(desk.wisher(caller), model, why or wish.BY_HAND))
    return document(asdict(held))


async def unhold(request: Request) -> Response:
    """Lift a hold."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    only(await json_of(request))
    model = request.path_params["model"]
    lifted = await desk.ask(lambda: wish.unhold(desk.wisher(caller), model))
    desk.site.wake()
    return document({"model": model, "lifted": lifted})


async def freeze(request: Request) -> Response:
    """Flip nothing, of one model or of any, but rollbacks."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    asked = await json_of(request)
    only(asked, "why", "hours")
    model = request.path_params.get("model")
    why = text_in(asked, "why", longest=WHY_MAX, default="") or wish.BY_HAND
    hours = number_in(asked, "hours", most=HOURS_MAX)
    lasts = timedelta(hours=hours) if hours else None
    return document(asdict(await desk.ask(lambda: wish.freeze(desk.wisher(caller), model, why, lasts))))


async def unfreeze(request: Request) -> Response:
    """Lift a freeze."""
    desk = desk_of(request)
    caller = await desk.caller(request, Role.OPERATE)
    only(await json_of(request))
    model = request.path_params.get("model")
    lifted = await desk.ask(lambda: wish.unfreeze(desk.wisher(caller), model))
    desk.site.wake()
    return document({"model": model, "lifted": lifted})


async def hook(request: Request) -> Response:
    """Take a delivery: it is in the record when this answers, and the registry is looked at soon."""
    desk = desk_of(request)
    found = desk.site.hooks.get(request.path_params["hook"])
    if found is None:
        raise NotFound("there is no such webhook", hint="see [hooks.*] of the configuration")
    body = await body_of(request)
    times = Counter(name for name, _ in request.headers.items())
    once = {name: value for name, value in request.headers.items() if times[name] == 1}
    sent = Sent(once, dict(request.query_params), body)
    now_s = desk.site.clock()
    told = await desk.ask(lambda: found.read(sent, now_s))
    return document({"accepted": len(told), "new": await desk.intake.take(told)}, 202)


async def _under_way(desk: Desk, release: Release) -> Response:
    desk.site.wake()
    scene = await desk.ask(lambda: scene_of(desk.site.state, release.id))
    return document(release_document(scene), 202, {"Location": f"/v1/releases/{release.id}"})


def _asked_before(desk: Desk, once: Once | None) -> bool:
    """Then what the registry has by now changes nothing."""
    if once is None:
        return False
    with desk.site.state.read() as conn:
        return idempotency.is_known(conn, once.asker, once.key)


def _once(request: Request, name: str) -> Once | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid("the Idempotency-Key is not allowed", hint="1 to 128 printable characters without blanks")
    return Once(name, key)


async def _why(request: Request) -> str:
    """The reason in a body that has nothing else, if one is given."""
    asked = await json_of(request)
    only(asked, "why")
    return text_in(asked, "why", longest=WHY_MAX, default="")


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIST_DEFAULT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= LIST_MAX):
        raise Invalid(f"limit must be a number from 1 to {LIST_MAX}")
    return int(text)


def _model(request: Request) -> str | None:
    text = request.query_params.get("model")
    return None if text is None else parse_model(text)


ROUTES: Final = (
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/v1/releases", list_releases, methods=["GET"]),
    Route("/v1/releases", publish, methods=["POST"]),
    Route("/v1/releases/{release}", show_release, methods=["GET"]),
    Route("/v1/releases/{release}/cancel", cancel, methods=["POST"]),
    Route("/v1/releases/{release}/approve", approve, methods=["POST"]),
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models/{model:path}/rollback", rollback, methods=["POST"]),
    Route("/v1/models/{model:path}/hold", hold, methods=["POST"]),
    Route("/v1/models/{model:path}/unhold", unhold, methods=["POST"]),
    Route("/v1/models/{model:path}/freeze", freeze, methods=["POST"]),
    Route("/v1/models/{model:path}/unfreeze", unfreeze, methods=["POST"]),
    Route("/v1/everything/freeze", freeze, methods=["POST"]),
    Route("/v1/everything/unfreeze", unfreeze, methods=["POST"]),
    Route("/v1/status", status, methods=["GET"]),
    Route("/v1/drift", drift, methods=["GET"]),
    Route("/v1/events", stream, methods=["GET"]),
    Route("/hooks/{hook}", hook, methods=["POST"]),
)
