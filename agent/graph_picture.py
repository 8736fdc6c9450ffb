"""The reset graph as a picture: skills on a circle, arrows to what they make possible, labelled with how often."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from agent.graph_facts import GraphFacts, Node

RADIUS, NODE_RX, NODE_RY, MARGIN = 190.0, 74.0, 27.0, 110.0
BEND = 0.16
"""How far an arrow bows out, as a share of its length: there and back are two arrows."""
PERSON = "a person"
_COLOURS = {"task": "#dbe9f6", "reset": "#e2f0d9", "recovery": "#fdf0d5", PERSON: "#f8d7da"}
_STYLE = (
    "text{font:13px sans-serif;text-anchor:middle;fill:#222}.small{font-size:11px}"
    ".edge{fill:none;stroke:#555}.label{paint-order:stroke;stroke:#fff;stroke-width:4px}"
)

Point = tuple[float, float]


def draw(facts: GraphFacts) -> str:
    """An SVG document. Wide arrows are frequent; what led to nowhere points to a person."""
    stuck = [Node(skill=PERSON, kind=PERSON, attempts=sum(facts.stuck.values()), success_rate=1.0)]
    nodes = [*facts.nodes, *(stuck if facts.stuck else [])]
    size = 2.0 * (RADIUS + MARGIN)
    places = {node.skill: _place(number, len(nodes), size / 2) for number, node in enumerate(nodes)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size:g} {size:g}" width="{size:g}" height="{size:g}">',
        f"<title>Which skill ends where another can start</title><style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" '
        'markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{size:g}" height="{size:g}" fill="#fff"/>',
    ]
    for edge in facts.edges:
        if edge.enables in places and edge.enables != edge.skill:
            parts += _arrow(places[edge.skill], places[edge.enables], edge.rate, f"{edge.rate:.0%} of {edge.attempts}")
    for skill, count in facts.stuck.items():
        parts += _arrow(places[skill], places[PERSON], 0.1, f"{count}×")
    parts += [part for node in nodes for part in _node(node, places[node.skill])]
    return "\n".join([*parts, "</svg>", ""])


def _place(number: int, of: int, middle: float) -> Point:
    angle = 2.0 * math.pi * number / max(1, of) - 0.5 * math.pi
    radius = RADIUS if of > 1 else 0.0
    return middle + radius * math.cos(angle), middle + radius * math.sin(angle)


def _node(node: Node, place: Point) -> Iterator[str]:
    x, y = place
    where = f'cx="{x:.1f}" cy="{y:.1f}" rx="{NODE_RX}" ry="{NODE_RY}"'
    yield f'<ellipse {where} fill="{_COLOURS[node.kind]}" stroke="#555"/>'
    yield f'<text x="{x:.1f}" y="{y - 2:.1f}">{escape(node.skill)}</text>'
    told = f"called {node.attempts}×" if node.kind == PERSON else f"{node.success_rate:.0%} of {node.attempts}"
    yield f'<text class="small" x="{x:.1f}" y="{y + 13:.1f}">{told}</text>'


def _arrow(start: Point, end: Point, rate: float, label: str) -> Iterator[str]:
    (x0, y0), (x1, y1) = start, end
    across, down = x1 - x0, y1 - y0
    bend = (0.5 * (x0 + x1) - BEND * down, 0.5 * (y0 + y1) + BEND * across)
    (x0, y0), (x1, y1) = _rim(start, bend), _rim(end, bend)
    yield (
        f'<path class="edge" d="M{x0:.1f} {y0:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {x1:.1f} {y1:.1f}" '
        f'stroke-width="{0.8 + 2.2 * rate:.2f}" marker-end="url(#head)"/>'
    )
    x, y = 0.25 * x0 + 0.5 * bend[0] + 0.25 * x1, 0.25 * y0 + 0.5 * bend[1] + 0.25 * y1
    yield f'<text class="small label" x="{x:.1f}" y="{y + 4:.1f}">{escape(label)}</text>'


def _rim(middle: Point, towards: Point) -> Point:
    """Where the line from the middle of a node to a point leaves its ellipse."""
    across, down = towards[0] - middle[0], towards[1] - middle[1]
    share = 1.0 / max(math.hypot(across / NODE_RX, down / NODE_RY), 1e-9)
    return middle[0] + share * across, middle[1] + share * down
