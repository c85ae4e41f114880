"""Verification of OSS signatures V1 and V4, in the header or the query.

The string to sign is rebuilt from the received request, so any difference between what a client signed and
what it sent fails as it does with the real service.
"""

import base64
import hashlib
import hmac
from calendar import timegm
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from syncd.localcloud.account import CLOCK_SKEW_S_MAX, Account, AccountKey
from syncd.localcloud.oss.errors import OssError, access_denied, invalid_argument, not_implemented
from syncd.localcloud.oss.protocol.request import OssCall, as_text, decimal

PRESIGNED_S_MAX = 7 * 24 * 3600
_V4 = "OSS4-HMAC-SHA256"
# The query parameters that V1 signs; others are not covered, as with the real service.
_V1_SIGNED_PARAMETERS = frozenset(
    {
        "acl",
        "append",
        "asyncFetch",
        "bucketInfo",
        "callback",
        "callback-var",
        "cloudboxes",
        "cname",
        "comp",
        "continuation-token",
        "cors",
        "delete",
        "encryption",
        "endTime",
        "group",
        "img",
        "inventory",
        "inventoryId",
        "lifecycle",
        "link",
        "live",
        "location",
        "logging",
        "metaQuery",
        "objectInfo",
        "objectMeta",
        "partNumber",
        "policy",
        "position",
        "qos",
        "qosInfo",
        "referer",
        "regionList",
        "replication",
        "replicationLocation",
        "replicationProgress",
        "requestPayment",
        "resourceGroup",
        "responseHeader",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "rtc",
        "security-token",
        "sequential",
        "startTime",
        "stat",
        "status",
        "style",
        "styleName",
        "symlink",
        "tagging",
        "transferAcceleration",
        "udf",
        "udfApplication",
        "udfApplicationLog",
        "udfId",
        "udfImage",
        "udfImageDesc",
        "udfName",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "vod",
        "website",
        "withHashContext",
        "worm",
        "wormExtend",
        "wormId",
        "x-oss-ac-forward-allow",
        "x-oss-ac-source-ip",
        "x-oss-ac-subnet-mask",
        "x-oss-ac-vpc-id",
        "x-oss-async-process",
        "x-oss-enable-md5",
        "x-oss-enable-sha1",
        "x-oss-enable-sha256",
        "x-oss-hash-ctx",
        "x-oss-md5-ctx",
        "x-oss-process",
        "x-oss-request-payer",
        "x-oss-traffic-limit",
        "x-oss-write-get-object-response",
    }
)


def is_anonymous(call: OssCall) -> bool:
    """Whether the request has no signature."""
    return not (
        "authorization" in call.request.headers or "Signature" in call.args or "x-oss-signature-version" in call.args
    )


def authenticate(call: OssCall, account: Account) -> None:
    """Check the request's signature.

    Raises:
        OssError: The signature is missing, wrong, expired, by an unknown key, or for another region.
    """
    authorization = call.header("authorization")
    if authorization.startswith(f"{_V4} "):
        _check_v4_header(call, account, authorization.removeprefix(_V4))
    elif authorization.startswith("OSS2 ") or call.args.get("x-oss-signature-version") == "OSS2":
        raise not_implemented("signature V2 (OSS2)")
    elif authorization.startswith("OSS "):
        _check_v1_header(call, account, authorization.removeprefix("OSS "))
    elif authorization:
        raise invalid_argument("Authorization header is invalid.", "Authorization", ec="0002-00000061")
    elif call.args.get("x-oss-signature-version") == _V4:
        _check_v4_query(call, account)
    elif "Signature" in call.args:
        _check_v1_query(call, account)
    else:
        raise access_denied("Anonymous access is forbidden for this operation.", ec="0003-00000001")


def _check_v1_header(call: OssCall, account: Account, value: str) -> None:
    access_key_id, colon, signature = value.strip().partition(":")
    if not colon:
        raise invalid_argument("Authorization header is invalid.", "Authorization", ec="0002-00000062")
    date = call.header("x-oss-date") or call.header("date")
    _check_clock(call, _parse_http_date(date))
    token = call.header("x-oss-security-token") or call.header("security-token")
    credential = _find(call, account, access_key_id, token)
    _check_v1(call, credential, signature, date)


