"""The architecture: imports go strictly down, the face is small, nothing is computed at import."""

import ast
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dagger_jax

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dagger_jax"
EXPERIMENTS = ROOT / "experiments"

# A module may import modules of earlier lines only. A new module needs a place here.
ORDER = [
    ["checks", "types"],
    ["intervals", "loops", "memory", "names", "precision", "randomness", "ties"],
    ["tabular.npz", "tabular.transitions", "sampling"],
    ["agents", "laws", "protocols"],
    ["schedules.columns", "schedules.partitions"],
    ["schedules.betas"],
    ["schedules"],
    ["control.network", "walk"],
    ["tabular.csr"],
    ["tabular.worlds"],
    ["tabular.files"],
    ["tabular.experts", "tabular.learners.iterates", "tabular.learners.rules"],
    ["tabular.learners.tables"],
    ["tabular.learners.online"],
    ["tabular.learners"],
    ["tabular.gallery.parts"],
    [
        "tabular.gallery.classic",
        "tabular.gallery.games",
        "tabular.gallery.labelling",
        "tabular.gallery.lower_bounds",
        "tabular.gallery.regimes",
    ],
    ["tabular.gallery"],
    ["tabular"],
    ["tabular.joint", "tabular.rollout", "tabular.exact"],
    ["tabular.labels", "tabular.oracle", "controllers.limits", "tabular.gates"],
    ["controllers.noise"],
    ["controllers"],
    ["loop"],
    ["control.training", "tabular.interaction"],
    ["control"],
    ["algorithms.row", "evidence", "problems", "strategies"],
    ["algorithms.forms", "algorithms.published", "algorithms.rollouts"],
    ["algorithms.language"],
    ["algorithms"],
    ["family", "bounds.chunks", "bounds.rounds", "growth", "tabular.planning", "detect.ratio", "detect.samples"],
    ["bounds.costs", "bounds.mixtures", "bounds.statistics", "tabular.known_dynamics"],
    ["bounds.registry"],
    ["bounds"],
    ["detect.learned"],
    ["detect"],
    ["runtime.files"],
    ["text.corpus", "text.transformer"],
    ["text.writers"],
    ["text.losses", "text.walk"],
    ["text.worlds"],
    ["text.evidence"],
    ["text.training"],
    ["text.checkpoint", "text.detectors", "text.pairs", "text.scheming"],
    ["text"],
    ["runtime.runs"],
    ["learners", "runs"],
    ["evaluation"],
    ["cost"],
    ["runtime.cache", "runtime.programs", "runtime.progress", "runtime.record", "runtime.store"],
    ["runtime.lock"],
    ["runtime"],
    ["report.settling"],
    ["report.drawing"],
    ["report.html_page"],
    ["report"],
    [""],  # the package's face
]
CONFIGURES = "runtime.cache"
LAYER = {module: layer for layer, modules in enumerate(ORDER) for module in modules}


def name_of(path):
    """dagger_jax/tabular/worlds.py -> tabular.worlds; an __init__.py has its folder's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
EVERY = pytest.mark.parametrize("module", MODULES)


def imported(path):
    """Full names that a file imports, anywhere in it: `from a import b` counts as a.b. Only experiments use dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or EXPERIMENTS in path.parents, f"{path}: relative import"
            above = path.parent.relative_to(ROOT).parts if node.level else ()
            package = (*above[: len(above) + 1 - node.level], *filter(None, [node.module]))
            yield from (".".join((*package, alias.name)) for alias in node.names)


def own_imports(path):
    """Modules of this package that a file imports."""
    for name in imported(path):
        head, _, rest = name.partition(".")
        if head == "dagger_jax":
            while rest not in MODULES:  # from dagger_jax.types import Array: the module is dagger_jax.types
                rest = rest.rpartition(".")[0]
            yield rest


def test_every_module_has_a_layer():
    assert set(MODULES) == set(LAYER)
    assert len(MODULES) == len(list(itertools.chain(*ORDER)))


