"""Evaluations that commands make, as rows of the home whose policies they are about."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.inbox import EVALUATED, Request, request

SAME = ("skill", "robot", "policy_version", "dynamics", "seed", "attempts", "success_rate", "return_mean", "measures")
FIGURES = ("falls", "fence_exits", "success_interval", "return_iqm", "return_iqm_interval")


def evaluation_row(facts: Mapping[str, Any], purpose: str = "eval", **figures: Any) -> dict[str, Any]:
    """What `evaluate_skill` gave, or what else has its keys, as the fields of `persistence.records.Evaluation`."""
    return {
        **{name: facts[name] for name in SAME},
        "purpose": purpose,
        "figures": {name: facts[name] for name in FIGURES} | figures,
    }


def store_evaluation(home: Path, row: Mapping[str, Any]) -> int:
    """Have a row stored, by the daemon if one runs, and give its id.

    Raises:
        ValueError: the home has no books, or does not know the skill.
        RuntimeError: the daemon has not answered in time.
    """
    return int(request(home, Request(kind=EVALUATED, data=row))["id"])


def stored_if_possible(home: Path, row: Mapping[str, Any]) -> int | None:
    """As `store_evaluation`; where it cannot be stored, says why on standard error: the figures are worth having."""
    try:
        return store_evaluation(home, row)
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"the evaluation was not stored: {error}\n")
        return None
