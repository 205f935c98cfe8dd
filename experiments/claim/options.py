"""The command line: how flags are read, checked and explained.

Two experiments may both have `--worlds`, and `--help` shows all that an experiment understands, and nothing else.
"""

import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags as absl_flags

from ..shared import program
from . import cluster, devices, inputs, sharing
from .contract import BadFlag, Claim, Flag, Settings
from .flags import COMPILE_CACHE, DEVICES, OUT, PRESET, RESUME, RUNS, SEED

HELP = frozenset(("--help", "-help", "-h", "-?", "--helpshort", "--helpfull"))


class Request(NamedTuple):
    """What the command line asks for."""

    settings: Settings
    out: Path
    resume: bool
    compile_cache: bool
    files: dict[str, str]  # the sha256 of all that was read, by the key that stands for it in the settings
    sharing: sharing.Sharing
    arguments: tuple[str, ...]  # the command line, the program's name first


def resolve(claim: Claim, preset: str = "default", seed: int = 0, **given: Any) -> Settings:
    """Fills in the preset's values for what is not given, and reads the files that are named, as the command line does.

    Args:
        claim: the experiment.
        preset: quick, default or full.
        seed: the seed.
        **given: values of the claim's flags and `runs`.

    Returns:
        The settings, ready for `claim.cells` and `claim.measure`.

    Raises:
        BadFlag: a file cannot be read, or two hold the same.
    """
    values = {"runs": 1, **claim.sweep[preset], **given, "seed": seed, "preset": preset}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Settings(values | {flag.name: _loaded(flag, values[flag.name]) for flag in claim.flags if flag.load})


def parse(claim: Claim, arguments: Sequence[str]) -> Request:
    """Reads and checks the command line, and has JAX's devices made by it; touches no file but those that flags name.

    Args:
        claim: the experiment.
        arguments: the command line, the program's name first.

    Returns:
        What is asked for.

    Raises:
        BadFlag: a flag is unknown, missing or not allowed; the message is one line.
    """
    values = read((*claim.flags, RUNS, SEED, PRESET, OUT, RESUME, COMPILE_CACHE, DEVICES, *sharing.FLAGS), arguments)
    if "out" not in values:
        raise BadFlag("out", f"it must be given; allowed: {OUT.allowed}")
    out, resume, cached = values.pop("out"), values.pop("resume", True), values.pop("compile_cache", True)
    shared = sharing.take(values, resume=resume)
    # Both before a user's own module computes anything.
    devices.start(values.pop("devices", None))
    shared = cluster.join(shared) if cluster.inside() else shared
    settings = resolve(claim, **values)
    digests = {key: each.digest for key, each in inputs.used(settings.values).items()}
    return Request(settings, out, resume, cached, digests, shared, tuple(arguments))


def read(flags: Sequence[Flag], arguments: Sequence[str]) -> dict[str, Any]:
    """Reads a command line.

    Args:
        flags: what may be given.
        arguments: the command line, the program's name first.

    Returns:
        The values of the flags that are given.

    Raises:
        BadFlag: a flag is unknown or not allowed; the message is one line.
    """
    declared = {flag.name: flag for flag in flags}
    return {name: _read(declared[name], text) for name, text in _texts(declared, arguments[1:]).items()}


def explain(claim: Claim) -> str:
    """Writes the text of `--help`.

    Args:
        claim: the experiment.

    Returns:
        Several lines, at most 100 characters wide.
    """
    own = [_entry(claim, flag) for flag in claim.flags]
    common = [
        _entry(claim, OUT, "required"),
        _entry(claim, PRESET, "default"),
        _entry(claim, RUNS),
        _entry(claim, SEED, "0"),
        _entry(claim, DEVICES, "all"),
        *(_entry(claim, flag, f"--{flag.name}") for flag in (RESUME, COMPILE_CACHE)),
        *(_entry(claim, flag, default) for flag, default in sharing.FLAGS.items()),
        f"  --help\n{_wrap('Show this text.', 6)}",
    ]
    results = "report.html, findings.json, points.parquet, figures (PNG, SVG), run.json."
    status = (
        "0: every tested finding holds. 1: one is refuted. 2: bad input. 3: the environment or the program failed, "
        "what was measured is kept. 4: blocks to judge are missing. 5: none is refuted, one is not shown. 130, 143: "
        "interrupted, terminated; run again to resume."
    )
    sections = (
        f"{claim.name}: {claim.title}",
        _wrap(claim.statement),
        f"Usage:\n  {_command(claim.name)} --out=DIR [flags]",
        *(["Flags of this experiment:", *own] if own else []),
        "Flags of every experiment:",
        *common,
        f"Results in DIR:\n{_wrap(results, 2)}",
        f"Exit status:\n{_wrap(status, 2)}",
    )
    return "\n\n".join(sections)


