# SPDX-License-Identifier: Apache-2.0
"""What is reported of the nodes of a Slurm site, list by list."""

from pathlib import Path

import pytest

from leitstand.core.facts import NodeAdded, NodeRemoved, Observation
from leitstand.engines.slurm.commands import SlurmNode
from leitstand.engines.slurm.nodes import Nodes
from leitstand.engines.slurm.site import DIRECTED, Place, SlurmSite
from leitstand.engines.surroundings import Surroundings

SLURM = SlurmSite(conf=Path("/c"), rest="unix:/r", folder=Path("/f"), partition="main")


def nodes(*known: str) -> Nodes:
    around = Surroundings(
        lambda ref: None, lambda tenant, digest: None, lambda: None, "j", lambda *name: None
    )
    return Nodes(Place("aachen", DIRECTED, SLURM, around, frozenset(known)))


def news(of: Nodes, state: str, *, responds: bool = True) -> list[Observation]:
    """What is new now that the only node is in this state; without the site itself."""
    listed = SlurmNode("n1", 8, "h100", 64, 1000, state, responds)
    return [one for one in of.news([listed], {}) if isinstance(one, NodeAdded | NodeRemoved)]


@pytest.mark.parametrize(("state", "responds"), [("unknown", True), ("unknown", False), ("idle", False)])
def test_a_node_of_which_slurmctld_has_not_heard_yet_has_not_left(state: str, responds: bool) -> None:
    of = nodes()
    assert len(news(of, "idle")) == 1
    assert news(of, state, responds=responds) == []
    assert not of.is_out("aachen.n1")
    assert news(of, "idle") == []


@pytest.mark.parametrize(
    ("state", "failed"), [("drained", False), ("draining", False), ("down", True), ("fail", True)]
)
def test_a_node_that_left_is_out_until_it_serves_again(state: str, failed: bool) -> None:
    of = nodes()
    news(of, "idle")
    assert news(of, state) == [NodeRemoved("aachen.n1", failed=failed)]
    assert of.is_out("aachen.n1")
    assert len(news(of, "mixed")) == 1
    assert not of.is_out("aachen.n1")


def test_a_node_that_was_out_before_anybody_looked_is_out_and_news_to_nobody() -> None:
    of = nodes()
    assert news(of, "drained") == []
    assert of.is_out("aachen.n1")
    assert not of.is_out("aachen.n2")
