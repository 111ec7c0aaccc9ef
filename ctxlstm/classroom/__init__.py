"""The chapters' small data: 288 generated clips and their features, made once and then loaded in a second.

Eight of the twelve stick-figure classes: two reversed pairs, which need the order of the frames, and four movements
that do not. Twelve source videos per class, three clips each (paper, sections 3.1 and 3.2, in miniature).
"""

import hashlib
import json
import platform
from importlib import metadata

import pandas as pd

from ctxlstm import stickfigures, ucf101
from ctxlstm.backbone import Backbone
from ctxlstm.backbone import load as load_backbone
from ctxlstm.features import Features, extract, make_key
from ctxlstm.features import load as load_features
from ctxlstm.support import files

CLASSES = ("JumpingJack", "Kick", "SitDown", "Squat", "StandUp", "WalkLeft", "WalkRight", "Wave")
PAIRS = tuple(pair for pair in stickfigures.REVERSED_PAIRS if set(pair) <= set(CLASSES))
GROUPS = 12  # source videos per class
FRAMES = 12  # T, spread over the clip
SIZE = 128  # pixels, the side of the square that the frozen CNN reads
# Sizes of a head that trains in seconds; the paper has hidden_size 512 and its code base an embedding of three layers.
SMALL = {"input_size": 1280, "num_classes": len(CLASSES), "hidden_size": 32, "embedding": (64,)}


def clips() -> pd.DataFrame:
    """The table of the 288 clips (`ucf101.index`); renders them if they are missing (15 seconds)."""
    return ucf101.index(stickfigures.render(classes=CLASSES, groups=GROUPS, progress=False))


def backbone() -> Backbone:
    """The frozen CNN of the chapters: EfficientNet-Lite0, whose weights come with the installation."""
    return load_backbone("efficientnet_lite0", size=SIZE)


def features(net: Backbone | None = None) -> Features:
    """Features x (288, 12, D) of `clips`; extracts them if they are missing (half a minute).

    `net` is the CNN; by default that of the chapters (`backbone`), with D = 1280.
    """
    table = clips()
    net, how = net or backbone(), {"frames": FRAMES, "rule": "uniform"}
    # One folder per key, so that leftovers of another version of a decoder or of this package do no harm.
    key = hashlib.sha256(json.dumps(make_key(net, table, **how), sort_keys=True).encode()).hexdigest()[:12]
    out = files.default_folder() / "features" / f"classroom-{key}"
    extract(table, out, backbone=net, device="cpu", **how)
    return load_features(out)


def versions() -> str:
    """One line for the end of a chapter: the versions it ran with."""
    packages = ("ctxlstm", "torch", "torchvision", "numpy", "scikit-learn")
    found = [
        f"Python {platform.python_version()}",
        *(f"{name} {metadata.version(name)}" for name in packages),
    ]
    return ", ".join(found) + f", on the CPU ({platform.machine()})"
