"""Parameters of the notebooks in papermill_runs/: a `Study` of many runs, or one `Run` (paper, section 4.2).

papermill injects whatever it is given, even a misspelt name. `from_notebook(globals())` turns a notebook's
parameters, and a file of papermill_runs/configs/, into a checked object before any long work starts. A
mistake raises a ValueError of one sentence: the name, the value given, what is allowed.
"""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from ctxlstm import datasets

CONFIGS = Path(__file__).parents[2] / "papermill_runs" / "configs"
# Specific to a machine, so not part of a record.
PLACES = ("root", "group_table", "lists", "results", "cache", "weights")
# Newer than the first records: recorded only if not the default, so that older records keep their names.
LATER = ("finetune", "augment", "backbone_learning_rate", "backbone_precision", "precision", "group_pattern")


# --- types: from what papermill and YAML give to what is meant ----------------------------------------------


def _text(value: object) -> object:
    """Turn None into "", a path into text. A number may be a misread name: YAML reads 2024_01 as 202401."""
    if isinstance(value, int | float):
        raise ValueError("a name or path is text, put it in quotes (on papermill's command line: -r, not -p)")
    return "" if value is None else os.fspath(value) if isinstance(value, os.PathLike) else value


def _yaml_no(value: object) -> object:
    """YAML reads no as false; here it is a name."""
    return "no" if value is False else value


def _number(value: object) -> object:
    """Turn 1e3, which YAML leaves as text, into a number; true and false are not numbers."""
    with suppress(ValueError):
        if isinstance(value, str) and "e" in value.lower():
            return float(value)
    return str(value) if isinstance(value, bool) else value


def _items(value: object) -> object:
    """Make a list from "a,b", "a b" or a bare item."""
    items = value.replace(",", " ").split() if isinstance(value, str) else value
    return items if isinstance(items, list | tuple) else [items]


