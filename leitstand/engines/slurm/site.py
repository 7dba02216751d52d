# SPDX-License-Identifier: Apache-2.0
"""How a Slurm cluster is reached and what of it is ours; written by an operator, read by `leitstand.engines.book`."""

from pathlib import Path
from typing import Final

import msgspec

from leitstand.engines.surroundings import Surroundings

DIRECTED: Final = "directed"  # its nodes are ours to place on: runs go to exact nodes and start at once
DELEGATED: Final = "delegated"  # it has a queue and users of its own: what we hold there is a quota
MODES: Final = (DIRECTED, DELEGATED)


class SlurmSite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`conf`: its slurm.conf, for squeue, scontrol, sinfo and scancel. `rest`: where slurmrestd listens, a URL or
    `unix:/path`; `token_file`: the JWT for it, read anew for every call. `partition`: ours; `parts`: names or patterns
    (`leaf*`) of smaller partitions of the same nodes, of a switch or rack: a run goes to the smallest that has its
    nodes, since for each job Slurm looks at every node of its partition. `account`: what runs are charged to where
    slurmdbd is. `folder`: on a file system that control plane and nodes share, for runs. `users`: as
    which user of the cluster the runs of a tenant execute; of others as the one of the token, `user`."""

    conf: Path
    rest: str
    folder: Path
    partition: str
    parts: tuple[str, ...] = ()
    token_file: Path | None = None
    account: str = ""
    user: str = "root"
    users: dict[str, str] = {}


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a delegated site is ours at once: so many GPUs, in whole nodes, or so many nodes; the other is 0."""

    gpus: int = 0
    nodes: int = 0


class Place(msgspec.Struct, frozen=True):
    """A site for its engine: its name, mode, and the ids of its nodes that the journal already knows."""

    name: str
    mode: str
    slurm: SlurmSite
    around: Surroundings
    known: frozenset[str] = frozenset()
    jurisdiction: str = ""
    grace_us: int = 10_000_000  # between TERM and KILL, where a job names none
    quota: Quota = Quota()  # of a delegated one
    pool: str = ""  # the queue that its nodes serve, '': one for each of its GPU types

    def node(self, name: str) -> str:
        """The id of a node of the cluster: names of two clusters may be the same."""
        return f"{self.name}.{name}"

    def slurm_node(self, node: str) -> str:
        """The name in the cluster of a node of ours."""
        return node.removeprefix(f"{self.name}.")
