"""The arrows between the rooms, read from the source: who may import whom, and what nobody may use."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("agent", "skills", "persistence", "meta", "sim")
ALLOWED = {
    "agent": {"agent", "skills", "meta", "persistence", "sim"},
    "skills": {"skills", "meta", "sim"},
    "meta": {"meta", "sim"},
    "persistence": {"persistence"},
    "sim": {"sim"},
}
LEARNER_ONLY = {"agent/learning.py"}
"""Modules of the learner's own process; they may import torch and what needs it."""


def modules() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a tree; ``from a import b`` gives both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            yield node.module or ""


def top_level(tree: ast.Module) -> ast.Module:
    """Without functions and what only the type checker reads."""

    def runs(node: ast.stmt) -> bool:
        checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        return not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or checking)

    return ast.Module(body=[node for node in tree.body if runs(node)], type_ignores=[])


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def calls(tree: ast.AST) -> Iterator[str]:
    yield from (dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_arrows_between_rooms_point_one_way(path):
    used = {name.split(".")[0] for name in imports(tree_of(path))} & set(ROOMS)
    assert used <= ALLOWED[room_of(path)]


@pytest.mark.parametrize("path", [p for p in modules() if room_of(p) in ("skills", "meta")], ids=name_of)
def test_skills_and_meta_see_of_sim_only_what_all_share(path):
    used = {name for name in imports(tree_of(path)) if name.split(".")[0] == "sim"}
    assert used <= {"sim.robot"}


def test_what_all_share_imports_numpy_alone():
    used = {name.split(".")[0] for name in imports(tree_of(ROOT / "sim" / "robot.py"))}
    assert used - set(sys.stdlib_module_names) == {"numpy"}


def users_of(packages: set[str]) -> set[Path]:
    return {path for path in modules() if {name.split(".")[0] for name in imports(tree_of(path))} & packages}


def test_the_simulator_alone_opens_the_physics():
    assert {room_of(path) for path in users_of({"pybullet", "pybullet_data", "pybullet_utils"})} == {"sim"}


def test_persistence_alone_opens_the_database():
    assert {room_of(path) for path in users_of({"sqlite_utils"})} == {"persistence"}
    for path in users_of({"sqlite3"}):
        if room_of(path) != "persistence":  # others may name its version
            used = {
                node.attr
                for node in ast.walk(tree_of(path))
                if getattr(node, "value", None) is not None
                and isinstance(node, ast.Attribute)
                and dotted(node.value) == "sqlite3"
            }
            assert used == {"sqlite_version"}, name_of(path)


@pytest.mark.parametrize(
    "path", [p for p in modules() if room_of(p) == "agent" and name_of(p) not in LEARNER_ONLY], ids=name_of
)
def test_the_daemon_imports_no_torch_at_module_level(path):
    used = {name.split(".")[0] for name in imports(top_level(tree_of(path)))}
    assert "torch" not in used
    assert not {"agent.learning", "skills.learners.sac"} & set(imports(top_level(tree_of(path))))


def test_importing_the_daemon_loads_no_torch_and_the_command_line_little_at_all():
    code = (
        "import sys, agent.cli; light = {'torch', 'pybullet', 'scipy', 'matplotlib'} & set(sys.modules); "
        "import agent.daemon, agent.learner_process; print(sorted(light), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_data_is_never_code(path):
    tree = tree_of(path)
    packages = {name.split(".")[0] for name in imports(tree)}
    assert not packages & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    found = set(calls(tree))
    assert not found & {"eval", "exec", "compile", "builtins.eval", "builtins.exec", "torch.load", "torch.save"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in ("np.load", "numpy.load"):
            assert not any(word.arg == "allow_pickle" for word in node.keywords)
        if isinstance(node, ast.Call) and dotted(node.func).startswith("subprocess."):
            assert not any(word.arg == "shell" for word in node.keywords)
