"""Checkpoints of token worlds: a training run between two rounds, or parameters alone.

    DIR/checkpoint.json   the transformer's sizes, the round, every array's type and shape, digests; written last
    DIR/tree-<id>/        the arrays, by orbax

A checkpoint is the folder that checkpoint.json names. A save writes a new folder, then replaces checkpoint.json in one
step, then removes the old folder: whenever a save is cut off, DIR holds the old checkpoint or the new one, complete.
One process saves at a time.

A checkpoint may come from anybody: what checkpoint.json says is checked before it is believed, sizes before anything is
read, links are not followed, and nothing in it is executed.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax

from dagger_jax import memory
from dagger_jax.controllers import Controller
from dagger_jax.loop import State
from dagger_jax.randomness import fingerprint
from dagger_jax.runtime.files import TEMPORARY, json_bytes, replace
from dagger_jax.text import training, transformer
from dagger_jax.text.training import Recipe
from dagger_jax.text.writers import Frozen

FORMAT = 2
_FACTS, _FOLDER = "checkpoint.json", "tree-"
_MOST = 2**24  # bytes of checkpoint.json
_PARAMS = "learner.params."  # where a state has them
_OF_MODEL = ("params.", _PARAMS)
_TYPES = {
    "format": int,
    "holds": str,
    "round": int | None,
    "run": int | None,
    "config": dict,
    "arrays": dict,
    "folder": str,
    "files": str,
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message says which, and why."""


class Known(NamedTuple):
    """What a checkpoint says of itself."""

    config: transformer.Config
    holds: Literal["state", "parameters"]
    round: int | None  # rounds done; None for parameters alone
    arrays: dict[str, tuple[str, tuple[int, ...]]]  # type and shape by name


def save(path: str | Path, recipe: Recipe, state: State, run: Any = None) -> None:
    """Saves a run between two rounds, in place of the checkpoint that `path` may hold.

    Args:
      path: of the checkpoint, a directory.
      recipe: of the run.
      state: of the run.
      run: what is not in the state and must be the same when it goes on, (key, schedule, expert): its fingerprint is
        recorded.

    Raises:
      CheckpointError: `path` is something else than a checkpoint or an empty directory, or cannot be written.
    """
    told = None if run is None else int(fingerprint(run))
    _save(Path(path), recipe.config, "state", state, int(state.round), told)


def restore(path: str | Path, recipe: Recipe, controller: Controller | None = None, run: Any = None) -> State:
    """The saved run, to be continued by `training.advance` with the recipe and controller that it began with.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, holds parameters alone, is of a transformer of other
        sizes, or of another optimiser or controller; or it was saved with another `run` (key, schedule, expert).
    """
    path = Path(path)
    facts = _facts(path)
    found = _known(facts)
    if found.holds != "state":
        raise CheckpointError(f"checkpoint {path} holds parameters alone, the run asks for a training state")
    _agree(path, found.config, _sizes(recipe.config))
    if run is not None and facts["run"] is not None and facts["run"] != int(fingerprint(run)):
        raise CheckpointError(f"checkpoint {path} is of another key, schedule or expert than this run's")
    target = jax.eval_shape(lambda: training.begin(recipe, jax.random.key(0), controller))
    return _filled(path, facts, target, "")


def save_params(path: str | Path, config: transformer.Config, params: Any) -> None:
    """Saves parameters alone, in place of the checkpoint that `path` may hold. Errors are those of `save`."""
    _save(Path(path), config, "parameters", {"params": params}, None, None)


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
    found = _known(facts)
    check(str(path), found.config, vocabulary, length)
    target = jax.eval_shape(lambda: transformer.init(found.config, jax.random.key(0)))
    return Frozen(found.config, _filled(path, facts, target, _PARAMS if found.holds == "state" else "params."))


def check(name: str, config: transformer.Config, vocabulary: int | None = None, length: int | None = None) -> None:
    """Raises CheckpointError where a checkpoint's transformer does not fit; arguments as those of `frozen`."""
    if vocabulary is not None:
        _agree(name, config, {"vocabulary": vocabulary})
    if length is not None and config.length < length:
        raise CheckpointError(f"checkpoint {name} has length {config.length}, the run asks for at least {length}")


