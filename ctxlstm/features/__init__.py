"""Clips become feature sequences, once (paper, section 3.2: the "deep temporal feature").

A frozen backbone gives the same numbers in every epoch, so they are computed once and kept
(`features.cache`). The work is cut into pieces of whole cache chunks, which many workers process at the same
time: threads of this process here, other processes and machines in `features.cluster`. A worker takes a piece
from the videos to the chunks on disk.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ctxlstm import ucf101, video
from ctxlstm.backbone import Backbone
from ctxlstm.backbone import load as load_backbone
from ctxlstm.features import extraction
from ctxlstm.features.cache import Cache, clips_digest, contents, read_manifest, refuse_foreign
from ctxlstm.features.extraction import Done, How, Piece, decoded
from ctxlstm.features.reader import Stored
from ctxlstm.support import threads
from ctxlstm.support.files import disk_full_is_told, locked

# Raise this whenever the same clips and settings would give different numbers. A difference in the last digit
# of float16 does not count: processors differ in it too.
CODE_VERSION = 1


def __getattr__(name: str) -> Any:
    """Submodules, imported on first use: few runs need Dask or frames on disk."""
    if name in ("cluster", "frames"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Features:
    """Feature sequences of clips: `x` (N, T, D) and the table `clips` (N rows, as from `ucf101.index`).

    `x` is in memory, or stays on disk (`load`). `left_out` lists clips that could not be used (name, reason),
    `damaged` those used in part; `key` says what made the features.
    """

    x: Tensor | Stored
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
    def on_frames(self) -> bool:
        """Whether `x` holds the frames themselves, (N, T, 3, s, s) uint8, for a model that has its own backbone."""
        return len(self.x.shape) == 5

    @property
    def digest(self) -> str:
        """SHA-256 of the key, with clip contents, and of the names: equal digests mean comparable runs."""
        text = json.dumps([self.key, list(self.clips["name"])], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Extraction:
    """What one call of `extract` did: counts of clips, and wall-clock seconds."""

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
    backbone: Backbone | str = "resnet50",
    frames: int = 28,
    rule: str = "first",
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Extraction:
    """Extract the features of all clips into the cache folder `out`, or finish or repair what is there.

    Clips that were replaced are extracted again: if a file's size or time differs, its content decides.

    Args:
        clips: table as from `ucf101.index` (columns name, label, group, clip, path, kind).
        out: cache folder, created if missing. A cache made with other settings is refused.
        backbone: a loaded backbone or its name.
        frames: T, frames sampled from each clip.
        rule: sampling rule, `first` or `uniform` (`video.read_frames`).
        batch_size: images in one forward pass; default: 256 on a GPU, 4 on a CPU, where larger batches do not
            fit the processor's cache and spend their time allocating memory.
        workers: threads; default: one per core, and some more with a GPU, because some of them wait for it.
        device: torch device; default: the GPU if there is one.
        progress: show a progress bar.

    Raises:
        ValueError: unknown rule, T or batch_size below 1, no clips, a cache made with other settings (the
            message names the field), a folder that is not a cache, no clip that can be decoded, or a backbone
            whose statistics drift.
        RuntimeError: another process is extracting into this folder.
        OSError: the disk is full; what is done stays and the next call continues from there.
    """
    how = How(frames, rule, batch_size)

    def in_threads(net: Backbone, cache: Cache, work: Iterable[Piece]) -> Generator[Done]:
        extraction.to_device(net, device)
        cores = os.cpu_count() or 1
        count = workers or (cores * 5 // 4 if net.mean.is_cuda else cores)
        # Each thread computes on its own: threads that share one matrix product wait for the slowest of them,
        # and some thread is always decoding.
        with threads.threads(1), extraction.pool_of(count) as pool:
            yield from extraction.ahead(pool, lambda piece: extraction.extract(net, cache, piece, how), work)

    return extract_by(in_threads, clips, out, backbone, how, progress)


def extract_by(
    run: Callable[[Backbone, Cache, Iterable[Piece]], Generator[Done]],
    clips: pd.DataFrame,
    out: str | Path,
    backbone: Backbone | str,
    how: How,
    progress: bool = True,
) -> Extraction:
    """The part that all extractions share: `run` processes the pieces and yields their results, in any order.

    Arguments and errors are those of `extract`.
    """
    if how.rule not in video.RULES or how.rule == "all":
        raise ValueError(
            f"unknown frame rule {how.rule!r} for features: choose first or uniform (all gives clips of unequal length)"
        )
    if how.frames < 1:
        raise ValueError(
            f"frames is {how.frames}: a clip needs at least one frame (the paper's code base takes 28)"
        )
    if how.batch_size is not None and how.batch_size < 1:
        raise ValueError(f"batch_size is {how.batch_size}: it must be at least 1")
    if clips.empty:
        raise ValueError("there are no clips to extract: check the table given as clips")
    start = time.perf_counter()
    clips = clips.reset_index(drop=True)
    net = load_backbone(backbone) if isinstance(backbone, str) else backbone
    if net.batch_norm == "drift":
        raise ValueError(
            "a backbone with batch_norm drift gives different features in every epoch, so they cannot be "
            "kept: train models.online.Online on features.frames.frames, or choose imagenet or adapted"
        )
    out = Path(out)
    refuse_foreign(out)

    def done(cache: Cache, extracted: int, kept: int) -> Extraction:
        left_out, damaged = (len(cache.manifest[kind]) for kind in ("left_out", "damaged"))
        seconds = time.perf_counter() - start
        return Extraction(out, len(clips), extracted, kept, left_out, damaged, seconds)

    settings = make_key(net, clips, how.frames, how.rule), (how.frames, net.width)
    cache = Cache.complete(out, clips, *settings)
    # Clips that were left out are tried again if the result can be written.
    if cache and not (cache.manifest["left_out"] and os.access(out, os.W_OK)):
        return done(cache, 0, len(clips) - len(cache.manifest["left_out"]))
    with locked(out / ".lock", f"extracting into {out}"), disk_full_is_told(f"writing features to {out}"):
        cache = Cache.open(out, clips, *settings)
        missing = [(chunk, rows) for chunk in cache.chunks() if (rows := cache.missing(chunk))]
        todo, extracted = sum(len(rows) for _, rows in missing), 0
        bar = tqdm(
            total=len(clips),
            initial=len(clips) - todo,
            unit="clip",
            desc="features",
            disable=not progress,
            mininterval=2,
        )
        lost = {row for _, rows in missing for row in rows}
        cache.know(contents({row: clips["path"][row] for row in cache.unknown() if row not in lost}))
        work = extraction.cut(missing, cache.array.chunks[0], clips, how)
        with bar, closing(run(net, cache, work)) as results:
            for piece in results if todo else ():
                cache.know(piece.contents)
                if piece.problems:
                    cache.note(piece.problems)
                for chunk, values in piece.unwritten:
                    cache.write(chunk, values)
                extracted += piece.extracted
                bar.update(piece.clips)
        cache.finish()
    return done(cache, extracted, len(clips) - todo)


def load(path: str | Path, *, memory: bool = True) -> Features:
    """Load the finished cache at `path`; clips that could not be decoded are left out of `x` and `clips`.

    Args:
        memory: read all features into memory (UCF101: 1.5 GB). Otherwise `x` stays on disk and `x[rows]`
            reads those clips (`reader.Stored`), for data larger than memory (Kinetics-700: 75 GB).

    Raises:
        FileNotFoundError: no cache there. ValueError: an unfinished or damaged cache, or an old one that does
            not record the contents of its clips.
    """
    path = Path(path)
    if not (path / "manifest.json").is_file():
        raise FileNotFoundError(
            f"there is no feature cache at {path}: make one with features.extract(clips, {str(path)!r}, ...)"
        )
    manifest = read_manifest(path)
    if not manifest["finished"] or any("sha256" not in row for row in manifest["clips"]):
        state = "of an older version" if manifest["finished"] else "unfinished"
        raise ValueError(
            f"the feature cache at {path} is {state}: run features.extract once more with the same settings"
        )
    clips = pd.DataFrame(manifest["clips"])[["name", "label", "group", "clip"]]
    good = ~clips["name"].isin([row["name"] for row in manifest["left_out"]]).to_numpy()
    x = Stored(path, len(clips), np.flatnonzero(good))
    notes = {
        kind: pd.DataFrame(manifest[kind], columns=["name", "reason"]) for kind in ("left_out", "damaged")
    }
    key = manifest["key"] | {"clips": clips_digest(manifest["clips"], manifest["left_out"])}
    return Features(x.read() if memory else x, clips[good].reset_index(drop=True), key=key, **notes)


def adapt(
    net: Backbone,
    clips: pd.DataFrame,
    *,
    frames: int,
    rule: str = "first",
    batch_size: int = 64,
    device: str | None = None,
) -> Backbone:
    """Recompute the backbone's BatchNorm statistics on frames of these clips (the training set), in place."""
    net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        stream = decoded(pool, net, clips.reset_index(drop=True), range(len(clips)), frames, rule)
        images = (images for _, _, images, _ in stream if images is not None)
        return net.adapt(batch for batch in extraction.batches(images, batch_size) if len(batch) > 1)


