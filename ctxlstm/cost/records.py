"""The cost record: for each model the prediction beside the measurement (paper, section 4.3, Table 2).

Two ways to train, one row each: `cached` and `online`, as `cost.measured` has them. The online way is measured
with fewer clips per step if a step of the paper's 80 would take minutes, and predicted at the same size.

A record is a folder with `cost.csv`, one row per model and way, and `cost.json`: device, versions, settings,
checksum.
"""

import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch

from ctxlstm import paper
from ctxlstm.cost.measured import WAYS, Measured, device_name, in_fresh_process
from ctxlstm.cost.predicted import IMAGE_SIZE, RESNET50_PEAK, Cost, predict, resnet50
from ctxlstm.experiments import runs
from ctxlstm.experiments.settings import Study
from ctxlstm.models.layers import check_sizes
from ctxlstm.support.files import written

WARMUP = 1  # steps that run before the timed ones
TRAIN_CLIPS, TEST_CLIPS = (paper.DATA[name].value for name in ("train_clips", "test_clips"))
EPOCHS = paper.SETTINGS["epochs"].value
COLUMNS = {
    "model": "str",
    "way": "str",
    "device": "str",
    "batch_size": "int64",
    "frames": "int64",
    "hidden_size": "int64",
    "parameters": "int64",
    "forward_gflops": "float64",
    "step_tflops": "float64",
    "weight_bytes": "int64",
    "gradient_bytes": "int64",
    "adam_bytes": "int64",
    "saved_bytes": "int64",
    "predicted_bytes": "int64",
    "forward_seconds": "float64",
    "step_seconds": "float64",
    "measured_bytes": "Int64",
    "process_bytes": "Int64",
    "steps": "int64",
    "epoch_seconds": "float64",
    "hours_300": "float64",
}


@dataclass(frozen=True)
class Setup:
    """What a cost record covers.

    Attributes:
        models: names of `models.NAMES`; hidden_size (H), embedding: as in `Study`.
        frames: T; batch_size: clips per step on features, the paper's 80; online_batch_size: clips per step
            on frames, fewer if a step of 80 would take minutes; size: side of a frame in pixels.
        steps: measured steps in each median; cpu: do not use a GPU.

    Raises:
        ValueError: a size below 1, or a model with nothing to train.
    """

    models: tuple[str, ...]
    hidden_size: int
    embedding: tuple[int, ...]
    frames: int
    batch_size: int
    online_batch_size: int
    size: int
    steps: int
    cpu: bool

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, object]) -> "Setup":
        """The setup in a notebook's `globals()`; an unknown or wrong parameter is refused as by `Study`.

        online_batch_size 0 means batch_size on a GPU, and at most 4 on a CPU.
        """
        given = Study.from_notebook(namespace, besides=("online_batch_size", "steps", "name"))
        own = {name: namespace[name] for name in ("online_batch_size", "steps")}
        shared = ("models", "hidden_size", "embedding", "frames", "batch_size", "size", "cpu")
        setup = {name: getattr(given, name) for name in shared} | own
        if setup["online_batch_size"] == 0:
            on_cpu = given.cpu or not torch.cuda.is_available()
            setup["online_batch_size"] = min(4, given.batch_size) if on_cpu else given.batch_size
        return cls(**setup)

    def __post_init__(self):
        check_sizes(online_batch_size=self.online_batch_size, batch_size=self.batch_size, steps=self.steps)
        if "nearest_neighbour" in self.models:
            raise ValueError(
                "nearest_neighbour has nothing to train, so no step to measure: leave it out of models"
            )

    @property
    def device(self) -> str:
        """cuda if allowed and available, else cpu."""
        return "cpu" if self.cpu or not torch.cuda.is_available() else "cuda"

    @property
    def options(self) -> dict:
        """Options of `models.build`."""
        return {"hidden_size": self.hidden_size, "embedding": self.embedding}

    def clips(self, way: str) -> int:
        """Clips per step (B) that way."""
        return self.batch_size if way == "cached" else self.online_batch_size

    def predict(self, model: str, way: str = "cached") -> Cost:
        """What the model is predicted to cost at the batch size of that way."""
        return predict(model, batch_size=self.clips(way), frames=self.frames, **self.options)

    def measure(self, model: str, way: str) -> Measured:
        """What a step of the model costs that way, measured in a fresh process."""
        how = {"frames": self.frames, "size": self.size, "steps": self.steps, "device": self.device}
        return in_fresh_process(model, way, batch_size=self.clips(way), warmup=WARMUP, **how, **self.options)


