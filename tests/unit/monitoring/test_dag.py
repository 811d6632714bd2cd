"""The graph of a session."""

from __future__ import annotations

from rainzmq.monitoring.dag import MOST_GROUPS, graph, task_edges
from rainzmq.monitoring.session import FINISHED, SessionLog
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import OutputTemplate, TaskBody
from rainzmq.testing.events import START, demo_hub

OUT = OutputTemplate("out", False, None, None, None, None)


def session_of(tasks):
    """A session of (name, numbers of the tasks whose outputs it reads); ids are 1, 3, 5, ..."""
    session = SessionLog(1, "s", "c", START)
    names = sorted({name for name, _ in tasks})
    bodies = [TaskBody(key, "python/run", 1, name, b"", [], [OUT]) for key, name in enumerate(names, 1)]
    keys = [names.index(name) + 1 for name, _ in tasks]
    inputs = [2 * number + 2 for _, numbers in tasks for number in numbers]
    ids = [2 * number + 1 for number in range(len(tasks))]
    counts = [len(numbers) for _, numbers in tasks]
    session.submitted(e.TasksSubmitted(1, START, 1, bodies, ids, keys, counts, inputs, [], [], [], [], []))
    return session


def named_edges(shown):
    return {
        (shown.nodes[source].key, shown.nodes[target].key): count for source, target, count in shown.edges
    }


def test_every_task_is_a_node_of_a_small_graph():
    session = demo_hub(3).model.sessions[1]
    shown = graph(session)
    assert not shown.is_folded
    assert [node.key for node in shown.nodes] == [f"1/{number}" for number in range(1, 14, 2)]
    assert [node.x for node in shown.nodes] == [0, 0, 0, 1, 1, 1, 2]
    assert ("1/1", "1/7") in named_edges(shown)
    assert all(node.counts[FINISHED] == 1 for node in shown.nodes)


def test_places_of_a_layer_are_all_different():
    shown = graph(demo_hub(20).model.sessions[1])
    places = [(node.x, node.y) for node in shown.nodes]
    assert len(set(places)) == len(places)


def test_chains_lie_straight():
    shown = graph(session_of([("a", []), ("b", []), ("c", []), ("z", [2]), ("y", [0]), ("x", [1])]))
    nodes = {node.key: node for node in shown.nodes}
    for source, target in (("1/1", "1/9"), ("1/3", "1/11"), ("1/5", "1/7")):
        assert nodes[source].y == nodes[target].y


def test_large_graphs_are_folded_by_name():
    shown = graph(demo_hub(400).model.sessions[1])
    assert shown.is_folded
    assert shown.tasks == 801
    counts = {node.key: node.count for node in shown.nodes}
    assert counts == {
        "load/parse": 400,
        "train/model-1": 134,
        "train/model-2": 133,
        "train/model-3": 133,
        "report": 1,
    }
    assert named_edges(shown)["load/parse", "train/model-1"] == 134


def test_a_layer_of_very_many_is_folded_unless_each_task_is_asked_for():
    leaves = [("prep/leaf", []) for _ in range(128)]
    session = session_of([*leaves, ("sum", range(128))])
    shown = graph(session)
    assert shown.is_folded
    assert {node.key: (node.x, node.count) for node in shown.nodes} == {"prep/leaf": (0, 128), "sum": (1, 1)}
    shown = graph(session, folded=False)
    assert not shown.is_folded
    assert [node.x for node in shown.nodes] == [0] * 128 + [1]


def test_names_are_folded_after_so_many_parts_as_give_few_nodes():
    many = [(f"{top}/{part}", []) for top in "abc" for part in range(MOST_GROUPS)]
    shown = graph(session_of(many), folded=True)
    assert sorted(node.key for node in shown.nodes) == ["a/", "b/", "c/"]
    assert not any(node.is_leaf for node in shown.nodes)
    shown = graph(session_of(many), folded=True, opened={"b/"})
    keys = {node.key for node in shown.nodes}
    assert {"a/", "c/", "b/0", "b/7"} <= keys
    assert len(keys) == MOST_GROUPS + 2


def test_odd_names_do_not_confuse_the_folding():
    names = ["", "/", "//", "a/", "a//", "a", "a/b/"]
    shown = graph(
        session_of([(name, []) for name in names for _ in range(2)]), folded=True, opened=set(names)
    )
    assert sum(node.count for node in shown.nodes) == 2 * len(names)


def test_groups_that_depend_on_each_other_share_a_layer():
    shown = graph(session_of([("a", []), ("b", [0]), ("a", [1]), ("c", [2])]), folded=True)
    layers = {node.key: node.x for node in shown.nodes}
    assert layers == {"a": 0, "b": 0, "c": 1}
    assert named_edges(shown) == {("a", "b"): 1, ("b", "a"): 1, ("a", "c"): 1}


def test_tasks_that_are_not_submitted_yet_are_not_there():
    shown = graph(demo_hub(3).model.sessions[1], START)
    assert (shown.nodes, shown.edges, shown.tasks) == ([], [], 0)


def test_constants_have_no_edges():
    session = session_of([("a", [])])
    producers, consumers = task_edges(session)
    assert (len(producers), len(consumers)) == (0, 0)
