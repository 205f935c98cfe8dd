"""A world and an expert as one problem, whatever they are given as."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dagger_jax import checks, names
from dagger_jax.agents import Function
from dagger_jax.control.training import Task, world_of
from dagger_jax.tabular import experts
from dagger_jax.tabular.files import load
from dagger_jax.tabular.gallery import WORLDS
from dagger_jax.types import Array, Problem, World

Expert = str | Callable[[int, int], int | Array] | Array


def problem(world: Any, expert: Any = None, *, horizon: int | None = None, **sizes: Any) -> Any:
    """A world and the expert to be imitated in it.

    Args:
      world: one of
        any world with states of its own, see `protocols.World`: a `Task` is made of it;
        a `Problem`, which has an expert already;
        a `World` of tables, from `tabular.world`;
        the path of an .npz file with a world's arrays, see `tabular.load`;
        a name of the registry `WORLDS`, or module:name of a function make(horizon=...) -> problem or world.
      expert: "optimal" for the policy of least cost; a function (step from 0, state) -> action or its law [A]; the law
        [T, S, A] or [S, A] itself; or module:name of one of these. None: the world's own, which of tables alone is the
        optimal one. In other worlds an `Agent`, or a function (state, step) -> law.
      horizon: T, in steps: needed where a name or a file does not say it, refused where the world is built already.
      **sizes: further arguments of a named world.

    Raises:
      ValueError: naming what is wrong, and what is allowed.
    """
    if hasattr(world, "advance"):
        return _task(world, expert, horizon, sizes)
    found = _world(world, horizon, sizes)
    if isinstance(found, Task):
        return found if expert is None else found.replace(expert=_agent(expert))
    if isinstance(found, Problem):
        return found if expert is None else found.replace(expert=_expert(found.world, expert))
    name = "world" if isinstance(world, World) else Path(str(world)).name.removesuffix(".npz")
    return Problem(found, _expert(found, "optimal" if expert is None else expert), name)


def _task(world: Any, expert: Any, horizon: int | None, sizes: dict[str, Any]) -> Task:
    if sizes or horizon not in (None, world.horizon):
        raise ValueError(f"the world has been built for {world.horizon} steps: it takes no further arguments")
    if expert is None:
        raise ValueError("a world of this kind needs an expert: an agent, or a function (state, step) -> law")
    return Task(world_of(world), _agent(expert), type(world).__name__)


def _agent(expert: Any) -> Any:
    expert = _own(expert) if isinstance(expert, str) else expert
    if not hasattr(expert, "act") and not callable(expert):
        raise ValueError(f"expert must be an agent or a function (state, step) -> law, got {type(expert).__name__}")
    return expert if hasattr(expert, "act") else Function(expert)


def _world(world: Any, horizon: int | None, sizes: dict[str, Any]) -> Any:
    if isinstance(world, str) and not _is_path(world):
        return _named(world, horizon, sizes)
    if sizes:
        raise ValueError(f"only a named world takes {', '.join(sizes)}")
    if isinstance(world, str | Path):
        return load(Path(world).expanduser(), horizon)
    if not isinstance(world, Problem | World):
        raise ValueError(f"world must be a Problem, a World, a name or a path, got {type(world).__name__}")
    own = (world.world if isinstance(world, Problem) else world).horizon
    if horizon not in (None, own):
        raise ValueError(f"horizon is {horizon}, but the world has been built for {own} steps")
    return world


def _named(text: str, horizon: int | None, sizes: dict[str, Any]) -> Any:
    found: Any = names.find("worlds", text, WORLDS)
    if horizon is None:
        raise ValueError(f"{text} needs a horizon, in steps")
    made = names.call(text, getattr(found, "build", found), horizon=horizon, **sizes)
    if not isinstance(made, Problem | World | Task):
        raise ValueError(f"{text} made {type(made).__name__}, not a problem or a world")
    if (own := (made if isinstance(made, World) else made.world).horizon) != horizon:
        raise ValueError(f"{text} made a world of {own} steps, not of {horizon}")
    return made


def _is_path(text: str | Path) -> bool:
    return isinstance(text, Path) or text.endswith(".npz")


def _expert(world: World, expert: Expert) -> Array:
    """The expert's law [L, S, A]."""
    if isinstance(expert, str):
        return experts.optimal(world) if expert == "optimal" else _expert(world, _own(expert))
    if callable(expert):
        return experts.called(world, expert)
    law = np.asarray(jax.device_get(expert), float)
    law = law[None] if law.ndim == 2 else law
    if law.shape not in ((steps, world.states, world.actions) for steps in (1, world.horizon)):
        wanted = [world.horizon, world.states, world.actions]
        raise ValueError(f"expert must have shape {wanted}, or without the first axis, got {list(law.shape)}")
    return checks.laws("expert", law, over_time=len(law) > 1)


def _own(text: str) -> Expert:
    return names.find("experts", text, {"optimal": "optimal"})
