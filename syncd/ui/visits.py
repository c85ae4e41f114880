"""Visits: a request of a person who is signed in, and what every page and form must pass before it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from syncd.api.dependencies import Caller, Server, address_of, server_of
from syncd.api.responses import ProblemResponse, body_of, problem_of, without_private
from syncd.errors import Invalid, SyncdError
from syncd.plan.roles import Role
from syncd.reconcile.requests.create import RequestOrigin
from syncd.reconcile.requests.operations import Requester
from syncd.secret import Secret
from syncd.ui.rendering import HEADERS, Pages
from syncd.ui.sessions import Session, Sessions, is_same
from syncd.ui.watches import Watches

if TYPE_CHECKING:
    from syncd.ui.oidc import Provider  # with its library, only where there is a provider

SIGN_IN: Final = "/ui/sign-in"
FIELDS_MAX: Final = 20
_SAME: Final = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class Dashboard:
    """What the pages of one server share."""

    sessions: Sessions
    pages: Pages
    watches: Watches
    provider: Provider | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of a person who is signed in."""

    request: Request
    server: Server
    dashboard: Dashboard
    session: Session
    caller: Caller
    form: Mapping[str, str]

    @property
    def requester(self) -> Requester:
        """The person, in the record."""
        return self.server.requester(self.caller, RequestOrigin.PERSON)

    @property
    def now(self) -> datetime:
        """The time."""
        return datetime.fromtimestamp(self.server.site.clock(), UTC)

    @property
    def cookie(self) -> str:
        """The text of the session's cookie."""
        return self.request.cookies.get(cookie_of(self.request), "")

    @property
    def may_operate(self) -> bool:
        """Whether the person may act: the buttons are shown to those who may."""
        return self.caller.role.allows(Role.OPERATE)

    def page(self, name: str, status: int = 200, /, **values: Any) -> Response:
        """A page of the dashboard."""
        return self.dashboard.pages.page(name, {"visit": self, "now": self.now, **values}, status)


Endpoint = Callable[[Visit], Awaitable[Response]]


def cookie_of(request: Request) -> str:
    """The name of the session's cookie. Over TLS no other host and no plain connection can set one of that name."""
    return "__Host-syncd" if request.url.scheme == "https" else "syncd"


def visited(dashboard: Dashboard, endpoint: Endpoint, role: Role) -> Callable[[Request], Awaitable[Response]]:
    """`endpoint` for people with at least that role. Others are sent to sign in, and errors are pages."""

    async def answer(request: Request) -> Response:
        text = request.cookies.get(cookie_of(request), "")
        session = dashboard.sessions.find(text)
        if session is None:
            return _to_sign_in(request)
        server = server_of(request)
        try:
            caller = await who(dashboard, session, request, Role.READ)
        except SyncdError as error:
            if not isinstance(error, ProblemResponse) or error.status != 401:
                return failed(dashboard, request, error)
            dashboard.sessions.end(text)  # the token was revoked
            return _to_sign_in(request)
        try:
            form = await form_of(request, session.csrf) if request.method == "POST" else {}
            visit = Visit(request, server, dashboard, session, caller, form)
            if not caller.role.allows(role):
                server.admit(caller, request, role)  # counts and refuses
            return await endpoint(visit)
        except SyncdError as error:
            return failed(dashboard, request, error)

    return answer


async def who(dashboard: Dashboard, session: Session, request: Request, role: Role) -> Caller:
    """The person of a session, as the record or the provider knows them now. Raises as `Server.caller`."""
    server, identity = server_of(request), session.identity
    if isinstance(identity, Secret):
        return await server.owner(identity.reveal(), request, role)
    if dashboard.provider is not None and dashboard.sessions.is_due(session):
        renewed = await dashboard.provider.again(identity)
        if renewed is None:
            session.until_s = 0.0  # for every request of it
            raise ProblemResponse(401, "unauthenticated", "the provider vouches for this person no more")
        session.identity = identity = renewed
    return server.admit(Caller(identity.name, identity.role, address_of(request)), request, role)


def failed(dashboard: Dashboard, request: Request, error: SyncdError) -> Response:
    """The page of an error."""
    found = problem_of(error)
    private = server_of(request).site.private_paths
    message, hint = (without_private(text, private) for text in (found.message, found.hint))
    answer = dashboard.pages.page("error", {"visit": None, "message": message, "hint": hint}, found.status)
    answer.headers.update(found.headers)
    return answer


async def form_of(request: Request, csrf: str) -> dict[str, str]:
    """The fields of a form that a page of this session, or of this sign-in, has sent.

    Raises:
        ProblemResponse: Another site's page sent it, or an old one (403); as `body_of`.
        Invalid: It is no form.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")  # browsers before 2023 do not send it
    body = await body_of(request)
    try:
        fields = parse_qsl(body.decode("ascii"), True, True, "utf-8", "strict", FIELDS_MAX)
    except ValueError as error:
        raise Invalid("expected a form as the body") from error
    found = dict(fields)
    if site not in _SAME or not csrf or not is_same(csrf, found.get("csrf", "")):
        hint = "open the page again and repeat it"
        raise ProblemResponse(403, "forbidden", "the form is not from this session's page", hint=hint)
    return found


def _to_sign_in(request: Request) -> Response:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    to = SIGN_IN if request.method != "GET" or path == "/ui" else f"{SIGN_IN}?next={quote(path, safe='/')}"
    if request.headers.get("hx-request"):  # a part of a page: the whole page has to go there
        return Response(None, 401, headers={**HEADERS, "HX-Redirect": SIGN_IN})
    return RedirectResponse(to, 303, headers=HEADERS)
