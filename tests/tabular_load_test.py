"""A user's own world from a file: what is read, and what is refused."""

import jax
import numpy as np
import pytest

from dagger_jax.environments import tabular

T, S, A = 4, 3, 2


def arrays(over_time=()):
    """Good arrays of a world; `over_time` names those that are given for T steps."""
    rng = np.random.default_rng(0)
    steps = {name: (T,) if name in over_time else () for name in ("transition", "cost")}
    return {
        "transition": rng.dirichlet(np.ones(S), (*steps["transition"], S, A)),
        "cost": rng.random((*steps["cost"], S, A)),
        "initial": rng.dirichlet(np.ones(S)),
        "observation": np.array([0, 1, 0]),
    }


def saved(tmp_path, **content):
    np.savez(tmp_path / "world.npz", **content)
    return tmp_path / "world.npz"


def test_load_takes_the_horizon_from_the_file_or_cuts_it(tmp_path):
    path = saved(tmp_path, **arrays(("transition", "cost")))
    whole, cut = tabular.load(path), tabular.load(path, 3)
    assert whole.horizon == T
    assert cut.horizon == 3
    np.testing.assert_array_equal(cut.transition, whole.transition[:3])
    np.testing.assert_array_equal(cut.cost, whole.cost[:3])
    short = tabular.shorten(whole, 3)
    jax.tree.map(np.testing.assert_array_equal, short, cut)
    with pytest.raises(ValueError, match="horizon 5 is longer than the world's 4 steps"):
        tabular.shorten(whole, 5)
    with pytest.raises(ValueError, match=r"is given for 4 steps, fewer than the horizon 5"):
        tabular.load(path, 5)


@pytest.mark.parametrize("over_time", [(), ("cost",)])
def test_load_refuses_horizon_zero(tmp_path, over_time):
    with pytest.raises(ValueError, match="horizon must be at least 1 step, got 0"):
        tabular.load(saved(tmp_path, **arrays(over_time)), 0)


def test_load_needs_a_horizon_where_nothing_is_given_over_time(tmp_path):
    path = saved(tmp_path, **arrays())
    assert tabular.load(path, 9).horizon == 9
    with pytest.raises(ValueError, match=r"world\.npz: a world that is not given over time needs a horizon"):
        tabular.load(path)


def test_load_names_both_lengths_where_they_differ(tmp_path):
    content = arrays(("transition", "cost"))
    path = saved(tmp_path, **content | {"cost": content["cost"][:3]})
    assert tabular.load(path, 3).horizon == 3
    with pytest.raises(ValueError, match=r"transition.*4 steps.*cost.*3"):
        tabular.load(path)


def test_load_refuses_missing_and_unknown_arrays(tmp_path):
    good = arrays()
    message = "must hold transition, cost, initial and perhaps observation; it holds "
    for content in ({"transition": good["transition"], "cost": good["cost"]}, good | {"reward": good["cost"]}):
        with pytest.raises(ValueError, match=message + r"\[.*'cost'"):
            tabular.load(saved(tmp_path, **content), T)


def test_load_refuses_pickled_objects(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickled object was run",))

    good = arrays()
    for content in (good | {"cost": np.array([Trap()], object)}, good | {"extra": np.array([Trap()], object)}):
        with pytest.raises(ValueError, match=r"world\.npz is not an \.npz file of plain arrays"):
            tabular.load(saved(tmp_path, **content), T)


def test_load_refuses_other_files(tmp_path):
    for name, content in (("empty", b""), ("text", b"transition = 1\n"), ("zip", b"PK\x03\x04 and no more")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is not an \.npz file of plain arrays"):
            tabular.load(tmp_path / name, T)
    with pytest.raises(OSError, match="absent"):
        tabular.load(tmp_path / "absent.npz", T)


def test_load_refuses_a_single_array(tmp_path):
    np.save(tmp_path / "single.npy", arrays()["transition"])
    with pytest.raises(ValueError, match=r"single\.npy"):
        tabular.load(tmp_path / "single.npy", T)


def test_load_refuses_a_truncated_file(tmp_path):
    path = saved(tmp_path, **arrays())
    whole = path.read_bytes()
    assert tabular.load(path, T).horizon == T
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"world\.npz is not an \.npz file of plain arrays"):
            tabular.load(path, T)


def test_load_refuses_a_damaged_file(tmp_path):
    """A flipped byte is refused with the file's name, or did not matter: never another exception."""
    path = tmp_path / "world.npz"
    np.savez_compressed(path, **arrays(("transition", "cost")))
    wanted, whole, refusals = tabular.load(path, T), path.read_bytes(), []
    for place in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        try:
            loaded = tabular.load(path, T)
        except ValueError as error:
            refusals.append(str(error))
        else:
            jax.tree.map(np.testing.assert_array_equal, loaded, wanted)
    assert len(refusals) > 20
    assert all("world.npz" in refusal for refusal in refusals)
