"""A user's own world from a file: what is read, and what is refused."""

import io
import tracemalloc
import zipfile

import jax
import numpy as np
import pytest

from dagger_jax import tabular
from dagger_jax.tabular.worlds import ARRAYS

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


@pytest.mark.parametrize("over_time", [(), ("transition",), ("transition", "cost")])
@pytest.mark.parametrize("names", [ARRAYS, (*ARRAYS, "horizon", "observations"), None])
def test_a_world_that_was_saved_comes_back(tmp_path, over_time, names):
    """Its arrays alone, with its sizes, or all that it is made of; without change over time it has any horizon."""
    world = tabular.world(horizon=T, **arrays(over_time)).replace(observations=5)
    held = tabular.arrays(world)
    path = saved(tmp_path, **{name: held[name] for name in names or held})
    back = tabular.load(path, T)
    assert back.observations == (2 if names == ARRAYS else 5)
    jax.tree.map(np.testing.assert_array_equal, back.replace(observations=5), world)
    if names != ARRAYS:
        assert tabular.load(path).horizon == T
    if not over_time:
        assert tabular.load(path, 9).horizon == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": np.array([4, 4])}, "must hold horizon as one whole number"),
        ({"horizon": np.array(4.0)}, "must hold horizon as one whole number"),
        ({"horizon": np.array(-1)}, "horizon must be at least 1 step, got -1"),
        ({"observations": np.array(1)}, r"observations is 1: it must lie in 2\.\."),
        ({"observations": np.array(2**40)}, r"observations is 1099511627776: it must lie"),
    ],
)
def test_sizes_in_a_file_are_checked(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        tabular.load(saved(tmp_path, **arrays() | {"horizon": np.array(T)} | change))


def npy(shape, content=b""):
    """A member whose header claims a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def zipped(tmp_path, members):
    with zipfile.ZipFile(tmp_path / "world.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return tmp_path / "world.npz"


def refused_cheaply(path, message):
    """Refused in few words and little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as refusal:
            tabular.load(path, T)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert len(str(refusal.value)) < 1000


def test_a_header_that_claims_too_much_is_refused(tmp_path):
    path = zipped(tmp_path, {"transition.npy": npy((2**17, 2, 2**29)), "cost.npy": npy((2, 2))})
    refused_cheaply(path, r"transition\.npy has 128 bytes, its header says 1,125,899,906,842,752")


def test_a_zip_bomb_is_refused(tmp_path):
    """Half a megabyte that unpacks to 512 MiB: it is not unpacked, since the shapes do not fit."""
    bomb = npy((2**13, 1, 2**13), bytes(2**29))
    path = zipped(
        tmp_path, {"transition.npy": bomb, "cost.npy": npy((2, 2), bytes(32)), "initial.npy": npy((2,), bytes(16))}
    )
    del bomb
    refused_cheaply(path, r"world\.npz transition must have shape \[2, 2, 2\]")


def test_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dagger_jax.memory.host", lambda: 500)
    refused_cheaply(saved(tmp_path, **arrays()), r"needs about 960 bytes of memory, and 500 bytes are free")


def test_very_many_arrays_are_refused_in_few_words(tmp_path):
    path = zipped(tmp_path, {f"{'name' * 20}{n}.npy": npy((1,), bytes(8)) for n in range(3000)})
    refused_cheaply(path, r"it holds \['name.*\.\.\.\] and more")


def test_a_large_mistake_is_told_cheaply():
    """Every row of a dense table is wrong: the first is named, the others are not listed."""
    states = 300
    table = np.full((states, 2, states), 2.0)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^transition\[0, 0, 0\] is 2: it must lie in \[0, 1\]$"):
        tabular.world(table, np.zeros((states, 2)), np.eye(states)[0], 4)
    assert tracemalloc.get_traced_memory()[1] < 3 * table.nbytes
    tracemalloc.stop()
