"""Checkpoints: what is saved is what is restored, whatever interrupts, and what does not fit is named."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest

from dagger_jax import controllers
from dagger_jax.text import checkpoint, training, transformer, walk
from dagger_jax.text.checkpoint import CheckpointError

CONFIG = transformer.Config(5, 8, width=8, layers=1, heads=2)
ADAM = optax.adam(1e-2)
RECIPE = training.Recipe(CONFIG, ADAM)


@pytest.fixture(scope="module")
def state():
    return training.begin(RECIPE, jax.random.key(0))


@pytest.fixture
def saved(tmp_path, state):
    path = tmp_path / "saved"
    checkpoint.save(path, RECIPE, state)
    return path


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


CONTROLLERS = [None, controllers.DetectabilityBudget(0.1), controllers.AdditiveIncrease(0.6), controllers.JumpStart()]


@pytest.mark.parametrize("controller", CONTROLLERS, ids=["none", "budget", "aimd", "jump start"])
def test_a_state_comes_back_as_it_was(tmp_path, controller):
    """Optax's named tuples, controllers' states with infinities, and None."""
    recipe = training.Recipe(CONFIG, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2)))
    before = training.begin(recipe, jax.random.key(1), controller)._replace(round=jnp.asarray(7, jnp.int32))
    checkpoint.save(tmp_path / "one", recipe, before)
    equal(checkpoint.restore(str(tmp_path / "one"), recipe, controller), before)
    assert checkpoint.known(tmp_path / "one").round == 7


@pytest.mark.parametrize("controller", CONTROLLERS[:2], ids=["none", "budget"])
def test_types_survive(tmp_path, controller):
    """Parameters in bfloat16, which npz would lose."""
    state = training.begin(RECIPE, jax.random.key(1), controller)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state.learner.params)
    checkpoint.save_params(tmp_path / "half", CONFIG, half)
    assert {each[0] for each in checkpoint.known(tmp_path / "half").arrays.values()} == {"bfloat16"}
    with pytest.raises(CheckpointError, match=r"has bfloat16.* the run asks for float32"):
        checkpoint.frozen(tmp_path / "half")


def test_a_frozen_writer_is_the_learner(tmp_path, saved, state):
    tokens = jnp.asarray([0, 3, 1, 4, 2, 2, 0, 1])
    expected = jax.nn.log_softmax(transformer.full(CONFIG, state.learner.params, tokens))
    checkpoint.save_params(tmp_path / "alone", CONFIG, state.learner.params)
    for path in (saved, tmp_path / "alone"):
        writer = checkpoint.frozen(path, vocabulary=5, length=8)
        assert writer.config == CONFIG
        np.testing.assert_array_equal(walk.along(writer, tokens), expected)
    assert checkpoint.known(tmp_path / "alone").holds == "parameters"


def test_a_save_replaces_and_leaves_nothing_behind(saved, state):
    checkpoint.save(saved, RECIPE, state._replace(round=jnp.asarray(3, jnp.int32)))
    assert int(checkpoint.restore(saved, RECIPE).round) == 3
    names = sorted(entry.name for entry in saved.iterdir())
    assert len(names) == 2
    assert names[0] == "checkpoint.json"
    assert checkpoint.known(saved).config == CONFIG
    assert json.loads((saved / "checkpoint.json").read_text())["config"]["width"] == 8


@pytest.mark.parametrize("when", ["arrays", "facts"])
def test_an_interrupted_save_leaves_the_old_one(saved, state, monkeypatch, when):
    """Cut off while the arrays are written, and after them, before checkpoint.json is replaced."""

    def half(self, folder, arrays):
        folder.mkdir()
        (folder / "part").write_text("half")
        raise KeyboardInterrupt

    def nothing(path, data):
        raise KeyboardInterrupt

    later = state._replace(round=jnp.asarray(9, jnp.int32))
    with monkeypatch.context() as patch:
        if when == "arrays":
            patch.setattr(orbax.checkpoint.PyTreeCheckpointer, "save", half)
        else:
            patch.setattr(checkpoint, "replace", nothing)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(saved, RECIPE, later)
    equal(checkpoint.restore(saved, RECIPE), state)
    checkpoint.save(saved, RECIPE, later)  # and the next one clears what was left
    assert int(checkpoint.restore(saved, RECIPE).round) == 9
    assert len(list(saved.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 16}, "has width 8, the run asks for 16"),
        ({"vocabulary": 6}, "has vocabulary 5, the run asks for 6"),
        ({"length": 9}, "has length 8, the run asks for 9"),
        ({"layers": 2}, "has layers 1, the run asks for 2"),
        ({"positions": "learned", "heads": 1}, "heads 2, the run asks for 1; has positions rotary, the run asks for l"),
    ],
)
def test_other_sizes_are_named(saved, change, message):
    with pytest.raises(CheckpointError, match=message) as raised:
        checkpoint.restore(saved, RECIPE.replace(config=CONFIG.replace(**change)))
    assert str(saved) in str(raised.value)


def test_writers_of_another_vocabulary_or_too_short_are_refused(saved):
    with pytest.raises(CheckpointError, match="has vocabulary 5, the run asks for 8"):
        checkpoint.frozen(saved, vocabulary=8)
    with pytest.raises(CheckpointError, match="has length 8, the run asks for at least 9"):
        checkpoint.frozen(saved, length=9)
    assert checkpoint.frozen(saved, length=4).config.length == 8


def test_another_optimiser_or_controller_is_named(saved):
    with pytest.raises(CheckpointError, match="another optimiser or controller"):
        checkpoint.restore(saved, RECIPE.replace(optimiser=optax.sgd(0.1)))
    with pytest.raises(CheckpointError, match="another optimiser or controller"):
        checkpoint.restore(saved, RECIPE, controllers.AdditiveIncrease(0.6))


def test_what_is_no_checkpoint_is_named(tmp_path, state):
    with pytest.raises(CheckpointError, match=r"missing does not exist"):
        checkpoint.restore(tmp_path / "missing", RECIPE)
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("text")
    for name in ("file", "folder"):
        with pytest.raises(CheckpointError, match=f"{name} is not a checkpoint"):
            checkpoint.frozen(tmp_path / name)
    with pytest.raises(CheckpointError, match="file is a file"):
        checkpoint.save(tmp_path / "file", RECIPE, state)
    with pytest.raises(CheckpointError, match=r"holds other files \(thesis.txt\)"):
        checkpoint.save(tmp_path / "folder", RECIPE, state)
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "text"
    checkpoint.save_params(tmp_path / "params", CONFIG, state.learner.params)
    with pytest.raises(CheckpointError, match="holds parameters alone, the run asks for a training state"):
        checkpoint.restore(tmp_path / "params", RECIPE)


def damage_facts(path):
    file = path / "checkpoint.json"
    file.write_text(file.read_text().replace('"width": 8', '"width": 9'))


def cut_facts(path):
    file = path / "checkpoint.json"
    file.write_bytes(file.read_bytes()[:100])


def empty_facts(path):
    (path / "checkpoint.json").write_text("[]")


def data(path):
    return max(path.glob("tree-*/**/d/*"), key=lambda file: file.stat().st_size)


def flip(path):
    content = bytearray(data(path).read_bytes())
    content[len(content) // 2] ^= 1
    data(path).write_bytes(content)


def cut(path):
    data(path).write_bytes(data(path).read_bytes()[:-10])


def remove(path):
    shutil.rmtree(next(path.glob("tree-*")))


@pytest.mark.parametrize("harm", [damage_facts, cut_facts, empty_facts, flip, cut, remove], ids=lambda f: f.__name__)
def test_damage_is_named(saved, harm):
    harm(saved)
    for read in (lambda: checkpoint.restore(saved, RECIPE), lambda: checkpoint.frozen(saved)):
        with pytest.raises(CheckpointError, match=r"saved is damaged"):
            read()


def reseal(path, change):
    """What anybody can write: checkpoint.json with other facts, and the digest that belongs to them."""
    facts = json.loads((path / "checkpoint.json").read_text())
    facts.pop("sha256")
    change(facts)
    (path / "checkpoint.json").write_text(json.dumps({**facts, "sha256": checkpoint._seal(facts)}))


FORGED = {
    "no config": (lambda facts: facts.pop("config"), "config is missing or of another type"),
    "no arrays": (lambda facts: facts.update(arrays=[1]), "arrays is missing or of another type"),
    "a boolean": (lambda facts: facts.update(round=True), "round is missing or of another type"),
    "a format": (lambda facts: facts.update(format="x" * 10**6), "has format xxx"),
    "up": (lambda facts: facts.update(folder="../../etc"), r"folder is '../../etc', allowed are names such as tree-"),
    "absolute": (lambda facts: facts.update(folder="/etc/ssl"), "folder is '/etc/ssl'"),
    "root": (lambda facts: facts.update(folder="/"), "folder is '/'"),
    "here": (lambda facts: facts.update(folder=""), "folder is ''"),
    "layers": (lambda facts: facts["config"].update(layers=10**7), r"layers are 10,000,000, more than its \d+ arrays"),
    "width": (lambda facts: facts["config"].update(width=10**9), "the run asks for"),
    "a text": (lambda facts: facts["config"].update(width="8"), r"config is not vocabulary \(int\), length \(int\)"),
    "a size": (lambda facts: facts["config"].update(depth=8), "config is not vocabulary"),
    "no heads": (lambda facts: facts["config"].update(heads=0), "heads must be at least 1"),
    "a shape": (
        lambda facts: facts["arrays"].update({"params.x": ["float32", [-1]]}),
        "'params.x' has no type",
    ),
    "a name": (lambda facts: facts["arrays"].update({"../x": ["float32", [1]]}), "a name that is not allowed, '../x'"),
    "levels": (None, "truncated or altered"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_a_checkpoint_says_is_checked_first(saved, name, monkeypatch):
    """Refused by name before a file beside checkpoint.json is touched."""
    change, message = FORGED[name]
    if change is None:
        (saved / "checkpoint.json").write_text('{"config":' * 10**5)
    else:
        reseal(saved, change)
    monkeypatch.setattr(checkpoint, "_digest", lambda folder: pytest.fail(f"{folder} is read"))
    for read in (lambda: checkpoint.restore(saved, RECIPE), lambda: checkpoint.frozen(saved)):
        with pytest.raises(CheckpointError, match=message) as refusal:
            read()
        assert len(str(refusal.value)) < 1000


def test_links_are_not_followed(saved, tmp_path, state):
    """Neither the folder, nor anything in it, nor checkpoint.json may be a link."""
    checkpoint.save(tmp_path / "other", RECIPE, state)
    folder = next(saved.glob("tree-*"))
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="is missing, truncated or altered"):
        checkpoint.frozen(saved)
    (next((tmp_path / "other").glob("tree-*")) / "more").symlink_to("/")
    with pytest.raises(CheckpointError, match="is missing, truncated or altered"):
        checkpoint.frozen(tmp_path / "other")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "checkpoint.json").symlink_to(saved / "checkpoint.json")
    with pytest.raises(CheckpointError, match="linked is not a checkpoint"):
        checkpoint.frozen(tmp_path / "linked")


def test_parameters_that_are_no_numbers_are_named(tmp_path, saved, state, monkeypatch):
    params = jax.tree.map(jnp.asarray, state.learner.params)
    params["logits"]["bias"] = params["logits"]["bias"].at[1].set(jnp.nan)
    checkpoint.save_params(tmp_path / "nan", CONFIG, params)
    with pytest.raises(CheckpointError, match=r"has values in params\.logits\.bias that are not finite"):
        checkpoint.frozen(tmp_path / "nan")
    monkeypatch.setattr("dagger_jax.memory.host", lambda: 100)
    with pytest.raises(CheckpointError, match=r"needs about .* of memory, and 100 bytes are free"):
        checkpoint.frozen(saved)


def test_a_writers_digest_is_of_what_it_writes_by(tmp_path, saved, state):
    checkpoint.save_params(tmp_path / "alone", CONFIG, state.learner.params)
    assert checkpoint.digest(checkpoint.frozen(saved)) == checkpoint.digest(checkpoint.frozen(tmp_path / "alone"))
    other = jax.tree.map(lambda leaf: leaf * (1 + 1e-6), state.learner.params)
    checkpoint.save_params(tmp_path / "other", CONFIG, other)
    assert checkpoint.digest(checkpoint.frozen(saved)) != checkpoint.digest(checkpoint.frozen(tmp_path / "other"))


def test_nothing_is_pickled(saved):
    assert not [file for file in saved.rglob("*") if file.is_file() and file.read_bytes().startswith(b"\x80\x04")]
