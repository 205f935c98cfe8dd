"""Whether the device at hand draws what a CPU draws, and how fast it is.

python -m experiments.bench_gpu --out=DIR

It needs no installation: a checkout, and a Python that has JAX. `parts` lists what is measured, the most valuable
first; `conduct` gives each part its share of the time and keeps what is finished, whatever happens to the rest.
"""
