# SPDX-License-Identifier: Apache-2.0
"""Behind a proxy, limits per address count the address that the proxy saw, not one that the client made up."""

from typing import Any

import pytest

from leitstand.app.forwarded import forwarded
from tests.unit.faces_story import first


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ([], "10.0.0.1"),
        ([b"192.0.2.7"], "192.0.2.7"),
        ([b"1.1.1.1, 192.0.2.7"], "192.0.2.7"),
        ([b"1.1.1.1", b"192.0.2.7:4711"], "192.0.2.7"),
        ([b"[2001:db8::1]:443"], "2001:db8::1"),
        ([b"2001:db8::1"], "2001:db8::1"),
        ([b"192.0.2.7, unknown"], "10.0.0.1"),
        ([b"\xff"], "10.0.0.1"),
    ],
)
def test_the_last_address_counts(headers: list[bytes], address: str) -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    given = [(b"host", b"x"), *((b"x-forwarded-for", value) for value in headers)]
    scope: Any = {"type": "http", "client": ("10.0.0.1", 5), "headers": given}
    nothing: Any = None
    answering: Any = forwarded(application)(scope, nothing, nothing)
    first(answering)
    assert seen == [address]
