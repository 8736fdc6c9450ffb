"""learn2learn's MAML as a meta-learner of ours: the same adapted parameters, and a check on our own engine.

Importing learn2learn as a package needs torchvision and gym, and installing it with what it depends on takes NumPy back
below 2 (docs/decisions/0002-learn2learn.md). Its MAML needs torch alone, so only the modules of its algorithm are
loaded, from an installation without dependencies: an ordinary one, or the folder ``learn2learn`` in the virtual
environment, which `make test` fills where there is a C compiler.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from meta.meta_learner import Examples, GradientMetaLearner, Loss, MetaConfig, Parameters, Tasks

PACKAGE = "learn2learn"
FOLDER = Path(sys.prefix) / PACKAGE
"""Where `make test` installs it, apart from other packages: its archive also holds a package called ``tests``."""
NOT_THERE = "learn2learn is not installed; `make learn2learn` builds it without its dependencies"


def package_folder() -> Path | None:
    """Where the package lies, found without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE) if PACKAGE not in sys.modules else sys.modules[PACKAGE].__spec__
    installed = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return next((f for f in (*installed, FOLDER / PACKAGE) if (f / "algorithms" / "maml.py").is_file()), None)


def load_maml() -> Any:
    """learn2learn's class MAML; afterwards no module of learn2learn is left half imported.

    Raises:
        ImportError: learn2learn is not installed, or its algorithm cannot be loaded.
    """
    folder = package_folder()
    if folder is None:
        raise ImportError(NOT_THERE)
    with _bare_packages(folder):
        return importlib.import_module(f"{PACKAGE}.algorithms.maml").MAML


@contextmanager
def _bare_packages(folder: Path) -> Iterator[None]:
    """Let modules be imported without the packages' own ``__init__``, which import everything else."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] == PACKAGE]

    before = {name: sys.modules.pop(name) for name in ours()}
    try:
        for name, place in ((PACKAGE, folder), (f"{PACKAGE}.algorithms", folder / "algorithms")):
            bare = ModuleType(name)
            bare.__path__ = [str(place)]
            sys.modules[name] = bare
        yield
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


class Learn2LearnMaml(GradientMetaLearner):
    """MAML by learn2learn, one task after the other."""

    def __init__(self, network: nn.Module, config: MetaConfig, loss: Loss = nn.functional.mse_loss) -> None:
        """Wrap a network.

        Raises:
            ImportError: learn2learn is not installed.
            ValueError: the inner rates are to be learned, which its MAML cannot do.
        """
        if config.learn_rates:
            raise ValueError("meta-learner 'learn2learn' cannot learn_rates; 'maml' can")
        maml = load_maml()
        super().__init__(network, config, loss)
        self._wrap = partial(maml, lr=config.inner_rate, first_order=config.first_order)
        self._maml = self._wrap(self._network)

    def adapt(self, parameters: Mapping[str, Tensor], support: Examples) -> Parameters:
        """Take the inner steps on one task's examples."""
        network = copy.deepcopy(self._network)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(parameters[name])
        adapted, _ = self._inner(self._wrap(network), support)
        return {name: parameter.detach() for name, parameter in adapted.module.named_parameters()}

    def meta_loss(self, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """Mean loss over all tasks after adaptation, and before it."""
        after, before = [], []
        for support, query in zip(zip(*tasks.support, strict=True), zip(*tasks.query, strict=True), strict=True):
            adapted, first = self._inner(self._maml, Examples(*support))
            after.append(self._loss(adapted(query[0]), query[1]))
            before.append(first)
        return torch.stack(after).mean(), torch.stack(before).mean()

    def _inner(self, maml: Any, support: Examples) -> tuple[Any, Tensor]:
        """An adapted clone, and the loss on support before the first step."""
        clone, losses = maml.clone(), []
        for _ in range(self.config.inner_steps):
            losses.append(self._loss(clone(support.inputs), support.targets))
            clone.adapt(losses[-1])
        return clone, losses[0].detach()
