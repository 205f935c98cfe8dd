"""The figures of a `gpu.json` as a table in Markdown, each beside its ceiling."""

from collections.abc import Iterator, Mapping
from typing import Any


def table(found: Mapping[str, Any]) -> str:
    """The card, date and commit, then a line for every figure."""
    device = found.get("device", {})
    card = device.get("card") or device.get("kind", "unknown device")
    small = ", small sizes" if device.get("small") else ""
    jax = device.get("versions", {}).get("jax", "unknown")
    head = f"{card}; {device.get('date', 'no date')}; commit {device.get('commit') or 'unknown'}; jax {jax}{small}"
    lines = [head, "", "| what | figure | of its ceiling |", "| --- | --- | --- |"]
    lines += [f"| {what} | {figure} | {ceiling} |" for what, figure, ceiling in _lines(found)]
    return "\n".join(lines)


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, part in found.items():
        if "error" in part:
            yield name.replace("_", " "), f"failed: {part['error'].splitlines()[0][:120]}", ""
        elif name in _SHOWN:
            yield from _SHOWN[name](part)
        if "stopped" in part:
            yield f"{name.replace('_', ' ')}, unfinished", part["stopped"], ""


def _statistics(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    same = part["compared"] - part["differing"]
    yield "integer statistics equal to a CPU's", f"{same:,} of {part['recorded']:,}", ""


def _exact(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    largest = max(part["float64_largest_difference"].values())
    yield "exact recursion, largest difference to the CPU's", f"{largest:.1e}", ""
    if "sampler" in part:
        seen = part["sampler"]
        yield (
            f"sampler, {seen['episodes']:,} episodes: largest of {seen['compared']} distances",
            f"{seen['largest_z']:.2f} standard errors",
            "",
        )
    if "float32_products" in part:
        seen = part["float32_products"]
        yield "float32 products: relative error", f"{seen['as_the_library_asks']:.1e}", ""
        yield "float32 products, as the device does them by default", f"{seen['by_default']:.1e}", ""


def _ceilings(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "copying, read and written", f"{part['bytes_per_second'] / 1e9:,.0f} GB/s", "ceiling"
    yield "elementwise uint32 operations", f"{part['operations_per_second'] / 1e9:,.0f} billion/s", "ceiling"


def _steps(words: str, part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    best = {}
    for line in part["measured"]:
        if line["batch"] not in best or line["steps_per_second"] > best[line["batch"]]["steps_per_second"]:
            best[line["batch"]] = line
    for line in sorted(best.values(), key=lambda line: line["batch"]):
        picked = ", as picked" if line["picked"] else ""
        speed = f"{line['steps_per_second'] / 1e6:,.0f} million steps/s"
        limits = f"{line['share_of_operations']:.1%} of operations, {line['share_of_copying']:.1%} of copying"
        yield f"{words}, batch {line['batch']:,}, block {line['block']:,}{picked}", speed, limits


def _schedules(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for line in part["measured"]:
        what = f"whole experiments, {line['partitions']:,} partitions at once"
        yield what, f"{line['experiments_per_second']:,.0f} per second", ""


def _tokens(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for line in part["measured"]:
        share = "peak unknown" if line["utilisation"] is None else f"{line['utilisation']:.1%} of the bfloat16 peak"
        what = f"tokens {line['what']}, width {line['width']}, {line['layers']} layers, batch {line['batch']:,}"
        yield what, f"{line['tokens_per_second']:,.0f} per second", share


def _job(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    seconds = part["compile_seconds"] + part["run_seconds"]
    found = ", ".join(f"{count} {state}" for state, count in part["findings"].items())
    yield f"horizon_growth, quick: {found}", f"{seconds:.0f} s, {part['compile_share']:.0%} of it compiling", ""


_SHOWN = {
    "same_statistics": _statistics,
    "exact_agrees": _exact,
    "ceilings": _ceilings,
    "steps": lambda part: _steps("one walker, costs", part),
    "two_walkers": lambda part: _steps("two walkers, labels", part),
    "schedules": _schedules,
    "tokens": _tokens,
    "main_job": _job,
}
