"""How a command reaches the database while a daemon runs.

The daemon alone writes the database. A command leaves a request as a file in ``inbox/`` of the home; the daemon's
writer thread serves it and leaves an answer beside it. Without a daemon the command takes the home's lock and writes
itself. A request is taken before it is carried out, so that a crash can lose it, which its sender notices, but never
double it.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistence.files import atomic_write_json
from persistence.home import Home, HomeLock, lock_holder, typed

if TYPE_CHECKING:
    from agent.drifts import DriftBook
    from persistence.store import Store

FOLDER = "inbox"
ADD = "add_intervention"
CLOSE = "close_intervention"
ACKNOWLEDGE = "acknowledge"
RESUME = "resume"
DRIFT = "drift"
REPAIR = "repair_drift"
EVALUATED = "add_evaluation"
DEPLOY = "deploy_policy"
KINDS = (ADD, CLOSE, ACKNOWLEDGE, RESUME, DRIFT, REPAIR, EVALUATED, DEPLOY)
WITHOUT_DAEMON = (ADD, CLOSE, EVALUATED, DEPLOY)
"""What can be stored while no daemon runs."""
TIMEOUT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """Something to store on behalf of a person."""

    kind: str
    """One of `KINDS`."""
    data: Mapping[str, Any]
    """ADD: ``cause``, ``e10_class``, ``minutes``, ``note``, ``operator``. CLOSE: ``id``, ``operator``, ``action``,
    ``note``, ``part_replaced``. ACKNOWLEDGE: ``operator``, ``action``, ``released``, ``part_replaced``; closes all that
    are open. RESUME: ``operator``. DRIFT, REPAIR: see `agent.drifts.DriftBook`. EVALUATED, DEPLOY: the fields of
    `persistence.records.Evaluation` and `Deployment` without ``robot_s``."""


def request(home: Path, wanted: Request, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Have ``wanted`` stored, by the daemon if one runs.

    Returns:
        ``id`` of the intervention, evaluation or deployment; ``minutes`` that help which was added counts; ``closed``,
        how many, for an acknowledgement; nothing for a resume; for drift what `agent.drifts.DriftBook` gives.

    Raises:
        ValueError: what is wanted makes no sense, or the store refuses it.
        RuntimeError: the daemon has not answered in time.
    """
    paths = Home(home)
    if lock_holder(paths) is not None:
        return _ask(home, wanted, timeout_s)
    if wanted.kind not in WITHOUT_DAEMON:
        raise ValueError(f"no daemon runs on {home}; start it with {typed('run', home)}")
    if not paths.db.is_file():
        raise ValueError(f"no database at {paths.db}; start {typed('run', home)} first, or pass another --home")
    from persistence.store import Store

    with HomeLock(paths), Store.open(paths.db) as store:
        return carry_out(store, wanted, _last_robot_s(store))


def _ask(home: Path, wanted: Request, timeout_s: float) -> dict[str, Any]:
    """Leave a request for the daemon and wait for its answer."""
    folder = home / FOLDER
    folder.mkdir(exist_ok=True)
    # The time in front keeps the order in which people asked.
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
    asked, answered = folder / f"{name}.json", folder / f"{name}.answer"
    atomic_write_json(asked, {"kind": wanted.kind, "data": dict(wanted.data)})
    deadline = time.monotonic() + timeout_s
    while not answered.exists():
        if time.monotonic() > deadline:
            withdrawn = asked.exists()
            asked.unlink(missing_ok=True)
            look = typed("interventions list", home)
            fate = "nothing was stored" if withdrawn else f"see {look} for whether it was stored"
            raise RuntimeError(f"the daemon has not answered within {timeout_s:g} s; {fate}; try again")
        time.sleep(0.05)
    answer = json.loads(answered.read_text(encoding="utf-8"))
    answered.unlink()
    if "error" in answer:
        raise ValueError(str(answer["error"]))
    return dict(answer)