def _check_v1_query(call: OssCall, account: Account) -> None:
    expires = call.args.get("Expires", "")
    ends_s = decimal(expires)
    if ends_s is None:
        raise access_denied("Invalid date (should be seconds since epoch).", ec="0002-00000067")
    if call.now_s > ends_s:
        raise access_denied("Request has expired.", ec="0002-00000069", **_expiry(ends_s, call.now_s))
    access_key_id = call.args.get("OSSAccessKeyId", "")
    credential = _find(call, account, access_key_id, call.args.get("security-token", ""))
    _check_v1(call, credential, call.args["Signature"], expires)


def _check_v1(call: OssCall, credential: AccountKey, signature: str, date: str) -> None:
    signed = sorted((k, v) for k, v in call.request.query if k in _V1_SIGNED_PARAMETERS)
    query = "&".join(f"{name}={value}" if value else name for name, value in signed)
    resource = f"/{call.bucket}/{call.key}" if call.bucket else "/"
    headers = sorted((n.lower(), as_text(v)) for n, v in call.request.headers.items())
    canonical_headers = "".join(f"{n}:{v}\n" for n, v in headers if n.startswith("x-oss-"))
    fields = (call.request.method, call.header("content-md5"), call.header("content-type"), date)
    text = "\n".join(fields) + "\n" + canonical_headers + resource + (f"?{query}" if query else "")
    digest = hmac.digest(credential.access_key_secret.encode(), text.encode(), "sha1")
    _compare(credential, signature, base64.b64encode(digest).decode(), text)


def _check_v4_header(call: OssCall, account: Account, value: str) -> None:
    fields = dict(part.strip().partition("=")[::2] for part in value.split(","))
    if "Credential" not in fields or "Signature" not in fields:
        raise invalid_argument("Authorization header is invalid.", "Authorization", ec="0002-00000202")
    stamp = call.header("x-oss-date")
    signed = stamp or call.header("date")
    instant = _parse_iso_date(stamp) if stamp else _parse_http_date(signed)
    additional = [name for name in fields.get("AdditionalHeaders", "").split(";") if name]
    _check_clock(call, instant)
    token = call.header("x-oss-security-token")
    claim = _V4Claim(fields["Credential"], token, fields["Signature"], signed, additional)
    _check_v4(call, account, claim, instant)


def _check_v4_query(call: OssCall, account: Account) -> None:
    instant = _parse_iso_date(call.args.get("x-oss-date", ""))
    lifetime_s = _presigned_lifetime(call)
    if instant - call.now_s > CLOCK_SKEW_S_MAX:
        raise access_denied("Request is not valid yet.", ec="0002-00000068")
    if call.now_s > instant + lifetime_s:
        ends = int(instant) + lifetime_s
        raise access_denied("Request has expired.", ec="0002-00000069", **_expiry(ends, call.now_s))
    additional = [name for name in call.args.get("x-oss-additional-headers", "").split(";") if name]
    claim = _V4Claim(
        call.args.get("x-oss-credential", ""),
        call.args.get("x-oss-security-token", ""),
        call.args.get("x-oss-signature", ""),
        call.args.get("x-oss-date", ""),
        additional,
    )
    _check_v4(call, account, claim, instant)


def _presigned_lifetime(call: OssCall) -> int:
    """Seconds that a presigned V4 URL is valid: 1 to 604800 (help page of error 0002-00000232).

    Raises:
        OssError: `x-oss-expires` is missing, no number, or out of range.
    """
    text = call.args.get("x-oss-expires", "")
    lifetime_s = decimal(text)
    if lifetime_s is None:
        raise invalid_argument("x-oss-expires is invalid.", "x-oss-expires", text, "0002-00000209")
    if not 1 <= lifetime_s <= PRESIGNED_S_MAX:
        message = f"x-oss-expires must be between 1 and {PRESIGNED_S_MAX} seconds."
        raise invalid_argument(message, "x-oss-expires", text, "0002-00000232")
    return lifetime_s


@dataclass(frozen=True, slots=True)
class _V4Claim:
    """What a request states about its V4 signature.

    `signed_date` is the date exactly as signed: `x-oss-date`, or the header `Date` of clients that send no
    `x-oss-date` (aliyun-oss-go-sdk `oss/auth.go`, getSignedStrV4, and ossutil 1, which is built on it).
    """

    credential: str
    token: str
    signature: str
    signed_date: str
    additional: list[str]


