"""Run records: every number of the book and of the README is read from one of these.

A finished run is a folder with `params.yaml`, `metrics.json`, `history.csv` and `predictions.csv`, small enough for
git, and `model.safetensors`, which git ignores. A folder is written aside and renamed when it is complete, so a
folder without the ending `.part` is a finished run.
"""

import hashlib
import json
import math
import os
import platform
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml
from safetensors.torch import save_file
from torch import nn

from ctxlstm import evaluation, models, ucf101
from ctxlstm.features import Features
from ctxlstm.training import History

FILES = ("params.yaml", "history.csv", "predictions.csv")
PACKAGES = ("ctxlstm", "torch", "torchvision", "av", "zarr", "numpy", "scikit-learn", "accelerate")


def default_folder() -> Path:
    """Where run folders go when nobody says otherwise: papermill_runs/out/ of the checkout, else ./results/."""
    notebooks = Path(__file__).parents[2] / "papermill_runs"
    return notebooks / "out" if notebooks.is_dir() else Path("results")


def run_id(params: dict) -> str:
    """A readable name that is the same for the same parameters: dataset-protocol-model-seed-digest."""
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:8]
    protocol = params["protocol"] + (str(params["fold"]) if params["protocol"] == "official" else "")
    name = f"{params['dataset']}-{protocol}-{params['model']}-s{params['seed']}-{digest}"
    return re.sub(r"[^\w.-]", "_", name)


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


COMMIT = (
    _commit()
)  # asked on import: the checkout may move on while a long sweep runs the code it started with


def environment() -> dict:
    """Versions of Python, the system and the packages that shape numbers, and the commit of the code that runs."""
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    return versions | {name: version(name) for name in PACKAGES} | {"commit": COMMIT}


def prepare(results: str | Path) -> Path:
    """Make the results folder and try it, so that a place that cannot be written to is told before the work."""
    results = Path(results or default_folder())
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
    history: History,
    model: nn.Module,
    *,
    features: Features,
    split: ucf101.Split,
) -> Path:
    """Write the record of a finished run to `results/<run_id>/` and return that folder.

    Args:
        results: folder that holds run folders.
        params: everything that was asked for: dataset, backbone, model and its options, protocol, fold, seed, ...
        history, model, features, split: what came of it.

    Raises:
        FileExistsError: there is a finished run of that name already; it is left as it is.
    """
    folder = Path(results) / run_id(params)
    if folder.exists():
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
    fit, validation = ucf101.validation(
        features.clips, split, share=params["validation"], seed=params["seed"]
    )
    # Metrics are computed from the files as written, so that whoever reads them gets the same numbers.
    epochs = pd.read_csv(part / "history.csv")
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
        # of the clips trained on, the validation part not counted
        "test_clips_with_sibling": ucf101.leakage(features.clips, replace(split, train=fit)).share,
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

    With `run` (the folder's name), `folder` (where it lies) and `variant` (the head's options as text).

    Raises:
        ValueError: the record is incomplete, or its numbers do not follow from its files.
    """
    folder = Path(folder)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        for name in FILES:
            if _sha256(folder / name) != metrics["sha256"][name]:
                raise ValueError(f"{name} was changed after the run")
        scores = _scores(history(folder), predictions(folder))
        changed = [name for name, value in scores.items() if not _same(metrics[name], value)]
        if changed:
            raise ValueError(f"{changed[0]} in metrics.json does not follow from its history and predictions")
        variant = models.variant(params.get("options", {}))
    except (OSError, KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f"the run record {folder} is not whole ({error}): remove it and run again"
        ) from error
    return {"run": folder.name, "folder": str(folder), "variant": variant} | params | metrics


def history(run: Mapping | str | Path) -> pd.DataFrame:
    """The history of a run, a row an epoch; `run` is its folder or its row in the table of `load`."""
    return pd.read_csv(_folder(run) / "history.csv")


def predictions(run: Mapping | str | Path) -> pd.DataFrame:
    """The predictions of a run, a row a test clip; `run` is its folder or its row in the table of `load`."""
    return pd.read_csv(_folder(run) / "predictions.csv")


def _folder(run: Mapping | str | Path) -> Path:
    return Path(run if isinstance(run, str | Path) else run["folder"])


def load(results: str | Path) -> pd.DataFrame:
    """All finished runs below `results` as one table, a row a run; a record that is not whole is named and left out.

    `table.attrs["left_out"]` lists the messages. Raises FileNotFoundError if there is no such folder.
    """
    results = Path(results)
    if not results.is_dir():
        raise FileNotFoundError(
            f"there is no results folder {results}: run papermill_runs/reproduce.ipynb, or check the path"
        )
    return table(
        path.parent for path in sorted(results.rglob("params.yaml")) if path.parent.suffix != ".part"
    )


def table(folders: Iterable[str | Path]) -> pd.DataFrame:
    """These runs as one table, as `load` gives it."""
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


def failures(results: str | Path) -> pd.DataFrame:
    """Runs below `results` that a sweep recorded as failed: run, model, variant, protocol, fold, seed, reason."""
    columns = ["run", "model", "variant", "protocol", "fold", "seed", "reason"]
    files = sorted(Path(results).rglob("*.failed.json"))
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return pd.DataFrame(rows, columns=columns)


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
