# SPDX-License-Identifier: Apache-2.0
"""Are the words of an identity provider its own? Its public keys, and what must hold for an ID token.

Called by `oidc`. After OpenID Connect Core 1.0 §3.1.3.7 and RFC 8725: asymmetric algorithms of a closed list, the key
chosen by us among the provider's published ones, every claim compared.
"""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact

from leitstand.access.oidc_http import Http, SignInFailed
from leitstand.access.oidc_settings import ProviderSettings

ALGORITHMS: Final = {"RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey, "Ed25519": OKPKey}
KEYS_MAX: Final = 100
KEYS_S: Final = 3600  # after this the keys are fetched again: withdrawn ones end
KEYS_AGAIN_S: Final = 30  # an unknown key is asked for no more often than this
RSA_BITS_MIN: Final = 2048
SUBJECT_CHARS_MAX: Final = 255  # OpenID Connect Core §2
AUDIENCES_MAX: Final = 100
TIME_S_MAX: Final = 2**53

# Providers still name Ed25519 by the older name, which RFC 9864 deprecates.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)


class _Registry(JWSRegistry):
    max_header_length = 8192  # some put their certificates in
    max_payload_length = 65_536


class Keys:
    """The published keys of one provider, fetched when they are needed."""

    def __init__(self, http: Http, now: Callable[[], float]) -> None:
        self._http = http
        self._now = now
        self._keys: list[Key] = []
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()

    async def suitable(self, jwks_uri: str, kid: str | None, algorithm: str) -> list[Key]:
        """The keys that may have signed a token with that header; fetched again if there is none."""
        async with self._lock:
            if abs(self._now() - self._fetched_at) > KEYS_S:
                await self._fetch(jwks_uri)
            found = self._known(kid, algorithm)
            if not found and abs(self._now() - self._fetched_at) >= KEYS_AGAIN_S:
                await self._fetch(jwks_uri)
                found = self._known(kid, algorithm)
            return found

    def _known(self, kid: str | None, algorithm: str) -> list[Key]:
        return [key for key in self._keys if (kid is None or key.kid == kid) and _signs(key, algorithm)]

    async def _fetch(self, jwks_uri: str) -> None:
        published = (await self._http.get(jwks_uri)).get("keys")
        if not isinstance(published, list) or len(published) > KEYS_MAX:
            raise SignInFailed("provider_wrong", f"{jwks_uri} holds no list of at most {KEYS_MAX} keys")
        keys = []
        for one in published:
            try:
                keys.append(JWKRegistry.import_key(one))
            except (JoseError, ValueError, TypeError, KeyError, AttributeError):
                continue  # one that we do not understand says nothing about the others (RFC 7517 §5)
        self._keys, self._fetched_at = keys, self._now()


async def verified(token: str, keys: Keys, jwks_uri: str) -> dict[str, Any]:
    """The claims of a token that one of the provider's keys signed; SignInFailed."""
    try:
        header = extract_compact(token.encode(), registry=_Registry(strict_check_header=False)).headers()
    except (JoseError, ValueError) as error:
        raise _invalid("it is not a signed JSON web token") from error
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in ALGORITHMS:
        raise _invalid(f"its algorithm is not one of {', '.join(ALGORITHMS)}")
    if not isinstance(kind, str) or kind.upper() != "JWT":  # an access token is none (RFC 9068 §4)
        raise _invalid("it is another kind of token")
    if kid is not None and not isinstance(kid, str):
        raise _invalid("its key id is not text")
    registry = _Registry(algorithms=[algorithm], strict_check_header=False)
    for key in await keys.suitable(jwks_uri, kid, algorithm):
        try:
            return jwt.decode(token, key, algorithms=[algorithm], registry=registry).claims
        except (JoseError, ValueError, RecursionError):
            continue
    raise _invalid("none of the provider's keys signed it")


def check(claims: dict[str, Any], settings: ProviderSettings, now: float, nonce: str | None) -> None:
    """Whether a signed token was issued by this provider, for us, for this very sign-in, and now; SignInFailed."""
    if claims.get("iss") != settings.issuer:
        raise _invalid("another issuer made it")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isascii():
        raise _invalid("it names no subject")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if len(audiences) > AUDIENCES_MAX or settings.client_id not in audiences:
        raise _invalid("it is for another client")
    party = claims.get("azp")
    if party != settings.client_id and (party is not None or len(audiences) > 1):
        raise _invalid("it was issued to another client")
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires <= now - settings.skew_s:
        raise _invalid("it has expired")
    if issued > now + settings.skew_s or ("nbf" in claims and _time(claims, "nbf") > now + settings.skew_s):
        raise _invalid("it is from the future; are both clocks right?")
    if nonce is not None and claims.get("nonce") != nonce:
        raise _invalid("it belongs to another sign-in")


def _signs(key: Key, algorithm: str) -> bool:
    """Whether that key can have made a signature that we accept; what it is published for, joserfc looks at."""
    if not isinstance(key, ALGORITHMS[algorithm]):
        return False
    if isinstance(key, RSAKey):
        return bool(key.raw_value.key_size >= RSA_BITS_MIN)
    return key.get("crv") == ("P-256" if isinstance(key, ECKey) else "Ed25519")


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_S_MAX:
        raise _invalid(f"its claim {name} is not a time")
    return value


def _invalid(why: str) -> SignInFailed:
    return SignInFailed("token_invalid", f"the ID token is not accepted: {why}")
