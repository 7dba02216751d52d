# SPDX-License-Identifier: Apache-2.0
"""The file of `leitstand entitlements apply`: YAML that names nodes of the tree and what they are to be entitled to.

The mapping `entitlements` is the root; a name below a node is its child, with what it holds, or a path of several
(`industry/acme`). Nested and flat may be mixed. Every fault is told with its line, all at once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from yaml import MappingNode, Node, ScalarNode

from leitstand.cli import jobfile_yaml as y
from leitstand.cli.jobfile_faults import BadJobFile, Fault, Wrong, key_of, nearest, text_of
from leitstand.cli.text import t

NODES_MAX: Final = 10_000
DEPTH_MAX: Final = 3
WEIGHT_MAX: Final = 1_000_000

Reading = Callable[[str, Node], Any]


class BadEntitlementFile(BadJobFile):
    """Everything that is wrong with the file, one line per fault."""

    def format_message(self) -> str:
        return t("the file of entitlements cannot be used\n{faults}", faults=self.message)


def read(path: Path) -> dict[str, Any]:
    """The body of a change; BadEntitlementFile with all faults."""
    try:
        root = y.compose(text_of(path), t("it is a mapping with the key `entitlements`"))
    except BadJobFile as bad:
        raise BadEntitlementFile(str(path), bad.faults) from None
    if isinstance(root, Fault):
        raise BadEntitlementFile(str(path), [root])
    found = _Reader()
    body = found.document(root)
    if found.faults:
        raise BadEntitlementFile(str(path), found.faults)
    return body


class _Reader:
    """One reading of a file, with what is wrong in it. `nodes`: path → what is said of it, and where."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.nodes: dict[str, tuple[dict[str, Any], int]] = {}

    def document(self, root: MappingNode) -> dict[str, Any]:
        body: dict[str, Any] = {}
        for key, node in self.pairs(root):
            if key == "entitlements" and isinstance(node, MappingNode):
                self.tree("", node)
            elif key == "entitlements":
                self.fault(node, t('"{key}" must be a mapping of nodes', key=key))
            elif key in _TOP:
                name, reading = _TOP[key]
                self.value(body, name, key, node, reading)
            else:
                self.unknown(key, node, (*_TOP, "entitlements"))
        if not self.nodes and not self.faults:
            self.faults.append(Fault(0, t("no node is named under `entitlements`")))
        if len(self.nodes) > NODES_MAX:
            self.faults.append(Fault(0, t("more than {limit} nodes are named", limit=NODES_MAX)))
        body["entitlements"] = [{"node": name, **said} for name, (said, _) in self.nodes.items()]
        return body

    def tree(self, place: str, mapping: MappingNode) -> None:
        """A node with what it is entitled to, and its children."""
        said: dict[str, Any] = {}
        for key, node in self.pairs(mapping):
            if key in _SETTINGS:
                self.value(said, key, key, node, _SETTINGS[key])
                continue
            child = f"{place}/{key}".strip("/")
            if not isinstance(node, MappingNode):
                self.unknown(key, node, _SETTINGS)
            elif child.count("/") >= DEPTH_MAX:
                self.fault(node, t('"{key}" lies below a project, the lowest there is', key=key_of(child)))
            else:
                self.tree(child, node)
        if not said and (not place or any(name.startswith(f"{place}/") for name in self.nodes)):
            return  # named only for its children
        if place in self.nodes:
            _, line = self.nodes[place]
            self.fault(
                mapping, t('"{key}" is named twice, first in line {line}', key=key_of(place), line=line)
            )
        self.nodes[place] = said, y.line_of(mapping)

    def pairs(self, mapping: MappingNode) -> list[tuple[str, Node]]:
        """Keys and values; a key that comes twice is a fault."""
        seen: dict[str, None] = {}
        found = []
        for key, node in mapping.value:
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            if not name:
                self.fault(key, t("a key must be text"))
            elif name in seen:
                self.fault(key, t('"{key}" is given twice', key=key_of(name)))
            else:
                seen[name] = None
                found.append((name, node))
        return found

    def value(self, into: dict[str, Any], name: str, key: str, node: Node, reading: Reading) -> None:
        try:
            into[name] = reading(key, node)
        except Wrong as wrong:
            self.fault(node, str(wrong))

    def unknown(self, key: str, node: Node, known: Mapping[str, Any] | tuple[str, ...]) -> None:
        near = nearest(key, known)
        if near:
            said = t('"{key}" is unknown; did you mean "{near}"?', key=key_of(key), near=near)
        else:
            said = t('"{key}" is unknown; known: {known}', key=key_of(key), known=", ".join(known))
        self.fault(node, said)

    def fault(self, node: Node, what: str) -> None:
        self.faults.append(Fault(y.line_of(node), what))


def _moment(key: str, node: Node) -> str:
    text = node.value if isinstance(node, ScalarNode) else ""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise y.expected(key, node, t("a time like 2027-03-01T00:00:00Z")) from None
    if found.tzinfo is None:
        raise Wrong(t('"{key}" has no time zone; write it like 2027-03-01T00:00:00Z', key=key))
    return found.isoformat()


def _yes(key: str, node: Node) -> bool:
    said = str(node.value).lower() if isinstance(node, ScalarNode) else ""
    if said not in ("yes", "no", "true", "false"):
        raise y.expected(key, node, t("yes or no"))
    return said in ("yes", "true")


_SETTINGS: Final[dict[str, Reading]] = {
    "guarantee": y.amount,
    "weight": y.up_to(WEIGHT_MAX),
    "borrow": y.amount,
    "lend": y.amount,
    "recall": y.duration,
}
_TOP: Final[dict[str, tuple[str, Reading]]] = {
    "pool": ("pool", y.text),
    "from": ("from_at", _moment),
    "scale": ("scale", _yes),
}
