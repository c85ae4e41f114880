"""OSS's XML documents: rendering, and parsing with a size limit."""

import base64
import hashlib
import re
from collections.abc import Iterable
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from syncd.localcloud.oss.errors import OssError, invalid_digest, malformed_xml
from syncd.localcloud.oss.protocol.request import OssCall

BODY_BYTES_MAX = 5 * 1024 * 1024  # 10 000 parts, or 1 000 keys of 1 023 bytes, percent-encoded

# Keys may have control characters, which clients write as references that XML 1.0 does not allow. They are replaced by
# characters of a private plane while the document is parsed.
_CONTROL = re.compile(rb"&#(?:x0*([0-9a-fA-F]{1,2})|0*([0-9]{1,2}));")
_PLACEHOLDERS = 0x10FF00
_CONTROL_OF = {_PLACEHOLDERS + code: code for code in range(32)}

Node = tuple[str, "str | int | list[Node]"]


def render(name: str, content: str | Iterable[Node]) -> bytes:
    """A document with `name` as its root."""
    inner = content if isinstance(content, str) else list(content)
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + _element(name, inner)).encode()


def _element(name: str, content: "str | int | list[Node]") -> str:
    if isinstance(content, list):
        inner = "".join(_element(child, value) for child, value in content)
    else:
        # XML parsers normalize a literal carriage return.
        inner = escape(str(content), {"\r": "&#13;"})
    return f"<{name}>{inner}</{name}>"


def _placeholder(reference: re.Match[bytes]) -> bytes:
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    allowed = code >= 32 or code in (0, 9, 10, 13)
    return reference[0] if allowed else chr(_PLACEHOLDERS + code).encode()


def parse(call: OssCall, root: str) -> ET.Element:
    """The document in a request body, without namespaces.

    Raises:
        OssError: The body is too large, does not match Content-MD5, is not XML, or has another root element.
    """
    body = call.request.body.read(BODY_BYTES_MAX + 1)
    if len(body) > BODY_BYTES_MAX:
        raise OssError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
    digest = call.header("content-md5")
    if digest and digest != base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode():
        raise invalid_digest()
    try:
        document = ET.fromstring(_CONTROL.sub(_placeholder, body))  # noqa: S314 - of bounded size; expat refuses entity bombs itself
    except ET.ParseError as error:
        raise malformed_xml() from error
    for node in document.iter():
        node.tag = node.tag.rpartition("}")[2]
        node.text = node.text and node.text.translate(_CONTROL_OF)
    if document.tag != root:
        raise malformed_xml(f"The root element is {document.tag}, not {root}.")
    return document


def encoded(text: str, encoding_type: str) -> str:
    """A key, prefix or marker in the listing's `encoding-type`."""
    return quote(text, safe="/") if encoding_type == "url" else text
