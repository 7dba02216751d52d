# SPDX-License-Identifier: Apache-2.0
"""Behind a proxy the connection is the proxy's: who asks stands in X-Forwarded-For. Put around the API by `faces`, with
`--behind-proxy` alone, for anybody can send that header.

The last address is the one that our proxy saw itself; those before it were sent by the client, who may invent them.
"""

import ipaddress
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Send

HEADER: Final = b"x-forwarded-for"


def forwarded(application: ASGIApp) -> ASGIApp:
    """`application`, which sees the address that the proxy saw."""

    async def seen(scope: Any, receive: Receive, send: Send) -> None:
        address = _address(b",".join(value for name, value in scope.get("headers", ()) if name == HEADER))
        if address:
            scope = {**scope, "client": (address, 0)}
        await application(scope, receive, send)

    return seen


def _address(values: bytes) -> str:
    """The last address of the header, with or without a port; '' if it is none."""
    text = values.rpartition(b",")[2].strip().decode("latin-1")
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    for one in (bare, bare.rpartition(":")[0]):
        try:
            return str(ipaddress.ip_address(one))
        except ValueError:
            continue
    return ""
