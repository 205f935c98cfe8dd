"""The outer loop of token worlds: what its rows mean, that it continues from checkpoints, and that it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dagger_jax import controllers, randomness, schedules
from dagger_jax.text import checkpoint, losses, training, transformer, walk, writers

V, T, B = 5, 8, 6
CONFIG = transformer.Config(V, T, width=8, layers=1, heads=2)
ADAM = optax.adam(1e-2)
EXPERT = writers.random_markov(V, 1, seed=3)
KEY = randomness.words(jax.random.key(5))
EPISODES = jnp.arange(B, dtype=jnp.uint32)
N = 4  # rows of every schedule, and two rounds a program: so that few programs are compiled
play = jax.jit(walk.play)
WHOLE, ALONE = schedules.behavioural_cloning(N, T), schedules.dagger(N, T, jnp.zeros(N))


def chunked(starts, beta=None):
    return schedules.chunked(N, jnp.asarray(starts, float), beta)


def recipe(**given):
    return training.Recipe(CONFIG, ADAM, **given)


TRACES = []


def shown(moment):
    TRACES.append("a program is traced")
    return moment.loss, moment.text, moment.row.join


def fresh(recipe, controller=None):
    return training.begin(recipe, jax.random.key(2), controller)


def run(recipe, schedule, rounds=2, state=None, controller=None, **given):
    """An even number of rounds, two at a time."""
    state, seen = fresh(recipe, controller) if state is None else state, []
    for _ in range(rounds // 2):
        state, two = training.advance(
            recipe, EXPERT, schedule, state, KEY, EPISODES, rounds=2, controller=controller, measure=shown, **given
        )
        seen.append(two)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen)


def close(one, other, **tolerance):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, **tolerance)


def same(one, other):
    close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("schedule", "controller", "given"),
    [
        (chunked(schedules.starts(T, 3)), None, {}),
        (chunked(schedules.starts(T, 1)), controllers.DetectabilityBudget(0.3), {}),
        pytest.param(*(chunked(schedules.starts(T, 1)), controllers.AdditiveIncrease(0.9), {}), marks=pytest.mark.slow),
        pytest.param(
            *(schedules.dagger(N, T, jnp.linspace(1, 0, N)), None, {"reads": "novice", "loss": losses.reverse_kl}),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["chunks", "budget", "aimd", "distillation"],
)
def test_a_run_from_a_checkpoint_is_the_uninterrupted_run(tmp_path, schedule, controller, given):
    """Bit for bit: four rounds, and two, saved, restored, and two more."""
    how = recipe(**given)
    whole, seen = run(how, schedule, 4, controller=controller)
    half, first = run(how, schedule, 2, controller=controller)
    checkpoint.save(tmp_path / "half", how, half)
    restored = checkpoint.restore(tmp_path / "half", how, controller)
    same(restored, half)
    again, second = run(how, schedule, 2, restored, controller)
    same(again, whole)
    same(jax.tree.map(lambda *parts: jnp.concatenate(parts), first, second), seen)
    assert int(again.round) == 4


def test_a_run_in_parts_is_the_run_in_one_program():
    """Bit for bit: four rounds in one scan, and two and two."""
    start = fresh(recipe())
    row = chunked(schedules.starts(T, 3))
    whole, loss = training.advance(recipe(), EXPERT, row, start, KEY, EPISODES, rounds=4)
    parts, (losses_, _, _) = run(recipe(), row, 4)
    same(parts, whole)
    same(losses_, loss)


def test_chunks_of_one_token_are_sampled_labels_at_own_prefixes():
    """k = 1 through two streams, and DAgger's row with the tokens that the expert would have written there."""
    chunks, (loss, text, _) = run(recipe(), chunked(schedules.starts(T, 1)))
    asked, (other, wanted, _) = run(recipe(reads="novice"), ALONE)
    np.testing.assert_array_equal(text.guide[0], wanted.asked[0])
    np.testing.assert_array_equal(text.novice[0], wanted.novice[0])
    np.testing.assert_allclose(loss, other, rtol=1e-5)
    close(chunks.learner.params, asked.learner.params, atol=1e-5)