@EVERY
def test_imports_go_strictly_down(module):
    for other in own_imports(MODULES[module]):
        assert LAYER[other] < LAYER[module], f"{module} imports {other or 'dagger_jax itself'}"


def test_the_parser_sees_imports():
    """The control: imports of three kinds, known to be there."""
    assert set(own_imports(MODULES["tabular.oracle"])) >= {"tabular.exact", "tabular.worlds", "precision", "types"}
    assert set(own_imports(MODULES["tabular.rollout"])) >= {"randomness", "types", "walk"}
    assert set(own_imports(MODULES[""])) >= {"algorithms", "tabular.gallery"}


@EVERY
def test_the_engine_knows_no_experiments_and_no_tests(module):
    heads = {name.partition(".")[0] for name in imported(MODULES[module])}
    assert not heads & {"experiments", "tests", "pytest", "absl"}


def test_experiments_know_no_tests_and_no_name_of_their_own():
    """A wheel carries them as dagger_jax.experiments: what they import of each other is relative."""
    files = list(EXPERIMENTS.rglob("*.py"))
    assert len(files) > 50
    for path in files:
        assert not {name.partition(".")[0] for name in imported(path)} & {"tests", "pytest"}, path
        assert "experiments" not in {
            (node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and not node.level
        }, path


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*/*.py")), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_no_experiment_imports_another(path):
    common = {"claim", "shared"}
    own = common if path.parent.name in common else common | {path.parent.name}
    folders = {name.split(".")[1] for name in imported(path) if name.startswith("experiments.")}
    assert folders <= own


def test_the_parser_sees_imports_of_experiments():
    """The control: a module of the same folder, of another one, and a package itself."""
    seen = set(imported(EXPERIMENTS / "zoo" / "experiment.py"))
    assert seen >= {"experiments.claim", "experiments.zoo.findings", "experiments.zoo.blocks.measure"}


@EVERY
def test_no_global_switch(module):
    """Precision is scoped: `precision` alone enables float64. JAX's configuration is `runtime.cache`'s alone."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        name = getattr(node, "attr", None) or getattr(node, "value", None)
        assert name != "jax_enable_x64"
        assert not isinstance(node, ast.Attribute) or node.attr != "enable_x64" or module == "precision"
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "jax.config") or module == CONFIGURES


def test_the_face_is_small_and_sorted():
    lines = MODULES[""].read_text().splitlines()
    assert len(lines) < 110
    kind = lambda name: 0 if name.isupper() else 1 if name[0].isupper() else 2
    assert dagger_jax.__all__ == sorted(dagger_jax.__all__, key=lambda name: (kind(name), name))
    assert len(set(dagger_jax.__all__)) == len(dagger_jax.__all__)
    assert all(hasattr(dagger_jax, name) for name in dagger_jax.__all__)
    assert not hasattr(dagger_jax, "no_such_name")


def test_the_face_alone_loads_nothing_large():
    large = {"sklearn", "matplotlib", "pyarrow", "rich", "scipy.stats", "jax"}
    code = f"import sys, dagger_jax; sys.exit(str({large} & sys.modules.keys() or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip() == ""
    code = f"import sys, dagger_jax; dagger_jax.bounds; sys.exit(str({large} & sys.modules.keys() or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "jax" in done.stderr  # the control: what is asked for is imported
    assert "sklearn" not in done.stderr


def without_a_backend(code):
    """Runs code where JAX can start no backend: whatever computes anything fails."""
    environment = os.environ | {"JAX_PLATFORMS": "no_such_platform"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_nothing_is_computed_at_import():
    """Every module is imported without a backend; the control is that one array needs a backend."""
    names = [f"dagger_jax.{name}".rstrip(".") for name in MODULES]
    done = without_a_backend(f"import importlib\nfor name in {names}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr[-2000:]
    assert without_a_backend("import dagger_jax, jax.numpy as jnp; jnp.zeros(1)").returncode != 0
