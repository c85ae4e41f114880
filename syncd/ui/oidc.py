"""Sign-in by OpenID Connect: code flow with PKCE and nonce. What the provider says of a person decides their role."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from syncd.errors import Refused, Unavailable
from syncd.plan.roles import Role
from syncd.secret import Secret
from syncd.ui.provider_settings import CALLBACK, ProviderSettings
from syncd.ui.sessions import LASTS_S, Person
from syncd.values.shown_text import printable

PENDING_MAX: Final = 1000  # sign-ins that have begun: anybody can begin one, the oldest gives way
TIMEOUT_S: Final = 10.0
_NAME_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person whom the provider vouches for, for so long."""

    person: Person
    lasts_s: float


class Provider:
    """An OpenID provider. Its methods are called in the server's event loop only."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._pending: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._client = OAuth().register(
            "oidc",
            client_id=settings.client_id,
            client_secret=settings.client_secret.reveal(),
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": " ".join(settings.scopes),
                "code_challenge_method": "S256",
                "timeout": TIMEOUT_S,
            },
        )

    async def begin(self, request: Request) -> tuple[Response, str]:
        """The redirect to the provider, and the text of the cookie that the answer must come back with.

        Raises Unavailable.
        """
        text = secrets.token_urlsafe(32)
        self._pending[text] = request.scope["session"] = {}
        if len(self._pending) > PENDING_MAX:
            self._pending.popitem(last=False)
        try:
            metadata = await self._client.load_server_metadata()
            if metadata.get("issuer", "").rstrip("/") != self._settings.issuer.rstrip("/"):
                raise Unavailable("the provider's document has another issuer than ui.issuer", hint="compare the two")
            return await self._client.authorize_redirect(request, f"{self._settings.url}{CALLBACK}"), text
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(
                "the provider of ui.issuer does not answer as one", hint="sign in with a token"
            ) from error

    async def finish(self, request: Request, cookie: str) -> SignedIn:
        """The person that the provider has sent back.

        Raises:
            Refused: This browser has not begun the sign-in, the provider refused it, or the person has no role.
            Unavailable: The provider does not answer.
        """
        began = self._pending.pop(cookie, None)
        if began is None:
            raise Refused("this sign-in was not begun here, or it took too long", hint="begin again")
        request.scope["session"] = began
        self._client.client_secret = self._settings.client_secret.reveal()  # it may have been renewed
        try:
            token = await self._client.authorize_access_token(request)
            claims = dict(token.get("userinfo") or {})
            more = dict(await self._client.userinfo(token=token))
        except (AuthlibBaseError, JoseError) as error:
            raise Refused("the provider did not vouch for this sign-in", hint="begin again") from error
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise Unavailable("the provider of ui.issuer does not answer as one", hint="begin again") from error
        if not claims.get("sub") or claims["sub"] != more.get("sub"):
            raise Refused("the provider speaks of two persons", hint="begin again")
        person = self._person({**more, **claims}, Secret(str(token["access_token"])))
        lasts_s = token.get("expires_in")
        return SignedIn(person, min(LASTS_S, float(lasts_s)) if isinstance(lasts_s, int | float) else LASTS_S)

    async def again(self, person: Person) -> Person | None:
        """The person as the provider describes them now; None if it vouches no more, or gives no role.

        A provider that does not answer changes nothing.
        """
        token = {"access_token": person.access.reveal(), "token_type": "Bearer"}
        try:
            return self._person(dict(await self._client.userinfo(token=token)), person.access)
        except httpx.HTTPStatusError as error:
            return None if error.response.status_code in {401, 403} else person
        except Refused:
            return None
        except (AuthlibBaseError, httpx.HTTPError, ValueError):
            return person

    def _person(self, claims: Mapping[str, Any], access: Secret) -> Person:
        found = claims.get(self._settings.claim, ())
        values = {found} if isinstance(found, str) else {each for each in found if isinstance(each, str)}
        roles = [role for role in reversed(Role) if values & set(self._settings.roles.get(role, ()))]
        email = claims.get("email") if claims.get("email_verified") is True else None
        name = printable(str(email or f"oidc:{claims['sub']}"))[:_NAME_MAX]
        if not roles:
            hint = f"the values of the claim {self._settings.claim} that give a role are in ui.roles"
            raise Refused(f"{name} has no role here", hint=hint)
        return Person(name, roles[0], access)
