# SPDX-License-Identifier: Apache-2.0
"""ID tokens and sealed notes of any form: refused, never a crash, and never accepted by accident."""

import asyncio
import json
import warnings
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

from leitstand.access import oidc
from leitstand.access.oidc import Claims, Provider
from leitstand.access.oidc_http import SignInFailed
from leitstand.access.oidc_settings import ProviderSettings

NOW = 1_800_000_000
ISSUER = "https://id.example.org"
FOUND = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
}
KEY = RSAKey.generate_key(2048, {"kid": "k"})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SHORT = RSAKey.generate_key(1024, {"kid": "k"})
GOOD = {"iss": ISSUER, "aud": "leitstand", "sub": "ada", "exp": NOW + 60, "iat": NOW, "name": "Ada"}


class Published:
    """The provider's documents without a provider."""

    def __init__(self, keys: list[RSAKey]) -> None:
        self._keys = [key.as_dict(private=False) for key in keys]

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        return {"keys": self._keys} if url.endswith("/keys") else FOUND


def provider(*keys: RSAKey) -> Provider:
    made = Provider(ProviderSettings(issuer=ISSUER, client_id="leitstand"), now=lambda: NOW)
    made._http = made._keys._http = Published(list(keys) or [KEY])  # type: ignore[assignment]
    return made


def verify(token: str, *keys: RSAKey) -> Claims:
    return asyncio.run(provider(*keys).verify_id_token(token))


def accepted(token: str) -> Claims | None:
    """What a token says; None if it is refused as invalid."""
    try:
        return verify(token)
    except SignInFailed as failed:
        if failed.reason == "token_invalid":
            return None
        raise


def signed(claims: Any, header: dict[str, Any] | None = None) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k"} | (header or {}), claims, KEY)


def test_the_token_that_the_others_are_made_of_is_good() -> None:
    assert verify(signed(GOOD)) == Claims(ISSUER, "ada", "Ada", "", ())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
claims = st.dictionaries(
    st.sampled_from(
        [*GOOD, "nbf", "azp", "nonce", "groups", "email", "email_verified", "preferred_username"]
    ),
    anything,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(spoiled=claims)
def test_claims_of_any_form_are_refused_or_mean_the_same_person(spoiled: dict[str, Any]) -> None:
    found = accepted(signed(GOOD | spoiled))
    if found is None:
        return
    assert found.issuer == ISSUER
    assert (GOOD | spoiled)["sub"] == found.subject
    assert json.loads(json.dumps([found.name, found.email, *found.groups])) is not None
    for words in (found.name, found.email, *found.groups):
        words.encode()  # can be stored and shown
        assert "\n" not in words


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80) | st.text(alphabet="abeyJ._-=0", max_size=200))
def test_text_of_any_form_is_refused(text: str) -> None:
    with pytest.raises(SignInFailed):
        verify(text)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), byte=st.characters(max_codepoint=255))
def test_a_token_with_one_other_character_is_refused(at: int, byte: str) -> None:
    token = signed(GOOD)
    at %= len(token)
    spoiled = token[:at] + byte + token[at + 1 :]
    # The last character of the signature has bits that mean nothing.
    assert accepted(spoiled) is None or spoiled == token or at == len(token) - 1


@settings(max_examples=100, deadline=None)
@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "x5c", "zip"]), anything, max_size=3
    )
)
def test_headers_of_any_form_are_refused_or_change_nothing(header: dict[str, Any]) -> None:
    try:
        token = signed(GOOD, header)
    except Exception:
        return  # cannot be made by the library either
    found = accepted(token)
    assert found is None or found.subject == "ada"


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    "key",
    [
        SHORT,
        RSAKey.import_key({**KEY.as_dict(private=True), "use": "enc"}),
        RSAKey.import_key({**KEY.as_dict(private=True), "alg": "PS256"}),
    ],
    ids=["short", "for encryption", "for another algorithm"],
)
def test_a_key_that_is_not_fit_to_sign_is_not_used(key: RSAKey) -> None:
    token = jwt.encode({"alg": "RS256", "kid": "k"}, GOOD, key if key.raw_value.key_size < 2048 else KEY)
    with pytest.raises(SignInFailed, match="none of the provider's keys"):
        verify(token, key)


def test_names_are_one_line_of_bounded_length_that_can_be_shown() -> None:
    words = {
        "name": " Ada\n\x1b[31m\u202e\ud800 L. ",
        "email": "a" * 300,
        "groups": ["a", "b\n", "c" * 201, 1],
    }
    raw = jws.serialize_compact({"alg": "RS256", "kid": "k"}, json.dumps(GOOD | words).encode(), KEY)
    assert verify(raw) == Claims(ISSUER, "ada", "Ada[31m L.", "a" * 200, ("a",))
    assert verify(signed(GOOD | {"email": "a@example.org", "email_verified": False})).email == ""


def test_of_several_keys_without_a_name_the_right_one_is_found() -> None:
    other = RSAKey.generate_key(2048, {"kid": "other"})
    token = jwt.encode({"alg": "RS256"}, GOOD, KEY)
    assert verify(token, other, KEY).subject == "ada"


@settings(max_examples=200, deadline=None)
@given(
    code=st.text(max_size=20),
    state=st.text(max_size=20),
    pending=st.text(max_size=60),
    issuer=st.text(max_size=20),
)
def test_an_answer_of_any_form_is_refused(code: str, state: str, pending: str, issuer: str) -> None:
    with pytest.raises(SignInFailed):
        asyncio.run(provider().finish(code, state, pending, issuer))


@settings(max_examples=100, deadline=None)
@given(code=st.text(max_size=20), state=st.text(max_size=20), issuer=st.text(min_size=1, max_size=20))
@example(code="x", state="\ud800", issuer=ISSUER)
def test_an_answer_with_a_good_note_is_refused_as_well(code: str, state: str, issuer: str) -> None:
    async def answer() -> None:
        one = provider()
        begun = await one.begin("https://cloud.example.org/back")
        await one.finish(code, state, begun.pending, issuer)

    with pytest.raises(SignInFailed):
        asyncio.run(answer())


def test_sign_ins_that_are_used_up_are_remembered_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "USED_MAX", 2)
    now = [float(NOW)]

    async def reasons() -> list[str]:
        one = provider()
        one._now = one._keys._now = lambda: now[0]
        found: list[str] = []
        for later in (0, 0, 0, oidc.PENDING_S + 2):
            now[0] += later
            begun = await one.begin("https://cloud.example.org/back")
            state = begun.url.partition("state=")[2].partition("&")[0]
            with pytest.raises(SignInFailed) as caught:
                await one.finish("", state, begun.pending)
            found.append(caught.value.reason)
        assert len(one._used) == 1
        return found

    assert asyncio.run(reasons()) == ["code_refused", "code_refused", "busy", "code_refused"]
