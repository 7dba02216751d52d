# SPDX-License-Identifier: Apache-2.0
"""The pages of the control room, as handlers. Served by `leitstand.app.faces` beside the API.

A page is one shell with a module of its own; what it shows it asks the API for, with the session of who looks. Files
are read once, hold nothing about anybody, and so are for strangers, too. What a browser may do with them is said in
`HEADERS`: run our own files alone, speak to this server alone, and never make markup of text (Trusted Types).
"""

import hashlib
from pathlib import Path
from string import Template
from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

FOLDER: Final = Path(__file__).parent / "files"
SHELL: Final = "shell.html"
TITLES: Final = {
    "/": ("home", "Leitstand"),
    "/register": ("register", "Apply · Leitstand"),
    "/application": ("application", "Your application · Leitstand"),
    "/applications": ("reviews", "Applications · Leitstand"),
    "/join": ("join", "Accept an invitation · Leitstand"),
    "/device": ("device", "Confirm a sign-in · Leitstand"),
}
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",  # forms are sent by our modules, never by the browser
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",  # kept, and asked for again by its ETag: a new version is never half old
}


def _served(path: str, content: bytes, kind: str) -> HTTPRouteHandler:
    """The handler that answers anybody with these bytes; 304 to who has them."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": tag}

    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        request.scope["decided"] = True  # type: ignore[typeddict-unknown-key]  # open to anybody: the door asks
        if tag in request.headers.get("If-None-Match", ""):
            return Response(b"", status_code=304, headers=headers, media_type=kind)
        return Response(content, headers=headers, media_type=kind)

    return get(path, opt={"action": "open", "strangers": True}, include_in_schema=False)(answer)


def _all() -> list[HTTPRouteHandler]:
    shell = Template((FOLDER / SHELL).read_text(encoding="utf-8"))
    found = [
        _served(path, shell.substitute(module=module, title=title).encode(), KINDS[".html"])
        for path, (module, title) in TITLES.items()
    ]
    files = sorted(file for file in FOLDER.iterdir() if file.name != SHELL)
    return found + [_served(f"/web/{file.name}", file.read_bytes(), KINDS[file.suffix]) for file in files]


PAGES: Final = tuple(_all())
