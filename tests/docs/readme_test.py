"""README.md: its examples run as they are printed, in order, and what it links to exists."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def ran(blocks: list[str]) -> dict[str, Any]:
    """The names that the blocks leave behind; each goes on from those before it."""
    names: dict[str, Any] = {"__name__": "readme"}
    for n, block in enumerate(blocks):
        exec(compile(block, f"README.md, example {n + 1}", "exec"), names)
    return names


def test_the_first_example(capsys):
    """Five lines: an exact gap, and no theorem refuted."""
    assert len(BLOCKS[0].splitlines()) == 5
    result = ran(BLOCKS[:1])["result"]
    assert result.exact
    assert 0 < result.gap < 32
    assert min(result.slack.values()) > -1e-9
    assert "u T eta" in capsys.readouterr().out


@pytest.mark.slow
def test_every_example(tmp_path, monkeypatch, capsys):
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)
    names = ran(BLOCKS)
    np.testing.assert_array_equal(np.shape(names["runs"].state.of), [4])
    assert names["result"].low <= names["result"].gap <= names["result"].high
    assert len(capsys.readouterr().out.splitlines()) >= 6


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_paths_exist():
    """Those in backticks that begin with a folder of the checkout."""
    paths = re.findall(r"`((?:dagger_jax|experiments|tests|docs)/[\w./]+)`", README)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