def test_supervised_fine_tuning_is_one_chunk_of_the_whole_text():
    """Through one stream of the expert's tokens, and through two with k = T."""
    one, (loss, text, _) = run(recipe(reads="guide"), WHOLE)
    two, (other, also, _) = run(recipe(reads="both"), chunked(schedules.starts(T, T)))
    np.testing.assert_array_equal(text.guide, also.guide)
    np.testing.assert_allclose(loss, other, rtol=1e-5)
    close(one.learner.params, two.learner.params, atol=1e-5)


def test_whole_laws_are_sampled_labels_on_average():
    """The mean gradient of the log loss on sampled tokens is that of the forward KL, at the same prefixes."""
    chunks = schedules.row(schedules.chunked(1, schedules.starts(T, 2)), 0)
    params = fresh(recipe()).learner.params
    texts = jnp.arange(2000, dtype=jnp.uint32)
    text = play(EXPERT, writers.Frozen(CONFIG, params), chunks, KEY, texts)

    def gradient(loss):
        one = functools.partial(training.step_loss, recipe(loss=loss), expert=EXPERT, row=chunks)
        value = lambda params: jax.vmap(lambda text: one(params, text=text), in_axes=1)(text).mean()
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.grad(value)(params))])

    sampled, whole = jax.jit(lambda: (gradient(None), gradient(losses.forward_kl)))()
    assert jnp.linalg.norm(sampled - whole) < 0.2 * jnp.linalg.norm(whole)


def test_one_program_for_all_partitions():
    """Rows are data: fixed, drawn, geometric chunks, and what a round's beta is."""
    run(recipe(), chunked(schedules.starts(T, 1)))
    before = len(TRACES)
    rows = [schedules.starts(T, k) for k in range(1, T + 1)]
    rows += [schedules.geometric(T, 3.0), schedules.partition(T, [1, 2, 5]), schedules.forks(T, [3])]
    for starts in rows:
        run(recipe(), chunked(starts, schedules.beta_indicator(N)))
    assert len(TRACES) == before > 0


def test_shares_of_texts_and_of_steps():
    """beta [N, T, B]: texts with 1 are the expert's, the others the learner's, as GKD mixes them."""
    beta = jnp.broadcast_to(jnp.arange(B) >= 2, (N, T, B)).astype(float)
    how = recipe(reads="novice")
    _, (_, text, _) = run(how, ALONE._replace(beta=beta))
    _, (_, own, _) = run(how, ALONE)
    np.testing.assert_array_equal(text.novice[0, :, 2:], text.asked[0, :, 2:])
    np.testing.assert_array_equal(text.novice[0, :, :2], own.novice[0, :, :2])
    assert (np.asarray(own.novice) != np.asarray(own.asked)).any()


def test_scheduled_sampling_at_its_ends():
    """The reference's tokens alone: supervised fine-tuning. None of them: the learner's texts, charged for others."""
    how = recipe(reads="novice", copied=True)
    copying, (loss, text, _) = run(how, schedules.scheduled_sampling(N, T, np.ones(N)))
    tuned, (other, reference, _) = run(recipe(reads="guide"), WHOLE)
    np.testing.assert_array_equal(text.novice, text.guide)
    np.testing.assert_array_equal(text.guide, reference.guide)
    np.testing.assert_allclose(loss, other, rtol=1e-5)
    close(copying.learner.params, tuned.learner.params, atol=1e-5)
    _, (_, text, _) = run(how, schedules.scheduled_sampling(N, T, np.zeros(N)))
    np.testing.assert_array_equal(text.guide, reference.guide)  # the reference does not depend on the learner
    assert (np.asarray(text.novice) != text.guide).any()


@pytest.mark.parametrize(
    ("given", "schedule", "labels"),
    [
        ({"reads": "guide"}, WHOLE, T),
        ({"reads": "novice"}, ALONE, T),
        ({}, chunked(schedules.starts(T, 3)), T),
        ({}, chunked(schedules.starts(T, 3))._replace(label_guide=jnp.full((N, T), 0.5)), T / 2),
        ({"reads": "novice"}, WHOLE, 0),  # reads what is not labelled: `labels` says so
        ({"reads": "novice", "copied": True}, schedules.scheduled_sampling(N, T, np.ones(N)), T),
    ],
    ids=["supervised", "own", "chunks", "half", "nothing", "scheduled sampling"],
)
def test_labels_are_counted_from_the_row_that_was_played(given, schedule, labels):
    how = recipe(**given)
    count = lambda: training.advance(
        how, EXPERT, schedule, fresh(how), KEY, EPISODES, rounds=2, measure=lambda moment: moment.labels
    )
    assert count()[1].tolist() == [B * labels] * 2


