"""Packaging of dagger_jax. Tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="dagger_jax",
    version="0.1.0",
    description="Imitation learning in JAX: roll-out schedules, exact regret, and every theorem held against it.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["dagger_jax*", "experiments*"]),
    package_data={"experiments": ["worlds/*.npz"]},
    # Run on: jax 0.10.2, flax 0.12.8, optax 0.2.8, chex 0.1.92, numpy 2.4.6, absl-py 2.5.1, scipy 1.17.1,
    # pyarrow 25.0.1, matplotlib 3.11, rich 15, scikit-learn 1.9. Upper bounds are the next release that may break
    # something; lower
    # ones are the first with what is used, not each of them run.
    install_requires=[
        "jax>=0.10.2,<0.12",
        "flax>=0.12.8,<0.13",
        "optax>=0.2.8,<0.3",
        "chex>=0.1.92,<0.2",
        "numpy>=2.4,<3",
        "absl-py>=2.4,<3",
        "scipy>=1.15,<2",
        "pyarrow>=20,<26",
        "matplotlib>=3.10,<4",
        "rich>=14,<16",
        "scikit-learn>=1.6,<2",
    ],
    extras_require={
        "dev": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "hypothesis>=6.130,<7",
            "ruff>=0.14,<0.16",
            "pyright[nodejs]>=1.1.400,<1.2",
        ],
        # Only to make experiments/worlds/*.npz again.
        "worlds": ["gymnasium>=1.2,<2"],
    },
)
