"""Pieces of an extraction: what a worker does, from videos to chunks on disk.

A worker is a thread of this process (`features.extract`) or of another one, on any machine (`features.cluster`).
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ctxlstm import video
from ctxlstm.backbone import Backbone
from ctxlstm.features.cache import Cache, Problem
from ctxlstm.support.files import content

# A piece has at most PIECE_FRAMES frames, a full batch for a GPU (one chunk may have more), and there are at
# least PIECES pieces if there are enough clips. Neither depends on who does the work, no batch crosses the
# border of a piece, and on a CPU one thread computes a batch: other neighbours in a batch, or another split
# of a sum, would change the last digits. So the features have the same bits for any number of workers.
PIECE_FRAMES, PIECES = 256, 64
BATCH = {"cpu": 4, "gpu": 256}  # images in one forward pass: what fits a core's cache, what fills a GPU
# The network on a GPU belongs to one thread, which only starts work there and never waits for it to finish.
_GPU = ThreadPoolExecutor(1, "gpu")
# A clip's row, content (`files.content`) or None, images (T, 3, size, size) or None, and problem or None.
Decoded = tuple[int, str | None, Tensor | None, str | None]


@dataclass(frozen=True)
class How:
    """Settings of all pieces of an extraction: T frames, rule, images in one forward pass (None: default)."""

    frames: int
    rule: str
    batch_size: int | None


@dataclass(frozen=True)
class Piece:
    """A unit of work: some chunks (rows of each), and the clips that they lack, {row: (name, path)}."""

    chunks: list[range]
    clips: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class Done:
    """The result of a piece.

    `contents`: of each row's clip, read just before it was decoded (`files.content`). `unwritten`: features
    by row, for each chunk with a problem clip. The process that owns the manifest notes the problem before it
    writes the chunk: after a kill in between, a damaged clip must not pass for a sound one.
    """

    clips: int
    extracted: int
    contents: dict[int, str | None]
    problems: list[Problem]
    unwritten: list[tuple[range, dict[int, np.ndarray | None]]]


def cut(missing: list[tuple[range, list[int]]], size: int, clips: pd.DataFrame, how: How) -> Iterator[Piece]:
    """Group chunks of `size` clips into pieces; `missing` lists incomplete chunks and the rows they lack.

    The grouping does not depend on what is missing.
    """
    frames = max(PIECE_FRAMES, how.batch_size or 0)
    together = max(1, min(frames // (size * how.frames), len(clips) // (size * PIECES)))  # chunks
    groups: dict[int, list] = {}
    for chunk, rows in missing:
        groups.setdefault(chunk.start // (size * together), []).append((chunk, rows))
    for group in groups.values():
        rows = [row for _, todo in group for row in todo]
        yield Piece(
            [chunk for chunk, _ in group], {row: (clips["name"][row], clips["path"][row]) for row in rows}
        )


def extract(net: Backbone, cache: Cache, piece: Piece, how: How) -> Done:
    """Extract the clips of a piece and write its chunks, except those with a problem clip.

    `net` is on its device already (`to_device`), and torch uses one thread in the calling thread
    (`support.threads`).
    """
    batch_size = how.batch_size or BATCH["gpu" if net.mean.is_cuda else "cpu"]
    contents, problems, usable = {}, {}, []

    def images() -> Iterator[Tensor]:
        for row, (_, path) in piece.clips.items():
            contents[row], clip, reason = _decode(net, path, how.frames, how.rule)
            if reason:
                problems[row] = reason
            if clip is not None:
                usable.append(row)
                yield clip

    parts = [_forward(net, batch) for batch in batches(images(), batch_size)]
    values = dict.fromkeys(piece.clips)
    if usable:
        x = torch.cat(parts).unflatten(0, (len(usable), how.frames)).numpy()  # (clips, T, D)
        for row, value in zip(usable, x, strict=True):
            if np.isfinite(value).all():
                values[row] = value
            else:
                problems[row] = "its features are not finite in float16: are the backbone's weights damaged?"
    unwritten = []
    for chunk in piece.chunks:
        block = {row: values[row] for row in chunk if row in values}
        if problems.keys() & block.keys():
            unwritten.append((chunk, block))
        else:
            cache.write(chunk, block)
    told = [Problem(piece.clips[row][0], reason, values[row] is None) for row, reason in problems.items()]
    extracted = sum(value is not None for value in values.values())
    return Done(len(values), extracted, contents, told, unwritten)


def to_device(net: Backbone, device: str | None = None) -> Backbone:
    """Move a backbone (in place) to `device`, by default the GPU if any, and prepare it for many threads."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if net.mean.device.type != place.type or place.index not in (None, net.mean.device.index):
        net.to(place)  # which also undoes the folding below
    if not net.mean.is_cuda:
        # BatchNorm is folded at first use, by torch.fx, which must not run in several threads.
        _forward(net, torch.zeros(1, 3, net.size, net.size, dtype=torch.uint8))
    return net


