# SPDX-License-Identifier: Apache-2.0
"""The data-processing contract that every tenant accepts, as text. Read before there is any account."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
from litestar import Request, get

from leitstand.api import decode
from leitstand.api.checks import one_of
from leitstand.api.context import faces_of
from leitstand.api.decode import Check, Input
from leitstand.api.permission import anybody
from leitstand.api.problems import Problem

LANGUAGES: Final = ("en", "de")
TEXTS: Final = {path.stem: path for path in sorted((Path(__file__).parent / "agreements").glob("*.md"))}


class AgreementQuery(Input, frozen=True):
    """`language`: en or de; `version`: left out, the one in force."""

    language: str = "en"
    version: str = ""

    checks: ClassVar[Mapping[str, Check]] = {
        "language": one_of(LANGUAGES),
    }


class Agreement(msgspec.Struct, frozen=True):
    """`text`: Markdown. `in_force`: whether an application has to accept this version."""

    version: str
    language: str
    in_force: bool
    text: str


@get(
    "/agreement",
    opt={"action": "open", "strangers": True, "query": AgreementQuery},
    summary="Read the data-processing contract",
)
async def agreement(request: Request[Any, Any, Any]) -> Agreement:
    """The contract by GDPR Article 28(3) in the version that an application accepts, or in an earlier one."""
    anybody(request)
    query = decode.query(request.query_params.items(), AgreementQuery)
    current = faces_of(request).follower.state.rules.onboarding.agreement
    version = query.version or current
    path = TEXTS.get(f"{version}.{query.language}")
    if path is None:
        known = ", ".join(sorted({name.rpartition(".")[0] for name in TEXTS}))
        hint = (
            "ask the operator for the text"
            if version == current
            else "leave version out for the one in force"
        )
        raise Problem(
            404,
            "unknown-agreement",
            f"there is no text of version {version[:40]!r} here; known: {known}",
            hint=hint,
        )
    return Agreement(version, query.language, version == current, path.read_text(encoding="utf-8"))
