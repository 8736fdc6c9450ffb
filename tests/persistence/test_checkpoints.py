"""Checkpoints: a damaged one is never used, and an older one never goes before the new one has verified."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from persistence import checkpoints
from persistence.checkpoints import checkpoint_seqs, load_newest, save_checkpoint, verify_checkpoint
from persistence.errors import CheckpointError


def save(directory: Path, seq: int, **options: object) -> None:
    tensors = {"w": np.full((8, 8), seq, np.float32), "step": np.array(seq)}
    save_checkpoint(directory, seq, tensors, {"seq": seq, "rng": {"state": 2**100 + seq}}, **options)


def test_checkpoint_comes_back_as_it_went_in(tmp_path: Path):
    save(tmp_path, 7)
    loaded = load_newest(tmp_path)
    assert (loaded.seq, loaded.refused) == (7, ())
    np.testing.assert_array_equal(loaded.tensors["w"], np.full((8, 8), 7))
    assert loaded.meta == {"seq": 7, "rng": {"state": 2**100 + 7}}
    assert sorted(path.name for path in (tmp_path / "ckpt-7").iterdir()) == ["manifest.json", "tensors.safetensors"]


def test_nothing_saved_is_no_error(tmp_path: Path):
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "absent") is None


def test_newest_recorded_one_is_loaded(tmp_path: Path):
    for seq in (1, 2, 10):
        save(tmp_path, seq)
    assert load_newest(tmp_path).seq == 10
    assert load_newest(tmp_path, max_seq=9).seq == 2


def test_leftover_of_an_uncommitted_checkpoint_is_replaced(tmp_path: Path):
    save(tmp_path, 1)
    save_checkpoint(tmp_path, 1, {"w": np.zeros(2)}, {"second": True})
    assert load_newest(tmp_path).meta == {"second": True}
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-1"]


def test_three_are_kept_and_protected_ones_stay(tmp_path: Path):
    for seq in range(1, 8):
        save(tmp_path, seq, protect={2})
    assert checkpoint_seqs(tmp_path) == [2, 5, 6, 7]
    with pytest.raises(ValueError, match="keep=2 checkpoints is too few; valid: 3 or more"):
        save(tmp_path, 8, keep=2)


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["manifest.json", "tensors.safetensors"])
@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, Path.unlink])
def test_damaged_checkpoint_is_refused_and_the_one_before_is_used(tmp_path: Path, name: str, damage):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / "ckpt-2" / name)
    loaded = load_newest(tmp_path)
    assert loaded.seq == 1
    assert len(loaded.refused) == 1
    assert "ckpt-2 is damaged" in loaded.refused[0]
    assert name in loaded.refused[0]
    with pytest.raises(CheckpointError, match="ckpt-2 is damaged"):
        verify_checkpoint(tmp_path / "ckpt-2")


def test_every_flipped_byte_of_a_manifest_is_found(tmp_path: Path):
    save(tmp_path, 1)
    path = tmp_path / "ckpt-1" / "manifest.json"
    data = path.read_bytes()
    for index in range(0, len(data), 3):
        path.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        with pytest.raises(CheckpointError):
            verify_checkpoint(tmp_path / "ckpt-1")


def test_all_damaged_is_an_error_that_names_them(tmp_path: Path):
    for seq in (1, 2):
        save(tmp_path, seq)
        damage_truncate(tmp_path / f"ckpt-{seq}" / "tensors.safetensors")
    with pytest.raises(CheckpointError, match=r"no usable checkpoint .*ckpt-2.*ckpt-1.*--fresh"):
        load_newest(tmp_path)


def test_a_renamed_checkpoint_is_refused(tmp_path: Path):
    save(tmp_path, 1)
    (tmp_path / "ckpt-1").rename(tmp_path / "ckpt-5")
    with pytest.raises(CheckpointError, match="belongs to ckpt-1"):
        load_newest(tmp_path)


def test_old_ones_stay_when_the_new_one_does_not_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for seq in (1, 2, 3):
        save(tmp_path, seq)
    write = checkpoints.write_synced
    monkeypatch.setattr(checkpoints, "write_synced", lambda path, data: write(path, data[:-1]))
    with pytest.raises(CheckpointError, match="did not verify"):
        save(tmp_path, 4)
    assert load_newest(tmp_path).seq == 3
    assert checkpoint_seqs(tmp_path) == [1, 2, 3, 4]


CHILD = """
import sys, numpy as np
from pathlib import Path
from persistence.checkpoints import save_checkpoint
for seq in range(1, 100000):
    save_checkpoint(Path(sys.argv[1]), seq, {"w": np.full(50000, seq)}, {"seq": seq})
    print(seq, flush=True)
"""


def test_kills_lose_no_acknowledged_checkpoint(tmp_path: Path):
    rng = np.random.default_rng(0)
    for trial in range(5):
        directory = tmp_path / str(trial)
        directory.mkdir()
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(directory)], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = [1, *map(int, child.communicate()[0].split())][-1]
        loaded = load_newest(directory)
        assert loaded.seq in (acknowledged, acknowledged + 1)
        assert loaded.refused == ()
        assert np.all(loaded.tensors["w"] == loaded.seq)
        save(directory, loaded.seq + 1)
        assert not list(directory.glob("*.tmp"))
