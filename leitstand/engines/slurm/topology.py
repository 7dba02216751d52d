# SPDX-License-Identifier: Apache-2.0
"""Where the nodes of a Slurm cluster stand, from its topology/tree, and which of its partitions has them. Called by
the engine, once."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from leitstand.engines.slurm.commands import Commands


class Partitions:
    """Our partition of a cluster, and the `parts` of it that names or patterns mean. ValueError if it is not there, or
    a part has other nodes, too."""

    def __init__(self, commands: Commands, partition: str, parts: Iterable[str]) -> None:
        every = commands.partitions()
        if partition not in every:
            raise ValueError(
                f"the cluster has no partition {partition}; it has {', '.join(sorted(every)) or 'none'}"
            )
        chosen = [partition]
        for part in parts:
            found = sorted(name for name in every if fnmatchcase(name, part) and name != partition)
            if not found:
                raise ValueError(f"the cluster has no partition {part}; it has {', '.join(sorted(every))}")
            chosen += found
        self._partition = partition
        self._held = {
            name: frozenset(commands.expand(every[name])) if every[name] else frozenset() for name in chosen
        }
        for name, nodes in self._held.items():
            if beyond := sorted(nodes - self._held[partition]):
                raise ValueError(f"partition {name} has nodes that {partition} has not: {beyond[0]} for one")
        self.names = tuple(self._held)
        self._smallest: dict[str, list[str]] = {}
        for name in sorted(self._held, key=lambda name: (len(self._held[name]), name)):
            for node in sorted(self._held[name]):
                self._smallest.setdefault(node, []).append(name)

    def of(self, nodes: Iterable[str]) -> str:
        """The smallest partition that has all of these nodes; ours, if one of them is in none any more."""
        wanted = frozenset(nodes)
        first = self._smallest.get(min(wanted, default=""), [])
        return next((name for name in first if wanted <= self._held[name]), self._partition)


def domains_of(commands: Commands) -> dict[str, tuple[str, ...]]:
    """By node the switches above it, from the top, without those that hold all nodes: they are the site itself. {} if
    the cluster names no switches, or its nodes stand at different depths."""
    held = [
        (name, level, frozenset(commands.expand(nodes)))
        for name, level, nodes in commands.switches()
        if nodes
    ]
    every = frozenset().union(*(nodes for _, _, nodes in held)) if held else frozenset()
    found: dict[str, tuple[str, ...]] = {}
    for node in sorted(every):
        above = sorted(((-level, name) for name, level, nodes in held if node in nodes and nodes != every))
        found[node] = tuple(name for _, name in above)
    depths = {len(domains) for domains in found.values()}
    return found if len(depths) == 1 and depths != {0} else {}
