# SPDX-License-Identifier: Apache-2.0
"""The provider itself: discovery, keys, sign-in form, code flow with PKCE, user info; and mischief on demand.

Follows OpenID Connect Core 1.0, Discovery 1.0, RFC 6749, 7636, 8414, 9207. `POST /control` (JSON) changes what it does
next, so tests see how a client takes it: `claims` (set, null removes), `sign` (an algorithm, `none`, or `stranger`: a
key of somebody else under our key id), `header`, `rotate` (a new key), `answers` ({path: [status, body, headers]}),
`discovery` (set, null removes), `reset`. `GET /control` counts the requests by path.
"""

import base64
import hashlib
import hmac
import html
import json
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

CODE_S = 60
TOKEN_S = 300

Message = dict[str, Any]


@dataclass
class Client:
    id: str
    secret: str


@dataclass
class Sent:
    """What is answered: status, body (text, or an object as JSON), headers."""

    status: int
    body: Any = ""
    headers: dict[str, str] | None = None


class Refused(Exception):
    """An error of RFC 6749 §5.2."""

    def __init__(self, status: int, error: str, why: str) -> None:
        super().__init__(why)
        self.sent = Sent(status, {"error": error, "error_description": why})


class Idp:
    """The ASGI application."""

    def __init__(self, issuer: str, users: dict[str, dict[str, Any]], client: Client) -> None:
        self.issuer = issuer
        self.users = users
        self.client = client
        self.codes: dict[str, dict[str, Any]] = {}
        self.access: dict[str, str] = {}  # access token → user name
        self.asked: Counter[str] = Counter()
        self.mischief: dict[str, Any] = {}
        self.keys: dict[str, Key] = {}
        self.rotate()

    def rotate(self) -> None:
        """Fresh keys under fresh ids; the old ones are gone."""
        stamp = secrets.token_hex(4)
        self.keys = {
            "RS256": RSAKey.generate_key(2048, {"kid": f"rsa-{stamp}", "use": "sig", "alg": "RS256"}),
            "ES256": ECKey.generate_key("P-256", {"kid": f"ec-{stamp}", "use": "sig", "alg": "ES256"}),
            "EdDSA": OKPKey.generate_key("Ed25519", {"kid": f"ed-{stamp}", "use": "sig", "alg": "EdDSA"}),
        }

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        raw, more = b"", True
        while more:
            part = await receive()
            raw, more = raw + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        sent = self.answer((scope["method"], scope["path"]), query, headers, raw)
        body = sent.body if isinstance(sent.body, str) else json.dumps(sent.body)
        kind = "text/html; charset=utf-8" if isinstance(sent.body, str) else "application/json"
        named = {"content-type": kind, "cache-control": "no-store", **(sent.headers or {})}
        pairs = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": sent.status, "headers": pairs})
        await send({"type": "http.response.body", "body": body.encode()})

    def answer(
        self, asked: tuple[str, str], query: dict[str, str], headers: dict[str, str], raw: bytes
    ) -> Sent:
        method, path = asked
        if path != "/control":
            self.asked[path] += 1
        if path in self.mischief.get("answers", {}):
            return Sent(*self.mischief["answers"][path])
        try:
            match asked:
                case "GET", "/.well-known/openid-configuration":
                    return Sent(200, changed(self.discovery(), self.mischief.get("discovery", {})))
                case "GET", "/keys":
                    return Sent(200, {"keys": [key.as_dict(private=False) for key in self.keys.values()]})
                case "GET", "/authorize":
                    return self.form(query)
                case "POST", "/authorize":
                    return self.signed_in(dict(parse_qsl(raw.decode())))
                case "POST", "/token":
                    return self.token(dict(parse_qsl(raw.decode())), headers)
                case "GET", "/userinfo":
                    return self.userinfo(headers)
                case "GET", "/control":
                    return Sent(200, dict(self.asked))
                case "POST", "/control":
                    return self.control(json.loads(raw))
        except Refused as refused:
            return refused.sent
        return Sent(404, f"{method} {path} is not here")

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "scopes_supported": ["openid", "profile", "email", "groups"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def form(self, asked: dict[str, str], said: str = "") -> Sent:
        """The sign-in page; what was asked travels in hidden fields."""
        self.check_request(asked)
        hidden = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
            for name, value in asked.items()
        )
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Identity provider</title>'
            f'<h1>Sign in</h1><p role="alert">{html.escape(said)}</p><form method="post" action="/authorize">{hidden}'
            '<label>User name <input name="username" autofocus required></label> '
            '<button type="submit">Sign in</button></form></html>'
        )
        return Sent(401 if said else 200, page)

    def signed_in(self, asked: dict[str, str]) -> Sent:
        user = asked.pop("username", "").strip()
        self.check_request(asked)
        if user not in self.users:
            return self.form(asked, f"There is no user {user}.")
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**asked, "user": user, "until": time.time() + CODE_S}
        back = {"code": code, "iss": self.issuer} | ({"state": asked["state"]} if "state" in asked else {})
        joint = "&" if urlsplit(asked["redirect_uri"]).query else "?"
        return Sent(303, "", {"location": asked["redirect_uri"] + joint + urlencode(back)})

    def check_request(self, asked: dict[str, str]) -> None:
        """Nobody is sent back to an address that the client did not register: any on loopback (RFC 8252 §7.3)."""
        back = urlsplit(asked.get("redirect_uri", ""))
        if asked.get("client_id") != self.client.id:
            raise Refused(400, "unauthorized_client", "there is no such client")
        if back.scheme != "http" or back.hostname not in ("127.0.0.1", "localhost") or back.fragment:
            raise Refused(400, "invalid_request", "redirect_uri is not registered")
        if asked.get("response_type") != "code" or "openid" not in asked.get("scope", "").split():
            raise Refused(400, "invalid_request", "response_type code and scope openid alone are served")
        if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
            raise Refused(400, "invalid_request", "PKCE with S256 is needed")

    def token(self, form: dict[str, str], headers: dict[str, str]) -> Sent:
        self.check_client(form, headers.get("authorization", ""))
        if form.get("grant_type") != "authorization_code":
            raise Refused(400, "unsupported_grant_type", "authorization_code alone")
        code = self.codes.pop(form.get("code", ""), None)  # a code works once
        if code is None or code["until"] < time.time():
            raise Refused(400, "invalid_grant", "the code is unknown, used or too old")
        if form.get("redirect_uri") != code["redirect_uri"]:
            raise Refused(400, "invalid_grant", "redirect_uri is another one")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != code["code_challenge"]:
            raise Refused(400, "invalid_grant", "code_verifier does not fit")
        access = secrets.token_urlsafe(24)
        self.access[access] = code["user"]
        return Sent(
            200,
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": TOKEN_S,
                "scope": code["scope"],
                "id_token": self.id_token(code),
            },
        )

    def check_client(self, form: dict[str, str], authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            name, _, secret = base64.b64decode(given).decode().partition(":")
            name, secret = unquote(name), unquote(secret)
        else:
            name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if name != self.client.id or not hmac.compare_digest(secret.encode(), self.client.secret.encode()):
            raise Refused(401, "invalid_client", "client_id or client_secret is wrong")

    def userinfo(self, headers: dict[str, str]) -> Sent:
        _, _, access = headers.get("authorization", "").partition(" ")
        if access not in self.access:
            raise Refused(401, "invalid_token", "the access token is unknown")
        return Sent(200, self.person(self.access[access]))

    def person(self, user: str) -> dict[str, Any]:
        known = self.users[user]
        subject = hashlib.sha256(user.encode()).hexdigest()[:16]
        return {"sub": subject, "preferred_username": user, "email_verified": True, **known}

    def id_token(self, code: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.client.id,
            "azp": self.client.id,
            "exp": now + TOKEN_S,
            "iat": now,
            "auth_time": now,
            **({"nonce": code["nonce"]} if "nonce" in code else {}),
            **self.person(code["user"]),
        }
        return self.sign(changed(claims, self.mischief.get("claims", {})))

    def sign(self, claims: dict[str, Any]) -> str:
        wanted = self.mischief.get("sign", "RS256")
        key = self.keys.get(wanted, self.keys["RS256"])
        header = {"typ": "JWT", "kid": key.kid, "alg": "RS256" if wanted == "stranger" else wanted}
        header = changed(header, self.mischief.get("header", {}))
        if wanted in self.keys:
            return jwt.encode(header, claims, key, algorithms=[wanted])
        if wanted == "stranger":
            return jwt.encode(header, claims, RSAKey.generate_key(2048), algorithms=["RS256"])
        signed = b".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        public = self.keys["RS256"]
        assert isinstance(public, RSAKey)
        mac = b"" if wanted == "none" else hmac.digest(public.as_pem(private=False), signed, "sha256")
        return (signed + b"." + base64url(mac)).decode()

    def control(self, asked: dict[str, Any]) -> Sent:
        if asked.pop("reset", False):
            self.mischief = {}
        if asked.pop("rotate", False):
            self.rotate()
        self.mischief |= asked
        return Sent(200, {})


def changed(given: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    """`given` with what `by` sets; null removes."""
    return {name: value for name, value in (given | by).items() if value is not None}


def base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
