"""Decoded frames on disk, for heads that read frames instead of features (`models.online`).

Where the backbone changes in every epoch (fine-tuning, drifting BatchNorm; paper, section 4.3) features cannot be kept,
but the frames as the backbone reads them can.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor

from ctxlstm import video
from ctxlstm.backbone import Backbone
from ctxlstm.features import Features, make_key
from ctxlstm.features.cache import changed, clips_digest, described, named
from ctxlstm.features.extraction import Decoded, decoded
from ctxlstm.support.files import disk_full_is_told, locked, written


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
        backbone: its input size is the size that frames are squashed to.
        frames: T, frames sampled from each clip; rule: `first` or `uniform` (`video.read_frames`).
        folder: where to write frames that do not fit into memory (UCF101 at 28 frames of 224x224: 56 GB); a
            later call with the same clips and settings reuses them, and decodes all of them again if a clip
            was replaced. Default: keep them in memory.
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
    rows = described(clips)
    shape = (frames, 3, backbone.size, backbone.size)

    def images() -> Iterator[Decoded]:
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            yield from decoded(pool, backbone, clips, range(len(clips)), frames, rule)

    if folder is None:
        x, notes = _in_memory(images(), rows, shape)
    else:
        x, notes = _on_disk(Path(folder), key, rows, clips["path"], shape, images)
    left_out, damaged = (
        pd.DataFrame(notes[kind], columns=["name", "reason"]) for kind in ("left_out", "damaged")
    )
    if len(x) == 0:
        raise ValueError(
            f"none of the {len(clips)} clips could be decoded (the first: {left_out['reason'].iloc[0]}): check the videos"
        )
    used = clips[~clips["name"].isin(left_out["name"])].reset_index(drop=True)
    return Features(x, used, left_out, damaged, key | {"clips": clips_digest(rows, notes["left_out"])})


def frames_key(backbone: Backbone, clips: pd.DataFrame, frames: int, rule: str) -> dict:
    """Everything that shaped the frames, and the backbone that they are for (`features.make_key`)."""
    key = make_key(backbone, clips, frames, rule) | {"dtype": "uint8 frames"}
    return {
        name: value for name, value in key.items() if name != "precision"
    }  # precision is that of matrix products; frames are bytes


def _usable(stream: Iterable[Decoded], rows: list[dict], notes: dict) -> Iterator[Tensor]:
    """Yield the images of usable clips; all contents go into `rows`, all problems into `notes`."""
    for row, digest, images, problem in stream:
        rows[row]["sha256"] = digest
        if problem:
            note = {"name": rows[row]["name"], "reason": problem}
            notes["left_out" if images is None else "damaged"].append(note)
        if images is not None:
            yield images


def _in_memory(stream: Iterable[Decoded], rows: list[dict], shape: tuple[int, ...]) -> tuple[Tensor, dict]:
    count = len(rows)
    needed, free = count * int(np.prod(shape)), psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise MemoryError(
            f"the frames of {count} clips take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB of memory are free: give a "
            "folder to write them to, or choose a smaller size or fewer frames"
        )
    x, notes, used = torch.empty(count, *shape, dtype=torch.uint8), {"left_out": [], "damaged": []}, 0
    for images in _usable(stream, rows, notes):
        x[used] = images
        used += 1
    return x[:used], notes


def _on_disk(
    folder: Path,
    key: dict,
    rows: list[dict],
    paths: pd.Series,
    shape: tuple[int, ...],
    stream: Callable[[], Iterable[Decoded]],
) -> tuple[Tensor, dict]:
    """Frames in `folder`/frames.bin, written if they are not there; frames.json, written last, says what they are."""
    data, about = folder / "frames.bin", folder / "frames.json"
    notes = _kept(folder, key, rows, paths) if about.is_file() else None
    if notes is None:
        notes = {"left_out": [], "damaged": []}
        with (
            locked(folder / ".lock", f"decoding into {folder}"),
            disk_full_is_told(f"writing frames to {folder}"),
        ):
            about.unlink(
                missing_ok=True
            )  # it describes the old clips, so it must not stand beside the new frames
            data.unlink(missing_ok=True)
            with written(data) as part, open(part, "wb") as file:
                for images in _usable(stream(), rows, notes):
                    file.write(images.contiguous().numpy().tobytes())
            _write(about, {"key": key, "clips": rows, **notes, "bytes": data.stat().st_size})
    if data.stat().st_size == 0:
        return torch.empty(0, *shape, dtype=torch.uint8), notes
    # Copy on write: PyTorch wants writable memory, and the file must not change.
    x = np.memmap(data, np.uint8, mode="c").reshape(-1, *shape)
    return torch.from_numpy(x), notes


def _kept(folder: Path, key: dict, rows: list[dict], paths: pd.Series) -> dict | None:
    """The problems noted for the frames in `folder`; None if a clip has changed since. Completes `rows`."""
    data, about = folder / "frames.bin", folder / "frames.json"
    try:
        text = about.read_text(encoding="utf-8")
        found = json.loads(text)
        notes = {kind: found[kind] for kind in ("left_out", "damaged")}
        whole = found["bytes"] == data.stat().st_size
        same = found["key"] == key and named(found["clips"]) == named(rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{about} cannot be used ({error}): remove {folder} and decode again") from error
    if not (whole and same):
        raise ValueError(
            f"{folder} holds frames of other clips or settings, or damaged ones: remove it or give another folder"
        )
    if changed(rows, found["clips"], paths):
        return None
    if (
        rows != found["clips"]
    ):  # record the new times, if possible, so that the next call need not read the clips
        with suppress(OSError, RuntimeError), locked(folder / ".lock", f"decoding into {folder}"):
            if about.read_text(encoding="utf-8") == text:
                _write(about, found | {"clips": rows})
    return notes


def _write(about: Path, what: dict) -> None:
    with written(about) as part:
        part.write_text(json.dumps(what), encoding="utf-8")
