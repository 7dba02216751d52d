# SPDX-License-Identifier: Apache-2.0
"""Strategies of Hypothesis for requests that somebody careless or hostile would send: right ones of every route, and
what becomes of them when parts are replaced, left out, doubled or planted with a secret.

`SECRET` stands only where a secret may be: in fields whose values no answer shows, under unknown keys, in credentials.
"""

import json
import typing
from typing import Any, Final
from urllib.parse import quote

import msgspec
from hypothesis import strategies as st

from leitstand.api.auth import COOKIE
from leitstand.api.decode import Input
from tests.fuzz.asking import SECRET, Known, Request

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X")
NAMES: Final = (
    *(
        "acme",
        "bolt",
        "uni",
        "operator",
        "default",
        "lab-acme",
        "acme-1",
        "bolt-2",
        "acme-1.1",
        "newcomer",
        "me",
    ),
    *(
        "u1",
        "u7",
        "k1",
        "k9",
        "i1",
        "i3",
        "a1",
        "b1",
        "admin",
        "new",
        "BCDF-GHJK",
        "lsi_" + "acme".ljust(43, "_"),
    ),
    *(
        "operator",
        "auditor",
        "reviewer",
        "tenant_admin",
        "member",
        "viewer",
        "industry",
        "startup",
        "research",
    ),
    *(
        "identity",
        "sanctions",
        "export_control",
        "size_class",
        "passed",
        "failed",
        "open",
        "approved",
        "other",
    ),
    *("finish", "stop", "terms", "customer", "provider", "grant", "read", "jobs", "admin", "api", "session"),
    *(
        "30d",
        "1h30m",
        "90s",
        "0s",
        "9999999d",
        "2030-01-01T00:00:00Z",
        "1970-01-01T00:00:00+23:59",
        "9999-12-31",
    ),
    *("x@example.org", "2026-11", "DE", "de", "H100", "exit_code,signal", "SIGTERM", "true", "false", "null"),
    *(
        "job",
        "tenant",
        "project",
        "user",
        "application",
        "platform",
        "running,ended",
        "succeeded",
        "/jobs?a=b",
    ),
)
NASTY: Final = (
    *(
        "",
        " ",
        ".",
        "..",
        "../..",
        "/",
        "\\",
        "\0",
        "\x7f",
        "\r\nX: y",
        "%",
        "%00",
        "%zz",
        "'",
        '"',
        "`",
        "$(id)",
    ),
    *(
        "' OR 1=1 --",
        "<script>",
        "{{7*7}}",
        "\u202e",
        "\ufeff",
        "\u017f",
        "İ",
        "\U0001d7dc\U0001d7da",
        "٣",
        "e\u0301",
        "\ud7ff",
        "\U0010ffff",
    ),
    *(
        "-1",
        "0",
        "1",
        "007",
        "1e9",
        "9" * 19,
        "9" * 400,
        "0x10",
        "1_000",
        "+5",
        "nan",
        "inf",
        "-0",
        "1.5",
        " 5",
    ),
    *("A" * 300, "a-" * 200, "acme-" + "9" * 30, "acme-0", "acme--1", "-1", "u" + "9" * 40, "u-1", "u01"),
)
words = st.sampled_from((*NAMES, *NASTY)) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-3, 300) | st.sampled_from(
    [2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**64), 10**30]
)
scalars = st.none() | st.booleans() | integers | st.floats() | words
trees: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
secrets: st.SearchStrategy[Any] = st.sampled_from(
    [
        SECRET,
        [SECRET],
        {"A": SECRET},
        {"A": [SECRET]},
        {"A": {"B": SECRET}},
        {"A": None, "B": SECRET},
        SECRET + "\0",
    ]
)


class Raw(str):
    """JSON as it stands, right or wrong."""


