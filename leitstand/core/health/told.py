# SPDX-License-Identifier: Apache-2.0
"""The facts of the health of nodes. Part of the vocabulary (`leitstand.core.facts`).

reported ─▶ drained ─▶ repaired ─▶ burn-in runs on it ─▶ returned        burn-in failed: it stays drained
"""

from leitstand.core.fact import Fact


class NodeReported(Fact, frozen=True, gc=False):
    """Something is wrong with a node, or with GPU `gpu` of it (-1: none in particular, or it is not known). `kind`: one
    of `leitstand.core.health.table.KINDS`; `code`: the number of an Xid, else 0. `at_us`: when, by the node's clock;
    what lies after the stamp was clipped, by `skew_us`."""

    node: str
    kind: str
    code: int = 0
    gpu: int = -1
    at_us: int = 0
    skew_us: int = 0
    by: str = ""


class NodeDrained(Fact, frozen=True, gc=False):
    """The node takes no run until it is returned, whatever its engine says; what runs there is told to end. The cause
    is what was reported, as in `NodeReported`."""

    node: str
    kind: str
    code: int = 0
    gpu: int = -1


class NodeRepaired(Fact, frozen=True, gc=False):
    """Somebody says that the node is well again. `spec` names the record that a run of `tenant` executes on the whole
    node first, for at most `max_duration_us`: it is returned if that ends with exit code 0. '': it is returned at once.
    """

    node: str
    spec: str = ""
    tenant: str = ""
    max_duration_us: int = 0
    by: str = ""


class BurnInFailed(Fact, frozen=True, gc=False):
    """The job that was to show that the node is well ended otherwise; the node stays drained. `reason`: as in
    `JobEnded`."""

    node: str
    job: str
    reason: str = ""
    exit_code: int | None = None


class NodeReturned(Fact, frozen=True, gc=False):
    """The node takes runs again, as far as its engine says so. `job`: the burn-in that it passed; '': none."""

    node: str
    job: str = ""
