"""Sign-in with a token that is pasted once, sign-out, and the files that every page loads."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from syncd.api.dependencies import address_of, server_of
from syncd.api.responses import PIECE_BYTES, ProblemResponse
from syncd.errors import Refused, SyncdError
from syncd.plan.roles import Role
from syncd.secret import Secret
from syncd.ui.rendering import HEADERS
from syncd.ui.sessions import LASTS_S
from syncd.ui.visits import SIGN_IN, Dashboard, Visit, cookie_of, failed, form_of

if TYPE_CHECKING:
    from syncd.ui.oidc import Provider  # with its library, only where there is a provider

_NEXT: Final = re.compile(r"/ui(/[A-Za-z0-9._~/@%-]*)?(\?[A-Za-z0-9._~/@%=&+-]*)?")
_YEAR_S: Final = 31_536_000
_FILE: Final = {
    "Cache-Control": f"public, max-age={_YEAR_S}, immutable",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Plain = Callable[[Request], Awaitable[Response]]


def sign_in_page(dashboard: Dashboard) -> Plain:
    """The form. Its own cookie proves that the token was pasted into this page and not sent by another site."""

    async def answer(request: Request) -> Response:
        return _form(dashboard, request, "")

    return answer


def sign_in(dashboard: Dashboard) -> Plain:
    """Begin a session. Wrong tokens are counted, logged and limited as those of refused API callers."""

    async def answer(request: Request) -> Response:
        server = server_of(request)
        try:
            form = await form_of(request, request.cookies.get(_form_cookie(request), ""))
            token = form.get("token", "").strip()
            await server.owner(token, request, Role.READ)
        except ProblemResponse as error:
            if error.status != 401:
                return failed(dashboard, request, error)
            return _form(dashboard, request, "This token is not valid. It may have been revoked.", 401)
        except SyncdError as error:
            return failed(dashboard, request, error)
        to = form.get("next", "")
        done = RedirectResponse(to if _NEXT.fullmatch(to) else "/ui", 303, headers=HEADERS)
        _set(done, request, cookie_of(request), dashboard.sessions.begin(Secret(token)), int(LASTS_S))
        _set(done, request, _form_cookie(request), "", 0)
        return done

    return answer


def oidc_begin(dashboard: Dashboard, provider: Provider) -> Plain:
    """Send the person to the provider."""

    async def answer(request: Request) -> Response:
        try:
            found, text = await provider.begin(request)
        except SyncdError as error:
            return failed(dashboard, request, error)
        found.headers.update(HEADERS)
        # Lax, since the provider's page leads back here; it opens nothing.
        _set(found, request, _login_cookie(request), text, 600, site="lax")
        return found

    return answer


def oidc_finish(dashboard: Dashboard, provider: Provider) -> Plain:
    """Begin a session of the person that the provider sends back.

    The answer is a page that leads on: browsers do not send a strict cookie with a redirect that began elsewhere.
    """

    async def answer(request: Request) -> Response:
        try:
            done = await provider.finish(request, request.cookies.get(_login_cookie(request), ""))
        except SyncdError as error:
            if isinstance(error, Refused):
                server_of(request).refused.note(error.message, "", address_of(request))
                error = ProblemResponse(403, "forbidden", error.message, hint=error.hint)
            return failed(dashboard, request, error)
        found = dashboard.pages.page("signed_in", {"visit": None, "name": done.person.name})
        text = dashboard.sessions.begin(done.person, done.lasts_s)
        _set(found, request, cookie_of(request), text, int(done.lasts_s))
        _set(found, request, _login_cookie(request), "", 0, site="lax")
        return found

    return answer


async def sign_out(visit: Visit) -> Response:
    """End the session, here and in the browser."""
    name = cookie_of(visit.request)
    visit.dashboard.sessions.end(visit.request.cookies.get(name, ""))
    done = RedirectResponse(SIGN_IN, 303, headers={**HEADERS, "Clear-Site-Data": '"cache"'})
    _set(done, visit.request, name, "", 0)
    return done


def asset(dashboard: Dashboard) -> Plain:
    """A file that pages load, in pieces: it is sent without a sign-in."""

    async def answer(request: Request) -> Response:
        found = dashboard.pages.assets.get(request.path_params["name"])
        if found is None or found.path != request.url.path:
            return failed(dashboard, request, ProblemResponse(404, "not_found", "there is no such file"))
        content = memoryview(found.content)

        async def pieces() -> AsyncIterator[memoryview]:
            for start in range(0, len(content), PIECE_BYTES):
                yield content[start : start + PIECE_BYTES]

        headers = {**_FILE, "Content-Length": str(len(content))}
        return StreamingResponse(pieces(), headers=headers, media_type=found.media_type)

    return answer


def _form(dashboard: Dashboard, request: Request, message: str, status: int = 200) -> Response:
    csrf = request.cookies.get(_form_cookie(request)) or secrets.token_urlsafe(32)
    to = request.query_params.get("next", "")
    values = {
        "visit": None,
        "csrf": csrf,
        "has_provider": dashboard.provider is not None,
        "message": message,
        "next": to if _NEXT.fullmatch(to) else "",
    }
    answer = dashboard.pages.page("sign_in", values, status)
    _set(answer, request, _form_cookie(request), csrf, 3600)
    return answer


def _form_cookie(request: Request) -> str:
    return f"{cookie_of(request)}-form"


def _login_cookie(request: Request) -> str:
    return f"{cookie_of(request)}-login"


def _set(
    answer: Response, request: Request, name: str, value: str, lasts_s: int, site: Literal["lax", "strict"] = "strict"
) -> None:
    is_secure = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=lasts_s, path="/", secure=is_secure, httponly=True, samesite=site)
