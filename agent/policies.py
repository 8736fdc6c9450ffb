"""Finds a stored policy: the zoo's, the newest of a home directory, or one of its versions. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from persistence.checkpoints import checkpoint_seqs, load_newest
from persistence.files import sha256_bytes
from persistence.home import Home
from persistence.store import Store
from skills.policy import PolicyWeights
from skills.skill import LearnedSkill

ZOO = Path(__file__).resolve().parent.parent / "skills" / "zoo"
ABOUT = "about.json"
"""Beside each entry of the zoo: where it comes from."""
DEPLOYED = "deployed"
DEPLOYED_SINCE = 4
"""Version of the schema from which on homes know deployed policies."""
POLICY_TENSOR = "policy"
"""Name of the serialised policy among a checkpoint's tensors; that of one skill alone has ``.<skill>`` after it."""


def zoo_directory(robot: str, family: str) -> Path:
    """Where the trained state of a family lies in the library: a directory with one checkpoint.

    Raises:
        ValueError: there is none.
    """
    directory = ZOO / f"{robot}-{family}"
    if not directory.is_dir():
        there = ", ".join(sorted(path.name for path in ZOO.iterdir() if path.is_dir()))
        raise ValueError(f"the zoo has no {family!r} policy for {robot!r} (it has {there}); train one: `perdure run`")
    return directory


def zoo_version(robot: str, family: str) -> int | None:
    """Version of a zoo entry's policy; None: there is no such entry."""
    about = ZOO / f"{robot}-{family}" / ABOUT
    return int(json.loads(about.read_text(encoding="utf-8"))["policy_version"]) if about.is_file() else None


def zoo_settings(robot: str, family: str) -> dict[str, Any]:
    """The settings that a zoo entry was trained with, where they are not the defaults, by dotted name.

    Raises:
        ValueError: there is no such entry.
    """
    about = json.loads((zoo_directory(robot, family) / ABOUT).read_text(encoding="utf-8"))
    return dict(about["settings"])


def find_policy(which: str, robot: str, skill: LearnedSkill, home: Path) -> PolicyWeights:
    """Load a policy.

    Args:
        which: ``zoo``, ``latest``, ``deployed``, or a version that a checkpoint of the home holds or that was deployed.
        robot: name of the robot.
        skill: whose policy; that of its family where it has none of its own.
        home: home directory.

    Raises:
        ValueError: there is no such policy; the message says which there are.
    """
    if which == DEPLOYED:
        row = deployment(home, skill.name)
        if row is None:
            raise ValueError(
                f"no policy of {skill.name!r} is deployed in {home}; deploy one: perdure skills promote {skill.name}"
            )
        return _kept(home, skill.name, row["policy_version"], row["sha256"])
    if which.isdecimal() and deployed_file(home, skill.name, int(which)).is_file():
        return _kept(home, skill.name, int(which))
    directory = zoo_directory(robot, skill.family.name) if which == "zoo" else Home(home).checkpoints
    versions: dict[int, PolicyWeights] = {}
    for seq in reversed(checkpoint_seqs(directory)):
        loaded = load_newest(directory, max_seq=seq)
        stored = policy_bytes(loaded.tensors, skill.name) if loaded is not None else None
        if loaded is None or stored is None:
            continue
        weights = PolicyWeights.from_bytes(stored)
        family = loaded.meta.get("family", skill.family.name)
        if family != skill.family.name:
            raise ValueError(
                f"the policies in {directory} are of the {family!r} family, {skill.name} is of {skill.family.name!r}; "
                "name the home of a run that learned it"
            )
        if which in ("zoo", "latest", str(weights.version)):
            return weights
        versions[weights.version] = weights
    if not versions:
        raise ValueError(f"no checkpoint in {directory}; run `perdure run` on this home first, or pass --policy zoo")
    raise ValueError(f"no policy {which!r} in {directory}; versions there: {', '.join(map(str, versions))}")


def deployment(home: Path, skill: str) -> dict[str, Any] | None:
    """The row of the policy of a skill that is deployed now; None: none is."""
    if not Home(home).db.is_file():
        return None
    with Store.open(Home(home).db, read_only=True) as store:
        if store.connection.execute("PRAGMA user_version").fetchone()[0] < DEPLOYED_SINCE:
            return None
        rows = store.rows("SELECT * FROM v_deployed WHERE skill = ?", (skill,))
    return rows[0] if rows else None


def deployed_file(home: Path, skill: str, version: int) -> Path:
    """Where a policy is kept once it has been deployed."""
    return Home(home).deployed / f"{skill}-{version}.safetensors"


def _kept(home: Path, skill: str, version: int, sha256: str | None = None) -> PolicyWeights:
    path = deployed_file(home, skill, version)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the deployed policy {path} cannot be read ({error.strerror}); promote another") from error
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise ValueError(f"the deployed policy {path} is not what was deployed: its sha256 differs; promote another")
    return PolicyWeights.from_bytes(data)


def policy_bytes(tensors: Mapping[str, NDArray[Any]], skill: str) -> bytes | None:
    """The serialised policy of a skill among a checkpoint's tensors: its own, or its family's; None without either."""
    found = tensors.get(f"{POLICY_TENSOR}.{skill}", tensors.get(POLICY_TENSOR))
    return None if found is None else found.tobytes()
