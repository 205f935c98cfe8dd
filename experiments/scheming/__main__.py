"""The command: python -m experiments.scheming --out=DIR."""

from .. import claim
from .experiment import CLAIM

if __name__ == "__main__":
    claim.run(CLAIM)
