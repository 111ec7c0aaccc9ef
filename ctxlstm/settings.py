"""The parameters of the papermill notebooks: one place for their names, types and allowed values.

papermill injects whatever it is given, a misspelt name too. `Settings.from_notebook(globals())` turns the
notebook's parameters into a checked object, before anything long starts.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

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
LITERALS = (str, int, float, bool, list, tuple, dict, type(None))


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
        """Read the settings from a notebook's `globals()`; a literal of another name is an unknown parameter."""
        names = [field.name for field in fields(cls)]
        for name, value in namespace.items():
            if (
                name not in names
                and isinstance(value, LITERALS)
                and not name.startswith("_")
                and name not in ("In", "Out")
            ):
                raise ValueError(f"unknown parameter {name!r}: the parameters are {', '.join(names)}")
        return cls(**{name: namespace[name] for name in names})

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
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

    def features_folder(self, weights: str, data: Path) -> Path:
        """Where the features of these settings are kept: one folder for each data folder, backbone and sampling."""
        text = f"{Path(data).resolve()} {weights} {self.size}"
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
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
            if kind is float or number == int(number):
                return kind(number)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{name} is {value!r}: it must be {'true or false' if kind is bool else kind.__name__}")
