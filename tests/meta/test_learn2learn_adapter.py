"""learn2learn's MAML gives what ours gives, and is loaded without anything that it does not need."""

import sys

import pytest
import torch
from torch import nn

from meta import learn2learn_adapter
from meta.learn2learn_adapter import Learn2LearnMaml, load_maml
from meta.meta_learner import Examples, MetaConfig, Tasks, meta_learner

torch.set_num_threads(1)
FAR_AWAY = {"torchvision", "gym", "qpth", "pytorch_lightning"}
"""What its package would import."""


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)).double()


def draw(seed, n=5):
    generator = torch.Generator().manual_seed(seed)
    sides = [
        Examples(*(torch.randn(n, 16, width, generator=generator, dtype=torch.float64) for width in (6, 4)))
        for _ in range(2)
    ]
    return Tasks(*sides)


@pytest.fixture
def installed():
    """Skips where learn2learn is not, and says why."""
    try:
        load_maml()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("inner_steps", [1, 3])
class TestParity:
    def both(self, first_order, inner_steps):
        config = MetaConfig(inner_rate=0.1, first_order=first_order, inner_steps=inner_steps)
        return [meta_learner(name, network(), config) for name in ("maml", "learn2learn")]

    def test_adapted_weights(self, first_order, inner_steps):
        ours, theirs = self.both(first_order, inner_steps)
        support = Examples(*(part[0] for part in draw(0).support))
        start = {name: parameter.detach() + 0.1 for name, parameter in ours.parameters.items()}
        have, want = ours.adapt(start, support), theirs.adapt(start, support)
        assert have.keys() == want.keys()
        for name, value in want.items():
            assert not value.requires_grad
            assert float((value - start[name]).abs().max()) > 1e-3
            torch.testing.assert_close(have[name], value, rtol=0.0, atol=1e-12)

    def test_meta_gradients(self, first_order, inner_steps):
        learners = self.both(first_order, inner_steps)
        for subject in learners:
            subject.meta_loss(draw(1))[0].backward()
        ours, theirs = learners
        for name, parameter in theirs.parameters.items():
            assert float(parameter.grad.abs().max()) > 1e-4
            torch.testing.assert_close(ours.parameters[name].grad, parameter.grad, rtol=0.0, atol=1e-12)

    def test_after_many_meta_steps(self, first_order, inner_steps):
        ours, theirs = self.both(first_order, inner_steps)
        for seed in range(10):
            figures = ours.meta_step(draw(seed)), theirs.meta_step(draw(seed))
            assert figures[0] == pytest.approx(figures[1], abs=1e-6)
        for name, parameter in theirs.parameters.items():
            torch.testing.assert_close(ours.parameters[name], parameter, rtol=0.0, atol=1e-6)


@pytest.mark.usefixtures("installed")
def test_loads_the_algorithm_alone():
    before = set(sys.modules)
    assert load_maml().__module__ == "learn2learn.algorithms.maml"
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not new & {*FAR_AWAY, "learn2learn"}


class TestLoading:
    """On a package made up for the test."""

    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        (tmp_path / "learn2learn" / "algorithms").mkdir(parents=True)
        (tmp_path / "learn2learn" / "__init__.py").write_text("raise RuntimeError('imports everything')")
        (tmp_path / "learn2learn" / "algorithms" / "__init__.py").write_text("raise RuntimeError('lightning')")
        (tmp_path / "learn2learn" / "utils.py").write_text("NAME = 'leaf'")
        (tmp_path / "learn2learn" / "algorithms" / "maml.py").write_text(
            "from learn2learn.utils import NAME\n\n\nclass MAML:\n    name = NAME\n"
        )
        monkeypatch.setattr(learn2learn_adapter.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setattr(learn2learn_adapter, "FOLDER", tmp_path)
        return tmp_path

    @pytest.mark.usefixtures("package")
    def test_takes_only_leaves_and_leaves_nothing_behind(self):
        assert load_maml().name == "leaf"
        assert not [name for name in sys.modules if name.split(".")[0] == "learn2learn"]

    def test_a_package_that_is_loaded_already_stays(self, package, monkeypatch):
        theirs = type(sys)("learn2learn")
        monkeypatch.setitem(sys.modules, "learn2learn", theirs)
        assert load_maml().name == "leaf"
        assert sys.modules["learn2learn"] is theirs

    def test_a_broken_one_is_cleared_away(self, package):
        (package / "learn2learn" / "utils.py").write_text("import no_such_module_at_all")
        with pytest.raises(ImportError, match="no_such_module_at_all"):
            load_maml()
        assert not [name for name in sys.modules if name.split(".")[0] == "learn2learn"]

    def test_says_how_to_get_it(self, monkeypatch, tmp_path):
        monkeypatch.setattr(learn2learn_adapter.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setattr(learn2learn_adapter, "FOLDER", tmp_path)
        with pytest.raises(ImportError, match="make learn2learn"):
            meta_learner("learn2learn", network())


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="learn_rates"):
        Learn2LearnMaml(network(), MetaConfig(learn_rates=True))
