"""The reset graph of a home, as facts: which skill leads to where another can start, and how often."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from persistence.passages import Passage, passages
from persistence.store import Store

_SUCCESSES = """
SELECT a.skill, k.kind, a.outcome = 'success' AS success FROM attempts a JOIN skills k ON k.name = a.skill
WHERE a.state = 'finished' AND a.outcome <> 'aborted' ORDER BY a.id
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A skill."""

    skill: str
    kind: str
    attempts: int
    """Those that count: the newest of the skill."""
    success_rate: float


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What one skill does for the start of another."""

    skill: str
    enables: str
    attempts: int
    """Attempts of ``skill`` from where the other could not start."""
    rate: float
    """Share after which it could."""


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """Nodes and edges, each in the order of names."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    stuck: dict[str, int]
    """Attempts by skill after which a person had to come: nothing, or not all, could start any more."""


def graph_facts(store: Store, newest: int = 50) -> GraphFacts:
    """What the ``newest`` attempts of each skill say."""
    tried: dict[str, deque[bool]] = {}
    kinds: dict[str, str] = {}
    for row in store.rows(_SUCCESSES):
        tried.setdefault(row["skill"], deque(maxlen=newest)).append(bool(row["success"]))
        kinds[row["skill"]] = row["kind"]
    nodes = [
        Node(skill=skill, kind=kinds[skill], attempts=len(tries), success_rate=sum(tries) / len(tries))
        for skill, tries in sorted(tried.items())
    ]
    known = _newest(passages(store), newest)
    return GraphFacts(nodes=tuple(nodes), edges=tuple(_edges(known)), stuck=_stuck(known))


def _newest(found: Iterable[Passage], newest: int) -> dict[str, deque[Passage]]:
    by_skill: dict[str, deque[Passage]] = {}
    for passage in found:
        by_skill.setdefault(passage.skill, deque(maxlen=newest)).append(passage)
    return by_skill


def _edges(known: dict[str, deque[Passage]]) -> Iterable[Edge]:
    others = sorted({name for made in known.values() for passage in made for name in passage.before | passage.after})
    for skill in sorted(known):
        for other in others:
            needed = [passage for passage in known[skill] if other not in passage.before]
            if led := sum(other in passage.after for passage in needed):
                yield Edge(skill=skill, enables=other, attempts=len(needed), rate=led / len(needed))


def _stuck(known: dict[str, deque[Passage]]) -> dict[str, int]:
    counts = {skill: sum(not passage.after for passage in made) for skill, made in sorted(known.items())}
    return {skill: count for skill, count in counts.items() if count}