def digest(writer: Frozen) -> str:
    """The sha256 of a transformer's sizes and of the bytes of its parameters: of all that it writes by."""
    whole = hashlib.sha256(json.dumps(_sizes(writer.config), sort_keys=True).encode())
    for name, leaf in _named(writer.params).items():
        array = np.asarray(leaf)
        whole.update(f"\n{name} {array.dtype} {list(array.shape)}\n".encode())
        whole.update(array.tobytes())
    return whole.hexdigest()


def known(path: str | Path) -> Known:
    """What a checkpoint says of itself; its arrays are not read.

    Raises:
      CheckpointError: there is no checkpoint, or checkpoint.json is damaged.
    """
    return _known(_facts(Path(path)))


# ---- writing -----------------------------------------------------------------------------------------------------


def _save(path: Path, config: transformer.Config, holds: str, tree: Any, done: int | None, run: int | None) -> None:
    arrays = {name: np.asarray(leaf) for name, leaf in _named(tree).items()}
    folder = path.absolute() / f"{_FOLDER}{uuid.uuid4().hex[:16]}"
    try:
        _claim(path)
        orbax.PyTreeCheckpointer().save(folder, arrays)
        facts = {
            "format": FORMAT,
            "holds": holds,
            "round": done,
            "run": run,
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
    """What checkpoint.json says, if it is whole, and says what a checkpoint says."""
    if not path.exists():
        raise CheckpointError(f"checkpoint {path} does not exist")
    file = path / _FACTS
    if not file.is_file() or file.is_symlink():
        raise CheckpointError(f"{path} is not a checkpoint: it has no readable {_FACTS}")
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST + 1)
        facts = json.loads(data) if len(data) <= _MOST else None
        whole = isinstance(facts, dict) and facts.pop("sha256", None) == _seal(facts)
    except OSError as error:
        raise CheckpointError(f"{path} is not a checkpoint: it has no readable {_FACTS}") from error
    except (ValueError, RecursionError):
        facts, whole = {}, False
    if facts is None:
        raise CheckpointError(f"checkpoint {path} is damaged: {_FACTS} has more than {_MOST:,} bytes")
    if not whole:
        raise CheckpointError(f"checkpoint {path} is damaged: {_FACTS} is truncated or altered")
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {path} has format {facts.get('format')!s:.40}, this program reads {FORMAT}")
    if wrong := next(_wrong(facts), None):
        raise CheckpointError(f"checkpoint {path} is not believed: its {wrong}")
    return facts


def _wrong(facts: dict[str, Any]) -> Iterator[str]:
    """What checkpoint.json says that no checkpoint says, in words."""
    for name, kind in _TYPES.items():
        if name not in facts or not isinstance(facts[name], kind) or isinstance(facts[name], bool):
            yield f"{name} is missing or of another type"
    if not re.fullmatch(rf"{_FOLDER}[0-9a-f]{{1,32}}", facts["folder"]):
        yield f"folder is {facts['folder']!r:.60}, allowed are names such as {_FOLDER}0123456789abcdef"
    if facts["holds"] not in ("state", "parameters"):
        yield f"holds is {facts['holds']!r:.60}, allowed are state and parameters"
    for name, each in facts["arrays"].items():
        match each:
            case [str(), [*shape]] if all(type(size) is int and size >= 0 for size in shape):
                if not re.fullmatch(r"\w+(\.\w+)*", name):
                    yield f"arrays have a name that is not allowed, {name!r:.60}"
            case _:
                yield f"array {name!r:.60} has no type and shape"
    wanted = {name: type(value) for name, value in _sizes(transformer.Config(2, 1)).items()}
    if {name: type(value) for name, value in facts["config"].items()} != wanted:
        yield f"config is not {', '.join(f'{name} ({kind.__name__})' for name, kind in wanted.items())}"
    layers = facts["config"]["layers"]
    if layers > len(facts["arrays"]):
        yield f"layers are {layers:,}, more than its {len(facts['arrays']):,} arrays"
    try:
        transformer.Config(**facts["config"])
    except ValueError as error:
        yield f"config is not allowed: {error}"


