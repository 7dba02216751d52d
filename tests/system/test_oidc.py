# SPDX-License-Identifier: Apache-2.0
"""Sign-in with a real identity provider process: the code flow as a browser goes it, and everything that must fail."""

import asyncio
import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from html import unescape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from leitstand.access.oidc import PENDING_S, Begun, Claims, Provider
from leitstand.access.oidc_http import ANSWER_BYTES_MAX, SignInFailed
from leitstand.access.oidc_keys import KEYS_AGAIN_S
from leitstand.access.oidc_settings import GroupRole, ProviderSettings
from leitstand.access.roles import Grant

ROOT = Path(__file__).resolve().parents[2]
START_S = 30
BACK = "http://127.0.0.1:8640/v1/sign-in/back"
SECRET = "secret of the client: äöü&=%"
USERS = {
    "ada": {"name": "Ada Lovelace", "email": "ada@example.org", "groups": ["acme-admins", "readers"]},
    "bob": {"name": "Bob", "email": "bob@example.org", "groups": []},
}
MAPPING = (
    GroupRole("acme-admins", Grant("tenant_admin", "acme")),
    GroupRole("readers", Grant("viewer", "beta", "one")),
    GroupRole("cloud-operators", Grant("operator")),
)

T = TypeVar("T")


class Clock:
    """The wall clock, and how much later it is here."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.later_s


class Idp:
    """The identity provider process, as a browser and as a mischief-maker see it."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.browser = httpx2.Client()

    def control(self, **asked: Any) -> None:
        assert self.browser.post(f"{self.issuer}/control", json=asked).status_code == 200

    def asked(self, path: str) -> int:
        return int(self.browser.get(f"{self.issuer}/control").json().get(path, 0))

    def sign_in(self, begun: Begun, user: str = "ada") -> dict[str, str]:
        """Fill in the form; the parameters with which the browser is sent back."""
        page = self.browser.get(begun.url)
        assert page.status_code == 200, page.text
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
        form = {unescape(name): unescape(value) for name, value in fields}
        answer = self.browser.post(f"{self.issuer}/authorize", data={**form, "username": user})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(BACK)
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    def id_token(self) -> str:
        """The ID token that another program gets for itself."""
        verifier = "v" * 43
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": "leitstand",
            "redirect_uri": BACK,
            "scope": "openid",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        code = self.sign_in(Begun(f"{self.issuer}/authorize?{urlencode(asked)}", ""))["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
        client = {"code_verifier": verifier, "client_id": "leitstand", "client_secret": SECRET}
        answer = self.browser.post(f"{self.issuer}/token", data=form | client)
        return str(answer.json()["id_token"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idp]:
    users = tmp_path_factory.mktemp("idp") / "users.json"
    users.write_text(json.dumps(USERS))
    command = [sys.executable, "-m", "tests.idp", "--port", "0", "--users", str(users)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        late = threading.Timer(START_S, process.kill)
        late.start()
        assert process.stdout is not None
        issuer = process.stdout.readline().strip()
        late.cancel()
        assert issuer, f"the identity provider did not start within {START_S} s"
        try:
            yield Idp(issuer)
        finally:
            process.terminate()


@pytest.fixture
def idp(running: Idp) -> Iterator[Idp]:
    yield running
    running.control(reset=True)


class Signing:
    """A provider as the faces use it, with a loop of its own."""

    def __init__(self, idp: Idp, clock: Clock | None = None, **changed: Any) -> None:
        given = {
            "issuer": idp.issuer,
            "client_id": "leitstand",
            "client_secret": SECRET,
            "mapping": MAPPING,
            **changed,
        }
        self.idp = idp
        self._runner = asyncio.Runner()
        self.provider = Provider(ProviderSettings(**given), now=clock or Clock())

    def __enter__(self) -> "Signing":
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.provider.aclose())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def begin(self) -> Begun:
        return self.run(self.provider.begin(BACK))

    def finish(self, back: dict[str, str], begun: Begun) -> Claims:
        return self.run(
            self.provider.finish(back.get("code", ""), back["state"], begun.pending, back.get("iss", ""))
        )

    def sign_in(self, user: str = "ada") -> Claims:
        """The whole way."""
        begun = self.begin()
        return self.finish(self.idp.sign_in(begun, user), begun)

    def refused(self, user: str = "ada") -> SignInFailed:
        with pytest.raises(SignInFailed) as caught:
            self.sign_in(user)
        assert SECRET not in caught.value.detail
        return caught.value


@pytest.fixture
def signing(idp: Idp) -> Iterator[Signing]:
    with Signing(idp) as made:
        yield made


def test_a_person_signs_in_and_has_the_roles_of_their_groups(signing: Signing) -> None:
    claims = signing.sign_in()
    assert (claims.issuer, claims.name, claims.email) == (
        signing.idp.issuer, "Ada Lovelace", "ada@example.org"
    )  # fmt: skip
    assert claims.groups == ("acme-admins", "readers")
    assert signing.provider.grants_for(claims) == {
        Grant("tenant_admin", "acme"), Grant("viewer", "beta", "one")
    }  # fmt: skip
    other = signing.sign_in("bob")
    assert other.subject != claims.subject
    assert signing.provider.grants_for(other) == set()
    assert signing.sign_in().subject == claims.subject


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_every_supported_signature_is_accepted(signing: Signing, algorithm: str) -> None:
    signing.idp.control(sign=algorithm)
    assert signing.sign_in().name == "Ada Lovelace"


def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(signing: Signing) -> None:
    signing.idp.control(discovery={"token_endpoint_auth_methods_supported": ["client_secret_post"]})
    assert signing.sign_in().name == "Ada Lovelace"


def test_claims_that_the_id_token_lacks_come_from_the_user_info(signing: Signing) -> None:
    signing.idp.control(claims={"groups": None, "name": None, "email": None})
    claims = signing.sign_in()
    assert (claims.name, claims.email) == ("Ada Lovelace", "ada@example.org")
    assert claims.groups == ("acme-admins", "readers")


def test_user_info_about_somebody_else_is_refused(signing: Signing) -> None:
    signing.idp.control(claims={"groups": None, "sub": "somebody"})
    assert signing.refused().reason == "token_invalid"


def test_groups_are_found_at_a_path_into_nested_claims(idp: Idp) -> None:
    idp.control(claims={"realm": {"access.roles": 1, "roles": ["readers"]}})
    with Signing(idp, group_claim="realm.roles") as signing:
        assert signing.sign_in().groups == ("readers",)


FUTURE = int(time.time()) + 10_000


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "http://127.0.0.1:1"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "somebody-else"}, "for another client"),
        ({"aud": []}, "for another client"),
        ({"aud": None}, "for another client"),
        ({"azp": "somebody-else"}, "issued to another client"),
        ({"aud": ["leitstand", "somebody-else"], "azp": None}, "issued to another client"),
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"exp": int(time.time()) - 61}, "expired"),
        ({"exp": None}, "claim exp is not a time"),
        ({"exp": "tomorrow"}, "claim exp is not a time"),
        ({"iat": None}, "claim iat is not a time"),
        ({"iat": FUTURE, "exp": FUTURE + 300}, "from the future"),
        ({"nbf": FUTURE}, "from the future"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"groups": [f"g{n}" for n in range(1001)]}, "the limit is 1000"),
    ],
)  # fmt: skip
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    signing: Signing, claims: dict[str, Any], why: str
) -> None:
    signing.idp.control(claims=claims)
    failed = signing.refused()
    assert failed.reason == "token_invalid"
    assert why in failed.detail


