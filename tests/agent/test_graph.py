"""The reset graph as facts and as a picture."""

import xml.etree.ElementTree as ElementTree

import pytest

from agent.graph_facts import Edge, GraphFacts, Node, graph_facts
from agent.graph_picture import PERSON, draw
from persistence.home import Home
from persistence.records import (
    NOTHING_CAN_START,
    AttemptEnd,
    AttemptStart,
    InterruptClass,
    Intervention,
    Outcome,
    RunStart,
    SkillKind,
    SkillRow,
)
from persistence.store import Store

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def store(tmp_path):
    with Store.open(Home(tmp_path).prepare().db) as opened:
        run_id = opened.start_run(RunStart(robot="fake", started_s=0.0, seed=0))
        for name, kind in (("out", SkillKind.TASK), ("home", SkillKind.TASK), ("centre", SkillKind.RESET)):
            opened.register_skill(SkillRow(name=name, kind=kind), 0.0)
        opened.run_id = run_id
        yield opened


def attempts(store, *told):
    """Each: (skill, what could start, outcome), ten seconds apart."""
    for number, (skill, could_start, outcome) in enumerate(told):
        start_s = 10.0 * number
        attempt_id = store.start_attempt(
            AttemptStart(run_id=store.run_id, skill=skill, started_s=start_s, could_start=could_start)
        )
        store.finish_attempt(AttemptEnd(attempt_id=attempt_id, ended_s=start_s + 5.0, outcome=outcome))


def test_rates_are_those_of_attempts_from_where_the_other_could_not_start(store):
    attempts(
        store,
        ("out", ("out",), Outcome.TIMEOUT),
        ("out", ("out",), Outcome.SUCCESS),
        ("home", ("home",), Outcome.SUCCESS),
        ("out", ("out", "home"), Outcome.SUCCESS),  # from where home could start already: says nothing
        ("home", ("home",), Outcome.TIMEOUT),
    )
    store.open_intervention(Intervention(cause=NOTHING_CAN_START, e10_class=InterruptClass.ASSIST, opened_s=50.0))
    found = graph_facts(store)
    assert [(node.skill, node.attempts, node.success_rate) for node in found.nodes] == [
        ("home", 2, 0.5),
        ("out", 3, pytest.approx(2 / 3)),
    ]
    assert found.edges == (
        Edge(skill="home", enables="out", attempts=2, rate=0.5),
        Edge(skill="out", enables="home", attempts=2, rate=0.5),
    )
    assert found.stuck == {"home": 1}


def test_only_the_newest_attempts_count(store):
    attempts(store, *[("out", ("out",), Outcome.TIMEOUT)] * 3, *[("out", ("out",), Outcome.SUCCESS)] * 2)
    (node,) = graph_facts(store, newest=2).nodes
    assert (node.attempts, node.success_rate) == (2, 1.0)


FACTS = GraphFacts(
    nodes=(
        Node(skill="out<&>", kind="task", attempts=4, success_rate=0.25),
        Node(skill="centre", kind="reset", attempts=2, success_rate=1.0),
    ),
    edges=(Edge(skill="centre", enables="out<&>", attempts=2, rate=0.5),),
    stuck={"out<&>": 3},
)


def test_the_picture_has_each_skill_its_rate_each_arrow_and_the_person():
    drawn = ElementTree.fromstring(draw(FACTS))
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"out<&>", "25% of 4", "centre", "100% of 2", "50% of 2", "3×", PERSON, "called 3×"} == set(texts)
    assert len([path for path in drawn.iter(f"{SVG}path") if path.get("class") == "edge"]) == 2


def test_no_person_where_nothing_ever_got_stuck_and_one_skill_alone_is_drawn():
    drawn = draw(GraphFacts(nodes=FACTS.nodes[:1], edges=(), stuck={}))
    assert PERSON not in drawn
    assert ElementTree.fromstring(drawn).get("width") == ElementTree.fromstring(drawn).get("height")


def test_arrows_there_and_back_do_not_lie_on_each_other():
    both = (
        Edge(skill="a", enables="b", attempts=1, rate=1.0),
        Edge(skill="b", enables="a", attempts=1, rate=1.0),
    )
    nodes = tuple(Node(skill=name, kind="task", attempts=1, success_rate=1.0) for name in "ab")
    drawn = ElementTree.fromstring(draw(GraphFacts(nodes=nodes, edges=both, stuck={})))
    labels = [text for text in drawn.iter(f"{SVG}text") if "label" in text.get("class", "")]
    (ax, ay), (bx, by) = [(float(label.get("x")), float(label.get("y"))) for label in labels]
    assert abs(ax - bx) + abs(ay - by) > 20.0
