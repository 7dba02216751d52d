# SPDX-License-Identifier: Apache-2.0
"""Other rules for a history: a discipline by its name, or a file that says what differs. Called by replays and forks.

A file (YAML or JSON) has the fields of the bundle that are to be different, at any depth; all others stay what the
operators had set.
"""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from leitstand.core import facts as f
from leitstand.core import rules as bundle
from leitstand.core.rules import DISCIPLINES, Rules
from leitstand.twin.reading.table import TraceError

BYTES_MAX: Final = 1 << 20
UNKNOWN: Final = re.compile(r"unknown field `(.+?)`(?: - at `\$\.(.+?)`)?$")


def changed_rules(wanted: str) -> dict[str, Any]:
    """What `wanted` (a discipline, or the path of a file) changes of a bundle; TraceError if it says nothing that rules
    can be."""
    if wanted in DISCIPLINES:
        return {"discipline": wanted}
    path = Path(wanted)
    if not path.is_file():
        raise TraceError(f"{wanted}: neither a file nor a discipline ({', '.join(DISCIPLINES)})")
    if path.stat().st_size > BYTES_MAX:
        raise TraceError(
            f"{wanted}: {path.stat().st_size} bytes are over the limit of {BYTES_MAX} of a file of rules"
        )
    try:
        changes = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise TraceError(f"{wanted}: no YAML and no JSON: {' '.join(str(error).split())}") from error
    if not isinstance(changes, dict) or not changes:
        raise TraceError(
            f"{wanted}: says no rules; name fields of the bundle, like `sharing: {{ahead_us: 0}}`"
        )
    overlaid(Rules(), changes, wanted)
    return changes


def overlaid(rules: Rules, changes: Mapping[str, Any], source: str) -> Rules:
    """The bundle with these changes; TraceError, naming `source`, for unknown fields and values that no rules have."""
    try:
        made = msgspec.convert(_merged(msgspec.to_builtins(rules), changes), Rules)
    except msgspec.ValidationError as error:
        raise TraceError(f"{source}: {error}{_meant(str(error))}") from error
    faults = bundle.check(made)
    if faults:
        raise TraceError(f"{source}: {'; '.join(faults)}")
    return made


def under(changes: Mapping[str, Any], source: str) -> Callable[[f.Observation], f.Observation]:
    """The change of a history that puts these rules in force wherever operators set some."""

    def change(told: f.Observation) -> f.Observation:
        if not isinstance(told, f.RulesSet):
            return told
        return f.RulesSet(overlaid(told.rules, changes, source), "", told.by)

    return change


def _meant(error: str) -> str:
    """The known field that is nearest to one that is not; '' if none is near."""
    found = UNKNOWN.search(error)
    if found is None:
        return ""
    known = msgspec.to_builtins(Rules())
    for name in filter(None, (found[2] or "").split(".")):
        known = known.get(name) or {}
    near = get_close_matches(found[1], known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