def test_a_few_seconds_of_skew_are_forgiven(signing: Signing) -> None:
    now = int(time.time())
    signing.idp.control(claims={"exp": now - 5, "iat": now + 30})
    assert signing.sign_in().name == "Ada Lovelace"


@pytest.mark.parametrize(
    ("mischief", "why"),
    [
        ({"sign": "none"}, "algorithm"),
        ({"sign": "HS256"}, "algorithm"),  # keyed with the public key, as PEM
        ({"sign": "none", "header": {"alg": "RS256"}}, "signed"),
        ({"sign": "HS256", "header": {"alg": "RS256"}}, "signed"),
        ({"sign": "RS256", "header": {"alg": "RS256", "typ": "at+jwt"}}, "another kind"),
        ({"sign": "RS256", "header": {"crit": ["b64"], "b64": False}}, ""),
        ({"sign": "stranger"}, "none of the provider's keys"),
        ({"sign": "stranger", "header": {"kid": None}}, "none of the provider's keys"),
        ({"sign": "RS256", "header": {"kid": "unknown"}}, "none of the provider's keys"),
    ],
)  # fmt: skip
def test_a_signature_that_is_not_the_providers_is_refused(
    signing: Signing, mischief: dict[str, Any], why: str
) -> None:
    assert signing.sign_in()
    signing.idp.control(**mischief)
    failed = signing.refused()
    assert failed.reason == "token_invalid"
    assert why in failed.detail


