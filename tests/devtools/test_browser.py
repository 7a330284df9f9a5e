"""The browser of the browser tests is found, or its absence is told in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusion_path.devtools import browser


def test_a_named_browser_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "my-chromium"
    program.touch(mode=0o755)
    monkeypatch.setenv("CHROMIUM_PATH", str(program))
    assert browser.find_chromium() == program
    assert browser.ensure_chromium() is None


def test_a_wrong_name_is_told_and_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHROMIUM_PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(browser, "_apt", lambda *arguments: pytest.fail("apt was called"))
    sentence = browser.ensure_chromium()
    assert sentence is not None
    assert "CHROMIUM_PATH" in sentence


def test_only_root_installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CHROMIUM_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "_PLACES", ())
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(browser, "_apt", lambda *arguments: pytest.fail("apt was called"))
    assert browser.ensure_chromium() == browser.MISSING
