"""How to choose the chunk length, and change it: regret and detectability at an equal cost."""
