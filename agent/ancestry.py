"""Where the policies of a learner come from, told with each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

NOTHING, ZOO, PRIOR_DATA, CHECKPOINT = "nothing", "zoo", "prior_data", "checkpoint"


@dataclass(frozen=True, kw_only=True)
class Ancestry:
    """Of the next policy to be stored."""

    parent: int | None = None
    """Version that it was learned on from, in this home; None: there is none."""
    origin: Mapping[str, Any] = field(default_factory=lambda: {"begun": NOTHING})
    """``begun``: what its learner began with since the parent, `NOTHING`, `ZOO` (with its ``version``), `PRIOR_DATA`
    (with ``updates`` on it) or `CHECKPOINT` (with its ``seq``); not there where it just went on. ``prior_attempts``:
    attempts of other homes, where there are any."""
    attempts: int | None = None
    """Attempts of this home that it had learned from."""

    def begun(self, how: str, parent: int | None = None, **facts: int) -> Ancestry:
        """The same, but the learner began otherwise."""
        return replace(self, parent=parent, origin={**self._prior, "begun": how, **facts})

    def saved(self, version: int) -> Ancestry:
        """Of what is learned on from a version that was stored."""
        return self if version == self.parent else replace(self, parent=version, origin=self._prior)

    @classmethod
    def with_prior(cls, attempts: int) -> Ancestry:
        """Of a learner that has nothing yet, but ``attempts`` of other homes to learn from."""
        prior = {"prior_attempts": attempts} if attempts else {}
        return cls(origin={**prior, "begun": NOTHING})

    @property
    def _prior(self) -> dict[str, Any]:
        return {name: value for name, value in self.origin.items() if name == "prior_attempts"}
