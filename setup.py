"""Packaging of dagger_jax. Tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "dagger_jax" / "__init__.py").read_text(encoding="utf-8"), re.M)
assert VERSION is not None
EXPERIMENTS = ["dagger_jax.experiments", *(f"dagger_jax.experiments.{name}" for name in find_packages("experiments"))]

setup(
    name="dagger_jax",
    version=VERSION[1],
    description="Imitation learning in JAX: roll-out schedules, exact regret, and every theorem checked against it.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["dagger_jax*"]), *EXPERIMENTS],
    package_dir={"dagger_jax.experiments": "experiments"},  # beside the engine in a checkout, inside it when installed
    package_data={
        "dagger_jax": ["py.typed"],
        "dagger_jax.experiments.worlds": ["*.npz"],
        "dagger_jax.experiments.bench_gpu": ["*.json"],
        "dagger_jax.experiments.benchmark": ["*.c"],
    },
    entry_points={"console_scripts": ["dagger-jax = dagger_jax.experiments.command:main"]},
    # Run on: jax 0.10.2, flax 0.12.8, optax 0.2.8, chex 0.1.92, jaxtyping 0.3.11, numpy 2.4.6, absl-py 2.5.1,
    # scipy 1.17.1, pyarrow 25.0.1, matplotlib 3.11, rich 15, scikit-learn 1.9.1, orbax-checkpoint 0.12.8. Upper bounds
    # are the next release that may break something; lower ones are the first with what is used, not each of them run.
    install_requires=[
        "jax>=0.10.2,<0.12",
        "flax>=0.12.8,<0.13",
        "optax>=0.2.8,<0.3",
        "chex>=0.1.92,<0.2",
        "jaxtyping>=0.3.7,<0.4",
        "numpy>=2.4,<3",
        "absl-py>=2.4,<3",
        "scipy>=1.15,<2",
        "pyarrow>=20,<26",
        "matplotlib>=3.10,<4",
        "cycler>=0.11,<1",
        "rich>=14,<16",
        "scikit-learn>=1.6,<2",
        "orbax-checkpoint>=0.11,<0.13",
    ],
    extras_require={
        "dev": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.130,<7",
            "beartype>=0.22,<0.24",
            "ruff>=0.14,<0.16",
            "pyright[nodejs]>=1.1.400,<1.2",
            "submitit>=1.5,<2",  # as in [slurm], for its tests
        ],
        # Engines that divide the work of a run.
        "ray": ["ray>=2.40,<3"],
        "slurm": ["submitit>=1.5,<2"],
        # Only to make experiments/worlds/*.npz again.
        "worlds": ["gymnasium>=1.2,<2"],
        # Only for one row of experiments/benchmark. gymnax imports six, and does not ask for it.
        "bench": ["gymnax>=1.0.1,<2", "six>=1.16,<2"],
    },
)
