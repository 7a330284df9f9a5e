"""The command line refuses what it does not understand, in one sentence, and starts quickly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from diffusion_path.devtools import cli, environment, runtime, settings
from diffusion_path.devtools.settings import DevError, Plan


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
        f"./dev: There is no ComfyUI at {tmp_path}: name the folder that has ComfyUI's main.py in it, "
        f"or {' or '.join(settings.COMFYUI_ARCHIVES)}.\n"
    )


def test_pytest_arguments_are_passed_on_even_if_they_resemble_ours() -> None:
    options, rest = cli.build_parser().parse_known_args(["test", "--python", "py", "-x", "--co", "tests/unit"])
    assert options.python == Path("py")
    assert rest == ["-x", "--co", "tests/unit"]


def test_another_comfyui_without_requirements_needs_a_python_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "comfy").mkdir()
    (tmp_path / "main.py").write_text("")
    with pytest.raises(DevError, match=r"has no requirements\.txt: name a complete ComfyUI, or also a Python for it"):
        runtime.prepare(tmp_path, None)


@pytest.fixture
def set_ups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, bool]]:
    """What prepare() sets up, and whether with an environment; nothing is installed."""
    made: list[tuple[Plan, bool]] = []
    monkeypatch.setattr(runtime, "set_up", lambda plan, needs_python=True: made.append((plan, needs_python)))
    return made


def test_a_version_of_comfyui_has_a_folder_and_an_environment_of_its_own(set_ups: list[tuple[Plan, bool]]) -> None:
    found = runtime.prepare(settings.OLDEST_COMFYUI, None)
    (own, _), (old, _) = set_ups
    assert found.comfyui == old.comfyui == own.home / f"ComfyUI-{settings.OLDEST_COMFYUI}"
    assert old.archive == settings.COMFYUI_ARCHIVES[settings.OLDEST_COMFYUI]
    assert found.python.is_relative_to(old.venv)
    assert old.venv != own.venv == old.base
    assert old.requirement_files[0] == old.comfyui / "requirements.txt"
    set_ups.clear()
    assert runtime.prepare(found.comfyui, None) == found, "as COMFYUI_PATH names it to the processes of a test"
    assert [plan for plan, _ in set_ups] == [own, old]


@pytest.mark.parametrize("named", [None, settings.NEWEST_COMFYUI, settings.default_plan().comfyui])
def test_the_own_comfyui_has_the_own_environment(named: str | None, set_ups: list[tuple[Plan, bool]]) -> None:
    found = runtime.prepare(named, None)
    assert set_ups == [(settings.default_plan(), True)]
    assert found.python == environment.interpreter(settings.default_plan().venv)


def test_an_existing_comfyui_is_only_read(tmp_path: Path, set_ups: list[tuple[Plan, bool]]) -> None:
    places = [tmp_path / "one" / "ComfyUI", tmp_path / "two" / "ComfyUI"]
    for place in places:
        (place / "comfy").mkdir(parents=True)
        (place / "main.py").write_text("")
        (place / "requirements.txt").write_text("")
    one, two = (runtime.prepare(place, None) for place in places)
    assert one.comfyui == places[0]
    assert one.python != two.python, "two folders of one name have two environments"
    assert [plan.archive for plan, _ in set_ups[1::2]] == [None, None]
    set_ups.clear()
    runtime.prepare(places[0], Path(sys.executable))
    assert [needs_python for _, needs_python in set_ups] == [False], "nothing is installed beside a given Python"


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