def test_sizes_that_do_not_fit_are_refused_before_anything_runs():
    """Also where the learner does not walk: supervised fine-tuning."""
    longer = schedules.behavioural_cloning(N, T + 2)
    for reads in ("guide", "both"):
        how = recipe(reads=reads)
        with pytest.raises(ValueError, match=r"T = 10 tokens, the learner writes 8 at most \(config.length"):
            training.advance(how, EXPERT, longer, fresh(how), KEY, EPISODES, rounds=1)
    with pytest.raises(ValueError, match="expert writes V = 7 tokens, the learner V = 5"):
        training.advance(recipe(), writers.random_markov(7, 1), WHOLE, fresh(recipe()), KEY, EPISODES, rounds=1)


@pytest.mark.parametrize(
    "controller",
    [controllers.DetectabilityBudget(0.99), controllers.AdditiveIncrease(0.999)],
    ids=["budget", "aimd"],
)
def test_a_controller_rewrites_rows(controller):
    state, (_, text, joins) = run(recipe(), chunked(schedules.starts(T, 2)), 6, controller=controller)
    joins = np.asarray(joins)
    np.testing.assert_array_equal(joins[0], controller.init(T)[1])  # not the schedule's
    assert (joins != joins[0]).any(), "no row was rewritten"
    assert (joins[:, 0] == 1).all()
    np.testing.assert_array_equal(np.asarray(text.joined[..., 0]), joins > 0)
    assert state.column is not None
    assert state.column.dtype == jnp.float32


def test_what_a_controller_sees_is_between_0_and_1():
    learner = writers.Frozen(CONFIG, fresh(recipe()).learner.params)
    row = schedules.row(schedules.chunked(1, schedules.starts(T, 4)), 0)
    text = play(EXPERT, learner, row, KEY, EPISODES)
    seen = jax.jit(training.read)(EXPERT, learner, row, text)
    assert seen.eps.shape == seen.agreement.shape == (T,)
    assert ((np.asarray(seen.eps) >= 0) & (np.asarray(seen.eps) <= 1)).all()
    assert (np.diff(np.asarray(seen.agreement).reshape(2, 4)) <= 0).all()  # walkers part, within a chunk
    assert float(seen.episodes) == B


@pytest.mark.parametrize(
    ("schedule", "given"),
    [
        (WHOLE, {"reads": "guide"}),
        (WHOLE, {"reads": "guide", "loss": losses.forward_kl, "updates": 2}),
        (chunked(schedules.starts(T, 3)), {}),
        (ALONE, {"reads": "novice", "loss": losses.reverse_kl}),
        (ALONE._replace(beta=jnp.full((N, T), 0.2)), {"reads": "novice", "loss": losses.reverse_kl}),
    ],
    ids=["supervised", "whole laws", "chunks", "reverse", "mixture"],
)
def test_training_lowers_the_loss(schedule, given):
    _, (loss, _, _) = run(recipe(**given), schedule, 60)
    assert np.isfinite(loss).all()
    assert loss[-10:].mean() < loss[:5].mean() - 0.05


def test_a_gradient_step_lowers_the_loss_of_its_own_texts():
    """The losses of several steps on one round's texts, with a small rate."""
    row = schedules.row(schedules.chunked(1, schedules.starts(T, 3)), 0)
    params = fresh(recipe()).learner.params
    text = play(EXPERT, writers.Frozen(CONFIG, params), row, KEY, EPISODES)
    one = functools.partial(training.step_loss, recipe(), expert=EXPERT, row=row)
    loss = jax.jit(jax.value_and_grad(lambda p: jax.vmap(lambda t: one(p, text=t), in_axes=1)(text).mean()))
    values = []
    for _ in range(5):
        value, gradient = loss(params)
        values.append(float(value))
        params = jax.tree.map(lambda leaf, change: leaf - 0.05 * change, params, gradient)
    assert (np.diff(values) < 0).all()