def table(setup: Setup, measured: Mapping[tuple[str, str], Measured] | None = None) -> pd.DataFrame:
    """One row per model and way: predicted and, where given, measured costs (else NaN); columns `COLUMNS`.

    FLOPs, bytes and seconds are per step of batch_size clips, except forward_gflops (per clip), epoch_seconds
    and hours_300. In the online way they include the backbone: its FLOPs (forward only), its weights, and in
    predicted_bytes the step's frames (uint8) and as much of the backbone's activations as exceeds the head's.
    In the cached way predicted_bytes and measured_bytes include the features of the step; those of all clips
    (`Cost.cache_bytes`) come on top. epoch_seconds scales step_seconds to the paper's 9,990 training clips,
    and forward_seconds to its 3,330 test clips; hours_300 is the time of 300 such epochs.
    """
    rows = []
    for model in setup.models:
        for way in WAYS:
            row = _predicted(setup, setup.predict(model, way), way)
            row |= {
                "device": "",
                "forward_seconds": math.nan,
                "step_seconds": math.nan,
                "measured_bytes": pd.NA,
            }
            row |= {"process_bytes": pd.NA, "epoch_seconds": math.nan}
            if found := (measured or {}).get((model, way)):
                clip = {
                    name: getattr(found, name) / found.batch_size
                    for name in ("step_seconds", "forward_seconds")
                }
                row |= {name: getattr(found, name) for name in ("device", *clip, "process_bytes")}
                row["measured_bytes"] = found.grown_bytes
                row["epoch_seconds"] = (
                    TRAIN_CLIPS * clip["step_seconds"] + TEST_CLIPS * clip["forward_seconds"]
                )
            rows.append(row | {"hours_300": EPOCHS * row["epoch_seconds"] / 3600})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _predicted(setup: Setup, predicted: Cost, way: str) -> dict:
    clips, online = predicted.batch_size, way == "online"
    flops, backbone_bytes = resnet50(setup.size) if online else (0, 0)  # per image; of the weights
    backbone_flops = flops * setup.frames  # per clip
    held = predicted.head_bytes
    if online:
        backbone_peak = 4 * clips * RESNET50_PEAK * setup.size**2 // IMAGE_SIZE**2
        images = clips * setup.frames * 3 * setup.size**2
        held += backbone_bytes + images + max(backbone_peak - predicted.saved_bytes, 0)
    return {
        "model": predicted.name,
        "way": way,
        "batch_size": clips,
        "frames": setup.frames,
        "hidden_size": setup.hidden_size,
        "parameters": predicted.parameters,
        "forward_gflops": (predicted.forward_flops + backbone_flops) / 1e9,
        "step_tflops": (predicted.step_flops + clips * backbone_flops) / 1e12,
        "weight_bytes": predicted.weight_bytes + backbone_bytes,
        "gradient_bytes": predicted.gradient_bytes,
        "adam_bytes": predicted.adam_bytes,
        "saved_bytes": predicted.saved_bytes,
        "predicted_bytes": held,
        "steps": setup.steps,
    }