def test_keys_may_change_and_strangers_cannot_make_us_ask_for_them_again_and_again(idp: Idp) -> None:
    clock = Clock()
    with Signing(idp, clock) as signing:
        before = idp.asked("/keys")
        assert signing.sign_in()
        assert signing.sign_in()
        assert idp.asked("/keys") == before + 1
        idp.control(rotate=True)
        assert signing.refused().reason == "token_invalid", "just asked; the next time is later"
        assert idp.asked("/keys") == before + 1
        clock.later_s += KEYS_AGAIN_S
        assert signing.sign_in()
        assert idp.asked("/keys") == before + 2


def test_a_withdrawn_key_is_not_trusted_for_ever(idp: Idp) -> None:
    clock = Clock()
    with Signing(idp, clock, skew_s=300) as signing:
        assert signing.sign_in()
        asked = idp.asked("/keys")
        clock.later_s += 3601
        idp.control(claims={"exp": int(clock()) + 60})
        assert signing.sign_in()
        assert idp.asked("/keys") == asked + 1


def test_a_sign_in_ends_once(signing: Signing) -> None:
    begun = signing.begin()
    back = signing.idp.sign_in(begun)
    assert signing.finish(back, begun)
    for again in (back, signing.idp.sign_in(begun)):
        with pytest.raises(SignInFailed, match="already finished"):
            signing.finish(again, begun)


def test_a_failed_sign_in_is_used_up_as_well(signing: Signing) -> None:
    begun = signing.begin()
    back = signing.idp.sign_in(begun)
    with pytest.raises(SignInFailed, match="refused the code: invalid_grant"):
        signing.finish({**back, "code": "guessed"}, begun)
    with pytest.raises(SignInFailed, match="already finished"):
        signing.finish(back, begun)


def test_the_state_of_another_sign_in_is_refused(signing: Signing) -> None:
    mine, others = signing.begin(), signing.begin()
    back = signing.idp.sign_in(others, "bob")
    with pytest.raises(SignInFailed, match="belongs to another sign-in") as caught:
        signing.finish(back, mine)
    assert caught.value.reason == "state_unknown"


def test_the_code_of_another_sign_in_is_refused(signing: Signing) -> None:
    """Injected into a sign-in of one's own: PKCE binds the code to the one it was made for."""
    mine, others = signing.begin(), signing.begin()
    own, stolen = signing.idp.sign_in(mine), signing.idp.sign_in(others, "bob")
    with pytest.raises(SignInFailed) as caught:
        signing.finish({**own, "code": stolen["code"]}, mine)
    assert caught.value.reason == "code_refused"


@pytest.mark.parametrize("code", ["", "x" * 5000, "\ud800", "a\nb"])
def test_what_cannot_be_a_code_is_not_sent_on(signing: Signing, code: str) -> None:
    begun = signing.begin()
    back = signing.idp.sign_in(begun)
    with pytest.raises(SignInFailed) as caught:
        signing.finish({**back, "code": code}, begun)
    assert caught.value.reason == "code_refused"


@pytest.mark.parametrize("issuer", ["", "https://evil.example"])
def test_the_answer_of_another_provider_is_refused(signing: Signing, issuer: str) -> None:
    begun = signing.begin()
    back = signing.idp.sign_in(begun)
    with pytest.raises(SignInFailed, match="another identity provider"):
        signing.finish({**back, "iss": issuer}, begun)


def test_a_sign_in_begun_too_long_ago_is_refused(idp: Idp) -> None:
    clock = Clock()
    with Signing(idp, clock) as signing:
        begun = signing.begin()
        back = idp.sign_in(begun)
        clock.later_s += PENDING_S + 1
        with pytest.raises(SignInFailed, match="too long ago"):
            signing.finish(back, begun)


@pytest.mark.parametrize("pending", ["", "x", "gAAAAA", "ä", "\ud800"])
def test_a_note_that_was_not_sealed_here_is_refused(signing: Signing, pending: str) -> None:
    begun = signing.begin()
    back = signing.idp.sign_in(begun)
    with pytest.raises(SignInFailed, match="not begun here"):
        signing.finish(back, Begun(begun.url, pending))


def test_the_note_is_sealed_by_a_key_that_faces_can_share(idp: Idp) -> None:
    with Signing(idp) as one, Signing(idp) as other:
        begun = one.begin()
        with pytest.raises(SignInFailed, match="not begun here"):
            other.finish(idp.sign_in(begun), begun)
    settings = ProviderSettings(issuer=idp.issuer, client_id="leitstand", client_secret=SECRET)

    async def across() -> Claims:
        first, second = (Provider(settings, key=b"k" * 32) for _ in range(2))
        begun = await first.begin(BACK)
        back = await asyncio.to_thread(idp.sign_in, begun)
        claims = await second.finish(back["code"], back["state"], begun.pending, back["iss"])
        await first.aclose()
        await second.aclose()
        return claims

    assert asyncio.run(across()).name == "Ada Lovelace"


