"""Work shared out among devices: the same numbers on any number of them, and what of it the command line refuses."""

import importlib
import os
import sys
import textwrap

import jax
import jax.numpy as jnp
import pytest

from experiments import claim
from experiments.claim import devices
from experiments.horizon_growth.experiment import CLAIM

# All in one process that has eight devices: of these 1, 2, 4, then 8 are used.
SPREAD = """
    import jax
    import numpy as np
    from experiments.claim import devices

    devices.start(8)
    from dagger_jax import algorithms, gallery, learners, schedules
    from dagger_jax.tabular import rollout
    from experiments.shared import study, training

    R, T = 6, 5
    problems = [gallery.random_mdp(T, 4, 3, seed=run, temperature=0.3) for run in range(R)]
    batch, samplers = study.stacked(problems), study.stacked(list(map(rollout.tables, problems)))
    keys = jax.random.split(jax.random.key(0), R)
    schedule = schedules.chunked(3, schedules.geometric(T, 2.0))
    row, how = algorithms.ALGORITHMS["dagger"], {"episodes": 16, "shared": False}

    def spread(count):
        devices.start(count)
        jax.clear_caches()
        fitted = study.train(batch, samplers, schedule, keys, learners.Majority(), alone=False, **how)
        assert len(fitted.sharding.device_set) == {1: 1, 2: 2, 4: 3, 8: 6}[count]  # 6 runs: 2 a device, or 1
        fitted = jax.device_get(fitted)
        return fitted, study.sample_gap(problems[0], fitted[0], 0, "a stream", 1000)  # 1,000 episodes

    def zoo(count):
        devices.start(count)
        few = (jax.tree.map(lambda leaf: leaf[:3], tree) for tree in (batch, samplers))  # 3 runs do not divide by 2
        return jax.device_get(training.train(row, *few, row.build(2, T, T), keys[:3], **how))

    (policies, sampled), trained = spread(1), zoo(1)
    assert 0 < sampled.parted < 1000
    for count in (2, 4, 8):
        others, again = spread(count)
        np.testing.assert_array_equal(policies, others)
        assert again == sampled
        if count == 2:
            again = zoo(count)
            np.testing.assert_array_equal(trained.labels, again.labels)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), trained, again)
    print("the same", len(jax.devices()))
"""


def test_numbers_do_not_depend_on_devices(spawn):
    """1, 2, 4 and 8 devices: integers and what is counted bit for bit, floats to 1e-5."""
    done = spawn([sys.executable, "-W", "error", "-c", textwrap.dedent(SPREAD)])
    out, error = done.communicate()
    assert done.returncode == 0, error[-2000:]
    assert out.split() == ["the", "same", "8"]


@pytest.mark.parametrize("value", ["0", "-1", "x", "1,2", "257"])
def test_what_is_no_number_of_devices_is_refused(value, capsys, tmp_path):
    assert claim.execute(CLAIM, ["program", f"--out={tmp_path}/out", f"--devices={value}"]) == 2
    assert capsys.readouterr().err.startswith(f"horizon_growth: --devices: '{value.split(',')[0]}")
    assert not (tmp_path / "out").exists()


def test_more_devices_than_there_are_are_refused(capsys, tmp_path, monkeypatch):
    """JAX runs already, on what it has: as GPUs are no more than there are."""
    monkeypatch.setattr(devices, "_most", None)
    assert jax.local_device_count() < 256
    assert claim.execute(CLAIM, ["program", f"--out={tmp_path}/out", "--devices=256"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("horizon_growth: --devices: 256 are more than there are; allowed: whole numbers from 1 to ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_steps_of_a_walk_are_not_divided_among_cores(monkeypatch):
    """The pass that would do so is off; an environment that switches passes off itself is left alone."""
    grow = lambda x: jax.lax.fori_loop(0, 9, lambda _, x: jnp.sin(x) + x, x)
    text = lambda jit: jit(grow).lower(jnp.ones((64, 4096))).compile().as_text() or ""
    divided = "outer_dimension_partitions"
    if len(os.sched_getaffinity(0)) > 1 and jax.default_backend() == "cpu":
        assert divided in text(jax.jit)  # the control
    assert divided not in text(devices.jit)
    for flags in ("", "--xla_cpu_enable_fast_math=false", "--xla_disable_hlo_passes=one,two"):
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert bool(importlib.reload(devices).jit.keywords["compiler_options"]) == ("passes" not in flags)
    monkeypatch.undo()
    importlib.reload(devices)