RAWS: Final = (
    *map(Raw, ("NaN", "-Infinity", "1e999", "-0", "1" * 5000, '"\\ud800"', '"\\u0000"', "'x'", "", "01", "\ufeff{}")),
    *map(Raw, ("[" * 3000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, '"\t"', "tru")),
)  # fmt: skip


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────
def value(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field of that type, mostly of the right type."""
    parts = typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.deferred(lambda: struct(kind))
    origin = typing.get_origin(kind)
    if origin in (list, tuple, set, frozenset):
        return st.lists(value(parts[0]) if parts else scalars, max_size=3)
    if origin is dict or kind is dict:
        return st.dictionaries(words, value(parts[1]) if parts else scalars, max_size=3)
    if origin is typing.Literal:
        return st.sampled_from(parts)
    if parts:
        return st.one_of([value(part) for part in parts])
    simple = {
        bool: st.booleans(),
        int: integers,
        float: integers | st.floats(),
        str: words,
        type(None): st.none(),
    }
    return simple.get(kind, words)


def struct(
    kind: type[msgspec.Struct], like: dict[str, Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with fields of that struct, right ones and others; in the hidden ones stands SECRET."""
    like = like or {}
    hidden = kind.hidden if issubclass(kind, Input) else frozenset()

    @st.composite
    def make(draw: st.DrawFn) -> dict[str, Any]:
        found = dict(like)
        fields = msgspec.structs.fields(kind)
        # few at once: a request with ten faults goes no further than one with two
        touched = (
            draw(st.lists(st.sampled_from(fields), max_size=3, unique_by=lambda field: field.name))
            if fields
            else []
        )
        for field in fields:
            name = field.encode_name
            if field not in touched:
                if field.required and name not in like:
                    found[name] = draw(value(field.type))
            elif draw(st.integers(0, 7)) == 0:
                found.pop(name, None)
            elif field.name in hidden:
                found[name] = draw(secrets | value(field.type))
            else:
                found[name] = draw(value(field.type) | value(field.type) | trees | st.sampled_from(RAWS))
        if draw(st.integers(0, 9)) == 0:
            stray = draw(words | st.sampled_from(["secret_value", "tokn", "password"]))
            if stray not in kind.__struct_encode_fields__:
                found[stray] = SECRET
        return found

    return make()


def written(tree: Any, doubled: bool = False) -> bytes:
    """JSON of a tree in which `Raw` stands for itself; `doubled`: the outer object has each key twice."""
    return _text(tree, doubled).encode("utf-8", "surrogatepass")


def _text(tree: Any, doubled: bool = False) -> str:
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, dict):
        pairs = [f"{json.dumps(name)}:{_text(inner)}" for name, inner in tree.items()]
        return "{" + ",".join(pairs * (2 if doubled else 1)) + "}"
    if isinstance(tree, list | tuple):
        return "[" + ",".join(map(_text, tree)) + "]"
    return json.dumps(tree)


@st.composite
def query(draw: st.DrawFn, kind: type[msgspec.Struct] | None, like: str) -> bytes:
    """A query string near the struct that the route takes, or near none."""
    pairs = [like] if like and draw(st.integers(0, 3)) else []
    fields = msgspec.structs.fields(kind) if kind else ()
    for field in draw(st.lists(st.sampled_from(fields), max_size=2)) if fields else ():
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            given = draw(value(field.type) | words)
            text = given if isinstance(given, str) else json.dumps(given).strip('"')
            safe = draw(st.sampled_from(["", "/:,@", "%&=+;#"]))
            pairs.append(f"{field.encode_name}={quote(text, safe=safe, errors='replace')}")
    if draw(st.integers(0, 9)) == 0:
        pairs.append(
            draw(st.sampled_from(["&", "=", "%", "%ff=%fe", "a=1;b=2", "limit", "cursor=%00", "a[]=1", "=1"]))
        )
    return "&".join(pairs).encode("utf-8", "replace")


@st.composite
def path(draw: st.DrawFn, known: Known, like: str) -> str:
    """A path of the route, percent-encoded; some of its parts are another's, or nobody's."""
    if like and draw(st.integers(0, 2)):
        return like
    parts = [
        quote(draw(words), safe=draw(st.sampled_from(["", "/", "%"])), errors="replace")
        if "{" in part
        else part
        for part in known.path.split("/")
    ]
    return "/".join(parts) + draw(st.sampled_from(["", "", "", "", "/", "//", "/.", "%2f", "%00"]))


# ── headers ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _bytes(text: str) -> bytes:
    """As a server hands it on: nothing that HTTP does not let into a header."""
    return text.encode("utf-8", "replace").translate(None, b"\r\n\0")


token_texts = st.sampled_from(
    [
        *(
            "",
            "x",
            SECRET,
            f"lst_{SECRET}",
            "lst_" + "w" * 43,
            "lsi_" + "w" * 43,
            "lsa_" + "c" * 43,
            "a token of the tests",
        ),
        *(
            "lst_" + "0" * 43,
            "lst_" + "0" * 42 + "1",
            "lst_é" + "0" * 42,
            '"quoted"',
            "a b c",
            ",",
            "Bearer x",
        ),
    ]
) | st.text(max_size=60)


