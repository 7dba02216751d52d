# SPDX-License-Identifier: Apache-2.0
"""Sign-in with an identity provider that others wrote: oidc-provider-mock, a process of its own."""

import asyncio
import importlib.util
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from leitstand.access.oidc import Begun, Claims, Provider
from leitstand.access.oidc_settings import GroupRole, ProviderSettings
from leitstand.access.roles import Grant

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("oidc_provider_mock") is None,
    reason="needs the Python package oidc-provider-mock",
)

START_S = 60
BACK = "http://127.0.0.1:8640/v1/sign-in/back"
ADA = {"sub": "ada", "name": "Ada Lovelace", "email": "ada@example.org", "groups": ["acme-admins"]}


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    command += ["--user-claims", json.dumps(ADA), "--require-nonce", "true"]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + START_S
            while not answers(address):
                assert process.poll() is None, "the identity provider ended at its start"
                assert time.monotonic() < deadline, f"the identity provider did not start within {START_S} s"
            yield str(httpx2.get(f"{address}/.well-known/openid-configuration").json()["issuer"])
        finally:
            process.terminate()


def answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/.well-known/openid-configuration").status_code == 200
    except httpx2.TransportError:
        return False


def sign_in(begun: Begun) -> dict[str, str]:
    """As a browser does: follow to the form, name oneself, come back."""
    with httpx2.Client() as browser:
        page = browser.get(begun.url)
        assert page.status_code == 200, page.text
        assert re.search(r'<input[^>]*name="sub"', page.text), "the form asks for another name"
        answer = browser.post(begun.url, data={"sub": "ada"})
    assert answer.status_code in (302, 303), answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def test_a_person_signs_in_with_a_provider_of_others(issuer: str) -> None:
    mapping = (GroupRole("acme-admins", Grant("tenant_admin", "acme")),)
    settings = ProviderSettings(
        issuer=issuer, client_id="leitstand", client_secret="any: ä&=%", mapping=mapping
    )

    async def whole() -> tuple[Claims, set[Grant]]:
        provider = Provider(settings)
        begun = await provider.begin(BACK)
        back = await asyncio.to_thread(sign_in, begun)
        claims = await provider.finish(back["code"], back["state"], begun.pending, back.get("iss", ""))
        await provider.aclose()
        return claims, provider.grants_for(claims)

    claims, grants = asyncio.run(whole())
    assert (claims.issuer, claims.subject) == (issuer, "ada")
    assert (claims.name, claims.email) == ("Ada Lovelace", "ada@example.org")
    assert grants == {Grant("tenant_admin", "acme")}
