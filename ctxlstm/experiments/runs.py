"""Run records: every number in the book and the README comes from one of these.

A finished run is a folder with `params.yaml`, `metrics.json`, `history.csv` and `predictions.csv`, and
`model.safetensors`, which git ignores. It is written as `NAME.part` and renamed when complete, so a folder
without that suffix is a finished run. For git the runs of a study are packed into a few files (`pack`);
`results/NAME` names a run in either form, and if both exist, the folder is read.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import yaml

from ctxlstm import evaluation, ucf101
from ctxlstm.experiments import packed
from ctxlstm.support.files import locked
from ctxlstm.support.names import variant

if TYPE_CHECKING:  # records are read without PyTorch
    from torch import nn

    from ctxlstm.features import Features
    from ctxlstm.training import History

FILES = ("params.yaml", "history.csv", "predictions.csv")
PACKAGES = ("ctxlstm", "torch", "torchvision", "av", "zarr", "numpy", "scikit-learn", "accelerate")


def default_folder() -> Path:
    """Where run folders go by default: papermill_runs/out/ of the checkout, else ./results/."""
    notebooks = Path(__file__).parents[2] / "papermill_runs"
    return notebooks / "out" if notebooks.is_dir() else Path("results")


def run_id(params: dict) -> str:
    """A readable name that is the same for the same parameters: dataset-protocol-model-seed-digest."""
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:8]
    protocol = params["protocol"] + (str(params["fold"]) if params["protocol"] == "official" else "")
    name = f"{params['dataset']}-{protocol}-{params['model']}-s{params['seed']}-{digest}"
    return re.sub(r"[^\w.-]", "_", name)


@cache
def commit() -> str:
    """The commit of the running code, with "-dirty" if files differ from it; "unknown" if git does not say.

    A process asks once, before it starts long work (`prepare`, a training): the checkout may change while a
    sweep still runs the code that it has loaded.
    """
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:  # an untracked copy of this file may lie inside some other repository
        subprocess.run(
            [*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True, timeout=10
        )
        describe = [*git, "describe", "--always", "--dirty", "--exclude", "*"]
        return (
            subprocess.run(describe, capture_output=True, text=True, timeout=10).stdout.strip() or "unknown"
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def environment() -> dict:
    """Versions of Python, the system and the packages that affect numbers; the commit of the running code."""
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    return versions | {name: version(name) for name in PACKAGES} | {"commit": commit()}


def prepare(results: str | Path) -> Path:
    """Make the results folder and test it, so that an unwritable one is reported before the work starts."""
    results = Path(results or default_folder())
    commit()  # before the work
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise OSError(
            error.errno, f"results folder {results} cannot be written to ({error.strerror}): give another"
        ) from error
    return results


def save(
    results: str | Path,
    params: dict,
    history: "History",
    model: "nn.Module",
    *,
    features: "Features",
    split: ucf101.Split,
) -> Path:
    """Write the record of a finished run to `results/<run_id>/` and return that folder.

    Args:
        results: folder that holds run folders.
        params: all settings: dataset, backbone, model and its options, protocol, fold, seed, ...
        history, model, features, split: what the run used and produced.

    Raises:
        FileExistsError: a finished run has that name; it is left untouched.
    """
    from safetensors.torch import save_file

    from ctxlstm import datasets

    folder = Path(results) / run_id(params)
    if folder.exists() or _is_packed(folder):
        raise FileExistsError(f"{folder} is a finished run already: remove it to write a new record")
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    (part / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=True), encoding="utf-8", newline="\n")
    history.table.to_csv(part / "history.csv", index=False, float_format="%.5g", lineterminator="\n")
    history.predictions.to_csv(
        part / "predictions.csv", index=False, float_format="%.4g", lineterminator="\n"
    )
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, part / "model.safetensors"
    )
    fit, validation = datasets.validation(
        features.clips, split, share=params["validation"], seed=params["seed"]
    )
    leak = datasets.leakage(features.clips, replace(split, train=fit))
    # Metrics are computed from the files as written, so that readers of the files get the same numbers.
    epochs = packed.read_table((part / "history.csv").read_bytes())
    metrics = _scores(epochs, predictions(part)) | {
        "epochs": len(epochs),
        "chosen_epoch": evaluation.chosen_epoch(epochs),
        "seconds": round(sum(history.seconds), 3),
        "seconds_per_epoch": round(float(pd.Series(history.seconds).median()), 4),
        "peak_memory_bytes": history.peak_memory_bytes,
        "parameters": history.parameters,
        "train_clips": len(fit),
        "validation_clips": len(validation),
        "test_clips": len(split.test),
        "classes": len(features.classes),
        # siblings among the clips trained on, without the validation set; None if groups are not known
        "test_clips_with_sibling": None if math.isnan(leak.share) else leak.share,
        "left_out": features.left_out.to_dict("records"),
        "damaged": features.damaged.to_dict("records"),
        "dataset": params["dataset"],
        "model": params["model"],
        "protocol": split.protocol,
        "fold": split.fold,
        "seed": params["seed"],
        "device": history.device,
        "peak_memory_of": "process, resident set"
        if history.device == "cpu"
        else "GPU allocations of the process, features included",
        "features_digest": features.digest,
        "features_key": features.key,
        "versions": environment(),
        "sha256": {name: _sha256(part / name) for name in FILES},
    }
    (part / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    (part / "checkpoint.safetensors").unlink(missing_ok=True)
    os.replace(part, folder)
    return folder


def read(folder: str | Path) -> dict:
    """Parameters and metrics of one run, checked against its own files.

    Adds `run` (the name), `folder` (`results/NAME`, a folder or packed), `variant` (the head's options as
    text) and `top1_late`.

    Raises:
        ValueError: the record is incomplete, or its numbers do not follow from its files.
    """
    folder = Path(folder)
    in_study = _is_packed(folder)
    try:
        if in_study:
            run = packed.study(folder.parent).runs[folder.name]
            params, metrics = run["params"], run["metrics"]
        else:
            params, metrics = _read_folder(folder)
        epochs = history(folder)
        scores = _scores(epochs, predictions(folder))
        changed = [name for name, value in scores.items() if not _same(metrics[name], value)]
        if changed:
            raise ValueError(f"{changed[0]} in its metrics does not follow from its history and predictions")
        options = variant(params.get("options", {}))
    except (OSError, KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        remedy = "restore its study from git or from a copy" if in_study else "remove it and run again"
        raise ValueError(f"the run record {folder} is not whole ({error}): {remedy}") from error
    late = {"top1_late": evaluation.late(epochs).mean}  # the first records' metrics.json does not have it
    return {"run": folder.name, "folder": str(folder), "variant": options} | params | metrics | late


def _read_folder(folder: Path) -> tuple[dict, dict]:
    """Parameters and metrics of a run folder, after checking that its files are unchanged."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for name in FILES:
        if _sha256(folder / name) != metrics["sha256"][name]:
            raise ValueError(f"{name} was changed after the run")
    return params, metrics


