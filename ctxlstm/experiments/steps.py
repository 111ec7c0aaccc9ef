"""From a notebook's settings to what a run needs: clips, a split, features (paper, sections 3.1, 3.2 and 4.2).

The same steps for one run in a notebook and for hundreds on a cluster: `clips`, `split`, `extract`, `load`.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from ctxlstm import features as feature_cache
from ctxlstm import stickfigures, training, ucf101
from ctxlstm.experiments.runs import commit, default_folder, find, run_id, save
from ctxlstm.experiments.settings import Settings
from ctxlstm.features import Features, frames
from ctxlstm.models import online
from ctxlstm.support.files import disk_full_is_told, locked


def clips(settings: Settings) -> pd.DataFrame:
    """The table of clips (`ucf101.index`); stick figures are rendered where they are not there yet."""
    root = settings.root
    if settings.dataset == "stickfigures":
        root = stickfigures.render(root or None, groups=settings.groups)
    return ucf101.index(root)


def split(settings: Settings, clips: pd.DataFrame) -> ucf101.Split:
    """The split of one job, which has one protocol; a batch that is larger than its training part is refused."""
    protocol, lists = settings.protocols[0], settings.lists or None
    made = ucf101.split(clips, protocol, fold=settings.fold, seed=settings.seed, lists=lists)
    settings.check_split(clips, made)
    return made


def extract(
    settings: Settings, clips: pd.DataFrame, split: ucf101.Split, *, workers: int = 0, scheduler: str = ""
) -> Path:
    """Make what is missing of what the heads read, and return its folder: features, or decoded frames.

    Frames are what `Settings.on_frames` asks for. Only `adapted` features depend on the split.

    Args:
        workers: processes of a local Dask cluster for features; 0 or 1: in this process.
        scheduler: address of a Dask scheduler, whose workers extract (`cluster.extract`).
    """
    net = settings.load_backbone()
    how = {"frames": settings.frames, "rule": settings.rule}
    device = "cpu" if settings.cpu else None
    if settings.batch_norm == "adapted":  # to the training part only
        feature_cache.adapt(net, clips.iloc[split.train], device=device, **how)
    if settings.on_frames:
        out = settings.features_folder(frames.frames_key(net, clips, **how), clips)
        frames.frames(clips, backbone=net, folder=out, **how)
        return out
    out = settings.features_folder(feature_cache.make_key(net, clips, **how), clips)
    if workers > 1 or scheduler:
        from ctxlstm.features import cluster

        done = cluster.extract(
            clips, out, backbone=net, device=device, workers=workers or 1, scheduler=scheduler, **how
        )
    else:
        done = feature_cache.extract(clips, out, backbone=net, device=device, **how)
    counts = f"{done.kept} were there, {done.left_out} left out"
    print(f"{done.extracted} clips extracted in {done.seconds:.0f} s, {counts}", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the trainings, perhaps in other processes, need the memory more
    return out


def load(settings: Settings, clips: pd.DataFrame, folder: Path) -> Features:
    """What `extract` left in its folder."""
    if not settings.on_frames:
        return feature_cache.load(folder)
    how = {"frames": settings.frames, "rule": settings.rule}
    return frames.frames(clips, backbone=settings.load_backbone(), folder=folder, **how)


def features(settings: Settings, clips: pd.DataFrame, split: ucf101.Split) -> Features:
    """What the heads read: features from the cache, or the frames themselves where no features can be kept."""
    return load(settings, clips, extract(settings, clips, split))


def train(
    settings: Settings,
    model: str,
    protocol: str,
    features: Features,
    split: ucf101.Split,
    *,
    results: str | Path | None = None,
    on_epoch: Callable[[dict], None] | None = None,
) -> Path:
    """Train one model on one split and write its record; return its folder.

    A finished run with the same parameters and features is kept, one that was killed goes on after its last epoch.

    Args:
        settings: what was asked for; model, protocol: this run's part of it.
        features: feature sequences; split: rows of them.
        results: folder that gets run folders; default: the settings', else `default_folder()`.
        on_epoch: called with each row of the history.
    """
    results = Path(results or settings.results or default_folder())
    params = settings.run(model, protocol, features.digest)
    folder = results / run_id(params)
    if done := find(results, folder.name):  # refuses to go on beside a damaged record
        print(f"{folder.name}: finished before (code version {done['versions']['commit']}), kept", flush=True)
        return folder
    commit()  # of the code that trains, before it may change
    torch.manual_seed(settings.seed)
    net = network(settings, model, features)
    part, lock = folder.with_name(folder.name + ".part"), results / f".{folder.name}.lock"
    main = training.is_main_process()
    with locked(lock, f"training {folder}") if main else nullcontext():
        if main and folder.exists():  # another process finished it just before
            return folder
        checkpoint = part / "checkpoint.safetensors"
        history = training.fit(
            net, features, split, settings.training, checkpoint=checkpoint, on_epoch=on_epoch
        )
        if main:
            with disk_full_is_told(f"writing the record {folder}"):
                save(results, params, history, net, features=features, split=split)
    if main:
        lock.unlink(missing_ok=True)
    return folder


def network(settings: Settings, model: str, features: Features) -> nn.Module:
    """The model of that name for these features; where frames are read in every epoch, with the backbone before it."""
    sizes = {"num_classes": len(features.classes)}
    if not settings.on_frames:
        return settings.build(model, input_size=features.x.shape[2], **sizes)
    net = settings.load_backbone()
    head = settings.build(model, input_size=net.width, **sizes)
    how = {"finetune": settings.finetune, "images": settings.images, "augment": settings.augment}
    return online.Online(net, head, **how)


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
