"""The set-up files agree with each other."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
# conda-forge's names of packages that the package index calls otherwise
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def every_dependency() -> list[str]:
    project = pyproject()
    return sum(project["optional-dependencies"].values(), project["dependencies"])


def bounds(lines: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([\w-]+)\s*>=\s*([\d.]+)", line).groups() for line in lines)


def test_environment_yml_has_the_same_packages_and_bounds_as_pyproject():
    project = pyproject()
    wanted = bounds(every_dependency())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    listed = [line for line in environment["dependencies"] if isinstance(line, str)]
    from_pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    conda = bounds([line for line in listed if line != "pip"])
    found = {CONDA_NAMES.get(name, name): bound for name, bound in conda.items()}
    found |= bounds([line for line in from_pip if line != "-e ."])
    assert found.pop("python") == project["requires-python"].removeprefix(">=")
    assert found == wanted
    assert "-e ." in from_pip


def test_lock_pins_every_dependency_at_or_above_its_bound_and_names_no_address():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins: dict[str, list[str]] = {}
    for line in lock.splitlines():
        name, version = re.match(r"([\w.-]+)==([^\s;]+)", line).groups()
        pins.setdefault(name, []).append(version)
    for name, bound in bounds(every_dependency()).items():
        for version in pins[name]:
            pinned, least = (tuple(int(n) for n in re.findall(r"\d+", v)) for v in (version, bound))
            assert pinned >= least, f"{name} is pinned to {version}, below {bound}"
    assert "://" not in lock
    for system in ("linux", "darwin", "win32"):
        assert f"sys_platform == '{system}'" in lock


def test_every_target_of_the_makefile_is_explained_by_make_help():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"\.PHONY: (.*)", text).group(1).split())
    explained = set(re.findall(r"^([a-z-]+):.*##", text, flags=re.M))
    assert phony == explained
    assert {"reproduce", "test", "lab"} <= explained


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.14"])
@pytest.mark.parametrize(
    ("platform", "macos", "requirements"),
    [
        ("x86_64-manylinux_2_28", "", "requirements.lock"),
        ("aarch64-manylinux_2_28", "", "requirements.lock"),
        ("aarch64-apple-darwin", "14.0", "requirements.lock"),
        ("x86_64-pc-windows-msvc", "", "requirements.lock"),
        (
            "aarch64-apple-darwin",
            "13.0",
            "pyproject.toml",
        ),  # the way that README names where the lock has no solution
    ],
)
def test_every_machine_that_readme_names_gets_wheels_of_all_packages(
    tmp_path, platform, macos, requirements, python
):
    extras = ["--all-extras"] if requirements == "pyproject.toml" else []
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--target", str(tmp_path)]
    command += ["--python-platform", platform, "--python-version", python, "-r", requirements, *extras]
    command += [
        "--only-binary",
        ":all:",
        "--no-binary",
        "efficientnet-lite-pytorch",
    ]  # that one has no wheel: pure Python
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": macos},
    )
    if "No module named uv" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("uv is not installed or does not reach a package index")
    assert done.returncode == 0, done.stderr
    assert " + torch==" in done.stderr, "a dry run plans to install"
