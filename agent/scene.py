"""What can start where the world is now, and what brings it to where more can."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from agent.abilities import Abilities
from agent.reset_graph import ResetGraph, Way
from persistence.passages import Passage, Situation
from persistence.records import STUCK
from sim.robot import Observation
from sim.workspace import Workspace
from skills.skill import Skill


@dataclass(frozen=True)
class _Begun:
    """The attempt whose end is not known yet."""

    skill: str
    before: Situation
    started_s: float


class Scene:
    """Situations of one run, and the ways between them."""

    def __init__(
        self,
        abilities: Abilities,
        workspace: Workspace,
        known: Iterable[Passage] = (),
        hopeless: Callable[[Observation], frozenset[str]] = lambda observation: frozenset(),
        *,
        heeds_skills: bool = True,
    ) -> None:
        """Begin with what earlier runs have found.

        Args:
            abilities: the skills of the run.
            workspace: a task has room to start where its fence is not near.
            known: attempts of earlier runs.
            hopeless: skills that undo others and would hardly ever succeed from a reading on, as far as learned.
            heeds_skills: whether a skill's own word that it is nearly lost makes it hopeless, too.
        """
        self._skills = (*abilities.tasks, *abilities.resets, *abilities.stand_ups)
        self._tasks = Situation(skill.name for skill in abilities.tasks)
        self._resets = Situation(skill.name for skill in abilities.resets)
        self._goals = abilities.goals
        self._workspace = workspace
        self._hopeless = hopeless
        self._heeded = self._skills if heeds_skills else ()
        self._graph = ResetGraph({skill.name: skill.horizon_s for skill in (*abilities.tasks, *abilities.resets)})
        self._graph.learn(known)
        self._begun: _Begun | None = None

    def leave_out(self, name: str) -> None:
        """Reckon with a skill no more."""
        self._skills = tuple(skill for skill in self._skills if skill.name != name)
        self._tasks -= {name}
        self._resets -= {name}

    def situation(self, observation: Observation) -> Situation:
        """Names of the skills that can start.

        What is where a person wants it need not be brought there. Where there is a reset that can start, no task begins
        that could hardly be undone.
        """
        x, y, _ = observation.base_position
        crowded = self._workspace.margin_m(float(x), float(y)) < 0.5 * self._workspace.soft_margin_m
        able = [
            skill
            for skill in self._skills
            if skill.start_problem(observation) is None
            and not (crowded and skill.name in self._tasks)
            and not (skill.name in self._goals and self._goals[skill.name].reached(observation))
        ]
        here = Situation(skill.name for skill in able)
        if here & self._resets:
            hopeless = self.hopeless(observation, observation)
            here -= {skill.name for skill in able if skill.name in self._tasks and skill.undone_by in hopeless}
        return here

    def hopeless(self, before: Observation, now: Observation) -> frozenset[str]:
        """Skills that undo others and would hardly ever succeed from ``now`` on, or that say that they are about to be
        unable to, given the reading of the decision before.
        """
        nearly_lost = {skill.name for skill in self._heeded if skill.nearly_lost(before, now)}
        return self._hopeless(now) | nearly_lost

    def skill(self, name: str) -> Skill:
        """One of the run's skills."""
        return next(skill for skill in self._skills if skill.name == name)

    def ways(self, here: Situation) -> dict[str, Way]:
        """How to come to each task that there is a way to."""
        ways = {name: self._graph.way(here, Situation({name})) for name in sorted(self._tasks)}
        return {name: way for name, way in ways.items() if way is not None}

    def stranded(self, here: Situation) -> Situation:
        """Tasks that cannot start, nor can what undoes them, nor a task that often leads to where they can."""
        tasks = (skill for skill in self._skills if skill.name in self._tasks)
        alone = (skill.name for skill in tasks if not here & {skill.name, skill.undone_by})
        able = here & self._tasks
        return Situation(name for name in alone if not any(self._graph.brings(other, name) for other in able))

    def reset_for(self, here: Situation, stranded: Situation, resets: Collection[str]) -> str | None:
        """The one of ``resets`` that the cheapest way to a stranded task begins with; None: none is, or none can."""
        way = self._graph.way(here, stranded, resets) if stranded else None
        return way.first if way is not None else None

    def cut_off(self, here: Situation, observation: Observation) -> str | None:
        """A task that says that it is lost, or that no chain leads to from here, as many tries have shown."""
        for skill in self._skills:
            unable = skill.name in self._tasks and skill.name not in here
            if unable and (skill.lost(observation) or self._graph.cut_off(here, Situation({skill.name}))):
                return skill.name
        return None

    def begins(self, skill: Skill, here: Situation, now_s: float) -> None:
        """An attempt begins: what the one before has left behind is known now."""
        self._learn(here, now_s)
        self._begun = _Begun(skill.name, here, now_s)

    def changed(self) -> None:
        """Somebody changed the world: what the last attempt left behind is not known."""
        self._begun = None

    def person_called(self, cause: str, now_s: float) -> None:
        """A person changes the world; only where something cannot start any more is that the last attempt's doing."""
        if cause in STUCK:
            self._learn(Situation(), now_s)
        self._begun = None

    def _learn(self, after: Situation, now_s: float) -> None:
        if self._begun is not None:
            begun, took_s = self._begun, now_s - self._begun.started_s
            self._graph.learn([Passage(skill=begun.skill, before=begun.before, after=after, took_s=took_s)])