def _check_v4(call: OssCall, account: Account, claim: _V4Claim, instant: float) -> None:
    access_key_id, *scope = claim.credential.split("/")
    if len(scope) != 4 or scope[3] != "aliyun_v4_request":
        raise invalid_argument("Invalid credential in Authorization header.", ec="0002-00000213")
    date, region, product, _ = scope
    if date != datetime.fromtimestamp(instant, UTC).strftime("%Y%m%d"):
        raise invalid_argument("Invalid signing date in Authorization header.", ec="0002-00000225")
    if region != call.region:
        raise invalid_argument("Invalid signing region in Authorization header.", ec="0002-00000226")
    if product != "oss":
        raise invalid_argument("Invalid signing product in Authorization header.", ec="0002-00000227")
    credential = _find(call, account, access_key_id, claim.token)
    canonical = _v4_canonical_request(call, claim.additional)
    text = "\n".join((_V4, claim.signed_date, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"aliyun_v4{credential.access_key_secret}".encode()
    for word in scope:
        key = hmac.digest(key, word.encode(), "sha256")
    _compare(credential, claim.signature, hmac.digest(key, text.encode(), "sha256").hex(), text, canonical)


def _v4_canonical_request(call: OssCall, additional: list[str]) -> str:
    uri = quote(f"/{call.bucket}/{call.key}" if call.bucket else "/", safe="/~")
    encoded = sorted(
        (quote(name, safe="~"), quote(value, safe="~"))
        for name, value in call.request.query
        if name != "x-oss-signature"
    )
    query = "&".join(f"{name}={value}" if value else name for name, value in encoded)
    extra = sorted({name.lower() for name in additional})
    headers = sorted((n.lower(), as_text(v)) for n, v in call.request.headers.items())
    signed = "".join(
        f"{name}:{value.strip()}\n"
        for name, value in headers
        if name.startswith("x-oss-") or name in ("content-type", "content-md5") or name in extra
    )
    payload = call.header("x-oss-content-sha256") or "UNSIGNED-PAYLOAD"
    return "\n".join((call.request.method, uri, query, signed, ";".join(extra), payload))


def _find(call: OssCall, account: Account, access_key_id: str, token: str) -> AccountKey:
    credential = account.find(access_key_id)
    if credential is None:
        raise OssError(
            403,
            "InvalidAccessKeyId",
            "The OSS Access Key Id you provided does not exist in our records.",
            "0002-00000902",
            {"OSSAccessKeyId": access_key_id},
        )
    if credential.security_token != token:
        raise OssError(403, "InvalidSecurityToken", "The security token you provided is invalid.", "0002-00000081")
    if call.now_s > credential.expires_at_s:
        raise OssError(403, "SecurityTokenExpired", "The security token you provided has expired.", "0002-00000084")
    return credential


def _compare(credential: AccountKey, provided: str, computed: str, string_to_sign: str, canonical: str = "") -> None:
    if hmac.compare_digest(provided.encode(), computed.encode()):
        return
    details = {
        "OSSAccessKeyId": credential.access_key_id,
        "SignatureProvided": provided,
        "StringToSign": string_to_sign,
    }
    if canonical:
        details["CanonicalRequest"] = canonical
    raise OssError(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method.",
        "0002-00000040",
        details,
    )


def _check_clock(call: OssCall, instant: float) -> None:
    if abs(instant - call.now_s) <= CLOCK_SKEW_S_MAX:
        return
    raise OssError(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
        "0002-00000504",
        {
            "MaxAllowedSkewMilliseconds": str(CLOCK_SKEW_S_MAX * 1000),
            "RequestTime": iso_milliseconds(instant),
            "ServerTime": iso_milliseconds(call.now_s),
        },
    )


def iso_milliseconds(instant_s: float) -> str:
    """A time in the format of OSS's XML."""
    return datetime.fromtimestamp(int(instant_s), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _expiry(expires_s: int, now_s: float) -> dict[str, str]:
    return {"Expires": iso_milliseconds(expires_s), "ServerTime": iso_milliseconds(now_s)}


def _parse_http_date(text: str) -> float:
    try:
        return float(timegm(parsedate_to_datetime(text).utctimetuple()))
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise access_denied("OSS authentication requires a valid Date.", ec="0002-00000051", Date=text) from error


def _parse_iso_date(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise invalid_argument("x-oss-date is invalid.", "x-oss-date", text, "0002-00000208") from error
