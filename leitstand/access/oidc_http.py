# SPDX-License-Identifier: Apache-2.0
"""What is asked of an identity provider over HTTP, within limits: no redirects, no long answers, no long waits.

Called by `oidc` and `oidc_keys`.
"""

import asyncio
import functools
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import httpx2
import msgspec

from leitstand.access.oidc_settings import url_fault

ANSWER_BYTES_MAX: Final = 1024 * 1024
ANSWER_S_MAX: Final = 10  # from the first byte sent to the last received
_CODE_CHARS_MAX: Final = 60

Reason = Literal["provider_away", "provider_wrong", "state_unknown", "code_refused", "token_invalid", "busy"]


class SignInFailed(Exception):
    """Nobody was signed in. `reason`: whose fault it is; `detail`: one sentence without any secret.

    provider_away: try again later. provider_wrong: its answers or our settings. state_unknown: begin again.
    code_refused: the provider did not accept the code. token_invalid: what it says cannot be trusted. busy: too many.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


class Answer(msgspec.Struct, frozen=True):
    """Status and JSON object of an answer; {} if the body is none."""

    status: int
    body: dict[str, Any]

    @property
    def error(self) -> str:
        """The error code of RFC 6749 §5.2, reduced to its letters: it goes into messages."""
        code = self.body.get("error")
        return re.sub(r"[^A-Za-z0-9_.-]", "", code)[:_CODE_CHARS_MAX] if isinstance(code, str) else ""


class Http:
    """A client for one provider. To be closed."""

    @functools.cached_property
    def _client(self) -> httpx2.AsyncClient:
        """Made when it is needed: reading the certificates takes a while."""
        return httpx2.AsyncClient(
            follow_redirects=False, timeout=ANSWER_S_MAX, headers={"Accept": "application/json"}
        )

    async def aclose(self) -> None:
        """Close the connections, if any were made."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        """The JSON object at `url`; SignInFailed for whatever is not 200."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = await self._ask("GET", url, headers=headers)
        if answer.status != 200:
            raise SignInFailed("provider_wrong", f"the identity provider answers {answer.status} at {url}")
        return answer.body

    async def post(self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> Answer:
        """The answer to a form, with HTTP basic authentication if given; SignInFailed for 5xx and redirects."""
        return await self._ask("POST", url, data=dict(form), auth=basic)

    async def _ask(self, method: str, url: str, **given: Any) -> Answer:
        if wrong := url_fault(url):
            raise SignInFailed("provider_wrong", f"the identity provider names an address: {wrong}")
        try:
            async with (
                asyncio.timeout(ANSWER_S_MAX),
                self._client.stream(method, url, **given) as response,
            ):
                raw = await _body(response, url)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
            what = type(error).__name__
            raise SignInFailed(
                "provider_away", f"the identity provider does not answer at {url}: {what}"
            ) from None
        status = response.status_code
        if status >= 500 or status == 429:
            raise SignInFailed("provider_away", f"the identity provider answers {status} at {url}")
        if 300 <= status < 400:
            raise SignInFailed(
                "provider_wrong", f"the identity provider redirects from {url}; it is not followed"
            )
        return Answer(status, _object(raw, url, status))


async def _body(response: httpx2.Response, url: str) -> bytes:
    raw = bytearray()
    async for chunk in response.aiter_bytes():
        raw += chunk
        if len(raw) > ANSWER_BYTES_MAX:
            raise SignInFailed(
                "provider_wrong", f"the answer of {url} is longer than {ANSWER_BYTES_MAX} bytes"
            )
    return bytes(raw)


def _object(raw: bytes, url: str, status: int) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if status != 200:
            return {}
        raise SignInFailed("provider_wrong", f"the answer of {url} is not a JSON object") from None