def explain_tool(
    name: str,
    about: str,
    flags: Sequence[Flag],
    defaults: Mapping[str, Any],
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The text of `--help` of a program that is no claim; arguments are those of `tool.run`."""

    def usual(flag: Flag) -> str:
        value = defaults.get(flag.name)
        others = {preset: values[flag.name] for preset, values in (presets or {}).items() if flag.name in values}
        words = "none" if value is None else shown(value)
        return "; ".join((words, *(f"{shown(value)} ({preset})" for preset, value in others.items())))

    entries = [_lines(flag, "A,B,..." if flag.many else "VALUE", f"Default: {usual(flag)}.") for flag in flags]
    status = "0: done. 2: bad input. 3: the environment failed. 130: interrupted."
    sections = (
        _wrap(f"{name}: {about}"),
        f"Usage:\n  {_command(name)} [flags]",
        *(["Flags:", *entries] if entries else []),
        f"Exit status:\n{_wrap(status, 2)}",
    )
    return "\n\n".join(sections)


def _texts(declared: Mapping[str, Flag], words: Sequence[str]) -> dict[str, str]:
    """What is written for each flag, as absl reads it; but each flag once, and none from files or hidden from us."""
    values, known = absl_flags.FlagValues(), ", ".join(f"--{name}" for name in declared)
    for flag in declared.values():
        define = absl_flags.DEFINE_boolean if flag.switch else absl_flags.DEFINE_multi_string
        define(flag.name, None, flag.meaning, flag_values=values)
    for word in words:
        if word == "--":
            raise BadFlag("", "not a flag; flags are written --name=value, lists without spaces")
        if own := re.fullmatch(r"--?(flagfile|undefok)(=.*)?", word, re.DOTALL):
            raise BadFlag(own[1], f"there is no such flag; allowed: {known}")
    try:
        extra = values(["", *words])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        raise BadFlag(_short(error.flagname), f"there is no such flag; allowed: {known}") from error
    except (absl_flags.Error, ValueError) as error:
        name = next((name for name in declared if re.search(rf"\b(no)?{name}\b", str(error))), "")
        allowed = declared[name].allowed if name else known
        raise BadFlag(name, f"it has no value that can be read; allowed: {allowed}") from error
    if extra:
        raise BadFlag(_short(extra[0].lstrip("-")), "not a flag; flags are written --name=value, lists without spaces")
    texts: dict[str, str] = {}
    for name, flag in declared.items():
        if (given := values[name].value) is None:
            continue
        written = [word for word in words if re.fullmatch(rf"--?(no)?{name}(=.*)?", word)] if flag.switch else given
        if len(written) > 1:
            raise BadFlag(name, "it is given twice; allowed: each flag once")
        texts[name] = str(given).lower() if flag.switch else given[0]
        if not _encodable(texts[name]):
            raise BadFlag(name, f"{_short(ascii(texts[name]))} is not UTF-8; allowed: {flag.allowed}")
    return texts


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:120]}..."


def _read(flag: Flag, text: str) -> Any:
    items = _parts(flag, text) if flag.many else [text.strip()]
    allowed = flag.allowed + (", separated by commas" if flag.many else "")
    values = []
    for item in items:
        value = flag.read(item) if item else None
        if value is None:
            near = flag.nearest(item) if flag.nearest else f"allowed: {allowed}"
            raise BadFlag(flag.name, f"{_short(repr(item))} is not allowed; {near}")
        if value in values:
            raise BadFlag(flag.name, f"{_short(repr(item))} is given twice; allowed: {allowed}, each once")
        values.append(value)
    return tuple(values) if flag.many else values[0]


def _parts(flag: Flag, text: str) -> list[str]:
    """A list's items. A path may have commas: where an item is none, so many are joined again that they are one."""
    items = text.split(",")
    if flag.load is None:
        return [item.strip() for item in items]
    parts, begin = list[str](), 0
    while begin < len(items):
        joined = (",".join(items[begin:end]).strip() for end in range(begin + 1, min(len(items), begin + 64) + 1))
        part = next((part for part in joined if part and flag.read(part) is not None), None)
        if part is None:  # the first that is not allowed is what a message names
            return [*parts, *map(str.strip, items[begin:])]
        parts.append(part)
        begin += part.count(",") + 1
    return parts


def _loaded(flag: Flag, value: Any) -> Any:
    """The setting that stands for what the paths in a flag's value hold."""
    assert flag.load is not None
    texts = value if flag.many else (value,)
    found: dict[str, str] = {}
    for text in texts:
        try:
            key = flag.load(text)
        except ValueError as error:
            raise BadFlag(flag.name, f"{error}; allowed: {flag.allowed}") from error
        if key in found:
            raise BadFlag(flag.name, f"{inputs.shown(found[key])} and {inputs.shown(text)} hold the same: give one")
        found[key] = text
    return tuple(found) if flag.many else next(iter(found))


def _entry(claim: Claim, flag: Flag, default: str = "") -> str:
    shape = "A,B,..." if flag.many else "DIR" if flag is OUT else "VALUE"
    defaults = {preset: shown(values.get(flag.name, 1)) for preset, values in claim.sweep.items()}
    same = default or (defaults["default"] if len(set(defaults.values())) == 1 else "")
    words = f"Default: {same}." if same else f"Default: {'; '.join(f'{v} ({k})' for k, v in defaults.items())}."
    return _lines(flag, shape, "Required." if flag is OUT else words)


def _lines(flag: Flag, shape: str, default: str) -> str:
    if flag.switch:
        return "\n".join((f"  --{flag.name}, --no{flag.name}", *(_wrap(line, 6) for line in (flag.meaning, default))))
    lines = flag.meaning, f"Allowed: {flag.allowed}.", default
    return "\n".join((f"  --{flag.name}={shape}", *(_wrap(line, 6) for line in lines)))


def shown(value: Any) -> str:
    """A setting as the command line has it.

    Args:
        value: a value or a tuple of values.

    Returns:
        The text.
    """
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _wrap(text: str, margin: int = 0) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        width=100,
        initial_indent=" " * margin,
        subsequent_indent=" " * margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _command(name: str) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec else f"experiments.{name}"
    return program.called or f"python -m {module}"
