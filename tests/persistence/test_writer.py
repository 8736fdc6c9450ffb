"""The writer thread: order, errors, bounds, and that nobody waits for it."""

import threading
import time

import pytest

from persistence.errors import PersistenceError, StoreError
from persistence.home import Home
from persistence.records import RunStart
from persistence.store import Store
from persistence.writer import StoreWriter, WriterFullError


def test_writes_happen_in_order_in_one_thread(home: Home):
    names = []
    with StoreWriter(home.db) as writer:
        run_id = writer.submit(lambda store: store.start_run(RunStart(robot="r", started_s=0.0))).result(10)
        for i in range(20):
            writer.submit(lambda store, i=i: store.append_event("test.tick", float(i), {"i": i}))
            writer.submit(lambda store: names.append(threading.current_thread().name))
        writer.flush()
        assert run_id == 1
    assert set(names) == {"store-writer"}
    with Store.open(home.db, read_only=True) as store:
        ticks = store.rows("SELECT data ->> 'i' AS i FROM events WHERE kind = 'test.tick' ORDER BY seq")
    assert [row["i"] for row in ticks] == list(range(20))


def test_close_finishes_what_is_queued(home: Home):
    writer = StoreWriter(home.db)
    futures = [writer.submit(lambda store: store.append_event("test.tick", 0.0, {})) for _ in range(30)]
    writer.close()
    writer.close()
    assert [future.result(0).seq for future in futures] == list(range(1, 31))
    with pytest.raises(PersistenceError, match="closed"):
        writer.submit(lambda store: None)


def test_error_goes_to_the_future_and_the_callback_and_the_thread_lives_on(home: Home):
    seen = []
    with StoreWriter(home.db, on_error=seen.append) as writer:
        future = writer.submit(lambda store: store.end_run(99, 0.0))
        with pytest.raises(StoreError, match="run 99 is unknown"):
            future.result(10)
        assert writer.submit(lambda store: 42).result(10) == 42
    assert [type(error) for error in seen] == [StoreError]


def test_an_error_in_the_callback_does_not_end_the_thread(home: Home):
    def fail(error: BaseException) -> None:
        raise RuntimeError("callback")

    with StoreWriter(home.db, on_error=fail) as writer:
        writer.submit(lambda store: store.end_run(99, 0.0))
        assert writer.submit(lambda store: 42).result(10) == 42


def test_submit_never_blocks_and_refuses_beyond_its_capacity(home: Home):
    gate = threading.Event()
    writer = StoreWriter(home.db, capacity=4)
    writer.submit(lambda store: gate.wait(10))
    while writer.backlog:
        time.sleep(0.001)
    for _ in range(4):
        writer.submit(lambda store: None)
    start = time.perf_counter()
    with pytest.raises(WriterFullError, match="4 writes wait"):
        writer.submit(lambda store: None)
    assert time.perf_counter() - start < 0.1
    gate.set()
    writer.close()


def test_a_database_that_cannot_be_opened_fails_at_once(home: Home):
    home.db.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="as a database"):
        StoreWriter(home.db)
