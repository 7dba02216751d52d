# SPDX-License-Identifier: Apache-2.0
"""YAML of scenarios: what `leitstand.runtime.yamlfile` reads, and amounts and rules. Called by `whatif` and by
`leitstand.twin.live.scenario`."""

from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, Node

from leitstand.core.rules import Rules
from leitstand.runtime import yamlfile
from leitstand.runtime.yamlfile import unknown
from leitstand.twin.forking.changes import Amount
from leitstand.twin.reading.table import TraceError
from leitstand.twin.rulefile import overlaid

__all__ = ["File", "unknown"]


class File(yamlfile.File):
    """One file that is read. Every fault is a TraceError: file, line, what, remedy."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "scenario file", TraceError)

    def root(self, begins: str = "it begins with keys like `scenarios:`") -> MappingNode:
        """The mapping that the file is."""
        return super().root(begins)

    def rule_fields(self, node: Node, remedy: str) -> dict[str, Any]:
        """What a mapping says of the rules, held against the bundle; `remedy` where it says nothing."""
        try:
            found: Any = yaml.SafeLoader("").construct_document(node)
        except yaml.YAMLError as error:
            self.wrong(node, " ".join(str(error).split()))
        if not isinstance(found, dict) or not found:
            self.wrong(node, f"says no rules; {remedy}")
        overlaid(Rules(), found, self.place(node))
        return found

    def gpus(self, node: Node) -> Amount:
        """GPUs: `500`, `+500`, `-64`, `0.5` or `all` (no limit)."""
        found = self.text(node)
        if found == "all":
            return Amount(-1)
        relative = found[:1] in ("+", "-")
        value = self.number(-1e7, 1e7)(node) * 1000
        if value != int(value):
            self.wrong(node, f"is {found!r} GPUs, finer than a thousandth")
        return Amount(int(value), relative)
