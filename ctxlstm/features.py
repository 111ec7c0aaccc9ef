"""Clips become feature sequences, once (paper, section 3.2: the "deep temporal feature").

A frozen backbone gives the same numbers in every epoch, so they are computed once and kept (`ctxlstm.cache`).
Decoding and resizing run in threads beside the backbone; batches are filled across clip borders.
"""

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import zarr
from torch import Tensor
from tqdm import tqdm

from ctxlstm import backbone as backbones
from ctxlstm import ucf101, video
from ctxlstm.cache import Cache, disk_full_is_told, locked, read_manifest, refuse_foreign

CODE_VERSION = 1  # raise it whenever the same clips and settings would give other numbers


@dataclass(frozen=True)
class Features:
    """Feature sequences of clips: `x` (N, T, D) and the table `clips` (N rows, as from `ucf101.index`).

    `left_out` lists clips that could not be used (name, reason), `damaged` those used in part; `key` says what
    made the features.
    """

    x: Tensor
    clips: pd.DataFrame
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["name", "reason"]))
    damaged: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["name", "reason"]))
    key: dict = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Class names in alphabetical order; a class's position is its number."""
        return sorted(self.clips["label"].unique())

    @property
    def y(self) -> Tensor:
        """Class numbers (N,) int64."""
        return torch.as_tensor(
            pd.Categorical(self.clips["label"], categories=self.classes).codes.astype("int64")
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the key and the clips' names: equal digests mean comparable runs."""
        text = json.dumps([self.key, list(self.clips["name"])], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Extraction:
    """What one call of `extract` did; counts of clips, wall seconds."""

    path: Path
    clips: int
    extracted: int
    kept: int
    left_out: int
    damaged: int
    seconds: float


def extract(
    clips: pd.DataFrame,
    out: str | Path,
    *,
    backbone: backbones.Backbone | str = "resnet50",
    frames: int = 28,
    rule: str = "first",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Extraction:
    """Extract the features of all clips into the cache folder `out`, or finish or repair what is there.

    Args:
        clips: table as from `ucf101.index` (columns name, label, group, clip, path).
        out: cache folder; made if missing. Its settings must be these, else it is refused.
        backbone: a loaded backbone or its name.
        frames: T, frames sampled from each clip.
        rule: sampling rule, `first` or `uniform` (`video.read_frames`).
        batch_size: images in one forward pass; default: 256 on a GPU, 16 on a CPU, where larger ones spend their
            time getting memory from the system.
        workers: decoding threads; default: one per core.
        device: torch device; default: the GPU if there is one.
        progress: show a progress bar.

    Raises:
        ValueError: unknown rule, T < 1, no clips, a cache made with other settings (the message names the field),
            a folder that is no cache, no clip that can be decoded, or a backbone whose statistics drift.
        RuntimeError: another process is extracting into this folder.
        OSError: the disk is full; what is done stays and the next call goes on from there.
    """
    if rule not in video.RULES or rule == "all":
        raise ValueError(
            f"unknown frame rule {rule!r} for features: choose first or uniform (all gives clips of unequal length)"
        )
    if frames < 1:
        raise ValueError(
            f"frames is {frames}: a clip needs at least one frame (the paper's code base takes 28)"
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
    if clips.empty:
        raise ValueError("there are no clips to extract: check the table given as clips")
    start = time.perf_counter()
    clips = clips.reset_index(drop=True)
    net = backbones.load(backbone) if isinstance(backbone, str) else backbone
    if net.batch_norm == "drift":
        raise ValueError(
            "a backbone with batch_norm drift gives other features in every epoch, so they cannot be kept: train "
            "online.Online on online.frames, or choose imagenet or adapted"
        )
    net = net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    batch_size = batch_size or (256 if net.mean.is_cuda else 16)
    out = Path(out)
    refuse_foreign(out)
    with locked(out / ".lock", f"extracting into {out}"), disk_full_is_told(f"writing features to {out}"):
        cache = Cache.open(out, clips, make_key(net, clips, frames, rule), (frames, net.width))
        missing = {chunk: cache.missing(chunk) for chunk in cache.chunks()}
        rows = [row for todo in missing.values() for row in todo]
        unfinished = deque(chunk for chunk, todo in missing.items() if todo)
        values: dict[int, np.ndarray | None] = {}  # features of clips whose chunk is not complete yet
        extracted = 0
        bar = tqdm(
            total=len(clips),
            initial=len(clips) - len(rows),
            unit="clip",
            desc="features",
            disable=not progress,
            mininterval=2,
        )
        with bar, ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for row, value, problem in _features(pool, net, clips, rows, frames, rule, batch_size):
                if problem:
                    cache.note(clips["name"][row], problem, clips["path"][row], left_out=value is None)
                values[row] = value
                extracted += value is not None
                bar.update()
                while unfinished and all(r in values for r in missing[unfinished[0]]):
                    chunk = unfinished.popleft()
                    cache.write(chunk, {r: values.pop(r) for r in missing[chunk]})
        cache.finish()
    left_out, damaged = cache.manifest["left_out"], cache.manifest["damaged"]
    seconds = time.perf_counter() - start
    return Extraction(
        out, len(clips), extracted, len(clips) - len(rows), len(left_out), len(damaged), seconds
    )


def load(path: str | Path) -> Features:
    """The finished cache at `path`, in memory; clips that could not be decoded are left out of `x` and `clips`.

    Raises:
        FileNotFoundError: no cache there. ValueError: an unfinished or damaged one.
    """
    path = Path(path)
    if not (path / "manifest.json").is_file():
        raise FileNotFoundError(
            f"there is no feature cache at {path}: make one with features.extract(clips, {str(path)!r}, ...)"
        )
    manifest = read_manifest(path)
    if not manifest["finished"]:
        raise ValueError(
            f"the feature cache at {path} is unfinished: run features.extract once more with the same settings"
        )
    try:
        x = zarr.open_array(path / "features.zarr", mode="r")[:]  # (N, T, D)
    except Exception as error:  # zarr raises many kinds for a damaged chunk or description
        raise ValueError(
            f"the feature cache at {path} is damaged ({error}): run features.extract once more, it repairs only what is damaged"
        ) from error
    clips = pd.DataFrame(manifest["clips"]).drop(columns="bytes")
    good = ~clips["name"].isin([row["name"] for row in manifest["left_out"]]).to_numpy()
    lost = good & np.isnan(x[:, 0, 0])
    if lost.any():
        raise ValueError(
            f"the feature cache at {path} lacks {int(lost.sum())} clips (the first is {clips['name'][lost.argmax()]}): "
            "run features.extract once more"
        )
    notes = {
        kind: pd.DataFrame(manifest[kind], columns=["name", "reason"]) for kind in ("left_out", "damaged")
    }
    # Names, sizes and what was left out: other videos must not pass for these.
    files = hashlib.sha256(json.dumps([manifest["clips"], manifest["left_out"]]).encode()).hexdigest()
    key = manifest["key"] | {"clips": files}
    return Features(torch.from_numpy(x[good]), clips[good].reset_index(drop=True), key=key, **notes)


def adapt(
    net: backbones.Backbone,
    clips: pd.DataFrame,
    *,
    frames: int,
    rule: str = "first",
    batch_size: int = 64,
    device: str | None = None,
) -> backbones.Backbone:
    """Recompute the backbone's BatchNorm statistics on frames of these clips (the training part), in place."""
    net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        stream = decoded(pool, net, clips.reset_index(drop=True), range(len(clips)), frames, rule)
        images = (images for _, images, _ in stream if images is not None)
        return net.adapt(batch for batch in _batches(images, batch_size) if len(batch) > 1)


def make_key(net: backbones.Backbone, clips: pd.DataFrame, frames: int, rule: str) -> dict:
    """Everything that shaped the features. Two caches with equal keys hold the same numbers for the same clips."""
    return {
        "backbone": net.name,
        "weights": net.weights,
        "batch_norm": net.batch_norm,
        "decoder": " and ".join(video.decoder_version(kind) for kind in sorted(clips["kind"].unique())),
        "frames": frames,
        "rule": rule,
        "resize": net.resize_rule,
        "dtype": "float16",
        "code_version": CODE_VERSION,
    }


def decoded(
    pool, net, clips: pd.DataFrame, rows: Iterable[int], frames: int, rule: str
) -> Iterator[tuple[int, Tensor | None, str | None]]:
    """Yield (row, images (T, 3, size, size) or None, problem) in order, decoding a bounded number of clips ahead.

    `pool` is a ThreadPoolExecutor, `net` the backbone that says how frames are resized; the problem, if any, is why
    a clip cannot be used, or only in part.
    """

    def decode(row: int):
        try:
            clip = video.read_frames(clips["path"][row], frames, rule)
        except video.VideoError as error:
            place = f"{Path(clips['path'][row]).parent}{os.sep}"  # records are published: names, not places
            return row, None, str(error).replace(place, "")
        return row, net.resize(clip.images), clip.problem

    todo = iter(rows)
    ahead = deque(pool.submit(decode, row) for row in islice(todo, 2 * pool._max_workers))
    while ahead:
        yield ahead.popleft().result()
        ahead.extend(pool.submit(decode, row) for row in islice(todo, 1))


def _batches(clips: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Cut a stream of clips (T, 3, H, W) into full batches across clip borders; the last one may be smaller."""
    held, count = [], 0
    for images in clips:
        held.append(images)
        count += len(images)
        while count >= batch_size:
            joined = torch.cat(held)
            yield joined[:batch_size]
            held, count = [joined[batch_size:]], count - batch_size
    if count:
        yield torch.cat(held)


def _features(
    pool, net, clips: pd.DataFrame, rows: Iterable[int], frames: int, rule: str, batch_size: int
) -> Iterator[tuple[int, np.ndarray | None, str | None]]:
    """Yield (row, features (T, D) float16 or None, problem) in order; None for a clip that cannot be used."""
    order = deque()  # (row, usable, problem) of the clips on their way through the backbone
    done = torch.empty(0, net.width, dtype=torch.float16)  # (frames not given out yet, D)

    def images() -> Iterator[Tensor]:
        for row, clip, problem in decoded(pool, net, clips, rows, frames, rule):
            order.append((row, clip is not None, problem))
            if clip is not None:
                yield clip

    def complete() -> Iterator[tuple[int, np.ndarray | None, str | None]]:
        nonlocal done
        while order and (not order[0][1] or len(done) >= frames):
            row, usable, problem = order.popleft()
            value = None
            if usable:
                value, done = done[:frames].numpy(), done[frames:]
                if not np.isfinite(value).all():
                    value, problem = (
                        None,
                        "its features are not finite in float16: are the backbone's weights damaged?",
                    )
            yield row, value, problem

    for batch in _batches(images(), batch_size):
        with torch.inference_mode():
            out = net(batch).to(torch.float16).cpu()  # (B, D)
        done = torch.cat([done, out])
        yield from complete()
    yield from complete()


def align(split: ucf101.Split, clips: pd.DataFrame, features: Features) -> ucf101.Split:
    """A split of `clips` as rows of `features`: clips that were left out drop out, all others stay on their side."""
    row_of = {name: row for row, name in enumerate(features.clips["name"])}
    train, test = (
        np.array([row_of[name] for name in clips["name"].iloc[part] if name in row_of], dtype=np.int64)
        for part in (split.train, split.test)
    )
    return replace(split, train=train, test=test)
