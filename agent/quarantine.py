"""Skills that have made a mistake (`skills.contained`): the run goes on without them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from agent.abilities import Abilities
from agent.ledger import Ledger
from agent.practice import Practice
from persistence.recovery import CRASH_CAUSE
from persistence.transactions import StoreBase
from skills.contained import file_of, mistake_of, quarantine
from skills.skill import Skill

SKILL_QUARANTINED = "skill_quarantined"
"""Kind of the fault that is entered into the books."""
NO_SKILL_LEFT = "no skill is left"
"""Why a run ends whose tasks have all been quarantined."""

ENDS = 2
"""Attempts in a row with which the daemon ended, too: one may be a power cut."""
_NEWEST = "SELECT end_reason, wall_utc FROM attempts WHERE skill = ? ORDER BY id DESC LIMIT ?"


def quarantine_what_ends_the_daemon(store: StoreBase, skills: Iterable[Skill]) -> None:
    """Put skills of others in quarantine whose newest attempts all ended with the daemon: code that ends its process or
    crashes in an extension cannot be contained while it runs. A file that was changed since has another chance.
    """
    for skill in skills:
        file = file_of(skill)
        if file is None or not file.is_file():
            continue
        changed_s = file.stat().st_mtime
        ends = [
            row["end_reason"] == CRASH_CAUSE and datetime.fromisoformat(row["wall_utc"]).timestamp() > changed_s
            for row in store.rows(_NEWEST, (skill.name, ENDS))
        ]
        if len(ends) == ENDS and all(ends):
            quarantine(skill, "an attempt", f"the daemon ended during each of its newest {ENDS} attempts; mend {file}")


def without_quarantined(abilities: Abilities, practice: Practice, ledger: Ledger, now_s: float) -> Abilities:
    """The abilities but for those in quarantine; each is entered into the books and not reckoned with any more."""
    for skill in (*abilities.tasks, *abilities.resets, *abilities.perturbations, *abilities.stand_ups):
        mistake = mistake_of(skill)
        if mistake is not None:
            detail = {"skill": mistake.skill, "where": mistake.where, "what": mistake.what}
            ledger.fault(SKILL_QUARANTINED, now_s, "soft", detail=detail)
            abilities = abilities.without(skill.name)
            practice.leave_out(skill.name)
    return abilities
