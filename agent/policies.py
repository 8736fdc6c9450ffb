"""Finds a stored policy: the zoo's, the newest of a home directory, or one of its versions. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from persistence.checkpoints import checkpoint_seqs, load_newest
from persistence.home import Home
from skills.policy import PolicyWeights

ZOO = Path(__file__).resolve().parent.parent / "skills" / "zoo"
POLICY_TENSOR = "policy"
"""Name of the serialised policy among a checkpoint's tensors."""


def zoo_path(robot: str, family: str) -> Path:
    """Where the trained weights of a family lie in the library."""
    return ZOO / f"{robot}-{family}.safetensors"


def find_policy(which: str, robot: str, family: str, home: Path) -> PolicyWeights:
    """Load a policy.

    Args:
        which: ``zoo``, ``latest``, or a version number that a checkpoint of the home holds.
        robot: name of the robot.
        family: skill family.
        home: home directory.

    Raises:
        ValueError: there is no such policy; the message says which there are.
    """
    if which == "zoo":
        path = zoo_path(robot, family)
        if not path.is_file():
            raise ValueError(f"the zoo has no {family!r} policy for {robot!r}; train one with `perdure run`")
        return PolicyWeights.from_bytes(path.read_bytes())
    directory = Home(home).checkpoints
    versions: dict[int, PolicyWeights] = {}
    for seq in reversed(checkpoint_seqs(directory)):
        loaded = load_newest(directory, max_seq=seq)
        if loaded is None or POLICY_TENSOR not in loaded.tensors:
            continue
        weights = PolicyWeights.from_bytes(loaded.tensors[POLICY_TENSOR].tobytes())
        if which in ("latest", str(weights.version)):
            return weights
        versions[weights.version] = weights
    if not versions:
        raise ValueError(f"no checkpoint in {directory}; run `perdure run` on this home first, or pass --policy zoo")
    raise ValueError(f"no policy {which!r} in {directory}; versions there: {', '.join(map(str, versions))}")
