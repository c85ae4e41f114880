"""A person at a browser without scripts: cookies, links and forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape

import httpx
from syncd.plan.roles import Role

from tests.unit.api.serving import LIMIT_S, Served

_FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


@dataclass
class Person:
    """A client with cookies."""

    client: httpx.Client

    def open(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def send(self, path: str, form: str = "", **fields: str) -> httpx.Response:
        """Send the form of a page, with its hidden fields, to `path`; `form` is the page where it stands elsewhere."""
        hidden = hidden_fields(self.open(form or path).text)
        return self.client.post(path, data={**hidden, **fields})

    def sign_in(self, token: str, **fields: str) -> httpx.Response:
        return self.send("/ui/sign-in", token=token, **fields)


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden fields of a page."""
    return {name: unescape(value) for name, value in _FIELD.findall(page)}


@contextmanager
def visitor(served: Served, **headers: str) -> Iterator[Person]:
    """Somebody who has not signed in."""
    with httpx.Client(base_url=served.url, timeout=LIMIT_S, trust_env=False, headers=headers) as client:
        yield Person(client)


@contextmanager
def signed_in(served: Served, role: Role = Role.OPERATE) -> Iterator[Person]:
    """Somebody with a session."""
    with visitor(served) as made:
        assert made.sign_in(served.token(role)).status_code == 303
        yield made
