"""Files that flags name: read once, known by what they hold, shown by a safe name."""

import json

import numpy as np
import pytest

from experiments import claim
from experiments.claim import BadFlag, inputs, options
from experiments.claim.running import execute
from experiments.exposure_bias import experiment as exposure_bias
from experiments.horizon_growth import experiment as horizon_growth
from experiments.shared import study

FEW = {"runs": 2, "horizons": (2, 4), "algorithms": ("behavioural_cloning",)}


def world(path, seed, states=4):
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.ones(states), (states, 2))
    np.savez(
        path,
        transition=table,
        cost=rng.random((states, 2)),
        initial=np.ones(states) / states,
        observation=np.arange(states) // 2,
    )
    return str(path)


def parsed(*worlds):
    words = ["horizon_growth", "--out=out", "--horizons=2,4", "--chunks=2", f"--worlds={','.join(worlds)}"]
    return options.parse(horizon_growth.CLAIM, words)


def test_every_block_uses_the_bytes_that_were_hashed(tmp_path):
    """The file is another one after it was read, then it is gone."""
    settings = claim.resolve(horizon_growth.CLAIM, "quick", worlds=(world(tmp_path / "a.npz", 1),), **FEW)
    first, last = horizon_growth.cells(settings)[:2]
    wanted = [horizon_growth.measure(settings, cell).points for cell in (first, last)]
    world(tmp_path / "a.npz", 2)
    assert horizon_growth.measure(settings, first).points == wanted[0]
    (tmp_path / "a.npz").unlink()
    assert horizon_growth.measure(settings, last).points == wanted[1]


def test_a_world_is_what_it_holds(tmp_path, monkeypatch):
    """However its path is spelled, and whatever it is called: the same settings, cells and random numbers."""
    path = world(tmp_path / "one.npz", 1)
    (tmp_path / "two.npz").write_bytes((tmp_path / "one.npz").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spelled = [path, "one.npz", "./one.npz", f"../{tmp_path.name}/one.npz", "~/one.npz", "two.npz"]
    first, *others = (parsed(each) for each in spelled)
    for other in others:
        assert other.settings == first.settings
        assert other.files == first.files
        assert horizon_growth.cells(other.settings) == horizon_growth.cells(first.settings)
    assert "one" not in json.dumps(horizon_growth.cells(first.settings))
    assert parsed(world("one.npz", 2)).settings != first.settings


def test_paths_with_commas(tmp_path):
    odd = world(tmp_path / "a,b, c.npz", 3)
    other = world(tmp_path / "plain.npz", 4)
    keys = parsed("cliff", odd, other).settings.worlds
    assert [inputs.named(key) for key in keys] == ["cliff", "a_b_c.npz", "plain.npz"]
    with pytest.raises(BadFlag, match=r"--worlds: 'x' is not allowed"):
        parsed("cliff", "x", odd)


def test_equal_contents_are_refused_by_name(tmp_path):
    one, two = world(tmp_path / "same.npz", 5), str(tmp_path / "copy.npz")
    (tmp_path / "copy.npz").write_bytes((tmp_path / "same.npz").read_bytes())
    with pytest.raises(BadFlag, match=r"--worlds: .*same\.npz and .*copy\.npz hold the same: give one"):
        parsed(one, two)


def test_names_are_safe_short_and_tell_files_apart(tmp_path):
    (tmp_path / "other").mkdir()
    first, second = world(tmp_path / "twin.npz", 6), world(tmp_path / "other" / "twin.npz", 7)
    keys = parsed(first, second).settings.worlds
    names = [study.shown(key) for key in keys]
    assert names[0] == "twin"
    assert names[1].startswith("twin-")
    assert inputs.named(f"in {keys[0]} and {keys[1][:12]}") == f"in twin.npz and {names[1]}"
    for odd in ("a$x$[red]\x1b[2J.npz", "long" * 40 + ".npz", "~tilde.npz", "naïve 𝛽.npz"):
        (key,) = parsed(world(tmp_path / odd, abs(hash(odd)) % 2**31)).settings.worlds
        name = study.shown(key)
        assert name.isprintable()
        assert not set(name) & set("$[]/~\\\x1b ")
        assert 1 <= len(name) <= 40


def test_a_run_shows_names_and_keeps_digests(tmp_path, capsys):
    path, out = world(tmp_path / "shown.npz", 8), tmp_path / "out"
    flags = [
        f"--out={out}",
        "--preset=quick",
        "--runs=2",
        "--horizons=2,4",
        "--chunks=2",
        "--algorithms=behavioural_cloning",
    ]
    assert execute(horizon_growth.CLAIM, ["horizon_growth", *flags, f"--worlds={path}"]) in (0, 1, 5)
    assert "world=shown.npz" in capsys.readouterr().out
    (key,) = parsed(path).settings.worlds
    settings = json.loads((out / "settings.json").read_text())
    assert settings["settings"]["worlds"] == [key]
    assert list(settings["files"].values()) == [inputs.get(key).digest]
    assert {finding["world"] for finding in json.loads((out / "findings.json").read_text())} == {"shown.npz"}
    assert "shown.npz" in (out / "report.html").read_text()
    assert str(tmp_path) not in (out / "settings.json").read_text()
    assert path in json.loads((out / "run.json").read_text())["inputs"][key]


def test_what_was_corrected_is_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "printed.npz"
    np.savez(path, transition=np.full((3, 2, 3), 0.33333), cost=np.zeros((3, 2)), initial=np.full(3, 0.333333))
    horizon_growth.cells(parsed(str(path)).settings)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "warning: printed.npz: transition sums to 1 within 1e-05 only: it is normalised"


def test_a_corpus_and_a_checkpoint_are_inputs_too(tmp_path):
    """The text is hashed as it is used; what is no checkpoint is named and nothing is walked through."""
    (tmp_path / "text").write_text("abcabcaabbcc" * 40)
    flags = {"worlds": ("corpus",), "corpus": str(tmp_path / "text"), "vocabulary": 3, "length": 8, "chunks": (1, 4)}
    settings = claim.resolve(exposure_bias.CLAIM, "quick", **flags)
    cells = exposure_bias.cells(settings)
    (tmp_path / "text").write_text("cba" * 200)
    assert exposure_bias.cells(settings) == cells
    assert claim.resolve(exposure_bias.CLAIM, "quick", **flags).corpus != settings.corpus
    for place in ("/", "/etc/ssl", "~nosuchuser/x", str(tmp_path / "text")):
        with pytest.raises(BadFlag, match=r"^--writer: "):
            claim.resolve(exposure_bias.CLAIM, "quick", writer=place)


def test_what_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dagger_jax.memory.host", lambda: 1000)
    with pytest.raises(BadFlag, match=r"--worlds: .*big\.npz has .* KiB, more than a quarter of the free memory"):
        parsed(world(tmp_path / "big.npz", 9))
