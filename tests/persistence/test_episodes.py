"""Episode files: durable, identical for identical content, never trusted when damaged."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from persistence.episodes import Episode, read_episode, remove_orphans, write_episode
from persistence.errors import EpisodeError
from persistence.home import Home
from persistence.tensors import dump_tensors, load_tensors


def episode(steps: int = 5, uid: str = "attempt-00000001") -> Episode:
    rng = np.random.default_rng(steps)
    return Episode(
        uid=uid,
        skill="walk",
        action_space="walk",
        policy_version="7",
        frames=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        stamps=np.arange(steps + 1) * 0.04,
        actions=rng.normal(size=(steps, 12)).astype(np.float32),
        proposed=rng.normal(size=(steps, 12)).astype(np.float32),
        resting=rng.normal(size=12).astype(np.float32),
        phase=rng.normal(size=steps + 1).astype(np.float32),
        terminated=True,
        evaluation=steps == 1,
        cut_short=steps > 2,
        caught=(0, 3) if steps > 3 else (),
        known_drift="motor_strength left, joint_offset right" if steps > 1 else "",
    )


@pytest.mark.parametrize("steps", [0, 1, 250])
def test_episode_comes_back_as_it_went_in(home: Home, steps: int):
    before = episode(steps)
    file = write_episode(home, before)
    after = read_episode(home.episodes / file.name, file.sha256)
    for field in dataclasses.fields(Episode):
        np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))
    assert (after.steps, after.stamps.dtype, after.frames.dtype) == (steps, np.float64, np.float32)
    assert [path.name for path in home.episodes.iterdir()] == ["attempt-00000001.safetensors"]


def test_equal_content_has_an_equal_hash_in_every_process():
    code = (
        "import hashlib, numpy as np; from persistence.tensors import dump_tensors as dump;"
        "print(hashlib.sha256(dump({'a': np.ones(3), 'b': np.zeros(2)}, {c: c for c in 'qwertz'})).hexdigest())"
    )
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert len({result.stdout for result in run}) == 1


def test_tensors_keep_shape_type_and_metadata():
    tensors = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.zeros((0, 4), np.float32), "c": np.float64(2.0)}
    loaded, metadata = load_tensors(dump_tensors({k: np.asarray(v) for k, v in tensors.items()}, {"x": "y"}))
    assert metadata == {"x": "y"}
    for name, value in tensors.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_views_are_stored_as_they_look():
    array = np.arange(12.0).reshape(3, 4)
    loaded, _ = load_tensors(dump_tensors({"t": array.T, "s": array[:, ::2]}))
    np.testing.assert_array_equal(loaded["t"], array.T)
    np.testing.assert_array_equal(loaded["s"], array[:, ::2])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_episode_is_refused(home: Home, share: float):
    file = write_episode(home, episode())
    path = home.episodes / file.name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for sha256 in (file.sha256, None):
        with pytest.raises(EpisodeError, match="is damaged"):
            read_episode(path, sha256)


def test_flipped_bit_is_refused(home: Home):
    file = write_episode(home, episode())
    path = home.episodes / file.name
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="its sha256 is not"):
        read_episode(path, file.sha256)


def test_missing_episode_is_named(home: Home):
    with pytest.raises(EpisodeError, match="cannot read episode"):
        read_episode(home.episodes / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"actions": np.zeros((4, 12))}, "frames has shape"),
        ({"proposed": np.zeros((5, 11))}, "proposed has shape"),
        ({"resting": np.zeros(11)}, "resting has shape"),
        ({"stamps": np.zeros(5)}, "stamps has shape"),
        ({"frames": np.zeros(6)}, "must be 2-D"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(home: Home, change: dict[str, object], says: str):
    with pytest.raises(EpisodeError, match=says):
        write_episode(home, dataclasses.replace(episode(), **change))
    assert list(home.episodes.iterdir()) == []


def test_orphans_are_removed_and_nothing_else(home: Home):
    kept = write_episode(home, episode(uid="attempt-00000001"))
    write_episode(home, episode(uid="attempt-00000002"))
    (home.episodes / "attempt-00000003.safetensors.tmp").write_bytes(b"half")
    (home.episodes / "notes.txt").write_text("mine")
    removed = remove_orphans(home, [kept.name])
    assert removed == ["attempt-00000002.safetensors", "attempt-00000003.safetensors.tmp"]
    assert sorted(path.name for path in home.episodes.iterdir()) == [kept.name, "notes.txt"]
