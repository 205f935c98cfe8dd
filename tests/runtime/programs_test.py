"""Programs are counted: by name, by thread, what was compiled and what loaded, and the seconds, each once."""

import threading
import time

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np

from dagger_jax.runtime import programs


def test_each_program_counts_once_by_its_name():
    def add(x):
        return x + 1

    double = jax.jit(lambda x: 2 * add(x))
    with programs.counting() as count:
        begun = time.perf_counter()
        double(np.float32(1))
        first, elapsed = count.seconds(), time.perf_counter() - begun
        double(np.float32(2))
        jax.jit(add)(np.float32(1))
        jax.jit(add)(np.ones(3, np.float32))
        assert 0 < first <= elapsed
    assert count.names() == {"<lambda>": 1, "add": 2}
    assert count.names(3600) == {}
    assert count.compiled + count.cached == 3
    assert count.facts()["compile_seconds"] == count.seconds() > first
    jax.jit(lambda x: x - 1)(np.float32(1))
    assert sum(count.names().values()) == 3


def test_an_eager_operation_is_a_program():
    with programs.counting() as count:
        assert (jnp.arange(7) * 3)[1] == 3
    assert sum(count.names().values()) >= 2


def test_whatever_thread_compiles():
    def work():
        jax.jit(lambda x: x * 5).lower(np.float32(1)).compile()

    with programs.counting() as count:
        thread = threading.Thread(target=work)
        thread.start()
        other = thread.ident
        thread.join()
        assert count.names() == {"<lambda>": 1}
        assert count.seconds(threading.get_ident()) == 0
        assert count.seconds(other) == count.seconds() > 0


def test_seconds_within_seconds_count_once_and_a_hit_belongs_to_its_thread():
    """With JAX's own events: a trace within a trace; a program that is loaded while another thread compiles one."""
    trace, compiled = programs._WORK[0], programs._COMPILE
    span = jax.monitoring.record_event_time_span
    with programs.counting() as count:
        span(trace, 1.0, 2.0, fun_name="inner")
        span(trace, 0.5, 3.0, fun_name="outer")
        span("/jax/another/event", 0.0, 100.0)
        jax.monitoring.record_event(programs._HIT)
        thread = threading.Thread(target=span, args=(compiled, 2.0, 4.0), kwargs={"fun_name": "jit(other)"})
        thread.start()
        thread.join()
        span(compiled, 5.0, 5.5, fun_name="jit(outer)")
    assert count.all == [programs.Program("other", 2.0, False), programs.Program("outer", 0.5, True)]
    assert (count.compiled, count.cached, count.names(1.0)) == (1, 1, {"other": 1})
    assert (count.seconds(), count.seconds(threading.get_ident())) == (4.0, 3.0)