def _known(facts: dict[str, Any]) -> Known:
    arrays = {name: (dtype, tuple(shape)) for name, (dtype, shape) in facts["arrays"].items()}
    return Known(transformer.Config(**facts["config"]), facts["holds"], facts["round"], arrays)


def _agree(path: Path | str, found: transformer.Config, asked: dict[str, Any]) -> None:
    """Names every size that differs."""
    sizes = _sizes(found)
    differing = [name for name in sizes if name in asked and asked[name] != sizes[name]]
    if differing:
        words = "; ".join(f"has {name} {sizes[name]}, the run asks for {asked[name]}" for name in differing)
        raise CheckpointError(f"checkpoint {path} {words}")


def _filled(path: Path, facts: dict[str, Any], target: Any, part: str) -> Any:
    """The target's tree, with the arrays that the checkpoint holds under its names after `part`."""
    wanted = {part + name: (str(leaf.dtype), leaf.shape) for name, leaf in _named(target).items()}
    stored = _known(facts).arrays
    found = {name: each for name, each in stored.items() if name.startswith(part)}
    if found != wanted:
        name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        has, asks = (_words(each.get(name)) for each in (found, wanted))
        why = "" if name.startswith(_OF_MODEL) else ": another optimiser or controller"
        raise CheckpointError(f"checkpoint {path} has {has} for {name}, the run asks for {asks}{why}")
    folder = path.absolute() / facts["folder"]
    if folder.is_symlink() or not folder.is_dir() or _digest(folder) != facts["files"]:
        raise CheckpointError(f"checkpoint {path} is damaged: {facts['folder']} is missing, truncated or altered")
    arrays = _arrays(path, folder, stored)
    leaves = {part + name: jnp.asarray(arrays[part + name]) for name in _named(target)}
    unfit = [name for name, leaf in leaves.items() if name.startswith(_OF_MODEL) and not jnp.isfinite(leaf).all()]
    if unfit:
        raise CheckpointError(f"checkpoint {path} has values in {unfit[0]} that are not finite")
    return jax.tree.unflatten(jax.tree.structure(target), list(leaves.values()))


def _arrays(path: Path, folder: Path, stored: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """The folder's arrays, which have the types and shapes that checkpoint.json says."""
    checkpointer = orbax.PyTreeCheckpointer()
    try:
        need = 2 * sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in stored.values())
        if need > (free := memory.host()):
            words = f"needs about {memory.words(need)} of memory, and {memory.words(free)} are free"
            raise CheckpointError(f"checkpoint {path} {words}")
        metadata: Any = checkpointer.metadata(folder)
        tree = metadata.item_metadata.tree
        if {name: (str(each.dtype), tuple(each.shape)) for name, each in tree.items()} != stored:
            raise CheckpointError(f"checkpoint {path} is not believed: its arrays are not what {_FACTS} says")
        item = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (dtype, shape) in stored.items()}
        plain = jax.tree.map(lambda _: orbax.RestoreArgs(restore_type=np.ndarray), item)
        return checkpointer.restore(folder, args=orbax.args.PyTreeRestore(item=item, restore_args=plain))
    except CheckpointError:
        raise
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {folder.name} cannot be read ({error!s:.200})") from error


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
    """Of all names and contents in a folder; empty where something in it is neither a folder nor a file, but a link."""
    whole, names = hashlib.sha256(), []
    for place, folders, files in os.walk(folder):
        if any(os.path.islink(os.path.join(place, name)) for name in (*folders, *files)):
            return ""
        names += [Path(place, name) for name in files]
    for file in sorted(names):
        if not file.is_file():
            return ""
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder).as_posix()}\n{content}\n".encode())
    return whole.hexdigest()


def _words(array: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if array is None else f"{array[0]}{list(array[1])}"
