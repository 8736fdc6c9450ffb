"""What a starting learner does beside its policy, and that it says that it lives meanwhile."""

from types import SimpleNamespace

from agent.learner_messages import Alive
from agent.learner_process import _Worker


class Counting:
    def __init__(self, said):
        self.said, self.made, self.refused_reason = said, 0, ""

    def update(self, n):
        self.said.append(n)
        self.made += n
        return {"made": float(self.made)}


def worker(*updates):
    """A worker without a process, with something beside the policy for each number of updates per attempt."""
    said = []
    made = object.__new__(_Worker)
    beside = [(Counting(said), each) for each in updates]
    made._studies = SimpleNamespace(by_attempt=beside, new_mistakes=lambda: "")
    made._connection = SimpleNamespace(send=said.append)
    made._refused = ""
    return made, beside, said


def test_what_is_owed_is_made_bit_by_bit_with_signs_of_life_between():
    made, ((learner, _), (other, _)), said = worker(60, 5)
    assert made._learn_beside(4) == {"made": 20.0}
    assert (learner.made, other.made) == (240, 20)
    assert said == [100, Alive(), 100, Alive(), 40, 20]


def test_after_many_attempts_no_more_than_so_many_are_made():
    made, ((learner, _),), said = worker(60)
    made._learn_beside(1000)
    assert learner.made == 2000
    assert said[:-1:2] == [100] * 19
    assert said[1::2] == [Alive()] * 19


def test_after_one_attempt_it_is_made_at_once():
    made, _, said = worker(60)
    made._learn_beside(1)
    assert said == [60]
