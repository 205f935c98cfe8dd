"""Records the digests that `same.statistics` compares with: python -m experiments.bench_gpu.record, on a CPU."""

import json

import jax

from dagger_jax.runtime import files
from dagger_jax.runtime.record import versions

from . import same


def main() -> None:
    """Writes digests.json beside this file."""
    with jax.default_device(jax.devices("cpu")[0]):
        digests = {name: same.digest(values) for name, values in same.drawn()}
    made = {name: versions()[name] for name in ("python", "jax", "jaxlib", "numpy")}
    text = json.dumps({"made_with": made, "digests": digests}, indent=1)
    files.replace(same.RECORDED, f"{text}\n".encode())
    print(f"{len(digests)} digests recorded")


if __name__ == "__main__":
    main()
