"""The newest value goes from one process to another, whole or not at all."""

import multiprocessing
import pickle

import numpy as np
import pytest

from agent.mailbox import Mailbox

WIDTH, PUTS = 200, 30_000


def write(mailbox: Mailbox) -> None:
    for number in range(1, PUTS + 1):
        mailbox.put(np.full(WIDTH, float(number)))


class TestOneProcess:
    def test_nothing_was_put_yet(self):
        assert Mailbox(4).get(4)[0] == 0

    def test_the_newest_value_and_how_many_there_were(self):
        mailbox = Mailbox(4)
        for number in range(5):
            mailbox.put(np.array([number, 2.0 * number]))
        count, values = mailbox.get(2)
        assert count == 5
        assert values.tolist() == [4.0, 8.0]

    def test_what_was_got_does_not_change_later(self):
        mailbox = Mailbox(2)
        mailbox.put(np.array([1.0, 2.0]))
        _, values = mailbox.get(2)
        for _ in range(3):
            mailbox.put(np.array([9.0, 9.0]))
        assert values.tolist() == [1.0, 2.0]

    def test_in_a_file_the_newest_value_outlives_its_writer(self, tmp_path):
        Mailbox(4, tmp_path / "box").put(np.array([1.0, 2.0]))
        again = Mailbox(4, tmp_path / "box")
        assert again.get(2)[1].tolist() == [1.0, 2.0]
        again.put(np.array([3.0, 4.0]))
        assert pickle.loads(pickle.dumps(again)).get(2)[0] == 2

    def test_too_much_is_refused(self):
        with pytest.raises(ValueError, match="5 numbers do not fit a mailbox of 4"):
            Mailbox(4).put(np.zeros(5))

    def test_a_writer_that_died_while_writing_leaves_the_value_before(self):
        mailbox = Mailbox(2)
        mailbox.put(np.array([1.0, 2.0]))
        mailbox._slots[0][0], mailbox._slots[0][1] = 2.0, 7.0  # the second value, cut short
        count, values = mailbox.get(2)
        assert (count, values.tolist()) == (1, [1.0, 2.0])

    def test_a_slot_that_never_becomes_whole_is_an_error(self):
        mailbox = Mailbox(2)
        mailbox.put(np.array([1.0, 2.0]))
        mailbox._slots[1][-1] = 0.0
        with pytest.raises(RuntimeError, match="broken"):
            mailbox.get(2)


def test_between_processes_every_copy_is_whole_and_none_goes_back():
    mailbox = Mailbox(WIDTH)
    process = multiprocessing.get_context("spawn").Process(target=write, args=(mailbox,))
    process.start()
    last, copies = 0, 0
    while last < PUTS:
        count, values = mailbox.get(WIDTH)
        assert count >= last
        assert np.all(values == float(count))
        copies += count > last
        last = count
        assert process.is_alive() or mailbox.get(1)[0] == PUTS
    process.join()
    assert copies > 10
