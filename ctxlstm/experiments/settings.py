"""The parameters of the papermill notebooks: one place for their names, types and allowed values.

papermill injects whatever it is given, a misspelt name too. `Settings.from_notebook(globals())` turns the
notebook's parameters, and a file of papermill_runs/configs/, into a checked object before anything long starts.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import torch
import yaml

from ctxlstm import backbone, models, training, ucf101
from ctxlstm.backbone import Backbone
from ctxlstm.models import augment
from ctxlstm.support.files import default_folder

DATASETS = ("stickfigures", "ucf101")
RULES = ("uniform", "first")
PLACES = (
    "root",
    "lists",
    "results",
    "cache",
    "weights",
)  # where things lie on one machine: not part of a record
LATER = (  # younger than the first records: in a record only where it counts, so that the older ones keep their names
    "finetune",
    "augment",
    "backbone_learning_rate",
    "backbone_precision",
    "precision",
)
PLAN = ("models", "readings", "protocols", "folds", "seeds", "batch_sizes")  # many runs; a record is of one
CONFIGS = Path(__file__).parents[2] / "papermill_runs" / "configs"


@dataclass(frozen=True)
class Settings:
    """What a notebook is asked to do. The defaults are those of the main job: small, on generated videos.

    Data
        dataset: stickfigures (generated) or ucf101.
        root: ucf101: folder with the clips; stickfigures: where to render (default: the user's cache).
        groups: stickfigures: source videos a class (25 as in UCF101).
        lists: folder with UCF101's official list files, to check the official splits against.
        results: folder that gets the run folders (default: papermill_runs/out).
        cache: folder for features (default: the user's cache).
        backbone: efficientnet_lite0 or resnet50.
        weights: resnet50: file with weights (default: torchvision's, cached or downloaded).
        stride: resnet50: v1 or v1.5, which convolution has stride 2 (default: what the file says, else v1.5).
        batch_norm: statistics of the backbone's BatchNorm: imagenet, adapted, or drift (as the public code base
            has it: never cached, all frames through the backbone in every epoch).
        size: side of the square frames are squashed to, pixels; 0: 224 for resnet50, else 160.
        backbone_precision: of the backbone's products: float32, or bf16 (half the memory, other rounding).
        frames: T, frames of a clip (the paper's code base: 28).
        rule: which frames: uniform over the clip, or first (the paper's code base).
    Heads
        models: of `models.NAMES`.
        hidden_size: H, units of each LSTM layer and direction (the paper: 512).
        embedding: widths of the layers before the LSTM (the paper's code base: 1024, 768, 512); empty: none.
        options: more options of the head, such as {"pool": "time"}.
        readings: names of `models.READINGS`, for the ablation; empty: all.
    Splits and seeds
        protocols: paper (random 3:1), grouped, official.
        fold, folds: official: 1, 2 or 3; `folds`, where given, for many runs.
        seed, seeds: of splits, weights, order of batches; `seeds`, where given, for many runs.
    Training
        epochs (the paper: 300), batch_size (80), learning_rate (0.001), as in the paper's section 4.2.
        batch_sizes: for the batch-size study.
        validation: share of the training part on which an epoch is chosen, cut off by whole groups; 0: none.
        precision: of the products of a training: no (float32), tf32 (on GPUs that have it) or bf16.
        cpu: do not use a GPU.
    Frames in every epoch
        finetune: train the backbone too (all frames through it forward and back in every epoch: for a GPU).
        backbone_learning_rate: of the backbone's weights while they are trained.
        augment: other views of the clips in every epoch, with finetune or batch_norm drift: crop, crop-flip; empty: none.
        images: frames through the backbone at once while it is trained, the fewer the less memory; 0: choose.

    Raises:
        ValueError: a wrong value; the message says which and lists the allowed ones.
    """

    dataset: str = "stickfigures"
    root: str = ""
    groups: int = 25
    lists: str = ""
    results: str = ""
    cache: str = ""
    backbone: str = "efficientnet_lite0"
    weights: str = ""
    stride: str = ""
    backbone_precision: str = "float32"
    batch_norm: str = "imagenet"
    size: int = 0
    frames: int = 12
    rule: str = "uniform"
    models: tuple[str, ...] = ("nearest_neighbour", "mean_linear", "cnn_lstm", "context_lstm")
    hidden_size: int = 64
    embedding: tuple[int, ...] = (128,)
    options: dict = field(default_factory=dict)
    readings: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ("paper", "grouped")
    fold: int = 1
    folds: tuple[int, ...] = ()
    seed: int = 0
    seeds: tuple[int, ...] = ()
    epochs: int = 30
    batch_size: int = 40
    batch_sizes: tuple[int, ...] = (20, 40, 80, 160)
    learning_rate: float = 0.001
    validation: float = 0.1
    precision: str = "no"
    cpu: bool = False
    finetune: bool = False
    backbone_learning_rate: float = 1e-4
    augment: str = ""
    images: int = 0

    @classmethod
    def from_notebook(
        cls, namespace: Mapping[str, object], *, besides: tuple[str, ...] = (), **fixed
    ) -> "Settings":
        """Read the settings from a notebook's `globals()`, and refuse what papermill injected under another name.

        What papermill injected counts first (-p, or a whole file with -f), then the file that the parameter `config`
        names (a path, or a name in papermill_runs/configs/), then the notebook's parameters cell, then the defaults.
        `besides` names the notebook's parameters that are not settings, `fixed` is what the notebook itself decides.
        """
        names = [each.name for each in fields(cls)]
        injected = [
            name
            for source in namespace.get("In", [])  # IPython's list of the cells that ran
            if source.startswith("# Parameters\n")  # papermill's own cell
            for name in re.findall(r"^(\w+) = ", source, flags=re.MULTILINE)
        ]
        allowed = [*names, *besides, *(["config"] if "config" in namespace else [])]
        for name in injected:
            if name not in allowed:
                raise ValueError(f"unknown parameter {name!r}: the parameters are {', '.join(allowed)}")
        # A module of the same name (models, backbone) may have been imported when a cell is run once more.
        values = {
            n: namespace[n] for n in names if n in namespace and not isinstance(namespace[n], ModuleType)
        }
        # papermill's -f FILE injects every line of the file: whoever names the data set does not mean the config's.
        if namespace.get("config") and ("config" in injected or "dataset" not in injected):
            values |= read_config(namespace["config"])
        return cls(**values | {name: namespace[name] for name in injected if name in names} | fixed)

    def __post_init__(self):
        for each in fields(self):
            object.__setattr__(self, each.name, _typed(each.name, each.type, getattr(self, each.name)))
        for name in PLACES:
            if getattr(self, name):
                object.__setattr__(self, name, str(Path(getattr(self, name)).expanduser()))
        _choice("dataset", self.dataset, DATASETS)
        object.__setattr__(self, "options", _options(self.options))
        _choice("backbone", self.backbone, backbone.NAMES)
        _choice("batch_norm", self.batch_norm, backbone.BATCH_NORMS)
        _choice("backbone precision", self.backbone_precision, backbone.PRECISIONS)
        _choice("rule", self.rule, RULES)
        for name in self.models:
            _choice("model", name, models.NAMES)
        for name in self.protocols:
            _choice("protocol", name, ucf101.PROTOCOLS)
        for name in self.readings:
            _choice("reading", name, tuple(models.READINGS))
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
            with torch.device("meta"):  # shapes without numbers: refused here and not after the features
                self.build(name, input_size=8, num_classes=2)
            if self.on_frames and name == "nearest_neighbour":
                anew, instead = (
                    ("finetune", "no finetune")
                    if self.finetune
                    else ("batch_norm drift", "imagenet or adapted")
                )
                raise ValueError(
                    f"nearest_neighbour looks at the features once and {anew} makes them anew every epoch: "
                    f"choose another model, or {instead}"
                )
        self._check_frames()
        if not 0 <= self.validation < 1:
            raise ValueError(
                f"validation is {self.validation}: it is a share of the training part, from 0 to below 1"
            )
        for fold in (self.fold, *self.folds):
            if fold not in (1, 2, 3):
                raise ValueError(f"fold is {fold}: the official splits are 1, 2 and 3")
        for name in ("folds", "seeds", "batch_sizes"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or any(value < 0 for value in values):
                raise ValueError(f"{name} is {list(values)}: give different numbers, none below 0")
        if self.dataset == "ucf101" and not self.root:
            raise ValueError(
                "dataset ucf101 needs root: the folder that holds its class folders or frame folders"
            )
        if self.dataset == "ucf101" and not Path(self.root).is_dir():
            raise ValueError(
                f"root {self.root} is not a folder: give the folder that holds UCF101's class folders"
            )
        self.training  # noqa: B018  its own checks

    def _check_frames(self) -> None:
        """Refuse what training on frames cannot do."""
        if self.finetune and self.batch_norm != "imagenet":
            raise ValueError(
                f"finetune starts from the published statistics of BatchNorm and keeps them, batch_norm {self.batch_norm} "
                "means others: choose imagenet, or no finetune"
            )
        if self.augment:
            _choice("augmentation", self.augment, augment.NAMES)
            if not self.on_frames:
                raise ValueError(
                    f"augment {self.augment} needs the frames in every epoch, and features are computed once: add "
                    "finetune or batch_norm drift, or leave augment out"
                )
        if self.augment == "crop-flip" and self.dataset == "stickfigures":
            raise ValueError(
                "augment crop-flip mirrors clips, and a mirrored WalkLeft of stickfigures is a WalkRight: choose crop"
            )
        if self.images < 0:
            raise ValueError(f"images is {self.images}: it must be at least 1, or 0 to choose")

    @property
    def on_frames(self) -> bool:
        """Whether the models read decoded frames in every epoch (`online`), because features cannot be kept."""
        return self.finetune or self.batch_norm == "drift"

    @property
    def training(self) -> training.Config:
        """The part that the training loop needs."""
        return training.Config(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.validation,
            self.seed,
            self.precision,
            cpu=self.cpu,
            backbone_learning_rate=self.backbone_learning_rate,
        )

    def check_split(self, clips: pd.DataFrame, split: ucf101.Split) -> None:
        """Refuse, before anything long starts, a batch that is larger than what a split leaves to train on."""
        fit, _ = ucf101.validation(clips, split, share=self.validation, seed=self.seed)
        if self.batch_size > len(fit):
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the training part of the {split.protocol} split "
                f"({len(fit)} clips): choose {len(fit)} or less"
            )

    @property
    def variant(self) -> str:
        """The head's options as text, "" for none: `models.variant`."""
        return models.variant(self.options)

    def load_backbone(self) -> Backbone:
        """The CNN that these settings name, still frozen."""
        net = backbone.load(
            self.backbone,
            weights=self.weights or None,
            stride=self.stride or None,
            size=self.size,
            precision=self.backbone_precision,
        )
        return net.drift() if self.batch_norm == "drift" else net

    def build(self, model: str, *, input_size: int, num_classes: int) -> torch.nn.Module:
        """The model of that name with these sizes and options; D features a frame, K classes."""
        given = {"hidden_size": self.hidden_size, "embedding": self.embedding} | self.options
        return models.build(model, input_size=input_size, num_classes=num_classes, **given)

    def jobs(self) -> list["Settings"]:
        """One Settings for every run: each seed, protocol (and official fold) and model.

        Seeds come first, so that a sweep that is stopped early has all heads on fewer seeds.
        """
        splits = [(protocol, fold) for protocol in self.protocols
                  for fold in (self.folds or (self.fold,) if protocol == "official" else (1,))]  # fmt: skip
        return [
            replace(self, models=(model,), protocols=(protocol,), fold=fold, seed=seed, folds=(), seeds=())
            for seed in self.seeds or (self.seed,)
            for protocol, fold in splits
            for model in self.models
        ]

    def features_folder(self, key: dict, clips: pd.DataFrame) -> Path:
        """Where features with this key (`features.make_key`) are kept: a folder for each key and list of clips."""
        text = json.dumps(
            [key, list(clips["path"].map(lambda path: str(Path(path).resolve())))], sort_keys=True
        )
        name = f"{self.dataset}-{self.backbone}-{self.rule}{self.frames}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return (Path(self.cache) if self.cache else default_folder() / "features") / name

    def run(self, model: str, protocol: str, features_digest: str) -> dict:
        """Parameters of one run, as its record keeps them: no places, one model, one protocol, the features' digest."""
        default = {each.name for each in fields(self) if getattr(self, each.name) == each.default}
        left_out = {*PLACES, *PLAN, "cpu", "images", *default.intersection(LATER)}
        params = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in left_out}
        params |= {"embedding": list(self.embedding), "model": model, "protocol": protocol}
        params["fold"] = self.fold if protocol == "official" else 1
        return params | {"features": features_digest[:16]}


def read_config(config: str | Path) -> dict:
    """The settings in a YAML file; `config` is its path, or the name of one in papermill_runs/configs/.

    Raises:
        FileNotFoundError: no such file (lists the ones there are). ValueError: no YAML, or an unknown key (lists all).
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
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"config {path} is not YAML ({' '.join(str(error).split())}): mend it") from error
    names = [each.name for each in fields(Settings)]
    if not isinstance(values, dict):
        raise ValueError(
            f"config {path} must hold lines of the form name: value, with names of {', '.join(names)}"
        )
    for key in values:
        if key not in names:
            raise ValueError(f"unknown key {key!r} in config {path}: the keys are {', '.join(names)}")
    return values


def _options(options: dict | str | None) -> dict:
    """Options of the head as a dict; on the command line they are YAML, such as "{pool: time}"."""
    try:
        options = yaml.safe_load(options) if isinstance(options, str) else options
    except yaml.YAMLError as error:
        raise ValueError(f"options {options!r} are not YAML: write them as '{{pool: time}}'") from error
    if not isinstance(options or {}, dict):
        raise ValueError(f"options is {options!r}: give names and values, such as {{pool: time}}")
    return dict(options or {})


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
    if kind is dict:
        return value
    if kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
            if kind is float or number == int(number):
                return kind(number)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{name} is {value!r}: it must be {'true or false' if kind is bool else kind.__name__}")
