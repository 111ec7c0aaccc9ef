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

# A piece has at most so many frames (one chunk may have more), a full batch for a GPU, and there are at least so many
# pieces where the clips allow it. Neither depends on who does the work, no batch crosses the border of a piece, and on
# a CPU one thread computes it: other neighbours in a batch, or other shares of a sum, would give other last digits. So
# the features have the same bits for any number of workers.
PIECE_FRAMES, PIECES = 256, 64
BATCH = {"cpu": 4, "gpu": 256}  # images in one forward pass: what fits a core's cache, what fills a GPU
# The network on a GPU belongs to one thread, which only starts work there and never waits for its end.
_GPU = ThreadPoolExecutor(1, "gpu")
# Of a clip: its row, its content (`files.content`), images (T, 3, size, size) or None, what is wrong with it or None.
Decoded = tuple[int, str | None, Tensor | None, str | None]


@dataclass(frozen=True)
class How:
    """What all pieces of an extraction have in common: T frames by a rule, images in one forward pass (or None)."""

    frames: int
    rule: str
    batch_size: int | None


@dataclass(frozen=True)
class Piece:
    """A unit of work: some chunks (rows of each), and of the clips that they lack row number, name and path."""

    chunks: list[range]
    clips: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class Done:
    """What became of a piece.

    `contents`: of each row's clip, read just before it was decoded (`files.content`). `unwritten`: features by row, for
    each chunk with a clip that has a problem. Whoever keeps the manifest notes the problem and then writes the chunk:
    after a kill in between, a damaged clip must not pass for a sound one.
    """

    clips: int
    extracted: int
    contents: dict[int, str | None]
    problems: list[Problem]
    unwritten: list[tuple[range, dict[int, np.ndarray | None]]]


def cut(missing: list[tuple[range, list[int]]], size: int, clips: pd.DataFrame, how: How) -> Iterator[Piece]:
    """Cut chunks of `size` clips into pieces; `missing` has those that lack clips, and the rows they lack.

    Which chunks belong together does not depend on what is missing.
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
    """Extract the clips of a piece and write its chunks, all but those with a clip that has a problem.

    `net` is where it computes (`to_device`), and the calling thread has one thread for each of its products
    (`threads`).
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
    """Bring a backbone (in place) to where it computes, by default the GPU if there is one, ready for many threads."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if net.mean.device.type != place.type or place.index not in (None, net.mean.device.index):
        net.to(place)  # which also undoes the folding below
    if not net.mean.is_cuda:
        # BatchNorm is folded at first use, by torch.fx, which must not run in several threads.
        _forward(net, torch.zeros(1, 3, net.size, net.size, dtype=torch.uint8))
    return net


def _forward(net: Backbone, images: Tensor) -> Tensor:
    """Features (B, D) float16 on the CPU of images (B, 3, s, s); other threads may start theirs meanwhile."""
    if not net.mean.is_cuda:
        with torch.inference_mode():
            return net(images).to(torch.float16)
    out, finished = _GPU.submit(_start, net, images.pin_memory()).result()
    finished.synchronize()
    return out


def _start(net: Backbone, images: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Start copying there, computing and copying back on the GPU; the result (B, D) is there after the event."""
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
    """Content and images (T, 3, size, size) of the clip at `path`, or None; and what is wrong with it, or None."""
    # First: of a clip that is replaced meanwhile, new frames must not pass for the old content's. Bytes just read are
    # in memory when they are decoded.
    digest = content(path)
    try:
        clip = video.read_frames(path, frames, rule)
    except video.VideoError as error:
        # Records are published: names, not places.
        return digest, None, str(error).replace(f"{Path(path).parent}{os.sep}", "")
    return digest, net.resize(clip.images), clip.problem


@contextmanager
def pool_of(count: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads, which after an error or an interrupt finish what they have begun and begin nothing more."""
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
