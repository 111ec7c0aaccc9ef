"""Inputs of a training run: which rows are for what, where features stay, what is refused before any work."""

import numpy as np
import torch
from torch import Tensor, nn

from ctxlstm import datasets, ucf101
from ctxlstm.features import Features
from ctxlstm.features.reader import Stored


def parts(
    features: Features, split: ucf101.Split, *, share: float, seed: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Rows of `features` to "fit", for "validation" (a `share` of the training set) and to "test" on.

    Raises:
        ValueError: an empty part, features that are not finite, fewer than two classes, a batch that is too large or
            leaves BatchNorm a single frame.
    """
    for part in ("train", "test"):
        if len(getattr(split, part)) == 0:
            raise ValueError(
                f"the {part} part of the split is empty: check whether all its clips were left out as unusable"
            )
    fit, validation = datasets.validation(features.clips, split, share=share, seed=seed)
    _check_finite(features)
    if len(features.classes) < 2:
        raise ValueError(
            f"there is only one class ({features.classes[0]}): a classifier needs clips of at least two classes"
        )
    if batch_size == 1 and features.x.shape[1] == 1:
        raise ValueError(
            "batch_size 1 with one frame per clip leaves BatchNorm a single frame: choose batch_size 2 or more"
        )
    if batch_size > len(fit):
        raise ValueError(
            f"batch_size {batch_size} is larger than the training set ({len(fit)} clips): choose {len(fit)} or less"
        )
    return {"fit": fit, "validation": validation, "test": split.test}


def _check_finite(features: Features) -> None:
    # A few clips at a time: checking a whole data set at once would take its memory again. Features that stay
    # on disk are not read an extra time: what is wrong with them shows in the loss.
    if not isinstance(features.x, Tensor) or features.on_frames:
        return
    for start in range(0, len(features.x), 64):
        finite = torch.isfinite(features.x[start : start + 64]).flatten(1).all(1)  # (64,)
        if not finite.all():
            name = features.clips["name"].iloc[start + int((~finite).float().argmax())]
            raise ValueError(f"some features of {name} are NaN or infinite: extract its features again")


def check_shared(model: nn.Module, clips: int, batch_size: int, processes: int) -> None:
    """Refuse what several processes cannot share: batches of too few clips, drifting backbone statistics."""
    if min(batch_size, clips // -(-clips // batch_size)) < processes:
        raise ValueError(
            f"batch_size {batch_size} leaves some of {processes} processes without a clip: start fewer processes"
        )
    if any(isinstance(module, nn.BatchNorm2d) and module.training for module in model.train().modules()):
        raise ValueError(
            "batch_norm drift normalises with the statistics of a whole batch in one process: start one process"
        )


def at_home(x: Tensor | Stored, device: torch.device) -> Tensor | Stored:
    """The features in GPU memory if they fill at most half of what is free, else where they are."""
    if not isinstance(x, Tensor):  # on disk, as they are larger than memory
        return x
    if device.type == "cuda":
        # What PyTorch holds in reserve is free, too.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if x.nbytes > 0.5 * (torch.cuda.mem_get_info(device)[0] + kept):
            return x
    return x.to(device)
