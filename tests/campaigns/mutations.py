"""Damaged videos: each gives as many frames as were asked for or is refused in a sentence, within seconds."""

import os
import random
import signal
from fractions import Fraction
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

import av

from ctxlstm import stickfigures, video

from .common import ended, forked

SLOWEST = 10.0  # seconds for one video; one that takes longer hangs
FRAMES = 8
FILMS = {"mpeg4.avi": "mpeg4", "mjpeg.avi": "mjpeg", "h264.mp4": "libx264", "h264.mkv": "libx264"}
USED, TOLD, REFUSED = "used", "used, damage told", "refused"


def run(folder: Path, count: int, seed: int) -> tuple[dict[str, int | float], list[str]]:
    """Read `count` mutations of four films; how many were used and how many refused, and the slowest in seconds."""
    films = [_film(folder / name, codec) for name, codec in FILMS.items()]
    counted = {"videos": 0, USED: 0, TOLD: 0, REFUSED: 0, "slowest": 0.0}
    wrong: list[str] = []
    while (number := counted["videos"]) < count:  # one process reads them all, unless a video ends it
        ours, theirs = Pipe(duplex=False)
        pid = forked(
            lambda number=number, theirs=theirs: _read(folder, films, range(number, count), seed, theirs)
        )
        theirs.close()
        try:
            while ours.poll(SLOWEST):
                what, seconds = ours.recv()
                if what in counted:
                    counted[what] += 1
                else:
                    wrong.append(f"mutation {counted['videos']}: {what}")
                counted["slowest"] = max(counted["slowest"], round(seconds, 3))
                counted["videos"] += 1
            os.kill(pid, signal.SIGKILL)
            ended(pid)
            reason = f"took longer than {SLOWEST:.0f} s"
        except EOFError:
            reason = f"the process that read it ended with status {ended(pid)}"
        if counted["videos"] < count:
            wrong.append(f"mutation {counted['videos']}: {reason}")
            counted["videos"] += 1
    return counted, wrong


def _film(path: Path, codec: str) -> bytes:
    """A film of a stick figure, 24 frames of 160 x 120."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 160, 120
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 8
        for number, image in enumerate(stickfigures.frames(stickfigures.CLASSES[0], 1, 1)[:24]):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(160, 120)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def _mutated(film: bytes, rng: random.Random) -> bytes:
    """The film with one to four damages, every other one in its head, where the container describes itself."""
    data = bytearray(film)
    for _ in range(rng.randint(1, 4)):
        end = len(data) if rng.random() < 0.5 else min(len(data), 1024)
        place, length = rng.randrange(max(1, end)), rng.choice((1, 4, 64, 2048))
        match rng.choice(("flip", "overwrite", "zero", "remove", "insert", "cut", "number")):
            case "flip" if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case "overwrite":
                data[place : place + length] = rng.randbytes(length)
            case "zero":
                data[place : place + length] = bytes(length)
            case "remove":
                del data[place : place + length]
            case "insert":
                data[place:place] = rng.randbytes(length)
            case "cut":
                del data[rng.randrange(len(data) + 1) :]
            case "number":  # a count or a size, as large as can be, or negative
                data[place : place + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff")
                )
    return bytes(data)


def _read(folder: Path, films: list[bytes], numbers: range, seed: int, answers: Connection) -> None:
    """Read these mutations; send of each what became of it and the seconds it took."""
    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        path = folder / f"mutated{Path(list(FILMS)[number % len(FILMS)]).suffix}"
        path.write_bytes(_mutated(films[number % len(FILMS)], rng))
        rule = rng.choice(("first", "uniform", "all"))
        start = monotonic()
        what = _outcome(path, rule)
        answers.send((what, monotonic() - start))


def _outcome(path: Path, rule: str) -> str:
    """USED, TOLD, REFUSED, or a sentence on what is wrong."""
    try:
        found = video.read_frames(path, FRAMES, rule)
    except video.VideoError as error:
        return REFUSED if path.name in str(error) else f"the message names no file: {error}"
    except Exception as error:
        return f"{rule} raised {type(error).__name__}: {error}"
    wanted = FRAMES if rule != "all" else found.decoded
    if not len(found.images) == len(found.index) == wanted or found.index.max() >= found.decoded:
        return f"{rule} gave {len(found.images)} images of {found.decoded} frames, numbers {found.index.tolist()}"
    return TOLD if found.problem else USED