def make_key(net: Backbone, clips: pd.DataFrame, frames: int, rule: str) -> dict:
    """Everything that shaped the features. Two caches with equal keys hold the same numbers for the same clips."""
    # Caches from before there was a choice of precision have no such key, and stay valid.
    precision = getattr(net, "precision", "float32")
    return {
        "backbone": net.name,
        "weights": net.weights,
        "batch_norm": net.batch_norm,
        "decoder": " and ".join(video.decoder_version(kind) for kind in sorted(clips["kind"].unique())),
        "frames": frames,
        "rule": rule,
        "orientation": "upright",  # as the display matrix and EXIF say; older caches lack this field
        "resize": net.resize_rule,
        "dtype": "float16",
        "code_version": CODE_VERSION,
    } | ({"precision": precision} if precision != "float32" else {})


def align(split: ucf101.Split, clips: pd.DataFrame, features: Features) -> ucf101.Split:
    """A split of `clips` as rows of `features`: clips that were left out drop out, all others stay on their side."""
    row_of = {name: row for row, name in enumerate(features.clips["name"])}
    train, test = (
        np.array([row_of[name] for name in clips["name"].iloc[part] if name in row_of], dtype=np.int64)
        for part in (split.train, split.test)
    )
    return replace(split, train=train, test=test)