@st.composite
def credentials(draw: st.DrawFn) -> tuple[bytes, bytes]:
    token = draw(token_texts)
    if draw(st.booleans()):
        scheme = draw(
            st.sampled_from(["Bearer ", "bearer ", "BEARER\t", "Basic ", "", "Bearer", "Bearer  ", "Digest "])
        )
        return b"authorization", _bytes(scheme + token)
    name = draw(st.sampled_from([COOKIE, COOKIE.upper(), f" {COOKIE} ", "leitstand_signin", "", "a"]))
    shape = draw(
        st.sampled_from(
            [
                "{n}={t}",
                "{n}",
                "={t}",
                "a=b; {n}={t}",
                '{n}="{t}"',
                "{n}={t};{n}=x",
                ";;{n}={t};",
                "{n}==={t}",
            ]
        )
    )
    return b"cookie", _bytes(shape.format(n=name, t=token))


@st.composite
def other_headers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    name = draw(
        st.sampled_from(
            [
                *(
                    "origin",
                    "host",
                    "sec-fetch-site",
                    "referer",
                    "x-forwarded-for",
                    "x-forwarded-host",
                    "forwarded",
                ),
                *("idempotency-key", "if-match", "if-none-match", "last-event-id", "range", "content-length"),
                *(
                    "content-type",
                    "content-encoding",
                    "transfer-encoding",
                    "accept",
                    "accept-encoding",
                    "expect",
                ),
                *("accept-language", "connection", "upgrade", "te", "x-http-method-override", "date"),
            ]
        )
    )
    given = draw(
        words
        | st.sampled_from(
            [
                *(
                    "http://test",
                    "https://test",
                    "null",
                    "http://evil.example",
                    "test",
                    "test:99999",
                    "[::1]",
                    "[::1",
                ),
                *(
                    "same-origin",
                    "cross-site",
                    "same-site",
                    "none",
                    "0",
                    "-1",
                    "18",
                    "9" * 18,
                    "9" * 19,
                    "9" * 400,
                    "1,1",
                ),
                *(
                    "bytes=0-0",
                    "bytes=-1",
                    "bytes=9-1",
                    "bytes=0-,0-,0-",
                    "*",
                    'W/"x"',
                    '"x"',
                    '"x", "y"',
                    "chunked",
                ),
                *(
                    "gzip",
                    "application/json; charset=utf-16",
                    "multipart/form-data; boundary=",
                    "text/html",
                    "text/plain",
                ),
                *(
                    "application/x-www-form-urlencoded",
                    "multipart/form-data",
                    "100-continue",
                    "k" * 255,
                    "k" * 256,
                ),
            ]
        )
    )
    return name.encode(), _bytes(given)


# ── whole requests ────────────────────────────────────────────────────────────────────────────────────────────────
@st.composite
def requests(draw: st.DrawFn, known: tuple[Known, ...]) -> Request:
    """Any request to any of the routes."""
    route = draw(st.sampled_from(known))
    like_path, like_query, like_body = draw(st.sampled_from(route.like)) if route.like else ("", "", None)
    method = route.method if draw(st.integers(0, 11)) else draw(st.sampled_from(METHODS))
    body = b""
    if route.body or like_body is not None or draw(st.integers(0, 9)) == 0:
        body = draw(_body(route, like_body))
    return Request(
        method,
        draw(path(route, like_path)),
        draw(query(route.query, like_query)),
        tuple(draw(st.lists(other_headers() | credentials(), max_size=2)))
        if draw(st.integers(0, 2)) == 0
        else (),
        body,
        draw(st.sampled_from([0, 0, 0, 1, 3, 4, 5, STRANGER]) | st.integers(0, 40)),
        draw(st.sampled_from([1, 1, 1, 1, 2, 7, 0])),
    )


@st.composite
def _body(draw: st.DrawFn, route: Known, like: Any) -> bytes:
    if isinstance(like, bytes):
        return like if draw(st.booleans()) else draw(st.binary(max_size=200))
    how = draw(st.integers(0, 14))
    if how == 0:
        return draw(st.binary(max_size=40))
    if how == 1 or not route.body:
        return written(draw(trees | st.sampled_from(RAWS)))
    tree = draw(struct(route.body, like if isinstance(like, dict) else None))
    return written(tree, doubled=how == 2)


@st.composite
def doors(draw: st.DrawFn, known: tuple[Known, ...]) -> Request:
    """Requests by nobody in particular, with whatever stands for somebody: credentials, and where they come from."""
    route = draw(st.sampled_from(known))
    like = draw(st.sampled_from(route.like)) if route.like else (route.path, "", None)
    body = b"" if like[2] is None else like[2] if isinstance(like[2], bytes) else written(like[2])
    headers = draw(st.lists(credentials(), min_size=1, max_size=3)) + draw(
        st.lists(other_headers(), max_size=3)
    )
    return Request(route.method, like[0], like[1].encode(), tuple(headers), body, STRANGER)


STRANGER: Final = -2  # as World lists the askers: the one before the last shows nothing