def _forward(net: Backbone, images: Tensor) -> Tensor:
    """Features (B, D) of images (B, 3, s, s), float16 on the CPU; other threads can start theirs too."""
    if not net.mean.is_cuda:
        with torch.inference_mode():
            return net(images).to(torch.float16)
    out, finished = _GPU.submit(_start, net, images.pin_memory()).result()
    finished.synchronize()
    return out


def _start(net: Backbone, images: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Start copying to the GPU, computing and copying back; the result (B, D) is ready after the event."""
    exactly = torch.backends.cudnn.flags(
        enabled=True, allow_tf32=False
    )  # float32 would be rounded to TensorFloat-32
    with torch.inference_mode(), torch.cuda.device(net.mean.device), exactly:
        x = net(images.to(net.mean.device, non_blocking=True))  # (B, D)
        out = x.to(torch.float16).to("cpu", non_blocking=True)  # into pinned memory
        finished = torch.cuda.Event(blocking=True)  # waiting threads leave their core to those that decode
        finished.record()
    return out, finished


def decoded(
    pool: ThreadPoolExecutor,
    net: Backbone,
    clips: pd.DataFrame,
    rows: Iterable[int],
    frames: int,
    rule: str,
) -> Iterator[Decoded]:
    """Yield the clips in order, decoding a bounded number ahead; `net` says how frames are resized."""
    yield from ahead(pool, lambda row: (row, *_decode(net, clips["path"][row], frames, rule)), rows)


def _decode(net: Backbone, path: str, frames: int, rule: str) -> tuple[str | None, Tensor | None, str | None]:
    """Content, images (T, 3, size, size) and problem of the clip at `path`; each may be None."""
    # Read before decoding: if the clip is replaced in between, the next call notices; in the other order, old
    # frames would pass for the new content's. The bytes just read are in memory when they are decoded.
    digest = content(path)
    try:
        clip = video.read_frames(path, frames, rule)
    except video.VideoError as error:
        # Records are published: names, not paths.
        return digest, None, str(error).replace(f"{Path(path).parent}{os.sep}", "")
    return digest, net.resize(clip.images), clip.problem


@contextmanager
def pool_of(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads; after an error or interrupt they finish their work and start nothing new."""
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def ahead(pool: ThreadPoolExecutor, function: Callable, items: Iterable) -> Iterator:
    """Yield function(item) in order; the pool works on a bounded number of items ahead."""
    todo = iter(items)
    futures = deque(pool.submit(function, item) for item in islice(todo, 2 * pool._max_workers))
    while futures:
        yield futures.popleft().result()
        futures.extend(pool.submit(function, item) for item in islice(todo, 1))


def batches(clips: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Cut a stream of clips (T, 3, H, W) into full batches across clip borders; the last one may be smaller."""
    held = []
    for images in clips:
        held.append(images)
        if sum(map(len, held)) >= batch_size:
            *full, rest = torch.cat(held).split(batch_size)
            yield from full
            held = [rest]
    if held:
        yield torch.cat(held)
