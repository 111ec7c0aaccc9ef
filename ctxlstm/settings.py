"""The parameters of the papermill notebooks: one place for their names, types and allowed values.

papermill injects whatever it is given, a misspelt name too. `Settings.from_notebook(globals())` turns the
notebook's parameters into a checked object, before anything long starts.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import torch

from ctxlstm import backbone, models, training, ucf101
from ctxlstm.cache import default_folder

DATASETS = ("stickfigures", "ucf101")
RULES = ("uniform", "first")
PLACES = (
    "root",
    "lists",
    "results",
    "cache",
    "weights",
)  # where things lie on one machine: not part of a record


@dataclass(frozen=True)
class Settings:
    """What one main job is asked to do; fields as explained in the notebook's parameters cell.

    Raises:
        ValueError: a wrong value; the message says which and lists the allowed ones.
    """

    dataset: str
    root: str
    groups: int
    lists: str
    results: str
    cache: str
    backbone: str
    weights: str
    stride: str
    batch_norm: str
    size: int
    frames: int
    rule: str
    models: tuple[str, ...]
    hidden_size: int
    embedding: tuple[int, ...]
    protocols: tuple[str, ...]
    fold: int
    epochs: int
    batch_size: int
    learning_rate: float
    validation: float
    seed: int
    cpu: bool

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, object]) -> "Settings":
        """Read the settings from a notebook's `globals()`, and refuse what papermill injected under another name."""
        names = [field.name for field in fields(cls)]
        for source in namespace.get("In", []):  # IPython's list of the cells that ran
            if source.startswith("# Parameters\n"):  # papermill's own cell
                for name in re.findall(r"^(\w+) = ", source, flags=re.MULTILINE):
                    if name not in names:
                        raise ValueError(f"unknown parameter {name!r}: the parameters are {', '.join(names)}")
        return cls(**{name: namespace[name] for name in names})

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        for name in PLACES:
            if getattr(self, name):
                object.__setattr__(self, name, str(Path(getattr(self, name)).expanduser()))
        _choice("dataset", self.dataset, DATASETS)
        _choice("backbone", self.backbone, backbone.NAMES)
        _choice("batch_norm", self.batch_norm, backbone.BATCH_NORMS)
        _choice("rule", self.rule, RULES)
        for name in self.models:
            _choice("model", name, models.NAMES)
        for name in self.protocols:
            _choice("protocol", name, ucf101.PROTOCOLS)
        for name in ("models", "protocols"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: give at least one")
        for name in ("groups", "frames", "hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.size == 0:
            object.__setattr__(self, "size", 224 if self.backbone == "resnet50" else 160)
        if self.size < 32 or self.size % 32:
            raise ValueError(
                f"size is {self.size}: it must be a multiple of 32, at least 32 (the paper's code base takes 224)"
            )
        if self.stride and self.stride not in backbone.STRIDES:
            _choice("stride variant", self.stride, backbone.STRIDES)
        for name in self.models:
            with torch.device(
                "meta"
            ):  # shapes without numbers: wrong sizes are refused here and not after the features
                models.build(
                    name, input_size=8, num_classes=2, hidden_size=self.hidden_size, embedding=self.embedding
                )
        if not 0 <= self.validation < 1:
            raise ValueError(
                f"validation is {self.validation}: it is a share of the training part, from 0 to below 1"
            )
        if self.fold not in (1, 2, 3):
            raise ValueError(f"fold is {self.fold}: the official splits are 1, 2 and 3")
        if self.dataset == "ucf101" and not self.root:
            raise ValueError(
                "dataset ucf101 needs root: the folder that holds its class folders or frame folders"
            )
        if self.dataset == "ucf101" and not Path(self.root).is_dir():
            raise ValueError(
                f"root {self.root} is not a folder: give the folder that holds UCF101's class folders"
            )
        self.training  # noqa: B018  its own checks

    @property
    def training(self) -> training.Config:
        """The part that the training loop needs."""
        return training.Config(
            self.epochs, self.batch_size, self.learning_rate, self.validation, self.seed, cpu=self.cpu
        )

    def check_split(self, clips: pd.DataFrame, split: ucf101.Split) -> None:
        """Refuse, before anything long starts, a batch that is larger than what a split leaves to train on."""
        fit, _ = ucf101.validation(clips, split, share=self.validation, seed=self.seed)
        if self.batch_size > len(fit):
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the training part of the {split.protocol} split "
                f"({len(fit)} clips): choose {len(fit)} or less"
            )

    def features_folder(self, key: dict, clips: pd.DataFrame) -> Path:
        """Where features with this key (`features.make_key`) are kept: a folder for each key and list of clips."""
        text = json.dumps(
            [key, list(clips["path"].map(lambda path: str(Path(path).resolve())))], sort_keys=True
        )
        name = f"{self.dataset}-{self.backbone}-{self.rule}{self.frames}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return (Path(self.cache) if self.cache else default_folder() / "features") / name

    def run(self, model: str, protocol: str, features_digest: str) -> dict:
        """Parameters of one run, as its record keeps them: no places, one model, one protocol, the features' digest."""
        params = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in (*PLACES, "models", "protocols", "cpu"):
            del params[name]
        params |= {"embedding": list(self.embedding), "model": model, "protocol": protocol}
        return params | {"features": features_digest[:16]}


def _choice(what: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"unknown {what} {value!r}: choose one of {', '.join(valid)}")


def _typed(name: str, kind: object, value: object) -> object:
    """The value as its field's type; papermill's -p gives strings, numbers and, for a list of one, the bare item."""
    if kind in (tuple[str, ...], tuple[int, ...]):
        items = value.replace(",", " ").split() if isinstance(value, str) else value
        items = items if isinstance(items, list | tuple) else [items]
        item = kind.__args__[0]
        return tuple(_typed(name, item, i) for i in items)
    if kind is str:
        return "" if value is None else str(value)
    if kind is bool and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
            if kind is float or number == int(number):
                return kind(number)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{name} is {value!r}: it must be {'true or false' if kind is bool else kind.__name__}")
