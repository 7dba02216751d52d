# SPDX-License-Identifier: Apache-2.0
"""Where a task might fit if those who may be taken left: what is known of a node holds while nobody else may go."""

from leitstand.core.yielding.offers import Room, Window
from leitstand.core.yielding.takeable import Takeable
from leitstand.core.yielding.victims import Scope
from tests.unit.sharing_world import GPU, World

WHOLE = (8, 0, 0)


def halves() -> tuple[World, Takeable, Room, Scope]:
    """Two projects share the only node in halves."""
    world = World(8)
    for leaf in ("one", "two", "three"):
        world.entitle(leaf)
    world.run("a", "one", 4, position=0)
    world.run("b", "two", 4, position=0)
    scene = world.scene()
    room = Room(scene.timeline, scene.now, Window(1, "", ()))
    return world, Takeable(scene), room, Scope(world.tree.node("three"), None, 0, True)


def test_who_may_go_only_later_counts_though_the_node_was_found_too_small_before() -> None:
    world, takeable, room, scope = halves()
    one, two = world.tree.node("one"), world.tree.node("two")
    alone = takeable.able(scope, {one: 4 * GPU})
    assert not takeable.host(room, WHOLE, alone)
    room.note_best(0, 0, takeable.runs(alone))
    assert takeable.host(room, WHOLE, takeable.able(scope, {one: 4 * GPU, two: 4 * GPU}))


def test_who_holds_more_than_his_project_may_give_stays_as_does_who_was_taken() -> None:
    world, takeable, room, scope = halves()
    one, two = world.tree.node("one"), world.tree.node("two")
    assert not takeable.host(room, WHOLE, takeable.able(scope, {one: 4 * GPU, two: 4 * GPU - 1}))
    runs = {run.job: run for run in takeable.runs(takeable.able(scope, {one: 4 * GPU, two: 4 * GPU}))}
    assert list(runs) == ["a", "b"]
    takeable.forget(runs["b"])
    assert not takeable.host(room, WHOLE, takeable.able(scope, {one: 4 * GPU, two: 4 * GPU}))


def test_tasks_are_counted_on_nodes_with_and_without_somebody_who_may_go() -> None:
    world = World(8, 8, 8)
    world.entitle("one")
    world.entitle("three")
    world.run("a", "one", 4, position=0)
    scene = world.scene()
    room, takeable = Room(scene.timeline, scene.now, Window(1, "", ())), Takeable(scene)
    able = takeable.able(Scope(world.tree.node("three"), None, 0, True), {world.tree.node("one"): 4 * GPU})
    assert takeable.tasks(room, WHOLE, able) == 3
    assert takeable.tasks(room, WHOLE, able & False) == 2