def _different(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("give different numbers")
    return values


def _side(value: int, info: Any) -> int:
    """Side of a frame in pixels; 0 stands for the backbone's default."""
    if value < 0 or value % 32:
        raise ValueError("it must be a multiple of 32, at least 32 (the paper's code base takes 224)")
    return value or (224 if info.data.get("backbone") == "resnet50" else 160)


def _title(value: str, info: Any) -> str:
    """The name of your own data set; by default, that of its folder."""
    own = info.data.get("dataset") == "folder" and info.data.get("root")
    return value.strip() or (os.path.basename(os.path.abspath(own)) if own else "")


def _named_values(value: object) -> object:
    """A head's options, which the command line gives as YAML."""
    try:
        value = yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        raise ValueError("they are not YAML, write them as '{pool: time}'") from error
    if not isinstance(value or {}, dict):
        raise ValueError("give names and values, such as {pool: time}")
    return value or {}


Item = TypeVar("Item")
Name = Annotated[Item, BeforeValidator(_text)]
Place = Annotated[Name[str], AfterValidator(lambda text: text and str(Path(text).expanduser()))]
Whole = Annotated[int, BeforeValidator(_number)]
Count = Annotated[Whole, Field(ge=1)]
Real = Annotated[float, BeforeValidator(_number)]
Rate = Annotated[Real, Field(gt=0)]
Several = Annotated[tuple[Item, ...], BeforeValidator(_items)]
Different = Annotated[Several[Item], AfterValidator(_different)]

# The names of `models.NAMES`, `ucf101.PROTOCOLS`, `models.READINGS` (tests/test_settings.py).
Model = Name[Literal[
    "context_lstm", "context_lstm_no_pool", "context_lstm_bn_relu", "cnn_lstm", "mean_linear", "nearest_neighbour",
    "single_frame", "shuffled_lstm", "gru", "bilstm", "wide_lstm", "transformer",
]]  # fmt: skip
Protocol = Name[Literal["paper", "grouped", "official"]]
Reading = Name[Literal[
    "default", "pool=time", "batch_norm=time", "handover=h", "handover=c", "handover=swap", "handover=detach",
    "handover=none", "readout=ends", "readout=mean", "readout=max", "num_blocks=1", "num_blocks=2", "num_blocks=4",
    "embedding=none", "dropout=0.3",
]]  # fmt: skip
Fold = Annotated[Whole, Field(ge=1, le=3)]
Seed = Annotated[Whole, Field(ge=0, le=2**32 - 1)]  # scikit-learn's range: it makes the paper's random split


# --- settings: messages call a field's value by its title; a description tells its range --------------------


class _Checked(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error, type(self))) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with these changes, checked again."""
        return type(self)(**dict(self) | changes)


class _Data(_Checked):
    # generated, real, or your own
    dataset: Name[Literal["stickfigures", "ucf101", "folder"]] = "stickfigures"
    # ucf101, folder: folder with the class folders; stickfigures: where to render (else the user's cache)
    root: Place = ""
    # folder: what records and reports call the data set (default: the name of its folder)
    title: Annotated[Name[str], AfterValidator(_title)] = Field("", validate_default=True)
    # folder: which clips go together (`datasets.folder`), by regular expression or CSV file; neither: unknown
    group_pattern: Name[str] = ""
    group_table: Place = ""
    groups: Count = 25  # stickfigures: source videos per class (25, as in UCF101)
    # folder with UCF101's official list files, to check the official splits against, or with HMDB51's split files
    lists: Place = ""
    results: Place = ""  # folder for the run folders (default: papermill_runs/out)
    cache: Place = ""  # folder for features (default: the user's cache)


class _Frames(_Checked):
    backbone: Name[Literal["resnet50", "efficientnet_lite0"]] = "efficientnet_lite0"
    weights: Place = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
    # resnet50: which convolution has stride 2 (default: as the weights file says, else v1.5)
    stride: Name[Literal["", "v1", "v1.5"]] = Field("", title="stride variant")
    # of the backbone's matrix products; bf16: half the memory, different rounding
    backbone_precision: Name[Literal["float32", "bf16"]] = Field("float32", title="backbone precision")
    # statistics of the backbone's BatchNorm; drift: all frames go through it in every epoch, as in the public
    # code base
    batch_norm: Name[Literal["imagenet", "adapted", "drift"]] = "imagenet"
    # side of the square frames are squashed to, pixels; 0: 224 for resnet50, else 160
    size: Annotated[Whole, AfterValidator(_side)] = Field(0, validate_default=True)
    frames: Count = 12  # T, frames of a clip (the paper's code base: 28)
    rule: Name[Literal["uniform", "first"]] = "uniform"  # which of them (the paper's code base: first)


class _Head(_Checked):
    hidden_size: Count = 64  # H, units of each LSTM layer and direction (the paper: 512)
    # widths of the layers before the LSTM (the paper's code base: 1024, 768, 512); empty: none
    embedding: Several[Count] = (128,)
    options: Annotated[dict[str, Any], BeforeValidator(_named_values)] = {}  # such as {"pool": "time"}


class _Training(_Checked):
    fold: Fold = Field(1, description="the official splits are 1, 2 and 3")
    seed: Seed = 0  # of splits, weights, order of batches
    epochs: Count = 30  # (the paper: 300)
    batch_size: Count = 40  # (the paper: 80)
    learning_rate: Rate = 0.001  # (the paper: 0.001)
    # set aside, by whole groups, to choose an epoch on; 0: none
    validation: Real = Field(
        0.1, ge=0, lt=1, description="it is a share of the training set, from 0 to below 1"
    )
    # of the matrix products in training: no (float32), tf32 (on GPUs that have it) or bf16
    precision: Annotated[Name[Literal["no", "tf32", "bf16"]], BeforeValidator(_yaml_no)] = "no"
    cpu: bool = False  # do not use a GPU
    finetune: bool = False  # train the backbone too: all frames forward and back in every epoch, for a GPU
    backbone_learning_rate: Rate = 1e-4  # of the backbone's weights while they are trained
    # other views of the clips in every epoch, with finetune or batch_norm drift; empty: none
    augment: Name[Literal["", "crop", "crop-flip"]] = Field("", title="augmentation")
    # frames through the backbone at once while it is trained; fewer take less memory
    images: Whole = Field(0, ge=0, description="it must be at least 1, or 0 for the default")


class Settings(_Training, _Head, _Frames, _Data):
    """The settings that studies and runs share; the defaults are the main job's: small, on generated videos.

    Raises:
        ValueError: a wrong name or value, in one sentence that lists the allowed ones.
    """

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any], *, besides: Iterable[str] = ()) -> Self:
        """Read a notebook's `globals()`, and refuse unknown names that papermill injected.

        What papermill injected (-p, or a whole file with -f) takes precedence, then the file that the
        parameter `config` names (a path, or a name in papermill_runs/configs/), then the notebook's
        parameters cell, then the defaults. `besides` names the notebook's parameters that are not settings.
        """
        return cls(**_given(namespace, cls.model_fields, besides))

    @property
    def on_frames(self) -> bool:
        """Whether the models read decoded frames in every epoch (`online`), because features cannot be kept."""
        return self.finetune or self.batch_norm == "drift"

    @property
    def head(self) -> dict[str, Any]:
        """Options of `models.build`, besides the numbers of features and classes."""
        return {"hidden_size": self.hidden_size, "embedding": self.embedding} | self.options

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        wrong = ""
        if self.dataset == "ucf101" and not self.root:
            wrong = "dataset ucf101 needs root: the folder that holds its class folders or frame folders"
        elif self.dataset == "ucf101" and not Path(self.root).is_dir():
            wrong = f"root {self.root} is not a folder: give the folder that holds UCF101's class folders"
        elif found := self._wrong_with_own_data():
            wrong = found
        elif self.finetune and self.batch_norm != "imagenet":
            wrong = (
                "finetune starts from the published BatchNorm statistics and keeps them, but batch_norm "
                f"{self.batch_norm} replaces them: choose imagenet, or no finetune"
            )
        elif self.augment and not self.on_frames:
            wrong = (
                f"augment {self.augment} needs the frames in every epoch, but features are computed once: "
                "add finetune or batch_norm drift, or leave augment out"
            )
        elif self.augment == "crop-flip" and self.dataset == "stickfigures":
            wrong = "augment crop-flip mirrors clips, and a mirrored WalkLeft of stickfigures is a WalkRight: choose crop"
        if wrong:
            raise ValueError(wrong)
        return self

    def _wrong_with_own_data(self) -> str:
        """What is wrong with the settings of your own data set, as a sentence; empty if nothing is."""
        given = [name for name in ("title", "group_pattern", "group_table") if getattr(self, name)]
        if self.dataset != "folder":
            return f"{given[0]} is for dataset folder, your own clips: leave it out" if given else ""
        if not self.root:
            return "dataset folder needs root: the folder that holds a folder for each class"
        if not Path(self.root).is_dir():
            return f"root {self.root} is not a folder: give the folder that holds a folder for each class"
        if re.sub(r"[\W_]", "", self.title).casefold() in ("", "ucf101", "stickfigures"):
            return f"the title {self.title!r} is not a valid name for your own data set: give another title"
        if self.group_pattern and self.group_table:
            return "group_pattern and group_table both say which clips go together: give one of them"
        if self.group_pattern:
            datasets.check_pattern(self.group_pattern)
        return ""


class Run(Settings):
    """One model, trained on one split with one seed."""

    model: Model
    protocol: Protocol  # paper (random 3:1), grouped, official

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any], *, besides: Iterable[str] = ()) -> "Run":
        """As `Settings.from_notebook`; if no protocol is given, the config's first one counts."""
        values = _given(namespace, (*Study.model_fields, *cls.model_fields), besides)
        one = {"models": values.pop("model"), "folds": (), "seeds": ()}
        if protocol := values.pop("protocol", ""):
            one["protocols"] = protocol
        return Study(**values | one).runs()[0]

    @model_validator(mode="after")
    def _can_be_trained(self) -> Self:
        """Refuse, before extraction, a head that rejects its options or cannot be trained this way."""
        if (
            self.dataset == "folder"
            and self.protocol == "grouped"
            and not (self.group_pattern or self.group_table)
        ):
            raise ValueError(
                "protocol grouped needs to know which clips go together: give group_pattern or group_table, or choose "
                "protocol paper"
            )
        if self.dataset == "folder" and self.protocol == "official" and not self.lists:
            raise ValueError(
                "protocol official of dataset folder needs lists: the folder with HMDB51's split files, or files like them"
            )
        if self.on_frames and self.model == "nearest_neighbour":
            anew = "finetune" if self.finetune else "batch_norm drift"
            instead = "no finetune" if self.finetune else "imagenet or adapted"
            raise ValueError(
                f"nearest_neighbour reads the features once, but {anew} changes them in every epoch: choose "
                f"another model, or {instead}"
            )
        import torch  # imported here, so that reading a config does not wait for it

        from ctxlstm import models

        with torch.device("meta"):  # shapes without numbers
            models.build(self.model, input_size=8, num_classes=2, **self.head)
        return self

    def params(self, features_digest: str) -> dict[str, Any]:
        """What the run's record keeps and its name depends on: nothing of the machine, features by digest."""
        usual = {name for name in LATER if getattr(self, name) == Run.model_fields[name].default}
        params = self.model_dump(mode="json", exclude={*PLACES, "cpu", "images", "title", *usual})
        params |= {"dataset": self.title} if self.dataset == "folder" else {}
        fold = self.fold if self.protocol == "official" else 1
        return params | {"fold": fold, "features": features_digest[:16]}


