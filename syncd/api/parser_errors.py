"""Errors of the HTTP parser, in the common error shape."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from syncd.api.responses import ProblemResponse, problem


class ParserErrorProtocol(H11Protocol):
    """Uvicorn's protocol, which answers a request that h11 cannot parse as every other error is answered."""

    def send_400_response(self, msg: str) -> None:
        """See `H11Protocol`."""
        refusal = ProblemResponse(400, "invalid", msg.rstrip("."), headers={"Connection": "close"})
        answer = problem(refusal)
        head = h11.Response(status_code=400, headers=answer.raw_headers, reason=STATUS_PHRASES[400])
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
