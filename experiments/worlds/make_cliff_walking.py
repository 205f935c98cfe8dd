"""Makes cliff_walking.npz from gymnasium's CliffWalking-v1 (Sutton and Barto, Example 6.6).

    python -m experiments.worlds.make_cliff_walking

needs `pip install 'dagger_jax[worlds]'`. A walker crosses a 4 x 12 grid beside a cliff, slipping to either
side with probability 1/3 each. Gymnasium's reward of -1 a step and -100 for a fall, after which the walker is
back at the start, become costs of 0.01 and 1; whoever has arrived pays no more. A fall can be made good: this
is a recoverable world that was not made for dagger_jax.
"""

import importlib
from pathlib import Path

import numpy as np

from ..claim import Settings, tool

PATH = Path(__file__).with_name("cliff_walking.npz")


def arrays() -> dict[str, np.ndarray]:
    """The world's `transition` [S, A, S], `cost` [S, A] and `initial` [S]."""
    gymnasium = importlib.import_module("gymnasium")  # an extra: only this file needs it
    game = gymnasium.make("CliffWalking-v1", is_slippery=True).unwrapped
    table, initial = game.P, game.initial_state_distrib
    states, actions = len(table), len(table[0])
    goals = {target for moves in table.values() for move in moves.values() for _, target, _, ends in move if ends}
    transition, cost = np.zeros((states, actions, states)), np.zeros((states, actions))
    for state in range(states):
        for action in range(actions):
            if state in goals:
                transition[state, action, state] = 1
                continue
            for chance, target, reward, _ in table[state][action]:
                transition[state, action, target] += chance
                cost[state, action] += chance * -reward / 100
    return {"transition": transition, "cost": cost, "initial": np.asarray(initial)}


def main(settings: Settings) -> None:
    """Writes the file."""
    tool.writable("out", settings.out)
    made = arrays()
    np.savez_compressed(settings.out, transition=made["transition"], cost=made["cost"], initial=made["initial"])


if __name__ == "__main__":
    about = "writes gymnasium's CliffWalking-v1, slippery, as a world; needs pip install 'dagger_jax[worlds]'."
    flags = (tool.file("out", "The world's file.", ".npz"),)
    tool.run("make_cliff_walking", about, flags, {"out": PATH}, main)
