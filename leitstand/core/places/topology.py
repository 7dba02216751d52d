# SPDX-License-Identifier: Apache-2.0
"""Where the nodes of one pool stand: domains inside domains, down from the sites. Called by state (add) and placement.

A *domain* is the set of nodes below one place (a block, a rack) as a bit mask over their positions. Every site names
its own levels, from the top; `site` and `node` exist everywhere. Racks of one name in two blocks are two domains.
A domain is *whole* while no GPU of its nodes in service is taken: whole domains are what big gangs need, so placement
breaks as few as it can. Their masks are kept from one search to the next, and only what changed is judged again.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from leitstand.core.decision import is_id
from leitstand.core.places.fit import Free
from leitstand.core.places.types import UNTYPED, means

SITE: Final = "site"
NODE: Final = "node"
LEVELS_MAX: Final = 16  # of one site, between itself and its nodes
_CHANGES_MAX: Final = 64  # of nodes, above which all domains are judged anew: that is then cheaper
_NAMED_MAX: Final = 1_000  # kinds of shapes whose nodes are remembered


class Located(Protocol):
    """What a topology asks about a node."""

    @property
    def site(self) -> str: ...
    @property
    def domains(self) -> tuple[str, ...]: ...
    @property
    def gpus(self) -> int: ...
    @property
    def gpu_type(self) -> str: ...


class Domain:
    """The nodes (`mask`) below one place. `own`: those in none of its `children`; `whole`: how many nodes with GPUs are
    in service, while all their GPUs are free, else 0; `path`: site and domains down to this one; `level`: what its site
    calls it, '' if nothing."""

    __slots__ = ("children", "level", "mask", "own", "parent", "path", "whole")

    def __init__(self, path: tuple[str, ...], parent: "Domain | None" = None) -> None:
        self.path = path
        self.parent = parent
        self.mask = 0
        self.own = 0
        self.children: list[Domain] = []
        self.level = ""
        self.whole = 0


class Topology:
    """The tree of domains of a pool. `root`: all of it; `idle`: nodes all of whose GPUs were free, at the last look."""

    __slots__ = (
        "_busy",
        "_chains",
        "_domains",
        "_indexed",
        "_jurisdictions",
        "_levels",
        "_logical",
        "_named",
        "_serving",
        "_sized",
        "_stale",
        "_types",
        "_whole",
        "idle",
        "root",
    )

    def __init__(self) -> None:
        self.root = Domain(())
        self.idle = 0
        self._domains: dict[tuple[str, ...], Domain] = {}
        self._chains: list[tuple[Domain, ...]] = []  # by position: its domains, from its site down
        self._levels: dict[str, tuple[str, ...]] = {}  # by site
        self._jurisdictions: dict[str, str] = {}  # by site
        self._logical: dict[str, bool] = {}  # by site: whether its GPUs are only counted
        self._types: dict[tuple[str, str], int] = {}  # (site, type)
        self._named: dict[
            tuple[object, ...], int
        ] = {}  # nodes that a shape names, kept until a node or site changes
        self._sized: dict[int, int] = {}  # nodes by how many GPUs they have
        self._whole: list[dict[int, int]] = []  # by depth: size → nodes of the whole domains of that size
        self._serving = self._busy = 0
        self._stale = True
        self._indexed: _Index | None = None

    # ── building ──────────────────────────────────────────────────────────────────────────────────────────────────
    def name(self, site: str, levels: tuple[str, ...], jurisdiction: str = "", logical: bool = False) -> None:
        """The site calls its levels so, from the top; may be said again."""
        self._levels[site] = levels
        self._jurisdictions[site] = jurisdiction
        self._logical[site] = logical
        self._indexed = None
        self._named.clear()

    def add(self, position: int, node: Located) -> None:
        """The node at `position` (the next one, or one that exists) stands there."""
        bit = 1 << position
        if position == len(self._chains):
            self._chains.append(())
        else:
            self._remove(position, bit)
        chain, parent = [], self.root
        path: tuple[str, ...] = ()
        for name in (node.site, *node.domains[:LEVELS_MAX]):
            path = (*path, name)
            domain = self._domains.get(path)
            if domain is None:
                domain = self._domains[path] = Domain(path, parent)
                parent.children.append(domain)
            domain.mask |= bit
            chain.append(domain)
            parent = domain
        parent.own |= bit
        self.root.mask |= bit
        self._chains[position] = tuple(chain)
        kind = node.site, node.gpu_type
        self._types[kind] = self._types.get(kind, 0) | bit
        self._sized[node.gpus] = self._sized.get(node.gpus, 0) | bit
        self._stale = True
        self._indexed = None
        self._named.clear()

    def _remove(self, position: int, bit: int) -> None:
        chain = self._chains[position]
        for domain in chain:
            domain.mask &= ~bit
            domain.own &= ~bit
        for parent, domain in zip((self.root, *chain), chain, strict=False):
            if not domain.mask:
                parent.children.remove(domain)
                del self._domains[domain.path]
        for kind in self._types:
            self._types[kind] &= ~bit
        for size in self._sized:
            self._sized[size] &= ~bit

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def flat(self) -> bool:
        """Whether nothing but nodes of one site is known."""
        return self._index().flat

    def of_type(self, gpu_type: str) -> int:
        """The nodes with GPUs that a job means by this name."""
        return self.named(gpu_type)

    def named(self, gpu_type: str = "", sites: tuple[str, ...] = (), jurisdiction: str = "") -> int:
        """The nodes with such GPUs, at one of these sites, under this law; '' and () do not narrow it."""
        key = gpu_type, sites, jurisdiction
        known = self._named.get(key)
        if known is None:
            known = 0
            for (site, kind), nodes in self._types.items():
                if (
                    (not sites or site in sites)
                    and (not jurisdiction or self._jurisdictions.get(site) == jurisdiction)
                    and (not gpu_type or means(gpu_type, kind) or self._stands_for_any(site, kind))
                ):
                    known |= nodes
            if len(self._named) >= _NAMED_MAX:
                self._named.clear()
            self._named[key] = known
        return known

    def _stands_for_any(self, site: str, kind: str) -> bool:
        return kind in UNTYPED and self._logical.get(site, False)

    def sites(self, within: int = -1) -> list[str]:
        """The sites of those nodes, in order of their first node."""
        return [domain.path[0] for domain in self._index().by_level.get(SITE, ()) if domain.mask & within]

    def tops(self) -> list[Domain]:
        """What a gang may spread over at most: a site, for no run is at two."""
        return self._index().by_level.get(SITE, []) if self._index().several else [self.root]

    def knows(self, level: str) -> bool:
        """Whether a node of the pool stands in a domain of this level."""
        return level == NODE or level in self._index().by_level

    def of_level(self, level: str) -> list[Domain]:
        """The domains of a level that its site calls so, by their lowest nodes. `node` has none."""
        return self._index().by_level.get(level, [])

    def around(self, position: int) -> tuple[Domain, ...]:
        """The domains that the node at `position` stands in, from its site down."""
        self._index()  # by which they know their levels
        return self._chains[position]

    def ascending(self) -> list[list[Domain]]:
        """All domains, the lowest level of each site first, then by their lowest nodes; the whole pool last, if it is
        at one site."""
        return self._index().by_height

    def _index(self) -> "_Index":
        if self._indexed is None:
            self._indexed = _Index(self.root, self._domains.values(), self._levels)
        return self._indexed

    def largest(self, free: Free, within: int) -> int:
        """GPUs of the largest node in service of those `within`."""
        serving = _serving(free) & within
        return max((size for size, nodes in self._sized.items() if nodes & serving), default=0)

    # ── whole domains ─────────────────────────────────────────────────────────────────────────────────────────────
    def look(self, free: Free) -> int:
        """`idle`, the nodes in service all of whose GPUs are free: sets it and returns it."""
        levels = free.levels
        idle = 0
        for size, nodes in self._sized.items():
            if 0 < size < len(levels):
                idle |= levels[size] & nodes
        self.idle = idle
        return idle

    def observe(self, free: Free) -> None:
        """Judge which domains are whole. A cache: what was judged before only saves time."""
        serving = _serving(free) & ~self._sized.get(0, 0)
        busy = serving & ~self.look(free)
        changed = (busy ^ self._busy) | (serving ^ self._serving)
        self._busy, self._serving = busy, serving
        if self._stale:
            self._whole = [{} for _ in range(LEVELS_MAX + 1)]
            for domain in self._domains.values():
                domain.whole = 0
        if self._stale or changed.bit_count() > _CHANGES_MAX:
            self._stale = False
            self._judge(self._domains.values())
            return
        while changed:
            low = changed & -changed
            changed ^= low
            self._judge(self._chains[low.bit_length() - 1])

    def _judge(self, domains: Iterable[Domain]) -> None:
        busy, serving = self._busy, self._serving
        for domain in domains:
            mask = domain.mask
            size = 0 if mask & busy else (mask & serving).bit_count()
            if size != domain.whole:
                sizes = self._whole[len(domain.path) - 1]
                if domain.whole:
                    sizes[domain.whole] ^= mask
                if size:
                    sizes[size] = sizes.get(size, 0) | mask
                domain.whole = size

    def by_breakage(self, nodes: int) -> list[int]:
        """Idle `nodes` as masks: first those on which a task breaks the least, by the sizes of the whole domains around
        them. After `observe`."""
        parts: dict[int, int] = {0: nodes}
        for sizes in self._whole:
            if not sizes:
                continue
            finer: dict[int, int] = {}
            for broken, mask in parts.items():
                for size, whole in sizes.items():
                    hit = mask & whole
                    if hit:
                        mask ^= hit
                        finer[broken + size] = finer.get(broken + size, 0) | hit
                if mask:
                    finer[broken] = finer.get(broken, 0) | mask
            parts = finer
        return [mask for _, mask in sorted(parts.items())]


def _serving(free: Free) -> int:
    serving = 0
    for mask in free.levels:
        serving |= mask
    return serving


class _Index:
    """What follows from the tree and the names of its levels."""

    __slots__ = ("by_height", "by_level", "flat", "several")

    def __init__(self, root: Domain, domains: Iterable[Domain], levels: dict[str, tuple[str, ...]]) -> None:
        self.flat = True
        self.by_level: dict[str, list[Domain]] = {}
        heights: dict[int, list[Domain]] = {}
        for domain in sorted(domains, key=lambda domain: domain.mask & -domain.mask):
            depth = len(domain.path) - 1
            names = (SITE, *levels.get(domain.path[0], ()))
            self.flat = self.flat and not depth
            domain.level = names[depth] if depth < len(names) else ""
            heights.setdefault(len(names) - depth, []).append(domain)
            if domain.level:
                self.by_level.setdefault(domain.level, []).append(domain)
        self.by_height = [heights[height] for height in sorted(heights)]
        self.several = len(root.children) > 1
        if self.several:
            self.flat = False
        else:
            self.by_height.append([root])


def level_faults(levels: tuple[str, ...]) -> str:
    """What is wrong with the names that a site gives its levels, '' if nothing."""
    if len(levels) > LEVELS_MAX:
        return f"there are {len(levels)} levels; the limit is {LEVELS_MAX}"
    if len(set(levels)) < len(levels) or {SITE, NODE} & set(levels) or not all(map(is_id, levels)):
        return f"levels need names of their own, other than {SITE} and {NODE}"
    return ""


def domain_faults(domains: tuple[str, ...], levels: tuple[str, ...]) -> str:
    """What is wrong with the domains of a node at a site with these levels, '' if nothing."""
    if len(domains) > len(levels):
        return f"there are {len(domains)} domains; its site has {len(levels)} levels"
    return "" if all(map(is_id, domains)) else "a domain has a name that is none"
