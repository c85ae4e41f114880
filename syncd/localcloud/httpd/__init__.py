"""Threaded HTTP/1.1 server on raw sockets, with faults at the level of the connection."""

from syncd.localcloud.httpd.messages import (
    Body,
    FileBody,
    Handler,
    HeaderFields,
    ServerRequest,
    ServerResponse,
    WireFault,
)
from syncd.localcloud.httpd.server import HttpServer

__all__ = ["Body", "FileBody", "Handler", "HeaderFields", "HttpServer", "ServerRequest", "ServerResponse", "WireFault"]
