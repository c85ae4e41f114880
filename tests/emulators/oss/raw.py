"""Requests written from OSS's documentation, without any SDK: signature V4, or no signature."""

import hashlib
import hmac
import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import quote

from syncd.localcloud import LocalCloud

from tests.emulators.clouds import REGION

ALGORITHM = "OSS4-HMAC-SHA256"


@dataclass(frozen=True)
class Answer:
    """One response. Header names are lower-case; a header that is sent twice has both values."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return self.element("Code")

    def element(self, name: str) -> str:
        """The text of the first element of that name."""
        return self.body.decode().partition(f"<{name}>")[2].partition(f"</{name}>")[0]


@dataclass
class Raw:
    """Sends requests to one region, signed with V4 unless `signed` is false."""

    cloud: LocalCloud
    signed: bool = True
    region: str = REGION
    plain_date: bool = False  # sign the header Date, as ossutil and the Go SDK do
    extra: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send one request. `path` is not encoded yet; a parameter with the value '' is sent without '='."""
        given = {**self.extra, **(headers or {})}
        if self.signed:
            given |= self._signature(method, path, query or {}, given)
        terms = [
            quote(name, safe="") + (f"={quote(value, safe='')}" if value else "")
            for name, value in (query or {}).items()
        ]
        target = quote(path) + ("?" + "&".join(terms) if terms else "")
        connection = http.client.HTTPConnection(self.cloud.endpoint(self.region).removeprefix("http://"), timeout=20)
        try:
            connection.request(method, target, body, {name: value.encode() for name, value in given.items()})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def _signature(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> dict[str, str]:
        now = time.time()
        stamp = formatdate(now, usegmt=True) if self.plain_date else time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        own = {"Date": stamp} if self.plain_date else {"x-oss-date": stamp}
        own |= {"x-oss-content-sha256": "UNSIGNED-PAYLOAD"}
        covered = {name.lower(): value for name, value in {**headers, **own}.items()}
        covered = {n: v for n, v in covered.items() if n.startswith("x-oss-") or n in ("content-type", "content-md5")}
        terms = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
        canonical = "\n".join(
            (
                method,
                quote(path if path.count("/") > 1 or path == "/" else f"{path}/"),  # a bucket's ends in a slash
                "&".join(f"{name}={value}" if value else name for name, value in terms),
                "".join(f"{name}:{covered[name].strip()}\n" for name in sorted(covered)),
                "",
                "UNSIGNED-PAYLOAD",
            )
        )
        day = time.strftime("%Y%m%d", time.gmtime(now))
        scope = f"{day}/{self.region}/oss/aliyun_v4_request"
        text = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"aliyun_v4{self.cloud.access_key_secret}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return own | {
            "Authorization": f"{ALGORITHM} Credential={self.cloud.access_key_id}/{scope},Signature={signature}"
        }
