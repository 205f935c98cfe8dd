"""The experiments: each file is one claim, and one command that checks it."""
