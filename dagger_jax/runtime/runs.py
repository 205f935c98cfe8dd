"""Runs of `train` on disk: arrays in one .npz, and what they are in JSON. Nothing that is read is executed."""

import io
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dagger_jax.agents import Table
from dagger_jax.runtime.files import replace
from dagger_jax.tabular import npz
from dagger_jax.text.pairs import Writing
from dagger_jax.text.transformer import Config, init
from dagger_jax.text.writers import Frozen

FORMAT = 1


def save(path: Path, run: Any) -> None:
    """Writes a run to a folder: run.npz, then policy.json.

    Raises:
      OSError: it cannot be written.
    """
    path.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(run).items()}
    np.savez(stream, **arrays)
    replace(path / "run.npz", stream.getvalue())
    told: dict[str, Any] = {"format": FORMAT, "kind": type(run.policy).__name__}
    if isinstance(run.policy, Writing):
        config = run.policy.writer.config
        told["config"] = {name: getattr(config, name) for name in _SIZES}
    replace(path / "policy.json", json.dumps(told, indent=1).encode())


def load(path: str | Path, like: Any = None) -> Any:
    """A saved run, or its policy.

    Args:
      path: of the folder.
      like: a `Run` of the same kind, of one round say: what is read has its structure, and goes on by
        `train(..., state=run.state)`. None: the policy alone, of tables and of text; that of networks needs `like`.

    Raises:
      ValueError: there is no run, it is damaged, or is not like the other.
    """
    path = Path(path).expanduser()
    try:
        told = json.loads((path / "policy.json").read_text())
        with (path / "run.npz").open("rb") as file:
            arrays = npz.read(file, lambda known: None)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no run that can be read ({error})") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ValueError(f"{path} is no run of format {FORMAT}")
    if like is not None:
        return _filled(path, like, arrays, "")
    match told.get("kind"):
        case "Table":
            return Table(*(jnp.asarray(_array(path, arrays, f".policy.{name}")) for name in ("table", "seen")))
        case "Writing":
            config = Config(**told["config"])
            shape = jax.eval_shape(lambda: init(config, jax.random.key(0)))
            return Writing(Frozen(config, _filled(path, shape, arrays, ".policy.writer.params")))
    raise ValueError(f"{path} holds a network: give like=, a run with the same module")


_SIZES = ("vocabulary", "length", "width", "layers", "heads", "dtype", "positions")


def _named(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _array(path: Path, arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"{path} holds no {name}: it is of another kind of run")
    return arrays[name]


def _filled(path: Path, like: Any, arrays: dict[str, np.ndarray], before: str) -> Any:
    """The tree of `like`, with the arrays that are named as its leaves."""
    leaves, shape = jax.tree_util.tree_flatten_with_path(like)
    found = [_array(path, arrays, before + jax.tree_util.keystr(at)) for at, _ in leaves]
    for (at, leaf), array in zip(leaves, found, strict=True):
        rounds = ".schedule" in jax.tree_util.keystr(at) or ".history" in jax.tree_util.keystr(at)
        if array.dtype != leaf.dtype or (array.shape != leaf.shape and not rounds):
            raise ValueError(
                f"{path}: {jax.tree_util.keystr(at)} is {array.dtype} {list(array.shape)}, not as in `like`"
            )
    return jax.tree.unflatten(shape, [jnp.asarray(array) for array in found])
