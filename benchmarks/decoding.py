"""Decoding: `video.read_frames` beside a bare PyAV loop that gives the same pictures.

The loop knows which frames to take, looks for no damage and checks nothing; like read_frames it uses one
thread and one converter for all frames of a clip, and writes into one array.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from benchmarks import clips
from benchmarks.harness import Row, alternate, ratio, row
from ctxlstm import video

FRAMES = 28
_THREADS = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


def bare(path: str, wanted: np.ndarray) -> np.ndarray:
    """The frames with numbers `wanted` (T,), sorted, of a video -> uint8 RGB (T, H, W, 3)."""
    convert, filled, out = VideoReformatter(), 0, None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number == wanted[filled]:
                if out is None:
                    out = np.empty((len(wanted), frame.height, frame.width, 3), np.uint8)
                plane = convert.reformat(frame, format="rgb24", **_THREADS).planes[0]
                lines = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
                out[filled] = lines[:, : 3 * frame.width].reshape(out.shape[1:])
                filled += 1
                if filled == len(wanted):
                    break
    return out


def measure(small: bool = False) -> tuple[list[Row], dict]:
    """Rows of the table, and the times behind them."""
    rows, raw = [], {}
    table, source = clips.table(24, small)
    # A clip with fewer frames than requested repeats some; the bare loop would not.
    paths = [path for path in table["path"] if clips.count_frames(path) >= FRAMES]
    note = f"a bare PyAV loop over the same frames; {len(paths)} {source}, one thread"
    for rule in ("first", "uniform"):
        wanted = [video.frame_index(rule, clips.count_frames(path), FRAMES) for path in paths]
        work = f"decoding, {FRAMES} frames, rule {rule}"

        def ours(rule: str = rule) -> None:
            for path in paths:
                video.read_frames(path, FRAMES, rule)

        def reference(wanted: list = wanted) -> None:
            for path, index in zip(paths, wanted, strict=True):
                bare(path, index)

        a, b = alternate(ours, reference, 2 if small else 8)
        raw[work] = {"ours": a, "reference": b}
        rows.append(_speeds(work, a, b, FRAMES * len(paths), note))
    with tempfile.TemporaryDirectory() as folder:
        path, source = clips.long_clip(Path(folder), small)
        times, wanted = (2, 20) if small else (8, 20)
        work = f"first {FRAMES} frames of a long clip"
        a, b = alternate(
            _often(lambda: video.read_frames(path, FRAMES, "first"), wanted),
            _often(lambda: bare(path, np.arange(FRAMES)), wanted),
            times,
        )
    raw[work] = {"ours": a, "reference": b}
    note = f"a bare PyAV loop that stops after {FRAMES} frames; {source}, {wanted} times"
    rows.append(row(work, median(a), median(b), "s", ratio(a, b), at_most=1.3, note=note))
    return rows, raw


def _often(function: Callable[[], object], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            function()

    return run


def _speeds(work: str, ours: list[float], reference: list[float], frames: int, note: str) -> Row:
    speeds = (frames / median(ours), frames / median(reference))
    return row(work, *speeds, "frames/s", ratio(reference, ours), at_least=0.9, note=note)
