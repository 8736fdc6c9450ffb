"""The home directory and its lock; backups."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from persistence import backup as backup_module
from persistence.backup import backup
from persistence.errors import HomeError, HomeLockedError, StoreError
from persistence.files import atomic_write, atomic_write_json
from persistence.home import Home, HomeLock, default_home, lock_holder, typed
from persistence.report import check_database


def test_prepare_makes_the_directories_and_leaves_nothing_behind(tmp_path: Path):
    home = Home(tmp_path / "a" / "b").prepare()
    assert sorted(path.name for path in home.root.iterdir()) == ["backups", "checkpoints", "episodes"]
    assert [list(path.iterdir()) for path in home.root.iterdir()] == [[], [], []]


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(HomeError, match=r"file/home is not writable .*choose another with --home or \$PERDURE_HOME"):
        Home(tmp_path / "file" / "home").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_named(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(HomeError, match="is not writable"):
        Home(tmp_path).prepare()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("usual", "`perdure stop`"),
        ("other", "`perdure stop --home {root}/other`"),
        ("with space", "`perdure stop --home '{root}/with space'`"),
    ],
)
def test_a_command_names_the_home_unless_it_is_the_usual_one(tmp_path, monkeypatch, given, words):
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path / "usual"))
    assert typed("stop", tmp_path / given) == words.format(root=tmp_path)
    monkeypatch.delenv("PERDURE_HOME")
    assert "--home" in typed("stop", tmp_path / given)
    assert typed("stop", default_home()) == "`perdure stop`"


def test_second_daemon_is_refused_with_one_line(home: Home):
    with HomeLock(home):
        with pytest.raises(HomeLockedError) as caught:
            HomeLock(home).acquire()
        message = str(caught.value)
        assert f"pid {os.getpid()}" in message
        assert "\n" not in message
        assert lock_holder(home).pid == os.getpid()
    assert lock_holder(home) is None
    HomeLock(home).acquire().release()


def test_lock_of_a_killed_daemon_is_free(home: Home):
    code = (
        "import sys, time; from pathlib import Path; from persistence.home import Home, HomeLock;"
        "lock = HomeLock(Home(Path(sys.argv[1]))).acquire(); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(home.root)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    assert lock_holder(home).pid == child.pid
    with pytest.raises(HomeLockedError, match=f"pid {child.pid}"):
        HomeLock(home).acquire()
    child.kill()
    child.communicate()
    assert lock_holder(home) is None
    HomeLock(home).acquire().release()


def test_asking_for_the_holder_creates_nothing(home: Home):
    assert lock_holder(home) is None
    assert not home.lock.exists()


def test_atomic_write_replaces_and_leaves_no_temporary_file(tmp_path: Path):
    path = tmp_path / "status.json"
    atomic_write(path, b"old")
    atomic_write_json(path, {"b": 1, "a": 2})
    assert path.read_text() == '{"a": 2, "b": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "status.json"
    atomic_write(path, b"old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"


def test_backup_is_one_verified_file_while_the_daemon_writes(home: Home, life, store):
    life.attempt()
    result = backup(home)
    life.attempt()
    assert sorted(path.suffix for path in home.backups.iterdir()) == [".db", ".head"]
    conn = sqlite3.connect(result.path)
    assert check_database(conn, result.path.with_suffix(".head")) == []
    assert conn.execute("SELECT count(*) FROM attempts").fetchone() == (1,)
    conn.close()
    assert store.chain_head().seq == result.head.seq + 2


def test_backups_are_rotated(home: Home, life):
    for _ in range(4):
        life.attempt()
        backup(home, keep=2)
    assert len(list(home.backups.glob("*.db"))) == len(list(home.backups.glob("*.head"))) == 2


def test_backup_that_does_not_verify_is_not_kept(home: Home, life, monkeypatch: pytest.MonkeyPatch):
    life.attempt()
    kept = backup(home)
    monkeypatch.setattr(backup_module, "check_database", lambda conn, head: ["gap: event 2 is followed by 4"])
    with pytest.raises(StoreError, match="did not verify: gap"):
        backup(home)
    assert list(home.backups.glob("*.db*")) == [kept.path]


def test_a_status_query_at_the_same_instant_does_not_refuse_a_daemon(home: Home):
    HomeLock(home).acquire().release()
    with home.lock.open("r") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        HomeLock(home).acquire().release()