def serve(
    home: Path, store: Store, robot_s: float, *, estopped: bool = False, drifts: DriftBook | None = None
) -> tuple[Request, ...]:
    """Carry out what waits in the inbox, and never fail; the daemon calls this from the thread that owns the store.

    Args:
        home: home directory.
        store: the open store.
        robot_s: robot time now.
        estopped: whether an emergency stop holds the robot; nothing that says it was helped is then believed without a
            word of the release.
        drifts: takes what is said of drift; None: nothing of that is taken.

    Returns:
        What was stored, so that the daemon can act on it: closing an intervention acknowledges its latch.
    """
    folder = home / FOLDER
    if not folder.is_dir():
        return ()
    done = []
    for path in sorted(folder.glob("*.json")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
            path.unlink()
        except OSError:
            continue  # its sender has withdrawn it, or it is none of ours
        try:
            raw = json.loads(text)
            wanted = Request(kind=raw["kind"], data=dict(raw["data"]))
            if estopped and wanted.kind in (CLOSE, ACKNOWLEDGE) and not wanted.data.get("released"):
                ack = typed("ack --released --action ...", home)
                raise ValueError(f"the robot is held in ESTOP; release it there, then {ack}")
            answer = carry_out(store, wanted, robot_s, drifts)
            done.append(wanted)
        except Exception as error:
            # Whatever a file in a folder holds, it must not stop the daemon.
            answer = {"error": str(error) or repr(error)}
        with contextlib.suppress(OSError):  # the disk is full: the sender is told by the missing answer
            atomic_write_json(path.with_suffix(".answer"), answer)
    return tuple(done)


def carry_out(store: Store, wanted: Request, robot_s: float, drifts: DriftBook | None = None) -> dict[str, Any]:
    """Store one request. Returns what `request` does.

    Raises:
        ValueError: unknown kind, or data that makes no sense.
        StoreError: the store refuses it, such as closing what is closed.
    """
    from persistence.records import Deployment, Evaluation, InterruptClass, Intervention

    data = wanted.data
    if wanted.kind == CLOSE:
        store.close_intervention(
            int(data["id"]),
            robot_s,
            operator=str(data["operator"]),
            action=str(data["action"]),
            note=str(data["note"]),
            part_replaced=bool(data["part_replaced"]),
        )
        return {"id": int(data["id"])}
    if wanted.kind == ADD:
        opened_s = max(0.0, robot_s - 60.0 * float(data["minutes"]))
        new = Intervention(
            cause=str(data["cause"]),
            e10_class=InterruptClass(data["e10_class"]),
            opened_s=opened_s,
            note=str(data["note"]),
            operator=str(data["operator"]),
        )
        return {"id": store.add_intervention(new, robot_s), "minutes": (robot_s - opened_s) / 60.0}
    if wanted.kind == ACKNOWLEDGE:
        waiting = store.open_interventions()
        for item in waiting:
            store.close_intervention(
                item.id,
                robot_s,
                operator=str(data["operator"]),
                action=str(data["action"]),
                part_replaced=bool(data["part_replaced"]),
            )
        return {"closed": len(waiting)}
    if wanted.kind == RESUME:
        store.append_event("operator.resumed", robot_s, {"operator": str(data["operator"])})
        return {}
    if wanted.kind == EVALUATED:
        return {"id": store.add_evaluation(Evaluation(**_known(store, data), robot_s=robot_s))}
    if wanted.kind == DEPLOY:
        return {"id": store.add_deployment(Deployment(**_known(store, data), robot_s=robot_s))}
    if wanted.kind in (DRIFT, REPAIR) and drifts is not None:
        return drifts.inject(store, data, robot_s) if wanted.kind == DRIFT else drifts.repair(store, data, robot_s)
    raise ValueError(f"unknown request {wanted.kind!r}; valid: {', '.join(KINDS)}")


def _known(store: Store, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Facts of a skill, if the home knows it."""
    if not store.rows("SELECT 1 FROM skills WHERE name = ?", (data["skill"],)):
        raise ValueError(f"no run of this home has had the skill {data['skill']!r}; start one that does first")
    return data


def _last_robot_s(store: Store) -> float:
    """Robot time of the last heartbeat; 0 before the first run."""
    return float(store.rows("SELECT coalesce(max(heartbeat_s), 0.0) AS robot_s FROM runs")[0]["robot_s"])
