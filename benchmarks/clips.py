"""The benchmarks' videos: real UCF101 clips if available, else stick figures."""

import os
from pathlib import Path

import av
import pandas as pd

from ctxlstm import classroom, stickfigures, ucf101

# The same folder as in the tests: real clips never enter the repository.
SHARED = Path(os.environ.get("CTXLSTM_SHARED", Path(__file__).parents[2] / "shared"))
REAL = SHARED / "data" / "ucf101_subset" / "videos"


def table(count: int, small: bool = False) -> tuple[pd.DataFrame, str]:
    """`count` clips spread over all classes, as from `ucf101.index`, and a description of them.

    With `small` always stick figures, at most eight, so that a test does the same everywhere.
    """
    if small:
        root = stickfigures.render(
            classes=stickfigures.CLASSES[:2], groups=2, clips=2, workers=1, progress=False
        )
        clips, source = ucf101.index(root), "stick figures"
    elif REAL.is_dir():
        clips, source = ucf101.index(REAL), "real UCF101 clips"
    else:
        clips, source = classroom.clips(), "stick figures, as no real clips are at hand"
    count = min(count, len(clips))
    rows = [i * len(clips) // count for i in range(count)]
    return clips.iloc[rows].reset_index(drop=True), source


def long_clip(folder: Path, small: bool = False) -> tuple[Path, str]:
    """A clip of several hundred frames and its description: the longest real one, or one made in `folder`."""
    if REAL.is_dir() and not small:
        paths = ucf101.index(REAL)["path"]
        path = max(paths, key=count_frames)
        return Path(path), f"a real UCF101 clip of {count_frames(path)} frames"
    clips, _ = table(1, small=True)
    path = folder / "long.avi"
    frames = _repeat(Path(clips["path"][0]), path, times=12)
    return path, f"a stick figure that repeats itself, {frames} frames"


def count_frames(path: str | Path) -> int:
    """Frames of an undamaged clip, according to its header."""
    with av.open(str(path)) as container:
        return container.streams.video[0].frames


def _repeat(path: Path, out: Path, times: int) -> int:
    """Write a clip's packets `times` times in a row, without re-encoding; return how many frames that is."""
    written = 0
    with av.open(str(out), "w") as target:
        stream = None
        for _ in range(times):
            with av.open(str(path)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = written
                        packet.stream = stream
                        target.mux(packet)
                        written += 1
    return written
