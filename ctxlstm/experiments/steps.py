"""One run from top to bottom: clips, split, features, model, training, record (paper, sections 3.1 to 4.2).

    data = steps.clips(run)
    split = steps.split(run, data)
    features = steps.features(run, data, split)
    folder = steps.train(run, features, align(split, data, features))

The steps are the same for one run in a notebook and for hundreds on a cluster.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
from torch import nn

import ctxlstm.features
from ctxlstm import backbone, datasets, models, stickfigures, training, ucf101
from ctxlstm.experiments.runs import commit, default_folder, find, run_id, save
from ctxlstm.experiments.settings import Run, Settings
from ctxlstm.features import Features, frames
from ctxlstm.models import online
from ctxlstm.support import files


def clips(settings: Settings) -> pd.DataFrame:
    """The table of clips (`ucf101.index`, `datasets.folder`); stick figures are rendered if missing."""
    root = settings.root
    if settings.dataset == "folder":
        groups = {"group_pattern": settings.group_pattern, "group_table": settings.group_table}
        return datasets.folder(root, **groups)
    if settings.dataset == "stickfigures":
        root = stickfigures.render(root or None, groups=settings.groups)
    found = ucf101.scan(root)
    for remark in found.remarks() if training.is_main_process() else ():
        print(f"{root}: {remark}", flush=True)
    return found.clips


def split(run: Run, clips: pd.DataFrame) -> ucf101.Split:
    """Rows for training and testing.

    Raises:
        ValueError: the batch is larger than the training set, or what `datasets.split` refuses.
    """
    made = datasets.split(clips, run.protocol, fold=run.fold, seed=run.seed, lists=run.lists or None)
    fit, _ = datasets.validation(clips, made, share=run.validation, seed=run.seed)
    if run.batch_size > len(fit):
        raise ValueError(
            f"batch_size {run.batch_size} is larger than the training set of the {made.protocol} split "
            f"({len(fit)} clips): choose {len(fit)} or less"
        )
    return made


def features(
    run: Run, clips: pd.DataFrame, split: ucf101.Split, net: backbone.Backbone | None = None
) -> Features:
    """What the model reads: features from the cache, or the frames themselves if features cannot be kept.

    `net` is a CNN to use in place of the run's own, under a name of its own.
    """
    return load(run, clips, extract(run, clips, split, net=net))


def extract(
    run: Run,
    clips: pd.DataFrame,
    split: ucf101.Split,
    *,
    workers: int = 0,
    scheduler: str = "",
    net: backbone.Backbone | None = None,
) -> Path:
    """Make the missing features, or decoded frames if `run.on_frames`, and return their folder.

    Only `adapted` features depend on the split.

    Args:
        workers: processes of a local Dask cluster for features; 0 or 1: in this process.
        scheduler: address of a Dask scheduler, whose workers extract (`cluster.extract`).
        net: the CNN; default: the run's (`load_backbone`).
    """
    net, how = net or load_backbone(run), {"frames": run.frames, "rule": run.rule}
    device = "cpu" if run.cpu else None
    if run.batch_norm == "adapted":  # to the training set only
        ctxlstm.features.adapt(net, clips.iloc[split.train], device=device, **how)
    if run.on_frames:
        out = _folder(run, frames.frames_key(net, clips, **how), clips)
        frames.frames(clips, backbone=net, folder=out, **how)
        return out
    out = _folder(run, ctxlstm.features.make_key(net, clips, **how), clips)
    if workers > 1 or scheduler:
        from ctxlstm.features import cluster

        many = {"workers": workers or 1, "scheduler": scheduler}
        done = cluster.extract(clips, out, backbone=net, device=device, **many, **how)
    else:
        done = ctxlstm.features.extract(clips, out, backbone=net, device=device, **how)
    counts = f"{done.kept} already there, {done.left_out} left out"
    print(f"{done.extracted} clips extracted in {done.seconds:.0f} s, {counts}", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # free it for training, perhaps in other processes
    return out


def load(run: Run, clips: pd.DataFrame, folder: Path) -> Features:
    """Load what `extract` left in its folder."""
    if not run.on_frames:
        return ctxlstm.features.load(folder)
    net = load_backbone(run)
    return frames.frames(clips, backbone=net, folder=folder, frames=run.frames, rule=run.rule)


def _folder(run: Run, key: dict, clips: pd.DataFrame) -> Path:
    """The folder for this key (`features.make_key`) and list of clips."""
    paths = [str(Path(path).resolve()) for path in clips["path"]]
    # Label and group of a UCF101 clip follow from its name; those of your own clips, from table or pattern.
    said = clips[["name", "label", "group"]].to_dict("list") if run.dataset == "folder" else {}
    text = json.dumps([key, paths] + [said] * bool(said), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    cache = Path(run.cache) if run.cache else files.default_folder() / "features"
    return cache / f"{run.dataset}-{run.backbone}-{run.rule}{run.frames}-{digest}"


def load_backbone(run: Run) -> backbone.Backbone:
    """The CNN, still frozen."""
    how = {"size": run.size, "precision": run.backbone_precision}
    net = backbone.load(run.backbone, weights=run.weights or None, stride=run.stride or None, **how)
    return net.drift() if run.batch_norm == "drift" else net


def network(run: Run, features: Features) -> nn.Module:
    """The model for these features, with the backbone in front if frames are read in every epoch."""
    net = load_backbone(run) if run.on_frames else None
    width = net.width if net else features.x.shape[2]
    head = models.build(run.model, input_size=width, num_classes=len(features.classes), **run.head)
    how = {"finetune": run.finetune, "images": run.images, "augment": run.augment}
    return online.Online(net, head, **how) if net else head


def train(
    run: Run,
    features: Features,
    split: ucf101.Split,
    *,
    results: str | Path | None = None,
    on_epoch: Callable[[dict], None] | None = None,
) -> Path:
    """Train the model and write the run's record; return its folder.

    A finished run with the same parameters and features is kept; a killed one continues after its last epoch.

    Args:
        features: what the model reads; split: rows of it (`features.align`).
        results: folder for the run folders; default: the run's, else `default_folder()`.
        on_epoch: called with each row of the history.
    """
    results = Path(results or run.results or default_folder())
    params = run.params(features.digest)
    folder = results / run_id(params)
    if done := find(results, folder.name):  # refuses to go on beside a damaged record
        print(f"{folder.name}: finished before (code version {done['versions']['commit']}), kept", flush=True)
        return folder
    commit()  # of the code that trains, before it may change
    torch.manual_seed(run.seed)
    net = network(run, features)
    config = training.Config(**{name: getattr(run, name) for name in training.Config.__dataclass_fields__})
    part, lock = folder.with_name(folder.name + ".part"), results / f".{folder.name}.lock"
    main = training.is_main_process()
    with files.locked(lock, f"training {folder}") if main else nullcontext():
        if main and folder.exists():  # another process finished it just before
            return folder
        checkpoint = part / "checkpoint.safetensors"
        history = training.fit(net, features, split, config, checkpoint=checkpoint, on_epoch=on_epoch)
        if main:
            with files.disk_full_is_told(f"writing the record {folder}"):
                save(results, params, history, net, features=features, split=split)
    if main:
        lock.unlink(missing_ok=True)
    return folder


def progress(label: str, epochs: int, every: float = 5.0) -> Callable[[dict], None]:
    """A callback for `train` that prints a line every few seconds and after the last epoch: quiet enough for a log."""
    start = last = time.monotonic()

    def report(row: dict) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every or row["epoch"] == epochs:
            last = now
            print(
                f"{label}: epoch {row['epoch']} of {epochs}, training loss {row['train_loss']:.3f}, "
                f"test top-1 {row['test_top1']:.1%}, {now - start:.0f} s",
                flush=True,
            )

    return report
