"""Skills that have made a mistake (`skills.contained`): the run goes on without them."""

from __future__ import annotations

from agent.abilities import Abilities
from agent.ledger import Ledger
from agent.practice import Practice
from skills.contained import mistake_of

SKILL_QUARANTINED = "skill_quarantined"
"""Kind of the fault that is entered into the books."""
NO_SKILL_LEFT = "no skill is left"
"""Why a run ends whose tasks have all been quarantined."""


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
