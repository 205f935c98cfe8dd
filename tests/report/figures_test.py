"""Figures of how gaps grow and of the sweep of bounds, on points of every kind; a learner that makes no mistake."""

import json

import numpy as np
import pytest

from experiments.bound_sweep import experiment as bound_sweep
from experiments.claim.running import execute
from experiments.horizon_growth import experiment as horizon_growth
from tests import degenerate


@pytest.fixture(scope="module")
def perfect(tmp_path_factory):
    """One state, and an action that costs nothing: whoever imitates the expert loses nothing."""
    folder = tmp_path_factory.mktemp("perfect")
    path = folder / "z$x^2$\x07&.npz"
    np.savez(path, transition=np.ones((1, 2, 1)), cost=np.array([[0.0, 1.0]]), initial=np.ones(1))
    flags = ("--preset=quick", "--runs=1", "--horizons=4,8", "--algorithms=behavioural_cloning", f"--worlds={path}")
    assert execute(horizon_growth.CLAIM, ["horizon_growth", f"--out={folder / 'out'}", *flags]) == 0
    return folder / "out"


def test_a_perfect_learner_is_reported(perfect):
    found = json.loads((perfect / "findings.json").read_text())
    (best,) = [finding for finding in found if "there is no gap" in finding["claim"]]
    assert (best["observed"], best["low"], best["high"]) == (0, 0, 0)
    page = (perfect / "report.html").read_text()
    assert "there is no gap" in page
    assert "could not be drawn" not in page


def test_names_are_shown_as_they_are(perfect):
    text = (perfect / "fitted_learners.svg").read_text()
    assert "z_x_2_" in text  # of the file's name letters, digits and _ . - are shown
    assert "\x07" not in text + (perfect / "report.html").read_text()


def test_figures_of_growth_cope_with_any_points(perfect, tmp_path):
    worlds, sizes = "cliff,reset_cliff", ("--preset=quick", "--runs=2", "--horizons=4,8", "--chunks=2")
    status = execute(horizon_growth.CLAIM, ["horizon_growth", f"--out={tmp_path}", f"--worlds={worlds}", *sizes])
    assert status in (0, 1, 5)
    for directory in (tmp_path, perfect):
        assert degenerate.draw(horizon_growth.CLAIM, directory) == 3 * len(degenerate.CHANGES)


def test_figures_of_one_horizon_and_one_run_cope(tmp_path):
    flags = ("--preset=quick", "--runs=1", "--horizons=4", "--worlds=cliff,reset_cliff", "--algorithms=dagger")
    assert execute(horizon_growth.CLAIM, ["horizon_growth", f"--out={tmp_path}", *flags]) in (0, 1, 5)
    degenerate.draw(horizon_growth.CLAIM, tmp_path)


@pytest.mark.slow
def test_figures_of_bounds_cope_with_any_points(tmp_path):
    assert execute(bound_sweep.CLAIM, ["bound_sweep", f"--out={tmp_path}", "--preset=quick", "--runs=1"]) in (0, 1, 5)
    degenerate.draw(bound_sweep.CLAIM, tmp_path)
