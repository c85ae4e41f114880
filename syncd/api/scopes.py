"""Which model a request is about, for tokens that are for some models: where a route does not say, they are refused."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from starlette.requests import Request

from syncd.reconcile.views.release import parse_release
from syncd.state.releases import releases

if TYPE_CHECKING:
    from syncd.api.dependencies import Caller, Server


class ScopedBy(Enum):
    """Where a request to a route names its model."""

    NOTHING = "nothing"  # it is about all models
    PATH = "path"  # `{model}`
    QUERY = "query"  # `?model=`, which may be missing
    NAME = "name"  # `?name=MODEL@VERSION`
    RELEASE = "release"  # the model of the release of the path
    BODY = "body"  # the endpoint calls `Server.check_model` once it knows the model


async def check_scope(server: Server, caller: Caller, request: Request) -> None:
    """Check a caller whose token is for some models.

    Raises:
        ProblemResponse: The request is about another model, or about all (403).
    """
    named = getattr(request.state, "scoped_by", ScopedBy.NOTHING)
    model = ""
    if named is ScopedBy.BODY:
        return
    if named is ScopedBy.NOTHING:
        raise server.out_of_scope(caller, "this is about all models", "use a token that was made without --model")
    if named is ScopedBy.PATH:
        model = request.path_params["model"]
    elif named is ScopedBy.QUERY:
        model = request.query_params.get("model", "")
        if not model:
            raise server.out_of_scope(caller, "this is about all models", "name one with ?model=, or --model")
    elif named is ScopedBy.NAME:
        model, at, _ = request.query_params.get("name", "").partition("@")
        if not at:  # which model it is shows only when it is resolved
            raise server.out_of_scope(caller, "the name does not say which model it is", "write MODEL@VERSION")
    else:
        release = parse_release(request.path_params["release"])
        model = await server.ask(lambda: _model_of(server, release))
    server.check_model(caller, model)


def _model_of(server: Server, release: str) -> str:
    with server.site.state.read() as conn:
        return releases.get(conn, release).model
