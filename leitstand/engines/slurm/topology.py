# SPDX-License-Identifier: Apache-2.0
"""Where the nodes of a Slurm cluster stand, from its topology/tree. Called by the engine, once."""

from leitstand.engines.slurm.commands import Commands


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
