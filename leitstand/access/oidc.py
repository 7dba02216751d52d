# SPDX-License-Identifier: Apache-2.0
"""Sign-in with an identity provider: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636). Called by the faces.

`begin` gives the address to send the browser to, and a sealed note for its cookie; `finish` takes both back with the
code. Nothing is kept in between, except which sign-ins are already used up.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from leitstand.access.oidc_http import Answer, Http, SignInFailed
from leitstand.access.oidc_keys import Keys, check, verified
from leitstand.access.oidc_settings import ProviderSettings, url_fault
from leitstand.access.roles import Grant

PENDING_S: Final = 600  # from `begin` to `finish`
USED_MAX: Final = 10_000  # sign-ins finished within that time
DISCOVERY_S: Final = 3600
GROUPS_MAX: Final = 1000
WORDS_MAX: Final = 200  # characters of a name, an address, a group
CODE_CHARS_MAX: Final = 4096

_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Begun(msgspec.Struct, frozen=True):
    """`url`: where the browser goes; `pending`: what it brings back, in a cookie for this origin alone (HttpOnly,
    SameSite=Lax, Max-Age PENDING_S)."""

    url: str
    pending: str


class Claims(msgspec.Struct, frozen=True):
    """Who signed in. A person is `issuer` and `subject` together, for ever; name and e-mail address may change."""

    issuer: str
    subject: str
    name: str
    email: str
    groups: tuple[str, ...]


class _Pending(msgspec.Struct, frozen=True):
    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class Provider:
    """One identity provider. Belongs to one event loop; to be closed."""

    def __init__(
        self, settings: ProviderSettings, key: bytes | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """`key`: 32 bytes that seal what is pending, None: fresh ones, and sign-ins under way do not survive a restart;
        `now`: the wall clock in seconds."""
        self.settings = settings
        self._seal = Fernet(base64.urlsafe_b64encode(key or secrets.token_bytes(32)))
        self._now = now
        self._http = Http()
        self._keys = Keys(self._http, now)
        self._found: dict[str, Any] = {}
        self._found_at = float("-inf")
        self._used: dict[str, float] = {}  # state -> until when it could be used again, oldest first

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def begin(self, redirect_uri: str) -> Begun:
        """Start a sign-in that comes back to `redirect_uri`; SignInFailed."""
        found = await self._discovery()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = found["authorization_endpoint"]
        url = address + ("&" if "?" in address else "?") + urlencode(asked)
        note = msgspec.json.encode(_Pending(state, nonce, verifier, redirect_uri))
        return Begun(url, self._seal.encrypt_at_time(note, int(self._now())).decode())

    async def finish(self, code: str, state: str, pending: str, issuer: str = "") -> Claims:
        """Who came back with `code` and `state` and the cookie `pending`; SignInFailed. Every sign-in ends once.

        `issuer`: the parameter `iss` of the answer (RFC 9207), '' if it has none.
        """
        note = self._use(state, pending)
        found = await self._discovery()
        named = issuer or found.get("authorization_response_iss_parameter_supported") is True
        if named and issuer != self.settings.issuer:
            raise SignInFailed("state_unknown", "another identity provider sent this answer")
        if not 0 < len(code) <= CODE_CHARS_MAX or not code.isascii() or not code.isprintable():
            raise SignInFailed("code_refused", "the identity provider sent no code")
        answer = await self._exchange(found, code, note)
        token, access = answer.body.get("id_token"), answer.body.get("access_token")
        if not isinstance(token, str):
            raise SignInFailed("provider_wrong", "the identity provider sent no ID token")
        claims = await self._checked(found, token, note.nonce)
        return self._claims(await self._completed(found, claims, access))

    async def verify_id_token(self, token: str, nonce: str | None = None) -> Claims:
        """Who an ID token for this client speaks of, got in another way (command line); SignInFailed.

        Such a token can be shown again until it expires. Give `nonce` wherever one was sent.
        """
        found = await self._discovery()
        return self._claims(await self._checked(found, token, nonce))

    def grants_for(self, claims: Claims) -> set[Grant]:
        """The roles that the groups of this person stand for."""
        return {entry.grant for entry in self.settings.mapping if entry.group in claims.groups}

    async def _discovery(self) -> dict[str, Any]:
        """What the provider says of itself (OpenID Connect Discovery 1.0 §4), fetched once an hour."""
        if abs(self._now() - self._found_at) <= DISCOVERY_S:
            return self._found
        issuer = self.settings.issuer
        found = await self._http.get(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise SignInFailed("provider_wrong", f"the identity provider at {issuer} calls itself otherwise")
        for name in _ENDPOINTS:
            address = found.get(name)
            if not isinstance(address, str) or url_fault(address):
                raise SignInFailed("provider_wrong", f"the identity provider names no usable {name}")
        self._found, self._found_at = found, self._now()
        return found

    def _use(self, state: str, pending: str) -> _Pending:
        """What was begun, which counts as used from now on; SignInFailed."""
        now = self._now()
        try:
            note = msgspec.json.decode(
                self._seal.decrypt_at_time(pending.encode(), PENDING_S, int(now)), type=_Pending
            )
        except (InvalidToken, msgspec.DecodeError, ValueError):
            raise SignInFailed(
                "state_unknown", "this sign-in was not begun here, or too long ago; begin again"
            ) from None
        if not hmac.compare_digest(note.state.encode(), state.encode(errors="replace")):
            raise SignInFailed("state_unknown", "this answer belongs to another sign-in; begin again")
        while self._used and next(iter(self._used.values())) < now:
            del self._used[next(iter(self._used))]
        if state in self._used:
            raise SignInFailed("state_unknown", "this sign-in is already finished; begin again")
        if len(self._used) >= USED_MAX:
            raise SignInFailed("busy", f"{USED_MAX} sign-ins within {PENDING_S} s are the limit")
        self._used[state] = now + PENDING_S + 1
        return note

    async def _exchange(self, found: dict[str, Any], code: str, note: _Pending) -> Answer:
        """The tokens for a code; SignInFailed."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": note.redirect_uri,
            "code_verifier": note.verifier,
        }
        client, secret = self.settings.client_id, self.settings.client_secret
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = None
        if secret and "client_secret_basic" in methods:
            basic = (quote(client, safe=""), quote(secret, safe=""))  # encoded first: RFC 6749 §2.3.1
        else:
            form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
        answer = await self._http.post(found["token_endpoint"], form, basic)
        if answer.error in ("invalid_client", "unauthorized_client"):
            raise SignInFailed(
                "provider_wrong", "the identity provider does not accept our client_id and secret"
            )
        if answer.status != 200:
            raise SignInFailed(
                "code_refused", f"the identity provider refused the code: {answer.error or answer.status}"
            )
        return answer

    async def _checked(self, found: dict[str, Any], token: str, nonce: str | None) -> dict[str, Any]:
        claims = await verified(token, self._keys, found["jwks_uri"])
        check(claims, self.settings, self._now(), nonce)
        return claims

    async def _completed(self, found: dict[str, Any], claims: dict[str, Any], access: Any) -> dict[str, Any]:
        """Claims that are not in the ID token, from the UserInfo endpoint (Core §5.3, §5.4) if there is one."""
        address = found.get("userinfo_endpoint")
        wanted = ("name", "email", self.settings.group_claim)
        complete = all(_at(claims, name) is not None for name in wanted)
        if complete or not isinstance(address, str) or not isinstance(access, str):
            return claims
        more = await self._http.get(address, access)
        if more.get("sub") != claims["sub"]:
            raise SignInFailed("token_invalid", "the identity provider's user info is about somebody else")
        return more | claims

    def _claims(self, claims: dict[str, Any]) -> Claims:
        groups = _at(claims, self.settings.group_claim)
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        if len(listed) > GROUPS_MAX:
            raise SignInFailed("token_invalid", f"it names {len(listed)} groups; the limit is {GROUPS_MAX}")
        names = (claims.get(name) for name in ("name", "preferred_username", "email"))
        name = next((one for one in names if isinstance(one, str) and one.strip()), "")
        email = claims.get("email")
        proven = isinstance(email, str) and claims.get("email_verified") is not False
        return Claims(
            issuer=claims["iss"],
            subject=claims["sub"],
            name=_words(name),
            email=_words(str(email)) if proven else "",
            groups=tuple(one for one in listed if isinstance(one, str) and one == _words(one)),
        )


def _at(claims: dict[str, Any], path: str) -> Any:
    """The claim of that name, or the one inside others at that path with dots."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _words(text: str) -> str:
    """A name as it may be shown: one line, of bounded length."""
    return "".join(one for one in text if one.isprintable()).strip()[:WORDS_MAX]
