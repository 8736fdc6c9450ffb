"""Where a stored policy version comes from: parents, data, code and configuration, out of what a home's books hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config import Config
from persistence.events import canonical
from persistence.files import sha256_bytes
from persistence.store import Store

SHORT = 12
"""Characters of a hash that people see."""
_LINE = """
WITH RECURSIVE line (version) AS (
    SELECT ? UNION SELECT p.parent FROM policies p JOIN line USING (version) WHERE p.parent IS NOT NULL
) SELECT v.* FROM line JOIN v_policies v USING (version) ORDER BY v.version DESC
"""
_LEARNED_FROM = """
SELECT skill, count(*) AS attempts FROM attempts WHERE episode_file IS NOT NULL AND id <= ?
GROUP BY skill ORDER BY skill
"""
_MADE = """
SELECT skill, evaluation, count(*) AS attempts, avg(outcome = 'success') AS success_rate FROM attempts
WHERE policy_version = ? AND state = 'finished' AND outcome <> 'aborted' GROUP BY skill, evaluation ORDER BY skill
"""
_EVALUATED = """
SELECT id, skill, purpose, robot, dynamics, seed, attempts, success_rate, return_mean FROM evaluations
WHERE policy_version = ? AND purpose <> 'run' ORDER BY id
"""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A policy version and what it was learned on from."""

    versions: tuple[int, ...]
    """The newest first."""
    origin: dict[str, Any]
    """What the oldest one known began with; empty: nobody noted it."""


def line_of(store: Store, version: int) -> Line:
    """The ancestors of a version that a home has stored, itself among them; only itself where it has not."""
    rows = store.rows(_LINE, (version,))
    return Line(
        versions=tuple(row["version"] for row in rows) or (version,),
        origin=json.loads(rows[-1]["origin"]) if rows else {},
    )


def stored_policies(store: Store) -> list[dict[str, Any]]:
    """All stored versions, oldest first, as facts of one line each."""
    return [_short(row) for row in store.rows("SELECT * FROM v_policies ORDER BY hour, version")]


def policy_facts(store: Store, version: int) -> dict[str, Any]:
    """All that the books say of a stored version.

    Returns:
        ``version``, ``family``, ``robot``, ``hour`` (of robot time), ``updates``, ``checkpoint`` and its
        ``manifest_sha256``; ``parents`` (``version``, ``origin``, ``prior_homes``); ``data`` (``attempts``,
        ``last_attempt_id``, ``prior_attempts``, ``skills``: attempts of each); ``code`` (``perdure``, ``commit``,
        ``packages``); ``configuration`` (``run_id``, ``learner_sha256``, ``changes`` since the parent's run);
        ``attempts_made`` and ``evaluations`` with it; ``ancestors``, the newest first.

    Raises:
        ValueError: there is no such version; the message says which there are near it.
    """
    rows = store.rows(_LINE, (version,))
    if not rows:
        raise ValueError(_unknown(store, version))
    row, *before = rows
    origin, config = json.loads(row["origin"]), _config(row)
    prior_homes = config.get("learner", {}).get("prior_data", [])
    (versions,) = store.rows("SELECT versions FROM runs WHERE id = ?", (row["run_id"],)) or [{"versions": "{}"}]
    packages = json.loads(versions["versions"])
    return {
        **{name: row[name] for name in ("version", "family", "robot", "hour", "updates", "checkpoint")},
        "manifest_sha256": row["manifest_sha256"],
        "parents": {"version": row["parent"], "origin": origin, "prior_homes": prior_homes},
        "data": {
            "attempts": row["attempts"],
            "last_attempt_id": row["last_attempt_id"],
            "prior_attempts": origin.get("prior_attempts", 0),
            "skills": {
                each["skill"]: each["attempts"] for each in store.rows(_LEARNED_FROM, (row["last_attempt_id"],))
            },
        },
        "code": {
            "perdure": row["perdure"],
            "commit": row["git_commit"],
            "packages": {name: is_ for name, is_ in packages.items() if isinstance(is_, str)},
        },
        "configuration": {
            "run_id": row["run_id"],
            "learner_sha256": learner_sha256(config),
            "changes": list(_changes(row, before)),
        },
        "attempts_made": store.rows(_MADE, (version,)),
        "evaluations": store.rows(_EVALUATED, (version,)),
        "ancestors": [_short(each) for each in before],
    }


def learner_sha256(config: Mapping[str, Any]) -> str:
    """Of the settings, as a run has stored them, that decide what is learned of the same attempts."""
    learner = config.get("learner", {})
    # Where other homes lie is no part of it; how many attempts they gave stands beside.
    return sha256_bytes(canonical({name: value for name, value in learner.items() if name != "prior_data"}).encode())


def begun(origin: dict[str, Any]) -> str:
    """What a learner began with since the parent, in words; empty: it just went on, or nobody noted it."""
    words = [str(origin.get("begun", ""))]
    words += [f"{name} {origin[name]}" for name in ("seq", "version", "updates") if name in origin]
    return " ".join(words)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    names = ("version", "parent", "hour", "family", "updates", "attempts", "last_attempt_id", "checkpoint", "run_id")
    origin = json.loads(row["origin"])
    return {
        **{name: row[name] for name in names},
        "begun": begun(origin),
        "perdure": row["perdure"],
        "commit": row["git_commit"],
        "learner_sha256": learner_sha256(_config(row)),
    }


def _config(row: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(row["config"] or "{}"))


def _changes(row: dict[str, Any], before: list[dict[str, Any]]) -> Iterator[str]:
    """Settings that are not what they were when the parent was learned; those of [run] make no other learner."""
    if not before or before[0]["run_id"] == row["run_id"]:
        return
    try:
        changes = Config.from_dict(_config(before[0])).diff(Config.from_dict(_config(row)))
    except ValueError as error:
        changes = [f"a stored configuration is not valid any more ({error})"]
    yield from (line for line in changes if not line.startswith("run."))


def _unknown(store: Store, version: int) -> str:
    """Between which stored versions one lies that acted, or which there are."""
    stored = [row["version"] for row in store.rows("SELECT version FROM policies ORDER BY version")]
    if not stored:
        return "this home has stored no policy yet; one is stored with each checkpoint of `perdure run`"
    below, above = [v for v in stored if v < version], [v for v in stored if v > version]
    near = " and ".join(str(v) for v in (*below[-1:], *above[:1]))
    acted = store.rows("SELECT 1 FROM attempts WHERE policy_version = ? LIMIT 1", (version,))
    what = "acted, but was never stored" if acted else "is unknown here"
    return f"policy {version} {what}; the nearest stored: {near} (all: `perdure policies list`)"