def test_whose_tokens_a_schedule_labels():
    assert training.reads(WHOLE) == "guide"
    assert training.reads(schedules.dagger(2, T)) == "novice"
    assert training.reads(schedules.chunked(2, schedules.starts(T, 4))) == "both"
    assert training.reads(ALONE._replace(label_guide=jnp.ones((N, T)))) == "both"

    assert training.reads(schedules.scheduled_sampling(2, T, np.ones(2))) == "novice"
    assert training.reads(schedules.reset(2, schedules.starts(T, 4))) == "both"
    assert training.reads(WHOLE._replace(patience=jnp.ones((N, T)))) == "both"


def test_a_column_without_a_meaning_is_refused():
    with pytest.raises(ValueError, match=r"schedule.after has no meaning"):
        training.reads(WHOLE._replace(after=jnp.full((N, T), 0.5)))


def test_half_of_scheduled_sampling_is_refused():
    copying = schedules.scheduled_sampling(N, T, np.ones(N))
    for how, schedule in ((recipe(reads="novice", copied=True), WHOLE), (recipe(reads="novice"), copying)):
        with pytest.raises(ValueError, match="needs both"):
            training.advance(how, EXPERT, schedule, fresh(how), KEY, EPISODES, rounds=1)


EXCURSIONS = {
    "excursions": schedules.reset(N, schedules.starts(T, 3)),
    "there and back": schedules.round_trip(N, schedules.starts(T, 4), np.eye(T)[2] + np.eye(T)[6]),
    "patience": chunked(schedules.starts(T, T))._replace(patience=jnp.full((N, T), 0.6)),
    "noise": schedules.dart(N, T, 0.5),
}


@pytest.mark.parametrize("case", EXCURSIONS)
def test_training_under_every_column(case):
    """The loss of the first round is that of the definition: each label's log loss at its own prefix, fed by tokens."""
    schedule, how = EXCURSIONS[case], recipe()
    start = fresh(how)
    state, (loss, text, _) = run(how, schedule, 2)
    params, text = start.learner.params, jax.tree.map(lambda leaf: np.asarray(leaf)[0], text)
    writer, feed = writers.Frozen(CONFIG, params), jax.jit(writers.Frozen(CONFIG, params).feed)
    row = schedules.filled(schedules.row(schedule, 0))
    total = weight = 0.0
    for b in range(B):
        novice = guide = (writer.start(), jnp.asarray(writer.vocabulary))
        for t in range(T):
            if text.returned is not None and text.returned[t, b]:
                novice = guide
            elif text.joined[t, b]:
                guide = novice
            own, first = feed(*novice, t)
            other, second = feed(*guide, t)
            total -= row.label_novice[t] * first[text.asked[t, b]] + row.label_guide[t] * second[text.intended[t, b]]
            weight += row.label_novice[t] + row.label_guide[t]
            novice, guide = (own, jnp.asarray(text.novice[t, b])), (other, jnp.asarray(text.guide[t, b]))
    np.testing.assert_allclose(loss[0], total / weight, rtol=1e-5)
    assert int(state.round) == 2


def test_a_checkpoint_is_a_writer(tmp_path):
    """A trained transformer as the expert: a learner that has its parameters never leaves it."""
    teacher, _ = run(recipe(reads="guide"), WHOLE, 30)
    checkpoint.save_params(tmp_path / "teacher", CONFIG, teacher.learner.params)
    expert = checkpoint.frozen(tmp_path / "teacher", vocabulary=V, length=T)
    row = schedules.row(chunked(schedules.starts(T, T)), 0)
    text = play(expert, writers.Frozen(CONFIG, teacher.learner.params), row, KEY, EPISODES)
    assert np.asarray(text.together).all()
    np.testing.assert_array_equal(text.wrong, 0)
    text = play(expert, writers.Frozen(CONFIG, fresh(recipe()).learner.params), row, KEY, EPISODES)
    assert np.asarray(text.wrong).mean() > 0.1
