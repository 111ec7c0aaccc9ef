"""From a notebook's settings to what a run needs: clips, a split, features (paper, sections 3.1, 3.2 and 4.2).

The same steps for one run in a notebook and for hundreds on a cluster: `clips`, `split`, `extract`, `load`.
"""

from pathlib import Path

import pandas as pd
import torch

from ctxlstm import features as feature_cache
from ctxlstm import online, stickfigures, ucf101
from ctxlstm.features import Features
from ctxlstm.settings import Settings


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
        out = settings.features_folder(online.frames_key(net, clips, **how), clips)
        online.frames(clips, backbone=net, folder=out, **how)
        return out
    out = settings.features_folder(feature_cache.make_key(net, clips, **how), clips)
    if workers > 1 or scheduler:
        from ctxlstm import cluster  # not at the top: Dask takes a second to import

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
    return online.frames(clips, backbone=settings.load_backbone(), folder=folder, **how)


def features(settings: Settings, clips: pd.DataFrame, split: ucf101.Split) -> Features:
    """What the heads read: features from the cache, or the frames themselves where no features can be kept."""
    return load(settings, clips, extract(settings, clips, split))
