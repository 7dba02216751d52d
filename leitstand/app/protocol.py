# SPDX-License-Identifier: Apache-2.0
"""HTTP as uvicorn speaks it, but what is no HTTP gets a problem like every other error. Used by the faces' process."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from leitstand.api.problems import MEDIA_TYPE, Problem

_HEAD: Final = (
    "HTTP/1.1 400 Bad Request\r\n"
    "content-type: {type}\r\n"
    "content-length: {length}\r\n"
    "connection: close\r\n"
    "\r\n"
)


class Protocol(HttpToolsProtocol):
    """One connection."""

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no request, and close."""
        body = Problem(400, "invalid-request", "what arrived is no valid HTTP/1.1 request").body()
        self.transport.write(_HEAD.format(type=MEDIA_TYPE, length=len(body)).encode() + body)
        self.transport.close()
