"""Checkpoints of token worlds: a training run between two rounds, or parameters alone.

    DIR/checkpoint.json   the transformer's sizes, the round, every array's type and shape, digests; written last
    DIR/tree-<id>/        the arrays, by orbax

A checkpoint is the folder that checkpoint.json names. A save writes a new folder, then replaces checkpoint.json in one
step, then removes the old folder: whenever a save is cut off, DIR holds the old checkpoint or the new one, complete.
One process saves at a time.
"""

import dataclasses
import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax

from dagger_jax.controllers import Controller
from dagger_jax.runtime.files import TEMPORARY, json_bytes, replace
from dagger_jax.tokens import training, transformer
from dagger_jax.tokens.training import Recipe, State
from dagger_jax.tokens.writers import Frozen

FORMAT = 1
_FACTS, _FOLDER = "checkpoint.json", "tree-"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message says which, and why."""


class Known(NamedTuple):
    """What a checkpoint says of itself."""

    config: transformer.Config
    holds: Literal["state", "parameters"]
    round: int | None  # rounds done; None for parameters alone
    arrays: dict[str, tuple[str, tuple[int, ...]]]  # type and shape by name


def save(path: str | Path, recipe: Recipe, state: State) -> None:
    """Saves a run between two rounds, in place of the checkpoint that `path` may hold.

    Raises:
      CheckpointError: `path` is something else than a checkpoint or an empty directory, or cannot be written.
    """
    _save(Path(path), recipe.config, "state", state, int(state.round))


def restore(path: str | Path, recipe: Recipe, controller: Controller | None = None) -> State:
    """The saved run, to be continued by `training.advance` with the recipe and controller that it began with.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, holds parameters alone, is of a transformer of other
        sizes, or of another optimiser or controller.
    """
    path = Path(path)
    facts = _facts(path)
    found = _known(facts)
    if found.holds != "state":
        raise CheckpointError(f"checkpoint {path} holds parameters alone, the run asks for a training state")
    _agree(path, found.config, _sizes(recipe.config))
    target = jax.eval_shape(lambda: training.begin(recipe, jax.random.key(0), controller))
    return _filled(path, facts, target, "")


def save_params(path: str | Path, config: transformer.Config, params: Any) -> None:
    """Saves parameters alone, in place of the checkpoint that `path` may hold. Errors are those of `save`."""
    _save(Path(path), config, "parameters", {"params": params}, None)


def frozen(path: str | Path, vocabulary: int | None = None, length: int | None = None) -> Frozen:
    """The writer whose parameters a checkpoint of either kind holds.

    Args:
      path: of the checkpoint.
      vocabulary: V that the run asks for; None takes any.
      length: T of the run; a transformer of at least that length will do. None takes any.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, or of another vocabulary or too short.
    """
    path = Path(path)
    facts = _facts(path)
    config = _known(facts).config
    if vocabulary is not None:
        _agree(path, config, {"vocabulary": vocabulary})
    if length is not None and config.length < length:
        raise CheckpointError(f"checkpoint {path} has length {config.length}, the run asks for at least {length}")
    target = jax.eval_shape(lambda: {"params": transformer.init(config, jax.random.key(0))})
    return Frozen(config, _filled(path, facts, target, "params.")["params"])


def known(path: str | Path) -> Known:
    """What a checkpoint says of itself; its arrays are not read.

    Raises:
      CheckpointError: there is no checkpoint, or checkpoint.json is damaged.
    """
    return _known(_facts(Path(path)))


# ---- writing -----------------------------------------------------------------------------------------------------


def _save(path: Path, config: transformer.Config, holds: str, tree: Any, done: int | None) -> None:
    arrays = {name: np.asarray(leaf) for name, leaf in _named(tree).items()}
    folder = path.absolute() / f"{_FOLDER}{uuid.uuid4().hex[:16]}"
    try:
        _claim(path)
        orbax.PyTreeCheckpointer().save(folder, arrays)
        facts = {
            "format": FORMAT,
            "holds": holds,
            "round": done,
            "config": _sizes(config),
            "arrays": {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in arrays.items()},
            "folder": folder.name,
            "files": _digest(folder),
        }
        replace(path / _FACTS, json_bytes({**facts, "sha256": _seal(facts)}))
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be written: {error.strerror or error}") from error
    for entry in path.iterdir():
        if _own(entry.name) and entry.name not in (_FACTS, folder.name):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _claim(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"{path} is a file; a checkpoint is a directory")
    path.mkdir(parents=True, exist_ok=True)
    foreign = sorted(entry.name for entry in path.iterdir() if not _own(entry.name))
    if foreign:
        raise CheckpointError(f"{path} holds other files ({foreign[0]}); give a checkpoint a directory of its own")


def _own(name: str) -> bool:
    return name == _FACTS or name.startswith((_FOLDER, TEMPORARY))


# ---- reading -----------------------------------------------------------------------------------------------------


def _facts(path: Path) -> dict[str, Any]:
    """What checkpoint.json says, if it is whole."""
    if not path.exists():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        data = (path / _FACTS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} is not a checkpoint: it has no readable {_FACTS}") from error
    try:
        facts = json.loads(data)
        whole = isinstance(facts, dict) and facts.pop("sha256", None) == _seal(facts)
    except ValueError:
        facts, whole = {}, False
    if not whole:
        raise CheckpointError(f"checkpoint {path} is damaged: {_FACTS} is truncated or altered")
    if facts["format"] != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {facts['format']}, this program reads {FORMAT}")
    return facts


def _known(facts: dict[str, Any]) -> Known:
    arrays = {name: (dtype, tuple(shape)) for name, (dtype, shape) in facts["arrays"].items()}
    return Known(transformer.Config(**facts["config"]), facts["holds"], facts["round"], arrays)


def _agree(path: Path, found: transformer.Config, asked: dict[str, Any]) -> None:
    """Names every size that differs."""
    sizes = _sizes(found)
    differing = [name for name in sizes if name in asked and asked[name] != sizes[name]]
    if differing:
        words = "; ".join(f"has {name} {sizes[name]}, the run asks for {asked[name]}" for name in differing)
        raise CheckpointError(f"checkpoint {path} {words}")


def _filled(path: Path, facts: dict[str, Any], target: Any, part: str) -> Any:
    """The target's tree, with the arrays that the checkpoint holds under names that start with `part`."""
    wanted = {name: (str(leaf.dtype), leaf.shape) for name, leaf in _named(target).items()}
    stored = _known(facts).arrays
    found = {name: each for name, each in stored.items() if name.startswith(part)}
    if found != wanted:
        name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        has, asks = (_words(each.get(name)) for each in (found, wanted))
        why = "" if name.startswith("params.") else ": another optimiser or controller"
        raise CheckpointError(f"checkpoint {path} has {has} for {name}, the run asks for {asks}{why}")
    folder = path.absolute() / facts["folder"]
    if not folder.is_dir() or _digest(folder) != facts["files"]:
        raise CheckpointError(f"checkpoint {path} is damaged: {facts['folder']} is missing, truncated or altered")
    item = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (dtype, shape) in stored.items()}
    plain = jax.tree.map(lambda _: orbax.RestoreArgs(restore_type=np.ndarray), item)
    arrays = orbax.PyTreeCheckpointer().restore(folder, args=orbax.args.PyTreeRestore(item=item, restore_args=plain))
    return jax.tree.unflatten(jax.tree.structure(target), [jnp.asarray(arrays[name]) for name in _named(target)])


# ---- both --------------------------------------------------------------------------------------------------------


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by name, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place, simple=True, separator="."): leaf for place, leaf in leaves}


def _sizes(config: transformer.Config) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "kind"}


def _seal(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest(folder: Path) -> str:
    """Of all names and contents in a folder."""
    whole = hashlib.sha256()
    for file in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()}\n{content}\n".encode())
    return whole.hexdigest()


def _words(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if array is None else f"{array[0]}{list(array[1])}"