class Study(Settings):
    """Many runs on the same data: every model on every split with every seed."""

    models: Several[Model] = Field(
        ("nearest_neighbour", "mean_linear", "cnn_lstm", "context_lstm"), min_length=1, title="model"
    )
    readings: Several[Reading] = Field((), title="reading")  # for the ablation; empty: all
    protocols: Several[Protocol] = Field(("paper", "grouped"), min_length=1, title="protocol")
    # if given, used instead of `fold`
    folds: Different[Fold] = Field((), title="fold", description="the official splits are 1, 2 and 3")
    seeds: Different[Seed] = ()  # if given, used instead of `seed`
    batch_sizes: Different[Count] = (20, 40, 80, 160)  # for the batch-size study

    @model_validator(mode="after")
    def _all_runs_can_be_trained(self) -> Self:
        self.runs()
        return self

    def runs(self) -> list[Run]:
        """One run for every seed, protocol (and official fold) and model.

        Seeds vary slowest, so a sweep that is stopped early has all heads on fewer seeds.
        """
        shared = {name: value for name, value in self if name in Run.model_fields}
        splits = [(protocol, fold) for protocol in self.protocols
                  for fold in (self.folds or (self.fold,) if protocol == "official" else (1,))]  # fmt: skip
        return [
            Run(**shared | {"model": model, "protocol": protocol, "fold": fold, "seed": seed})
            for seed in self.seeds or (self.seed,)
            for protocol, fold in splits
            for model in self.models
        ]


