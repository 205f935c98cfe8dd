"""The experiments: each folder is one claim, and one command that checks it."""

from .shared import program

if (_name := program.name()) is not None:
    program.begin(_name)
