"""The names of the zoo's algorithms as their authors write them."""

NAMES = {
    "aggrevate": "AggreVaTe",
    "aggrevated": "AggreVaTeD",
    "behavioural_cloning": "behavioural cloning",
    "chunked": "chunked DAgger",
    "dart": "DART",
    "descent_dagger": "DAgger, gradient descent",
    "dagger": "DAgger",
    "dagger_best": "DAgger, best policy",
    "dagger_mixture": "DAgger, mixture",
    "ensemble_dagger": "EnsembleDAgger",
    "hedge_dagger": "DAgger, Hedge",
    "hg_dagger": "HG-DAgger",
    "lazy_dagger": "LazyDAgger",
    "log_loss_cloning": "log-loss cloning",
    "log_loss_dagger": "DAgger, log loss",
    "lols": "LOLS",
    "mimic_md": "Mimic-MD",
    "nrpi": "NRPI",
    "regularised_dagger": "DAgger, regularised",
    "reset": "reset variant",
    "safe_dagger": "SafeDAgger",
    "searn": "SEARN",
    "smile": "SMILe",
    "stagger": "Stagger",
    "thrifty_dagger": "ThriftyDAgger",
    "warm_stagger": "Warm-Stagger",
}


def title(algorithm: str) -> str:
    """An algorithm's name as its authors write it."""
    return NAMES.get(algorithm, algorithm.replace("_", " "))