def find(results: str | Path, name: str) -> dict | None:
    """The finished run `name` in `results`, a folder or packed, as `read` gives it; None if there is none.

    Raises:
        ValueError: its record, or the packed study that may hold it, is not whole.
    """
    folder = Path(results) / name
    return read(folder) if folder.exists() or _is_packed(folder) else None


def history(run: Mapping | str | Path) -> pd.DataFrame:
    """The history of a run, one row per epoch; `run` is `results/NAME` or its row in the table of `load`."""
    folder = _folder(run)
    if _is_packed(folder):
        return packed.study(folder.parent).histories[packed.key(folder.name)].copy()
    return packed.read_table((folder / "history.csv").read_bytes())


def predictions(run: Mapping | str | Path) -> pd.DataFrame:
    """The predictions of a run, one row per test clip; `run` is as in `history`."""
    folder = _folder(run)
    if _is_packed(folder):
        return packed.study(folder.parent).predictions[packed.key(folder.name)].copy()
    return packed.read_table((folder / "predictions.csv").read_bytes())


def _folder(run: Mapping | str | Path) -> Path:
    return Path(run if isinstance(run, str | Path) else run["folder"])


def _is_packed(folder: Path) -> bool:
    """Whether the run `results/NAME` is not a folder but part of the packed study `results`.

    Raises:
        ValueError: that study is not whole, so there is no telling.
    """
    if folder.exists() or not packed.there(folder.parent):
        return False
    return folder.name in packed.study(folder.parent).runs


def load(results: str | Path) -> pd.DataFrame:
    """All finished runs below `results`, one row each; a record that is not whole is left out with a warning.

    `table.attrs["left_out"]` lists the messages. Raises FileNotFoundError if there is no such folder.
    """
    results = Path(results)
    if not results.is_dir():
        raise FileNotFoundError(
            f"there is no results folder {results}: run papermill_runs/reproduce.ipynb, or check the path"
        )
    marks = {"params.yaml", *packed.MARKS}
    places = {path.parent for path in _below(results, "*") if path.name in marks}
    runs, problems = set(), []
    for place in places:
        if place.suffix == ".part" or place.name == packed.ASIDE:
            continue
        if not packed.there(place):
            runs.add(place)
            continue
        try:
            runs |= {place / name for name in packed.study(place).runs}
        except ValueError as error:
            problems.append(str(error))
            warnings.warn(str(error), stacklevel=2)
    records = table(sorted(runs))
    records.attrs["left_out"] = problems + records.attrs["left_out"]
    return records


