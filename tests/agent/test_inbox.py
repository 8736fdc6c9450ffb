"""Requests of a person reach the store through the daemon, once; without a daemon directly."""

import json
import threading

import pytest

from agent.inbox import ACKNOWLEDGE, ADD, CLOSE, Request, carry_out, request, serve
from persistence.home import Home, HomeLock
from persistence.records import InterruptClass, Intervention, RunStart, StateInterval
from persistence.store import Store

STUCK = Request(
    kind=ADD, data={"cause": "stuck", "e10_class": "assist", "minutes": 2.0, "note": "cable", "operator": "Ada"}
)


@pytest.fixture
def home(tmp_path):
    with Store.open(tmp_path / "perdure.db") as store:
        run = store.start_run(RunStart(robot="minitaur", started_s=0.0))
        store.heartbeat(run, 600.0, StateInterval.of("ATTEMPT", 0.0, 600.0))
    return tmp_path


def rows(home):
    with Store.open(home / "perdure.db", read_only=True) as store:
        return store.rows("SELECT cause, class, opened_s, closed_s, operator FROM v_interventions ORDER BY id")


def test_without_a_daemon_it_is_stored_at_the_last_heartbeat(home):
    assert request(home, STUCK) == {"id": 1, "minutes": 2.0}
    assert rows(home) == [
        {"cause": "stuck", "class": "assist", "opened_s": 480.0, "closed_s": 600.0, "operator": "Ada"}
    ]


def test_a_running_daemon_stores_it_and_learns_of_it(home):
    answers, served = [], []
    with HomeLock(Home(home)), Store.open(home / "perdure.db") as store:
        asking = threading.Thread(target=lambda: answers.append(request(home, STUCK)))
        asking.start()
        while not served:
            served.extend(serve(home, store, 900.0))
        asking.join(timeout=10.0)
    assert answers == [{"id": 1, "minutes": 2.0}]
    assert served == [STUCK]
    assert rows(home)[0]["closed_s"] == 900.0
    assert list((home / "inbox").iterdir()) == []


def test_what_the_store_refuses_comes_back_as_an_error(home):
    wrong = Request(kind=CLOSE, data={"id": 7, "operator": "Ada", "action": "x", "note": "", "part_replaced": False})
    with pytest.raises(RuntimeError, match="intervention 7 does not exist"):
        request(home, wrong)
    caught = []
    with HomeLock(Home(home)), Store.open(home / "perdure.db") as store:

        def ask():
            try:
                request(home, wrong)
            except ValueError as error:
                caught.append(str(error))

        asking = threading.Thread(target=ask)
        asking.start()
        while asking.is_alive():
            assert serve(home, store, 900.0) == ()
        asking.join()
    assert "intervention 7 does not exist" in caught[0]


def test_a_deaf_daemon_is_an_error_and_nothing_is_left_to_happen_later(home):
    with HomeLock(Home(home)), pytest.raises(RuntimeError, match="nothing was stored"):
        request(home, STUCK, timeout_s=0.2)
    assert list((home / "inbox").iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": "drop", "data": {}}', '{"kind": "add_intervention", "data": {}}']
)
def test_rubbish_in_the_inbox_harms_nothing_and_is_not_tried_again(home, text):
    (home / "inbox").mkdir()
    path = home / "inbox" / "1.json"
    path.write_text(text)
    with Store.open(home / "perdure.db") as store:
        assert serve(home, store, 900.0) == ()
    assert not path.exists()
    assert "error" in json.loads(path.with_suffix(".answer").read_text())
    assert rows(home) == []


def test_no_database_is_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="perdure run"):
        request(tmp_path, STUCK)


@pytest.mark.parametrize("kind", [CLOSE, ACKNOWLEDGE])
def test_what_an_emergency_stop_holds_is_not_closed_without_a_release(home, kind):
    helped = {"id": 1, "operator": "Ada", "action": "x", "note": "", "released": False, "part_replaced": False}
    folder = home / "inbox"
    folder.mkdir()
    with Store.open(home / "perdure.db") as store:
        store.open_intervention(Intervention(cause="estop", e10_class=InterruptClass.ASSIST, opened_s=700.0))
        for released, served in ((False, 0), (True, 1)):
            (folder / "1.json").write_text(json.dumps({"kind": kind, "data": {**helped, "released": released}}))
            assert len(serve(home, store, 900.0, estopped=True)) == served
            assert ("held in ESTOP" in (folder / "1.answer").read_text()) is not released
            assert rows(home)[0]["closed_s"] == (900.0 if released else None)


def test_an_acknowledgement_closes_all_that_is_open(home):
    with HomeLock(Home(home)), Store.open(home / "perdure.db") as store:
        for cause in ("estop", "stuck"):
            store.open_intervention(Intervention(cause=cause, e10_class=InterruptClass.ASSIST, opened_s=600.0))
        data = {"operator": "Ada", "action": "looked", "released": True, "part_replaced": False}
        assert carry_out(store, Request(kind=ACKNOWLEDGE, data=data), 700.0)["closed"] >= 1
    assert all((row["closed_s"], row["operator"]) == (700.0, "Ada") for row in rows(home))


def test_without_a_daemon_there_is_nothing_to_acknowledge(home):
    with pytest.raises(ValueError, match="no daemon runs"):
        request(home, Request(kind=ACKNOWLEDGE, data={}))