def test_neither_state_nor_verifier_can_be_read_from_what_the_browser_carries(signing: Signing) -> None:
    begun = signing.begin()
    asked = dict(parse_qsl(urlsplit(begun.url).query))
    assert asked["code_challenge_method"] == "S256"
    assert asked["state"] not in begun.pending
    assert "verifier" not in begun.url


def test_the_command_line_exchanges_an_id_token(signing: Signing) -> None:
    """Got by itself, with a state and a verifier of its own; checked like any other."""
    token = signing.idp.id_token()
    assert signing.run(signing.provider.verify_id_token(token)).name == "Ada Lovelace"
    with pytest.raises(SignInFailed, match="another sign-in"):
        signing.run(signing.provider.verify_id_token(token, nonce="another"))
    for spoiled in (
        token[:-8] + "AAAAAAAA",
        token + "x",
        token.rpartition(".")[0] + ".",
        "",
        "a.b.c",
        "\ud800",
    ):
        with pytest.raises(SignInFailed) as caught:
            signing.run(signing.provider.verify_id_token(spoiled))
        assert caught.value.reason == "token_invalid"


def test_a_wrong_client_secret_is_our_mistake_and_said_so(idp: Idp) -> None:
    with Signing(idp, client_secret="wrong") as signing:
        failed = signing.refused()
    assert failed.reason == "provider_wrong"
    assert "client_id and secret" in failed.detail


DISCOVERY = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("mischief", "reason", "why"),
    [
        ({"discovery": {"issuer": "http://127.0.0.1:1"}}, "provider_wrong", "calls itself otherwise"),
        ({"discovery": {"token_endpoint": None}}, "provider_wrong", "no usable token_endpoint"),
        ({"discovery": {"token_endpoint": "http://idp.example/token"}}, "provider_wrong", "token_endpoint"),
        ({"discovery": {"jwks_uri": "file:///etc/passwd"}}, "provider_wrong", "no usable jwks_uri"),
        ({"answers": {DISCOVERY: [404]}}, "provider_wrong", "answers 404"),
        ({"answers": {DISCOVERY: [503]}}, "provider_away", "answers 503"),
        ({"answers": {DISCOVERY: [200, "<html>"]}}, "provider_wrong", "not a JSON object"),
        ({"answers": {DISCOVERY: [302, "", {"location": "/keys"}]}}, "provider_wrong", "redirects"),
        ({"answers": {"/token": [307, "", {"location": "/keys"}]}}, "provider_wrong", "redirects"),
        ({"answers": {"/token": [200, {}]}}, "provider_wrong", "no ID token"),
        ({"answers": {"/token": [200, {"id_token": 1}]}}, "provider_wrong", "no ID token"),
        ({"answers": {"/token": [400, "oops"]}}, "code_refused", "refused the code: 400"),
        ({"answers": {"/token": [500]}}, "provider_away", "answers 500"),
        ({"answers": {"/keys": [200, {"keys": 1}]}}, "provider_wrong", "no list"),
        ({"answers": {"/keys": [200, {"keys": [{}, 1, {"kty": "RSA"}, {"kty": "new"}]}]}}, "token_invalid", "keys"),
        ({"answers": {"/keys": [200, "x" * (ANSWER_BYTES_MAX + 1)]}}, "provider_wrong", "longer than"),
    ],
)  # fmt: skip
def test_a_provider_that_is_wrong_or_away_is_told_as_such(
    signing: Signing, mischief: dict[str, Any], reason: str, why: str
) -> None:
    signing.idp.control(**mischief)
    failed = signing.refused()
    assert failed.reason == reason
    assert why in failed.detail


def test_nobody_answers(signing: Signing) -> None:
    settings = ProviderSettings(issuer="http://127.0.0.1:9", client_id="leitstand")
    provider = Provider(settings)
    with pytest.raises(SignInFailed) as caught:
        signing.run(provider.begin(BACK))
    signing.run(provider.aclose())
    assert caught.value.reason == "provider_away"


def test_the_provider_itself_insists_on_pkce_and_on_its_client(idp: Idp) -> None:
    """What the tests lean on is no pushover."""
    with Signing(idp) as signing:
        begun = signing.begin()
    for part in ("code_challenge_method=S256", "client_id=leitstand", "scope=openid"):
        assert part in begun.url
        assert idp.browser.get(begun.url.replace(part, "x=y")).status_code == 400
    assert idp.browser.get(begun.url.replace("127.0.0.1%3A8640", "evil.example")).status_code == 400