def table(folders: Iterable[str | Path]) -> pd.DataFrame:
    """These runs as a table like that of `load`."""
    rows, problems = [], []
    for folder in folders:
        try:
            rows.append(read(folder))
        except ValueError as error:
            problems.append(str(error))
            warnings.warn(str(error), stacklevel=3)
    records = pd.DataFrame(rows)
    records.attrs["left_out"] = problems
    return records


def pack(results: str | Path, *, remove: bool = False) -> tuple[int, int]:
    """Pack the run folders of a study into its few files (`experiments.packed`); those packed before stay packed.

    Args:
        results: the study, a folder of run folders. Folders further down are not its runs.
        remove: remove the packed run folders, including saved weights.

    Returns:
        How many runs are packed there now, and how many run folders went in.

    Raises:
        ValueError: a record is not whole or cannot be packed with the others (`packed.write`); nothing
            changed.
    """
    results = Path(results)
    found = sorted(path.parent for path in results.glob("*/params.yaml") if path.parent.suffix != ".part")
    if not found and not packed.there(results):
        return 0, 0
    with locked(results / ".pack.lock", f"packing {results}"):
        packed.finish(results)
        if found:
            packed.write(results, [_whole(folder) for folder in found])
        total = len(packed.read(results).runs)
        for folder in found if remove else ():
            shutil.rmtree(folder)
    return total, len(found)


def _whole(folder: Path) -> packed.Run:
    """A run folder as packing takes it."""
    read(folder)  # refuses what is not whole
    params, metrics = _read_folder(folder)
    contents = [(folder / name).read_bytes() for name in ("history.csv", "predictions.csv")]
    return packed.Run(folder.name, params, metrics, *contents)


def failures(results: str | Path) -> pd.DataFrame:
    """Runs below `results` that a sweep recorded as failed: run, model, variant, protocol, fold, seed, reason."""
    columns = ["run", "model", "variant", "protocol", "fold", "seed", "reason"]
    rows = []
    for path in sorted(_below(Path(results), "*.failed.json")):
        try:
            rows.append(dict(json.loads(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            name = path.name.removesuffix(".failed.json")
            rows.append({"run": name, "reason": f"{path} cannot be read ({error}): run its sweep again"})
    return pd.DataFrame(rows, columns=columns)


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    """Files and folders below, without dotfiles, which are not ours (macOS leaves some on disks)."""
    for path in folder.rglob(pattern):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _scores(table: pd.DataFrame, predictions: pd.DataFrame) -> dict:
    """Scores that follow from the history and the predictions; shares, and nats for `nll`."""
    chosen = evaluation.chosen_epoch(table)
    at_chosen = None if chosen is None else float(table.loc[table["epoch"] == chosen, "test_top1"].iloc[0])
    return {
        "top1_last": evaluation.top1(predictions),
        "top1_best": float(table["test_top1"].max()),
        "top1_validation_chosen": at_chosen,
        "nll": evaluation.nll(predictions),
    }


def _same(recorded: float | None, computed: float | None) -> bool:
    """Equal up to the last digits of a mean, which may differ between processors."""
    if recorded is None or computed is None:
        return recorded is computed
    return math.isclose(recorded, computed, rel_tol=1e-9)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: list[str] | None = None) -> None:
    """`python -m ctxlstm.experiments.runs pack FOLDER...`"""
    parser = argparse.ArgumentParser(description="Run records.")
    command = parser.add_subparsers(required=True).add_parser(
        "pack", help="put a study's runs into a few files"
    )
    command.add_argument("folders", nargs="+", metavar="FOLDER", help="a study: a folder of run folders")
    command.add_argument("--remove", action="store_true", help="remove packed run folders with their weights")
    given = parser.parse_args(arguments)
    for folder in given.folders:
        try:
            total, new = pack(folder, remove=given.remove)
        except (OSError, ValueError) as error:
            parser.exit(1, f"{error}\n")
        print(f"{folder}: {total} runs packed, {new} of them from run folders", flush=True)


if __name__ == "__main__":
    main()
