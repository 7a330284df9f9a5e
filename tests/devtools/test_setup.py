"""The set-up is complete or it is noticed to be incomplete, and repaired. All packages here are small fakes."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from diffusion_path.devtools import comfyui, environment, runtime
from diffusion_path.devtools.settings import Archive, DevError, Plan, other_plan

_BACKEND = """
def build_wheel(*a, **k): raise SystemExit("never built")
def get_requires_for_build_wheel(*a, **k): return []
def prepare_metadata_for_build_wheel(folder, *a, **k):
    import os
    os.mkdir(folder + "/fake_source-1.0.dist-info")
    with open(folder + "/fake_source-1.0.dist-info/METADATA", "w") as f:
        f.write("Metadata-Version: 2.1\\nName: fake-source\\nVersion: 1.0\\n")
    return "fake_source-1.0.dist-info"
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def write_wheel(folder: Path, name: str, version: str, content: str, **more: str) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": content,
        f"{name}/data.txt": "some data",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        **{f"{name}/{path}": text for path, text in more.items()},
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def write_source(folder: Path) -> str:
    """A source archive that carries a ComfyUI; returns its sha256."""
    path = folder / "fake_source-1.0.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: fake-source\nVersion: 1.0\n",
        "pyproject.toml": _PYPROJECT,
        "backend.py": _BACKEND,
        "vendor/ComfyUI/main.py": "print('main')\n",
        "vendor/ComfyUI/comfy/samplers.py": "SAMPLERS = []\n",
        "vendor/ComfyUI/requirements.txt": "alpha>=1.0\n",
        "vendor/Other/secret.py": "raise SystemExit\n",
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"fake_source-1.0/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A complete set-up made from nothing."""
    folder = tmp_path_factory.mktemp("setup")
    index = folder / "index"
    index.mkdir()
    write_wheel(index, "alpha", "1.0", "VERSION = '1.0'\n")
    write_wheel(index, "beta", "1.0", "")
    home = folder / "home"
    plan = Plan(
        home=home,
        archive=Archive("fake-source==1.0", write_source(index), "vendor/ComfyUI", ("main.py", "comfy/samplers.py")),
        requirements=("beta==1.0",),
        requirement_files=(home / "ComfyUI" / "requirements.txt",),
        imports=("alpha", "beta"),
        disk_space=1,
        pip_options=("--isolated", "--no-index", "--find-links", str(index)),
    )
    runtime.set_up(plan)
    return plan


@pytest.fixture
def plan(finished: Plan, tmp_path: Path) -> Plan:
    """A copy of the complete set-up that a test may damage."""
    home = tmp_path / "home"
    shutil.copytree(finished.home, home, symlinks=True)
    copy = replace(finished, home=home, requirement_files=(home / "ComfyUI" / "requirements.txt",))
    assert complete(copy)
    return copy


def complete(plan: Plan) -> bool:
    return environment.is_ready(plan) and comfyui.is_ready(plan)


def version_of(plan: Plan, name: str) -> str:
    code = f"import {name}; print({name}.VERSION)"
    return subprocess.check_output([environment.interpreter(plan.venv), "-c", code], text=True).strip()


def site_packages(plan: Plan) -> Path:
    return next(plan.venv.glob("lib/python*/site-packages"))


def test_set_up_from_nothing_installs_both_parts_and_only_them(finished: Plan) -> None:
    assert complete(finished)
    assert version_of(finished, "alpha") == "1.0"
    assert (finished.comfyui / "comfy" / "samplers.py").read_text() == "SAMPLERS = []\n"
    assert not (finished.comfyui / "secret.py").exists()
    assert sorted(path.name for path in finished.home.iterdir()) == ["ComfyUI", "lock", "setup.log", "venv"]


def test_a_second_call_does_nothing_and_is_fast(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "install", lambda plan: pytest.fail("installed again"))
    monkeypatch.setattr(comfyui, "install", lambda plan, python: pytest.fail("downloaded again"))
    begin = time.monotonic()
    runtime.set_up(plan)
    assert time.monotonic() - begin < 1.0


