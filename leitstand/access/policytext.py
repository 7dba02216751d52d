# SPDX-License-Identifier: Apache-2.0
"""The policies as people read them: each with its name, whom it serves and its own text. Called by `policy`."""

import re
from typing import Final, Literal, cast

import msgspec

_PIECES: Final = re.compile(r'//[^\n]*|("(?:\\.|[^"\\])*")|(;)|[^"/;]+|/')
_ANNOTATION: Final = re.compile(r'@(\w+)\s*\(\s*("(?:\\.|[^"\\])*")\s*\)')
_ESCAPE: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f_]+)\}|(.))", re.DOTALL)
_MEANT: Final = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_EFFECT: Final = re.compile(r"\b(permit|forbid)\s*\(")


class PolicyShown(msgspec.Struct, frozen=True, cache_hash=True):
    """One policy: `serves` says for whom it is there, `text` is its Cedar source without comments."""

    id: str
    effect: Literal["permit", "forbid"]
    serves: str
    text: str


def shown(text: str) -> tuple[list[PolicyShown], list[str]]:
    """The policies of a valid Cedar text in its order, and what is wrong with their annotations."""
    policies: list[PolicyShown] = []
    faults: list[str] = []
    for source in _split(text):
        said = {name: _meant(value) for name, value in _ANNOTATION.findall(source)}
        # An annotation may hold any words, the effect stands behind the last one.
        effect = _EFFECT.search(_ANNOTATION.sub("", source))
        name = said.get("id", "")
        where = f"policy {name!r}" if name else f"policy number {len(policies) + 1}"
        if not name:
            faults.append(f"{where} has no @id")
        if name in {policy.id for policy in policies}:
            faults.append(f"{where} is there twice")
        if not said.get("serves"):
            faults.append(f"{where} does not say in @serves for whom it is")
        kind = cast(Literal["permit", "forbid"], effect[1]) if effect else "forbid"
        policies.append(PolicyShown(name, kind, said.get("serves", ""), source))
    return policies, faults


def _split(text: str) -> list[str]:
    """The text at its semicolons, those in strings and comments aside; comments are left out."""
    found: list[str] = []
    pieces: list[str] = []
    for piece in _PIECES.finditer(text):
        if piece[0].startswith("//"):
            continue
        pieces.append(piece[0])
        if piece[2]:
            lines = "".join(pieces).strip().splitlines()
            found.append("\n".join(line.rstrip() for line in lines if line.strip()))
            pieces = []
    return found


def _meant(literal: str) -> str:
    """The text that a string of Cedar stands for; Cedar has checked its escapes."""

    def one(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code.replace("_", ""), 16)) if code else _MEANT.get(found[3], found[3])

    return _ESCAPE.sub(one, literal[1:-1])
