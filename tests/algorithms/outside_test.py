"""An algorithm, a world and a bound of a user's own: what the package's rows go through, without a change to it."""

import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

import dagger_jax as dj
from dagger_jax import evidence, names, randomness, schedules
from dagger_jax.algorithms import built, find
from dagger_jax.family import family
from dagger_jax.precision import float64
from dagger_jax.tabular import exact, rollout
from experiments.bound_sweep import experiment as bound_sweep
from experiments.claim import BadFlag, Settings, options
from experiments.claim.running import execute
from experiments.horizon_growth import experiment as horizon_growth

T = ROUNDS = 6
MODULE = """
    import dagger_jax as dj
    import numpy as np

    def make(horizon=8):
        rng = np.random.default_rng(0)
        world = dj.tabular.world(rng.dirichlet(np.ones(4), (4, 3)), rng.random((4, 3)), np.ones(4) / 4, horizon=horizon)
        return dj.problem(world, expert="optimal")

    def rule(rounds, horizon):
        return dj.schedule("partition:1+2", rounds=rounds, horizon=horizon)

    algorithm = dj.ALGORITHMS["chunked"]._replace(
        build=lambda rounds, horizon, chunk: rule(rounds, horizon), source="own"
    )
    # Looser than the one that it is made of.
    bound = dj.BOUNDS["u T eta"]._replace(value=lambda row, seen, known: 2 * dj.bounds.own_law(row, seen, known))
    number = 3

    def broken(horizon):
        raise RuntimeError("no such day")

    def short(horizon):
        return make(horizon - 1)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The name of a module in the current folder."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_an_algorithm_goes_through_the_family(mine, monkeypatch):
    """It is in the family, and is played alike by both interpreters: |z| <= 4.5 in some 100 cells."""
    row = find(f"{mine}:algorithm")
    monkeypatch.setitem(dj.ALGORITHMS, "own", row)
    table = schedules.validate(family(ROUNDS, T)["own"])
    problem, episodes = dj.problem(f"{mine}:make", horizon=T), 8192
    policy = np.random.default_rng(1).dirichlet(np.ones(3), (T, 4))
    law = float64(lambda row: exact.frequencies(problem, exact.play(problem, policy, row)))(schedules.row(table, 1))
    key, ids = randomness.for_round(randomness.words(jax.random.key(2)), 1), jnp.arange(episodes, dtype=jnp.uint32)
    play, _ = jax.jit(rollout.play)(rollout.tables(problem), policy, schedules.row(table, 1), key, ids)
    for seen, wanted in ((play.novice, law.novice), (play.guide, law.guide)):
        assert wanted is not None
        error = np.sqrt(np.maximum(wanted * (1 - wanted), 1 / episodes) / episodes)
        assert np.abs((np.asarray(seen) - wanted) / error).max() < 4.5


def test_a_bound_goes_through_the_sweep(mine, monkeypatch):
    """It is a theorem of the sweep, with its slack, and of every row of its kinds."""
    monkeypatch.setitem(dj.BOUNDS, "own", names.own(f"{mine}:bound"))
    settings = Settings(dict(bound_sweep.SWEEP["quick"]) | {"seed": 0, "runs": 1, "horizons": (4,), "worlds": 10})
    points = [point for point in bound_sweep.measure(settings, bound_sweep.cells(settings)[0]).points]
    own = [point for point in points if point["theorem"] == "own"]
    assert len(own) == 10
    assert min(point["slack"] for point in own) >= -bound_sweep.TOLERANCE
    problem = dj.problem(f"{mine}:make", horizon=4)
    row, known = schedules.row(schedules.behavioural_cloning(1, 4), 0), evidence.constants(problem)
    seen = evidence.measure(problem, np.full((1, 4, 3), 1 / 3), row, known)
    found = dj.bounds.slacks(row, seen, known)
    assert found["own"] > found["u T eta"] >= 0


def test_a_binary_takes_them_by_name(mine, tmp_path):
    """And they are what its points are about; the run's identity has the module's digest."""
    flags = ["--preset=quick", "--runs=2", "--horizons=4,8", "--chunks=4", f"--worlds={mine}:make"]
    flags += [f"--algorithms=dagger,{mine}:algorithm,{mine}:rule,linear:1..4"]
    out = tmp_path / "out"
    assert execute(horizon_growth.CLAIM, ["horizon_growth", f"--out={out}", *flags]) in (0, 5)
    table = pq.read_table(out / "points.parquet")
    assert set(table["algorithm"].to_pylist()) == {"dagger", f"{mine}:algorithm", f"{mine}:rule", "linear:1..4"}
    assert set(table["world"].to_pylist()) == {f"{mine}:make"}
    request = options.parse(horizon_growth.CLAIM, ["horizon_growth", "--out=out", *flags])
    assert len(request.files) == 3
    assert len(set(request.files.values())) == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--worlds=clif", "'clif' is not allowed; the nearest are cliff, .* lists all; also allowed: the path of"),
        (
            "--algorithms=dager",
            "'dager' is not allowed; the nearest are dagger, .*`dagger-jax list algorithms` lists all",
        ),
        ("--worlds={}:mak", "the module .* has no mak; the nearest are make"),
        ("--worlds=absent_module:make", "cannot be imported .ModuleNotFoundError"),
        ("--worlds={}:broken", r"broken\(horizon=4\) failed .RuntimeError: no such day"),
        ("--worlds={}:short", "made a world of 3 steps, not of 4"),
        ("--worlds={}:number", r"number\(horizon=4\) failed"),
        ("--algorithms={}:number", "is int: it must be an Algorithm, a Schedule or a function that makes one"),
        ("--algorithms={}:make", "failed .TypeError"),
        ("--algorithms=partition:3+x", "'partition:3.x' is not allowed"),
    ],
)
def test_what_cannot_be_had_is_one_line(mine, flag, message):
    words = ["horizon_growth", "--out=out", "--horizons=4,8", "--chunks=4", flag.format(mine)]
    with pytest.raises(BadFlag, match=message) as raised:
        horizon_growth.cells(options.parse(horizon_growth.CLAIM, words).settings)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(flag.split("=")[0] + ":")


def test_a_row_is_checked_where_it_is_built(mine):
    wrong = find("dagger")._replace(build=lambda rounds, horizon, chunk: schedules.dagger(rounds, horizon + 1))
    with pytest.raises(ValueError, match=r"own has \[3, 5\] rounds and steps, not \[3, 4\]"):
        built("own", wrong, 3, 4)
