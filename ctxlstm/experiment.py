"""From a notebook's settings to what a run needs: clips, a split, features (paper, sections 3.1, 3.2 and 4.2).

Four steps, the same for one run in a notebook and for hundreds on a cluster: `clips`, `split`, `extract`, `features`.
"""

from pathlib import Path

import pandas as pd

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


def extract(settings: Settings, clips: pd.DataFrame, split: ucf101.Split) -> Path:
    """Extract what is missing and return the cache's folder; only `adapted` features depend on the split."""
    net = settings.load_backbone()
    how = {"frames": settings.frames, "rule": settings.rule, "device": "cpu" if settings.cpu else None}
    if settings.batch_norm == "adapted":  # to the training part only
        feature_cache.adapt(net, clips.iloc[split.train], **how)
    out = settings.features_folder(feature_cache.make_key(net, clips, how["frames"], how["rule"]), clips)
    done = feature_cache.extract(clips, out, backbone=net, **how)
    counts = f"{done.kept} were there, {done.left_out} left out"
    print(f"{done.extracted} clips extracted in {done.seconds:.0f} s, {counts}", flush=True)
    return out


def features(settings: Settings, clips: pd.DataFrame, split: ucf101.Split) -> Features:
    """What the heads read: features from the cache, or for `drift`, which cannot be cached, the frames themselves."""
    if settings.batch_norm == "drift":
        net = settings.load_backbone()
        how = {"backbone": net, "frames": settings.frames, "rule": settings.rule}
        try:
            return online.frames(clips, **how)
        except MemoryError:  # all of UCF101 takes 56 GB: kept on disk, and read as it is needed
            key = feature_cache.make_key(net, clips, settings.frames, settings.rule)
            return online.frames(clips, folder=settings.features_folder(key, clips), **how)
    return feature_cache.load(extract(settings, clips, split))
