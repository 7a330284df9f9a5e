"""The command line refuses what it does not understand, in one sentence, and starts quickly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from diffusion_path.devtools import cli, environment, runtime, settings
from diffusion_path.devtools.settings import DevError


def dev(pack_root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(pack_root / "dev"), *arguments], capture_output=True, text=True)


def test_help_lists_every_command_in_under_two_seconds(pack_root: Path) -> None:
    begin = time.monotonic()
    result = dev(pack_root, "--help")
    assert time.monotonic() - begin < 2
    assert result.returncode == 0
    for name in ("demo", "test", "serve", "lint", "bench", "docs", "train-demo-model"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["demo", "--colour", "red"], "unknown argument: --colour red"),
        (["serve", "--port", "http"], "'http' is not a port"),
        (["serve", "--port", "70000"], "'70000' is not a port"),
        (["demo", "--comfyui"], "expected one argument"),
        (["snapshots", "--all"], "unknown argument: --all"),
    ],
)
def test_wrong_arguments_are_named(pack_root: Path, arguments: list[str], words: str) -> None:
    result = dev(pack_root, *arguments)
    assert result.returncode == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    "command", ["demo", "test", "serve", "lint", "docs", "locales", "snapshots", "train-demo-model"]
)
def test_every_command_takes_an_existing_comfyui(pack_root: Path, tmp_path: Path, command: str) -> None:
    result = dev(pack_root, command, "--comfyui", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == (
        f"./dev: There is no ComfyUI at {tmp_path}: name the folder that has ComfyUI's main.py in it.\n"
    )


def test_pytest_arguments_are_passed_on_even_if_they_resemble_ours() -> None:
    options, rest = cli.build_parser().parse_known_args(["test", "--python", "py", "-x", "--co", "tests/unit"])
    assert options.python == Path("py")
    assert rest == ["-x", "--co", "tests/unit"]


def test_a_version_of_comfyui_has_a_folder_of_its_own_and_shares_the_environment() -> None:
    own, old = settings.default_plan(), settings.other_comfyui(settings.OLDEST_COMFYUI)
    assert old.comfyui.name == f"ComfyUI-{settings.OLDEST_COMFYUI}" != own.comfyui.name
    assert old.archive != own.archive
    assert environment.fingerprint(old) == environment.fingerprint(own)


def test_a_python_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DevError, match=r"cannot be run as a Python: No such file or directory\."):
        runtime.prepare(None, tmp_path / "python")
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(DevError, match="is not a Python 3.10 or newer"):
        runtime.prepare(None, fake)


def test_modules_a_given_python_lacks_are_named() -> None:
    with pytest.raises(DevError, match=r"lacks nowhere_to_be_found: install it with '.* -m pip install"):
        runtime.prepare(None, Path(sys.executable), ["nowhere_to_be_found"])


@pytest.mark.parametrize("version", [(3, 9), (3, 15), (4, 0)])
def test_a_wrong_python_is_one_sentence(version: tuple[int, int]) -> None:
    with pytest.raises(
        DevError, match=r"^This is Python .* needs 3\.10 to 3\.14: run it as 'python3\.12 .*' or with .*\.$"
    ):
        environment.check_python(version)


def test_this_python_is_right() -> None:
    environment.check_python()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (["WARNING: Retrying ... NewConnectionError(...)", "ERROR: No matching distribution"], "cannot be reached"),
        (["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"], "disk is full"),
        (["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."], "expected checksum"),
        (["ERROR: No matching distribution found for x==2"], "'No matching distribution found for x==2'"),
        (
            [
                "ERROR: Ignored the following versions that require a different python version: 1 Requires-Python <3.9",
                "ERROR: Could not find a version that satisfies the requirement x==2 (from versions: 1)",
            ],
            "'Could not find a version that satisfies the requirement x==2",
        ),
        (["Killed"], "'Killed'"),
        ([], "'no output'"),
    ],
)
def test_pip_failures_become_one_sentence(output: list[str], words: str) -> None:
    sentence = environment.explain(output, Path("setup.log"))
    assert words in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_unknown_benchmarks_and_workflows_are_named_with_the_known_ones(
    pack_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "nothing-like-it"]) == 1
    refusal = capsys.readouterr().err
    assert "There is no benchmark 'nothing-like-it'" in refusal
    assert ", load, mdp, methods, " in refusal, "those that live with the tests are among them"
    assert "random_models" not in refusal, "which other benchmarks use and which does nothing by itself"


@pytest.mark.parametrize("kind", ["file", "link", "below"])
def test_a_home_that_is_no_folder_is_one_sentence(kind: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    if kind == "link":
        home.symlink_to(tmp_path / "nowhere")
    else:
        home.write_bytes(b"")
    what = "a link that leads nowhere" if kind == "link" else "a file"
    with pytest.raises(
        DevError, match=rf"home\S* must be a folder, but it is {what} or lies below one: move it away\."
    ):
        settings.made_folder(home / "below" if kind == "below" else home)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/place"), OSError(30, "Read-only", "/place")]
)
def test_a_place_of_another_user_is_one_sentence(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert cli.main(["lint"]) == 1
    assert capsys.readouterr().err == (
        f"./dev: /place cannot be written ({error.strerror}): run ./dev as its owner, or in a copy of your own.\n"
    )
