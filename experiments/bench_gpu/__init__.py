"""One script for whatever device there is: does it compute what a CPU computes, and how fast is it?

python -m experiments.bench_gpu --out=DIR

It needs no installation: a checkout, and a Python that has JAX. `parts` lists what is measured, the most valuable
first; `conduct` gives each part its share of the time and keeps what is finished, whatever happens to the rest.
"""
