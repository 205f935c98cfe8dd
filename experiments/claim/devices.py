"""The devices of a process, cores of a CPU or GPUs, and what is shared out among them.

Each core is a device of its own, and runs or episodes are shared out among devices. XLA's own way, to divide every step
of a walk among the cores, takes twice the CPU time and is no faster.
"""

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec

from .contract import BadFlag

F = TypeVar("F", bound=Callable[..., Any])

_CORES = ("JAX_NUM_CPU_DEVICES", "xla_force_host_platform_device_count")
_PASSES = "xla_disable_hlo_passes"
_most: int | None = None  # what --devices allows

# `jax.jit` of a program that walks through tables, without XLA's pass; not to be called inside another `jit`. What a
# user's XLA_FLAGS say of passes stays. Transformers, which write by large products, are faster with the pass.
_OPTIONS = None if _PASSES in os.environ.get("XLA_FLAGS", "") else {_PASSES: "cpu-parallel-task-assigner"}
jit = functools.partial(jax.jit, compiler_options=_OPTIONS)


def start(count: int | None = None) -> None:
    """Before JAX computes anything: every core is to be a device, or as many as asked for.

    What a user's environment says of it stays as it is, but for a count that is asked for.
    """
    global _most
    _most = count
    flags = os.environ.get("XLA_FLAGS", "")
    if count is not None or not any(name in f"{flags} {' '.join(os.environ)}" for name in _CORES):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with suppress(RuntimeError):  # JAX is running already, on the devices that it has
            jax.config.update("jax_num_cpu_devices", count or cores)


def check() -> None:
    """Raises BadFlag where there are fewer devices than asked for."""
    if _most is not None and _most > (there := jax.local_device_count()):
        raise BadFlag("devices", f"{_most} are more than there are; allowed: whole numbers from 1 to {there}")


def used() -> int:
    """How many devices work is shared out among."""
    return min(_most or jax.local_device_count(), jax.local_device_count())


def over_devices(function: F) -> F:
    """A function of batches, computed on all devices at once; for use under `jit`, outside of `vmap`.

    Args:
      function: of trees of arrays [R, ...] to trees of arrays [R, ...], in which each entry of the results depends on
        the same entry of the arguments alone, as under `vmap`. What it closes over, and arguments without an axis,
        every device has.

    Returns:
      The same function. Integers are the same on any number of devices; floats to 1e-5, since XLA adds up batches of
      another size in another order. Its results lie on those devices: before another program reads them they are to
      be brought to the host, by `jax.device_get` or numpy.
    """

    def spread(*batches: Any) -> Any:
        count = next(leaf.shape[0] for leaf in jax.tree.leaves(batches) if jnp.ndim(leaf))
        each = -(-count // min(count, used()))  # entries a device
        parts = -(-count // each)
        if parts == 1:
            return function(*batches)
        place = jnp.arange(parts * each) % count  # filled with repeats, which are cut off
        fill = lambda leaf: jnp.asarray(leaf)[place] if jnp.ndim(leaf) else leaf
        filled = batches if parts * each == count else jax.tree.map(fill, batches)
        mesh, spec = Mesh(jax.local_devices()[:parts], ("batch",), axis_types=(AxisType.Auto,)), PartitionSpec("batch")
        specs = jax.tree.map(lambda leaf: spec if jnp.ndim(leaf) else PartitionSpec(), filled)
        shared = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=spec, check_vma=False)
        return jax.tree.map(lambda leaf: leaf[:count], shared(*filled))

    return cast(F, spread)
