"""Decoded frames on disk, for heads that read frames instead of features (`models.online`).

Where the backbone changes in every epoch (fine-tuning, drifting BatchNorm; paper, section 4.3) features cannot be kept,
but the frames as the backbone reads them can.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor

from ctxlstm import video
from ctxlstm.backbone import Backbone
from ctxlstm.features import Features, make_key
from ctxlstm.features.extraction import decoded
from ctxlstm.support.files import disk_full_is_told, file_bytes, locked, written


def frames(
    clips: pd.DataFrame,
    *,
    backbone: Backbone,
    frames: int = 28,
    rule: str = "first",
    folder: str | Path | None = None,
    workers: int | None = None,
) -> Features:
    """Decoded and resized frames of all clips, for `training.fit` to train an `Online` model on.

    Args:
        clips: table as from `ucf101.index` (columns name, label, group, clip, path, kind).
        backbone: says to which size frames are squashed.
        frames: T, frames sampled from each clip; rule: `first` or `uniform` (`video.read_frames`).
        folder: where the frames are written, for what does not fit into memory (UCF101 at 28 frames of 224x224:
            56 GB); a later call with the same clips and settings opens what is there. Default: memory.
        workers: decoding threads; default: one per core.

    Returns:
        Features with `x` (N, T, 3, s, s) uint8. Clips that cannot be decoded are left out, with the reason.

    Raises:
        ValueError: unknown rule, T < 1, no clips, none that can be decoded, or a folder with other frames.
        MemoryError: the frames do not fit into memory and no folder is given.
        OSError: the disk is full.
    """
    if rule not in video.RULES or rule == "all":
        raise ValueError(
            f"unknown frame rule {rule!r} for training: choose first or uniform (all gives clips of unequal length)"
        )
    if frames < 1:
        raise ValueError(f"frames is {frames}: a clip needs at least one frame")
    if clips.empty:
        raise ValueError("there are no clips to decode: check the table given as clips")
    clips = clips.reset_index(drop=True)
    key = frames_key(backbone, clips, frames, rule)
    rows = clips.drop(columns="path").assign(bytes=clips["path"].map(file_bytes)).to_dict("records")
    wanted = {"key": key, "clips": json.loads(json.dumps(rows))}
    shape = (frames, 3, backbone.size, backbone.size)
    if folder is None:
        x, notes = _in_memory(_images(clips, backbone, frames, rule, workers), len(clips), shape)
    else:
        x, notes = _on_disk(
            Path(folder), wanted, shape, lambda: _images(clips, backbone, frames, rule, workers)
        )
    left_out, damaged = (
        pd.DataFrame(notes[kind], columns=["name", "reason"]) for kind in ("left_out", "damaged")
    )
    if len(x) == 0:
        raise ValueError(
            f"none of the {len(clips)} clips could be decoded (the first: {left_out['reason'].iloc[0]}): check the videos"
        )
    files = hashlib.sha256(json.dumps([wanted["clips"], notes["left_out"]]).encode()).hexdigest()
    used = clips[~clips["name"].isin(left_out["name"])].reset_index(drop=True)
    return Features(x, used, left_out, damaged, key | {"clips": files})


def frames_key(backbone: Backbone, clips: pd.DataFrame, frames: int, rule: str) -> dict:
    """Everything that shaped the frames, and the backbone that they are for (`features.make_key`)."""
    key = make_key(backbone, clips, frames, rule) | {"dtype": "uint8 frames"}
    return {
        name: value for name, value in key.items() if name != "precision"
    }  # of products; frames are bytes


def _images(
    clips: pd.DataFrame, net: Backbone, frames: int, rule: str, workers: int | None
) -> Iterator[tuple[str, Tensor | None, str | None]]:
    """Yield (name, images (T, 3, s, s) or None, problem) of every clip, in order."""
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for row, images, problem in decoded(pool, net, clips, range(len(clips)), frames, rule):
            yield clips["name"][row], images, problem


def _usable(stream: Iterator[tuple[str, Tensor | None, str | None]], notes: dict) -> Iterator[Tensor]:
    """The images of clips that can be used; what is wrong with the others goes into `notes`."""
    for name, images, problem in stream:
        if problem:
            notes["left_out" if images is None else "damaged"].append({"name": name, "reason": problem})
        if images is not None:
            yield images


def _in_memory(stream: Iterator, count: int, shape: tuple[int, ...]) -> tuple[Tensor, dict]:
    needed, free = count * int(np.prod(shape)), psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise MemoryError(
            f"the frames of {count} clips take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB of memory are free: give a "
            "folder that they are written to, or choose a smaller size or fewer frames"
        )
    x, notes, used = torch.empty(count, *shape, dtype=torch.uint8), {"left_out": [], "damaged": []}, 0
    for images in _usable(stream, notes):
        x[used] = images
        used += 1
    return x[:used], notes


def _on_disk(folder: Path, wanted: dict, shape: tuple[int, ...], stream) -> tuple[Tensor, dict]:
    """Frames in `folder`/frames.bin, written if they are not there; frames.json, written last, says what they are."""
    data, about = folder / "frames.bin", folder / "frames.json"
    if about.is_file():
        try:
            found = json.loads(about.read_text(encoding="utf-8"))
            notes = {kind: found[kind] for kind in ("left_out", "damaged")}
            whole = found["bytes"] == data.stat().st_size
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{about} cannot be used ({error}): remove {folder} and decode again") from error
        if any(found.get(name) != value for name, value in wanted.items()) or not whole:
            raise ValueError(
                f"{folder} holds frames of other clips or settings, or damaged ones: remove it or give another folder"
            )
    else:
        notes = {"left_out": [], "damaged": []}
        with (
            locked(folder / ".lock", f"decoding into {folder}"),
            disk_full_is_told(f"writing frames to {folder}"),
        ):
            with written(data) as part, open(part, "wb") as file:
                for images in _usable(stream(), notes):
                    file.write(images.contiguous().numpy().tobytes())
            text = json.dumps(wanted | notes | {"bytes": data.stat().st_size})
            with written(about) as part:
                part.write_text(text, encoding="utf-8")
    if data.stat().st_size == 0:
        return torch.empty(0, *shape, dtype=torch.uint8), notes
    # Copy on write: PyTorch wants memory that can be written to, and the file stays as it is.
    x = np.memmap(data, np.uint8, mode="c").reshape(-1, *shape)
    return torch.from_numpy(x), notes
