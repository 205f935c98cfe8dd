"""The command dagger-jax, and what a wheel holds."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dagger_jax
from experiments import command
from experiments.shared import catalog, program

ROOT = Path(__file__).parents[2]
FOLDERS = {path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py")}


def call(*words, code="from experiments.command import main; main()"):
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_every_experiment_is_listed_with_what_it_shows(capsys):
    assert command.run(["list"]) == 0
    first = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in first.splitlines())
    assert set(lines) == FOLDERS == set(catalog.commands())
    assert {"horizon_growth", "zoo", "benchmark", "bench_gpu"} <= FOLDERS
    assert command.run(["list", "experiments"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("kind", sorted(command.registries()))
def test_every_row_of_a_registry_is_listed(kind, capsys):
    assert command.run(["list", kind]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    registry = command.registries()[kind]
    named = [line for line in command.lines(kind)]
    assert [line[: max(map(len, registry))].rstrip() for line in named] == list(registry)
    assert len(lines) >= 8


def test_arguments_and_sources_are_shown():
    (line,) = (line for line in command.lines("worlds") if line.startswith("random_mdp "))
    assert "states=5, actions=3, seed=0, " in line
    assert line.endswith("this project")


@pytest.mark.parametrize("name", ["horizon_growth", "zoo"])
def test_the_name_of_a_folder_is_that_of_its_claim(name):
    assert catalog.load(name).name == name


def test_a_wrong_name_is_answered_with_the_nearest(capsys):
    assert command.run(["horizon_grwoth", "--out=x"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("dagger-jax: there is no horizon_grwoth; the nearest are horizon_growth, ")
    assert printed.endswith("`dagger-jax list` lists all\n")
    assert printed.count("\n") == 1
    assert command.run(["list", "wolds"]) == 2
    assert "the nearest are worlds, " in capsys.readouterr().err
    assert command.run(["list", "worlds", "more"]) == 2


def test_help_and_version(capsys):
    assert command.run(["--version"]) == 0
    assert capsys.readouterr().out == f"dagger-jax {dagger_jax.__version__}\n"
    for words in ([], ["--help"]):
        assert command.run(words) == 0
        assert "dagger-jax NAME --out=DIR" in capsys.readouterr().out


def test_a_list_loads_nothing_large():
    code = "from experiments.command import run; import sys; run(['list']); sys.exit(str('jax' in sys.modules))"
    assert call(code=code)[2] == "False\n"


def test_an_experiment_runs_as_by_its_module():
    status, printed, errors = call("kv_cost", "--help")
    assert (status, errors) == (0, "")
    assert "\n  dagger-jax kv_cost --out=DIR [flags]\n" in printed
    done = subprocess.run([sys.executable, "-m", "experiments.kv_cost", "--help"], cwd=ROOT, capture_output=True)
    own = done.stdout.decode().replace("python -m experiments.kv_cost", "dagger-jax kv_cost")
    assert printed == own
    assert call("kv_cost", "--no_such_flag") == (2, "", call("kv_cost", "--no_such_flag")[2])
    assert call("kv_cost", "--no_such_flag")[2].startswith("kv_cost: --no_such_flag: there is no such flag")


@pytest.mark.parametrize("name", ["experiments.zoo", "dagger_jax.experiments.zoo"])
def test_a_process_knows_its_experiment_by_both_names(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", name])
    assert program.name() == "zoo"


@pytest.mark.slow
def test_a_wheel_holds_one_package(tmp_path):
    for name in ("dagger_jax", "experiments"):  # a copy, where no earlier build has left anything
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = [sys.executable, "-m", "pip", "-q", "wheel", ".", "--no-deps", "-w", "."]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = file.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"dagger_jax"}
    assert f"\nVersion: {dagger_jax.__version__}\n" in metadata
    sources = [path for path in (ROOT / "experiments").rglob("*") if path.suffix in (".py", ".npz", ".json", ".c")]
    held = {f"dagger_jax/{path.relative_to(ROOT).as_posix()}" for path in sources}
    assert {"dagger_jax/py.typed", "dagger_jax/experiments/worlds/cliff_walking.npz"} <= names
    assert held <= names


def test_what_is_imported_is_required():
    """No more and no less; chex is for those who write tests of their own worlds and learners."""
    setup = ast.parse((ROOT / "setup.py").read_text())
    (listed,) = (
        each.value for each in ast.walk(setup) if isinstance(each, ast.keyword) and each.arg == "install_requires"
    )
    modules = {"absl-py": "absl", "scikit-learn": "sklearn", "orbax-checkpoint": "orbax"}
    names = {re.split("[<>=]", text)[0] for text in ast.literal_eval(listed)}
    files = [path for folder in ("dagger_jax", "experiments") for path in (ROOT / folder).rglob("*.py")]
    heads = set()
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            heads |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            heads.add((node.module or "").partition(".")[0])
    assert heads - set(sys.stdlib_module_names) - {"dagger_jax"} | {"chex"} == {
        modules.get(name, name) for name in names
    }