@pytest.mark.parametrize("damage", ["file lost", "file cut short", "no record", "no stamp", "module lost"])
def test_an_interrupted_installation_is_noticed_and_repaired(plan: Plan, damage: str) -> None:
    packages = site_packages(plan)
    if damage == "file lost":
        (packages / "alpha" / "data.txt").unlink()
    elif damage == "file cut short":
        (packages / "alpha" / "__init__.py").write_text("")
    elif damage == "no record":
        (packages / "alpha-1.0.dist-info" / "RECORD").unlink()
        (packages / "alpha" / "__init__.py").write_text("")
    elif damage == "module lost":
        shutil.rmtree(packages / "alpha")
        shutil.rmtree(packages / "alpha-1.0.dist-info")
        (packages / "~lpha-1.0.dist-info").mkdir()
    next(plan.venv.glob("*stamp*")).unlink()  # an interruption leaves none
    assert not complete(plan)
    runtime.set_up(plan)
    assert complete(plan)
    assert version_of(plan, "alpha") == "1.0"
    assert (packages / "alpha" / "data.txt").read_text() == "some data"
    assert not list(packages.glob("~*"))


def test_an_interruption_while_pip_runs_leaves_no_stamp(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(plan, requirements=("beta==1.0", "alpha"))

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(environment, "run_pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runtime.set_up(changed)
    assert not environment.is_ready(plan)
    assert not environment.is_ready(changed)
    runtime.set_up(changed)
    assert complete(changed)


def test_changed_pins_update_the_environment_in_place(plan: Plan) -> None:
    index = Path(plan.pip_options[-1])
    write_wheel(index, "gamma", "2.0", "VERSION = '2.0'\n")
    marker = site_packages(plan) / "kept.txt"
    marker.write_text("")
    changed = replace(plan, requirements=("beta==1.0", "gamma==2.0"))
    assert not complete(changed)
    runtime.set_up(changed)
    assert complete(changed)
    assert version_of(changed, "gamma") == "2.0"
    assert marker.exists()


def test_changed_requirements_of_comfyui_count(plan: Plan) -> None:
    plan.requirement_files[0].write_text("alpha>=1.0\nbeta\n")
    assert not environment.is_ready(plan)


@pytest.fixture
def other(plan: Plan, tmp_path: Path) -> Plan:
    """Another ComfyUI, which requires a newer alpha than the one of the complete set-up."""
    index, folder = tmp_path / "index", tmp_path / "ComfyUI"
    index.mkdir()
    write_wheel(index, "alpha", "1.1", "VERSION = '1.1'\n")
    folder.mkdir()
    (folder / "requirements.txt").write_text("alpha>=1.1\nbeta\n")
    options = (*plan.pip_options, "--find-links", str(index))
    return replace(other_plan(folder, plan), disk_space=1, pip_options=options)


def test_another_comfyui_sees_the_packages_of_the_project_and_changes_none(plan: Plan, other: Plan) -> None:
    runtime.set_up(other)
    assert environment.is_ready(other)
    assert version_of(other, "alpha") == "1.1"
    assert version_of(plan, "alpha") == "1.0"
    assert complete(plan)
    code = "import alpha, beta; print(alpha.__file__, beta.__file__)"
    files = subprocess.check_output([environment.interpreter(other.venv), "-c", code], text=True).split()
    assert [Path(file).is_relative_to(other.venv) for file in files] == [True, False], "only what differs is installed"
    assert not list(other.comfyui.glob(".*")), "its folder is only read"


def test_the_environment_of_another_comfyui_follows_its_requirements_and_its_base(plan: Plan, other: Plan) -> None:
    runtime.set_up(other)
    other.requirement_files[0].write_text("alpha\n")
    assert not environment.is_ready(other)
    runtime.set_up(other)
    assert environment.is_ready(other)
    next(plan.venv.glob("*stamp*")).write_text("another set-up")
    assert not environment.is_ready(other)
    link = next(other.venv.glob("lib/python*/site-packages/*base.pth"))
    link.write_text("import site; site.addsitedir('/nowhere')\n")
    runtime.set_up(other)
    assert environment.is_ready(other)
    assert "/nowhere" not in link.read_text()


def test_an_environment_whose_python_is_gone_is_built_anew(plan: Plan) -> None:
    environment.interpreter(plan.venv).unlink()
    assert not complete(plan)
    runtime.set_up(plan)
    assert complete(plan)
    assert version_of(plan, "alpha") == "1.0"


def test_a_half_unpacked_comfyui_is_replaced(plan: Plan) -> None:
    shutil.rmtree(plan.comfyui / "comfy")
    next(plan.comfyui.glob(".*stamp*")).unlink()
    (plan.home / "ComfyUI.part-killed").mkdir()
    runtime.set_up(plan)
    assert complete(plan)
    assert (plan.comfyui / "comfy" / "samplers.py").is_file()
    assert not list(plan.home.glob("ComfyUI.part-*"))


def test_an_archive_with_another_checksum_is_not_used(plan: Plan) -> None:
    wrong = replace(plan, archive=replace(plan.archive, sha256="0" * 64))
    with pytest.raises(DevError, match="does not have the expected checksum"):
        runtime.set_up(wrong)
    assert not comfyui.is_ready(wrong)
    assert not list(plan.home.glob("ComfyUI.part-*"))


def test_an_archive_without_comfyui_is_not_used(finished: Plan, tmp_path: Path) -> None:
    source = Path(finished.pip_options[-1]) / "fake_source-1.0.tar.gz"
    with pytest.raises(DevError, match=r"lacks server\.py: not used\."):
        comfyui.unpack(source, replace(finished.archive, must_contain=("main.py", "server.py")), tmp_path / "out")


def test_archive_members_cannot_leave_the_folder(tmp_path: Path) -> None:
    source = tmp_path / "evil.tar.gz"
    with tarfile.open(source, "w:gz") as tar:
        for name in ("x/vendor/ComfyUI/../../escaped.py", "x/vendor/ComfyUI/main.py"):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("x/vendor/ComfyUI/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    comfyui.unpack(source, Archive("x==1", "", "vendor/ComfyUI", ("main.py",)), tmp_path / "out" / "ComfyUI")
    assert [path.name for path in tmp_path.rglob("*.py")] == ["main.py"]


def test_packages_that_do_not_load_are_named_and_not_stamped(plan: Plan) -> None:
    broken = replace(plan, imports=("alpha", "nowhere_to_be_found"))
    with pytest.raises(DevError, match="No module named 'nowhere_to_be_found'"):
        runtime.set_up(broken)
    assert not environment.is_ready(broken)


def test_too_little_disk_is_one_sentence_and_leaves_nothing(finished: Plan, tmp_path: Path) -> None:
    plan = replace(finished, home=tmp_path / "home", disk_space=10**18)
    with pytest.raises(DevError, match=r"^The set-up needs \d+ GB of free disk space at .*: free some space or .*\.$"):
        runtime.set_up(plan)
    assert not plan.venv.exists()


def test_no_network_is_one_sentence(plan: Plan) -> None:
    unreachable = ("--isolated", "--index-url", "http://127.0.0.1:9/simple", "--timeout", "1")
    offline = replace(plan, requirements=("some-package==1.0",), pip_options=unreachable)
    with pytest.raises(DevError, match=r"^The package index cannot be reached: check the network .*\.$"):
        runtime.set_up(offline)
    assert not environment.is_ready(offline)


def test_two_set_ups_wait_for_each_other(plan: Plan, capfd: pytest.CaptureFixture[str]) -> None:
    import fcntl
    import threading

    next(plan.venv.glob("*stamp*")).unlink()
    with (plan.home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(target=runtime.set_up, args=(plan,))
        other.start()
        other.join(0.5)
        assert other.is_alive()
        assert not environment.is_ready(plan)
    other.join(60)
    assert complete(plan)
    assert "Waiting for the set-up of another ./dev" in capfd.readouterr().out


def test_another_page_is_fetched_once_and_kept_apart(plan: Plan, tmp_path: Path) -> None:
    index = tmp_path / "pages"
    index.mkdir()
    write_wheel(index, "comfyui_frontend_package", "9.1.2", "", **{"static/index.html": "the page"})
    plan = replace(plan, pip_options=("--isolated", "--no-index", "--find-links", str(index)))
    root = comfyui.find_page("9.1.2", plan)
    assert (root / "index.html").read_text() == "the page"
    assert root.is_relative_to(plan.home / "frontends" / "9.1.2")
    assert not list(site_packages(plan).glob("comfyui_frontend_package*"))
    shutil.rmtree(index)
    assert comfyui.find_page("9.1.2", plan) == root
    assert comfyui.find_page(str(root), plan) == root
    with pytest.raises(DevError, match=r"no page at .*index\.html"):
        comfyui.find_page(str(tmp_path), plan)
    with pytest.raises(DevError, match="give 'newest'"):
        comfyui.find_page("latest", plan)
    with pytest.raises(DevError, match="pip failed"):
        comfyui.find_page("9.1.3", plan)
    assert [folder.name for folder in (plan.home / "frontends").iterdir()] == ["9.1.2"]


def test_the_page_to_serve_is_told_to_child_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(runtime.FRONTEND_VARIABLE, raising=False)
    assert runtime.given_frontend() is None
    variables = runtime.Runtime(tmp_path, tmp_path, tmp_path / "page").environment()
    monkeypatch.setenv(runtime.FRONTEND_VARIABLE, variables[runtime.FRONTEND_VARIABLE])
    assert runtime.given_frontend() == tmp_path / "page"
