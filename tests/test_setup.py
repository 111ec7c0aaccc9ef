"""The set-up files agree with each other."""

import re
import tomllib
from pathlib import Path

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