# --- where settings come from, and the messages about wrong ones --------------------------------------------


def read_config(config: str | Path, kind: type[Settings] = Study) -> dict[str, Any]:
    """The settings in a YAML file; `config` is its path, or the name of one in papermill_runs/configs/.

    Raises:
        FileNotFoundError: no such file (lists those that exist). ValueError: not YAML, or an unknown key
            (lists all).
    """
    path = Path(config).expanduser()
    if not path.suffix:
        path = CONFIGS / f"{config}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise FileNotFoundError(
            f"there is no config {config}: give the path of a YAML file, or one of {there}"
        )
    try:
        values = yaml.safe_load(path.read_bytes()) or {}  # bytes: YAML itself detects UTF-16
    except yaml.YAMLError as error:
        raise ValueError(f"config {path} is not YAML ({' '.join(str(error).split())}): mend it") from error
    names = ", ".join(kind.model_fields)
    if not isinstance(values, dict):
        raise ValueError(f"config {path} must hold lines of the form name: value, with names of {names}")
    for key in values:
        if key not in kind.model_fields:
            raise ValueError(f"unknown key {key!r} in config {path}: the keys are {names}")
    return values


def _given(namespace: Mapping[str, Any], fields: Iterable[str], besides: Iterable[str]) -> dict[str, Any]:
    """The settings with these names that a notebook was given (`Settings.from_notebook`)."""
    names = tuple(dict.fromkeys(fields))
    injected = [
        name
        for source in namespace.get("In", [])  # IPython's list of the cells that ran
        if source.startswith("# Parameters\n")  # papermill's own cell
        for name in re.findall(r"^(\w+) = ", source, flags=re.MULTILINE)
        if not name.startswith("PAPERMILL_")  # from its --inject-paths
    ]
    allowed = [*names, *besides, *(["config"] if "config" in namespace else [])]
    for name in injected:
        if name not in allowed:
            raise ValueError(f"unknown parameter {name!r}: the parameters are {', '.join(allowed)}")
    # A module of the same name (models, backbone) may have been imported when a cell runs again.
    values = {n: namespace[n] for n in names if n in namespace and not isinstance(namespace[n], ModuleType)}
    # papermill's -f FILE injects every line of the file: if one names the data set, the config does not
    # count.
    if namespace.get("config") and ("config" in injected or "dataset" not in injected):
        values |= read_config(namespace["config"])
    return values | {name: namespace[name] for name in injected if name in names}


RULES = {
    "value": "{error}", "int": "it must be int", "float": "it must be float", "finite": "it must be a finite number",
    "bool": "it must be true or false", "string": "it must be text", "greater_than_equal": "it must be at least {ge}",
    "greater_than": "it must be above {gt}", "less_than_equal": "it must be at most {le}",
}  # fmt: skip


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first mistake: the field, what was given, what is allowed."""
    first = error.errors(include_url=False)[0]
    problem, place, given, context = first["type"], first["loc"], first["input"], first.get("ctx", {})
    if not place:  # a check of several fields together names them itself
        return str(context["error"])
    name = str(place[0])
    if problem == "extra_forbidden":
        return f"unknown name {name!r}: the names are {', '.join(kind.model_fields)}"
    if problem in ("missing", "too_short"):
        return f"{name} is {problem.replace('too_short', 'empty')}: give at least one"
    field = kind.model_fields[name]
    title = field.title or name
    if problem == "literal_error":
        allowed = filter(None, re.findall(r"'([^']*)'", context["expected"]))
        return f"unknown {title} {given!r}: choose one of {', '.join(allowed)}"
    out_of_range = "than" in problem
    rule = field.description if out_of_range else None
    rule = rule or RULES[problem if out_of_range else problem.split("_")[0]].format(**context)
    return f"{title if place[1:] else name} is {given!r}: {rule}"
