"""Studies: cells saved as they end, going on where it stopped, summaries."""

import fcntl
import json
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks import _daemon
from benchmarks._study import Study, main, run_cells, summarise


def square(settings, seed):
    if settings.get("fails_at") == seed:
        raise RuntimeError("the motor is hot")
    with Path(settings["log"]).open("a") as log:
        print(settings["base"], seed, os.getpid(), file=log)
    settings["filled_in"] = True  # as some libraries do to what they are given
    return {"square": settings["base"] ** 2 + seed, "reached": {"step": None if seed == 2 else 10 * seed}}


def make(folder, **two):
    log = str(folder / "log")
    return Study(
        name="squares",
        module="benchmarks.squares",
        variants={"two": {"base": 2, "log": log, **two}, "three": {"base": 3, "log": log}},
        cell=square,
        figures={"square": "higher", "reached.step": "lower"},
        seeds=(0, 1),
        results=folder / "results",
    )


@pytest.fixture
def study(tmp_path):
    return make(tmp_path)


def ran(folder):
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def saved(folder, name):
    return json.loads((folder / "results" / name).read_text())


def test_runs_each_cell_in_a_process_of_its_own_and_only_once(study, tmp_path):
    run_cells(study, ["two", "three"], [0, 1], jobs=2)
    run_cells(study, ["two", "three"], [0, 1])
    lines = ran(tmp_path)
    assert sorted(line[:2] for line in lines) == [["2", "0"], ["2", "1"], ["3", "0"], ["3", "1"]]
    pids = {line[2] for line in lines}
    assert len(pids) == 4
    assert str(os.getpid()) not in pids


def sleep(settings, seed):
    daemon = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60.0)"], preexec_fn=_daemon._stop_with_study
    )
    Path(settings["pids"]).write_text(f"{os.getpid()} {daemon.pid}")
    time.sleep(60.0)


def endless(pids):
    """Is called in a process of its own."""
    study = Study(
        name="endless", module="", variants={"one": {"pids": pids}}, cell=sleep, results=Path(pids).with_name("results")
    )
    run_cells(study, ["one"], [0])


def test_a_study_that_is_killed_takes_its_cells_and_their_daemons_along(tmp_path):
    pids = tmp_path / "pids"
    study = get_context("spawn").Process(target=endless, args=(str(pids),))
    study.start()
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    study.kill()
    study.join()
    until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def until(true):
    deadline_s = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def alive(pid):
    """A process that has ended may wait for whoever inherited it to say so."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_cell_says_how_it_came_about(study, tmp_path):
    run_cells(study, ["three"], [1])
    cell = saved(tmp_path, "squares/three-seed1.json")
    assert (cell["variant"], cell["seed"], cell["square"]) == ("three", 1, 10)
    assert cell["settings"] == {"base": 3, "log": str(tmp_path / "log")}
    assert cell["command"] == "python -m benchmarks.squares --only three --seeds 1"
    assert {"cpu", "cores", "versions", "commit", "utc"} <= set(cell["machine"])
    assert cell["wall_s"] >= 0
    assert [path.name for path in (tmp_path / "results" / "squares").iterdir()] == ["three-seed1.json"]


def test_a_failed_cell_stops_no_other(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"1 of 4 cells of squares failed:\ntwo seed 0: failed: RuntimeError: the motor is hot"
    ):
        run_cells(make(tmp_path, fails_at=0), ["two", "three"], [0, 1])
    assert len(ran(tmp_path)) == 3


def test_a_cell_of_other_settings_is_never_taken_for_this_one(study, tmp_path):
    run_cells(make(tmp_path, fails_at=0), ["two"], [1])
    with pytest.raises(ValueError, match=r"two-seed1.json was run with settings .*'fails_at': 0.*another name"):
        run_cells(study, ["two"], [0, 1])


def test_a_cell_that_another_process_is_at_is_left_to_it(study, tmp_path):
    lock = tmp_path / "results" / "squares" / "two-seed0.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run_cells(study, ["two"], [0])
        assert not (tmp_path / "log").exists()
    run_cells(study, ["two"], [0])
    assert len(ran(tmp_path)) == 1


def test_summary_is_over_seeds_and_counts_never_reached_as_the_worst(study, tmp_path):
    run_cells(study, ["two"], [0, 1, 2, 3])
    summary = summarise(study)
    figures = summary["figures"]["two"]
    assert summary["seeds"] == {"two": [0, 1, 2, 3]}
    assert figures["square"]["iqm"] == 5.5
    assert figures["square"]["worst"] == 4
    # Steps 0, 10, never, 30: the middle half is 10 and 30.
    assert figures["reached.step"]["iqm"] == 20
    assert figures["reached.step"]["low"] < 20
    on_disk = saved(tmp_path, "squares.json")["figures"]["two"]["reached.step"]
    assert (on_disk["iqm"], on_disk["worst"], on_disk["high"]) == (20, None, None)


def test_the_summary_says_which_defaults_were_others_when_a_cell_ran(study):
    run_cells(study, ["three"], [0])
    assert "other_defaults" not in summarise(study)
    path = study.path("three", 0)
    cell = json.loads(path.read_text())
    cell["defaults"]["learner"]["batch"] = 64
    path.write_text(json.dumps(cell))
    assert summarise(study)["other_defaults"] == {"three": {"seed0": {"learner.batch": 64}}}


def test_command_line_picks_variants_and_seeds(study, tmp_path, capsys):
    main(study, ["--only", "three", "--seeds", "5"])
    assert [line[:2] for line in ran(tmp_path)] == [["3", "5"]]
    main(study, ["--summary"])
    assert len(ran(tmp_path)) == 1
    assert '"three"' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(study, ["--only", "four"])


def test_names_that_make_no_file_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'a/b'"):
        Study(name="squares", module="m", variants={"a/b": {}}, cell=square)
