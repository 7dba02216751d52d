# SPDX-License-Identifier: Apache-2.0
"""What is known of covers stays true: also where shares move below a node, and nothing runs otherwise."""

from leitstand.core.sharing.shares import Held, Tree
from leitstand.core.yielding.cover import Cover


def test_a_node_covers_otherwise_once_shares_have_moved_below_it() -> None:
    """p deserves 4. At c, 3 and then 2 run: of 4 it covers the 3, of 2 the 2; p never has room for both."""
    tree = Tree()
    other, one, two = tree.node("q"), tree.node("p/b"), tree.node("p/c")
    tree.resize(8)
    tree.wait(other, 8)
    tree.start(Held("first", two, 3, 0, (1, 1)))
    tree.start(Held("second", two, 2, 0, (2, 2)))
    tree.settle()
    cover = Cover(tree)
    assert dict(cover.amount(tree.node("p"))) == {0: 3}
    tree.wait(one, 4)
    tree.settle()
    assert (tree.node("p").deserved, two.deserved) == (4, 2)
    assert dict(cover.amount(tree.node("p"))) == {0: 2}