def record(
    setup: Setup,
    results: str | Path,
    *,
    name: str = "",
    on_done: Callable[[str, str, Measured], None] | None = None,
) -> Path:
    """Measure and write the record `results`/`name`; an existing one is kept and not measured again.

    Args:
        results: folder for the record; name: its name; default: device and settings, such as
            cpu-h512-t28-b80-1f2e3d4c.

    Raises:
        ValueError: an invalid folder name, a record of that name with other settings, or a damaged one.
        OSError: the disk is full or the folder cannot be written to.
    """
    settings = _plain(setup)
    if not name:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        device = re.sub(r"\W+", "-", device_name(setup.device)).lower()
        name = f"{device}-h{setup.hidden_size}-t{setup.frames}-b{setup.batch_size}-{digest}"
    if not re.fullmatch(r"[\w-][\w.-]*", name) or name.endswith(".part"):
        raise ValueError(f"name {name!r} is not a valid folder name: use letters, digits, '-', '_' and '.'")
    results = runs.prepare(results)
    folder = results / name
    if folder.exists():
        if (found := _read(folder)[1]["settings"]) != settings:
            changed = next(key for key in settings if found.get(key) != settings[key])
            raise ValueError(
                f"{folder} is a record with other settings ({changed}: {found.get(changed)} there, {settings[changed]} "
                "here): give another name, or remove it"
            )
        print(f"{name}: measured before, kept", flush=True)
        return folder
    measured = {}
    for model in setup.models:
        for way in WAYS:
            found = measured[model, way] = setup.measure(model, way)
            if on_done:
                on_done(model, way, found)
    return _write(folder, table(setup, measured), settings)


def _write(folder: Path, rows: pd.DataFrame, settings: dict) -> Path:
    with written(folder) as part:
        part.mkdir()
        rows.to_csv(part / "cost.csv", index=False, float_format="%.6g", lineterminator="\n")
        about = {
            "device": rows["device"].iloc[0],
            "versions": runs.environment(),
            "settings": settings,
            "sha256": hashlib.sha256((part / "cost.csv").read_bytes()).hexdigest(),
        }
        (part / "cost.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def _plain(setup: Setup) -> dict:
    """The settings as JSON stores them, with whatever else the numbers depend on."""
    more = {
        "batch_norm": "drift",
        "warmup": WARMUP,
        "threads": torch.get_num_threads(),
        "device": setup.device,
    }
    return json.loads(json.dumps(asdict(setup) | more))


def read(folder: str | Path) -> pd.DataFrame:
    """One record's rows, with its folder's name as `record`, the code version as `commit`, size and embedding (text).

    Raises:
        ValueError: the record is incomplete or was changed after it was written.
    """
    rows, about = _read(Path(folder))
    setting = {"size": about["settings"]["size"], "embedding": str(about["settings"]["embedding"])}
    return rows.assign(record=Path(folder).name, commit=about["versions"]["commit"], **setting)


def _read(folder: Path) -> tuple[pd.DataFrame, dict]:
    try:
        about = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
        if hashlib.sha256((folder / "cost.csv").read_bytes()).hexdigest() != about["sha256"]:
            raise ValueError("cost.csv was changed after the measurement")
        rows = pd.read_csv(folder / "cost.csv").astype(COLUMNS)
        if set(rows["device"]) != {about["device"]}:
            raise ValueError("cost.json and cost.csv name different devices")
        if not {"commit"} <= set(about["versions"]) or not isinstance(about["settings"], dict):
            raise ValueError("cost.json does not name its code version and settings")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the cost record {folder} is not whole ({error}): remove it and measure again"
        ) from error
    return rows, about


def load(results: str | Path) -> pd.DataFrame:
    """All cost records below `results` as one table; those that are not whole are left out with a warning.

    Columns `COLUMNS`, `record`, `commit`, `size`, `embedding`; `table.attrs["left_out"]` lists the messages.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    results = Path(results)
    if not results.is_dir():
        raise FileNotFoundError(
            f"there is no folder {results} with cost records: run papermill_runs/cost.ipynb, or check the path"
        )
    tables, problems = [pd.DataFrame(columns=[*COLUMNS, "record", "commit", "size", "embedding"])], []
    for folder in sorted(
        {path.parent for path in results.rglob("cost.*") if path.suffix in (".csv", ".json")}
    ):
        if folder.suffix == ".part":
            continue
        try:
            tables.append(read(folder))
        except ValueError as error:
            problems.append(str(error))
            warnings.warn(str(error), stacklevel=2)
    found = pd.concat(tables[1:] or tables, ignore_index=True)
    found.attrs["left_out"] = problems
    return found
