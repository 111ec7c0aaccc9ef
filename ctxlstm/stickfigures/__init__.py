"""Stick figures: the generated data set, rendered as real .avi files in UCF101's layout (paper section 3.1).

Without UCF101, this package makes the videos. A *group* fixes the look (colours, proportions, scenery), as
the clips of one UCF101 group share a source video; a *clip* varies timing, speed, place and facing. The two
classes of a reversed pair are one motion: a clip of the second is drawn as one of the first, with its own
random choices, and played backwards. So their frames are of the same kind in opposite order, and neither the
average of all frames nor one frame drawn at random tells the classes apart. The order does; in a motion done
once, so does a frame whose place in the clip is known, above all the first. Walkers face either way at
random, so half of them walk backwards. The figures are synthetic, and so is every result on them. drawing.py
holds how they look.
"""

import io
import json
import multiprocessing
import os
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from ctxlstm.stickfigures.drawing import (
    FINE,
    HEIGHT,
    WIDTH,
    Look,
    Pen,
    draw_figure,
    draw_scenery,
    random_look,
)
from ctxlstm.support.files import default_folder, written

FPS = 25  # frames per second, as in UCF101
VERSION = 1  # of the renderer: raise it when pixels change, so that old clips are not mistaken for new ones
MARKER = ".stickfigures.json"  # in the root of every data set written here: its settings, and whether it is finished

# Joint angles in degrees: a limb hangs at 0 and rises forwards (front view: outwards); elbow and knee count from the
# upper arm and the thigh; lift is the height of a jump in body heights. The feet find the floor by themselves.
# fmt: off
POSES: dict[str, tuple[float, ...]] = {
    #             torso head  near arm   far arm   near leg   far leg   lift
    "stand":     (  2,   0,    6,  12,   -6,  14,    4,   5,   -4,   4,   0),
    "lean":      ( 38,  12,   34,  30,   26,  34,   48,  66,   44,  66,   0),
    "sit":       (  3,   0,   24,  58,   18,  62,   88,  88,   80,  82,   0),
    "stoop":     ( 34,  10,   26,  10,   20,  14,   42,  66,   38,  66,   0),
    "grab":      ( 64, -24,   14,  18,    8,  22,   78, 118,   70, 112,   0),
    "lift":      ( 30,   0,   16,  44,   10,  50,   40,  62,   36,  62,   0),
    "hold":      ( -5,   0,    8,  78,    2,  84,    5,   6,   -3,   4,   0),
    "backswing": ( 10,   0,   38,  24,  -36,  16,  -36,  88,    4,   4,   0),
    "strike":    (-14,   8,  -46,  16,   58,  22,   66,  10,   -8,   5,   0),
    "follow":    ( -4,   4,  -20,  20,   30,  30,   46,  66,   -5,   5,   0),
    "squat":     ( 36, -18,   84,   8,   78,  10,   86, 124,   78, 118,   0),
    "contact":   (  4,   0,  -30,  14,   28,  30,   28,   5,  -24,  14,   0),
    "load":      (  6,   0,  -24,  16,   22,  28,   18,  18,  -22,  44,   0),
    "pass":      (  4,   0,   -4,  18,    2,  22,    2,   5,   10,  66,   0),
    "push":      (  3,   0,   20,  24,  -20,  16,  -14,   6,   30,  36,   0),
    "hug":       (  0,   0,   22, 214,   22, 220,    4,   2,    4,   2,   0),
    "unfold":    (  0,   0,   52, 112,   52, 112,    4,   2,    4,   2,   0),
    "open":      (  0,   0,  102,   6,  102,   6,    5,   2,    5,   2,   0),
    "together":  (  0,   0,   12,   6,   12,   6,    3,   2,    3,   2,   0),
    "rise":      (  0,   0,   88,   8,   88,   8,   12,   8,   12,   8, .07),
    "apart":     (  0,   0,  164,  10,  164,  10,   24,   4,   24,   4,   0),
    "wave out":  ( -3,  -8,  116,  22,   10,  10,    5,   2,    4,   2,   0),
    "wave in":   (  2,   6,  124,  84,    8,  14,    4,   2,    5,   2,   0),
}
# fmt: on


class Motion(NamedTuple):
    """One movement: evenly spaced key poses, and how they are played."""

    keys: tuple[str, ...]
    rate: float = 0.0  # cycles per second; 0: done once
    front: bool = False  # seen from the front, else from the side
    thing: str = ""  # what is sat on, lifted or kicked
    travels: bool = (
        False  # crosses the scene to the right; the keys are one step, the next is its mirror image
    )
    backwards: str = ""  # name of the class that is this one played backwards


MOTIONS: dict[str, Motion] = {
    "SitDown": Motion(("stand", "lean", "sit"), thing="chair", backwards="StandUp"),
    "PickUp": Motion(("stand", "stoop", "grab", "lift", "hold"), thing="box", backwards="PutDown"),
    "OpenArms": Motion(("hug", "unfold", "open"), front=True, backwards="CloseArms"),
    "WalkRight": Motion(("contact", "load", "pass", "push"), 0.8, travels=True, backwards="WalkLeft"),
    "Kick": Motion(("stand", "backswing", "strike", "follow", "stand"), thing="ball"),
    "JumpingJack": Motion(("together", "rise", "apart", "rise"), 1.3, front=True),
    "Squat": Motion(("stand", "squat"), 0.75),
    "Wave": Motion(("wave out", "wave in"), 1.6, front=True),
}
REVERSED_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (k, m.backwards) for k, m in MOTIONS.items() if m.backwards
)
FORWARD = {backward: forward for forward, backward in REVERSED_PAIRS}
CLASSES: tuple[str, ...] = tuple(sorted([*MOTIONS, *FORWARD]))


class Take(NamedTuple):
    """What varies from clip to clip."""

    start: float  # of a motion done once, as a share of the clip; of a cycle: its phase
    end: float  # likewise
    pace: float  # 1: as MOTIONS says
    place: float  # pixels, the middle of the path
    length: int  # frames
    facing: int  # 1 right, -1 left
    habit: np.ndarray  # (10,), degrees added to the joint angles


def _spline(keys: np.ndarray, u: np.ndarray, loop: bool) -> np.ndarray:
    """Catmull-Rom curve (T, C) through the keys (n, C), at the positions u (T,) from 0 to 1."""
    n = len(keys) if loop else len(keys) - 1
    i = np.minimum((u * n).astype(int), n - 1)  # (T,)
    f = (u * n - i)[:, None]  # (T, 1)
    p = [keys[(i + k) % n if loop else np.clip(i + k, 0, n)] for k in (-1, 0, 1, 2)]  # each (T, C)
    rise, start, end = p[2] - p[1], (p[2] - p[0]) / 2, (p[3] - p[1]) / 2
    return p[1] + f * (start + f * (3 * rise - 2 * start - end + f * (start + end - 2 * rise)))


def _skeleton(motion: Motion, look: Look, take: Take) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Forward kinematics: joints (T, 2) in pixels by name, and the progress (T,), 0 to 1, of a single motion."""
    t, keys = np.arange(take.length), np.array([POSES[name] for name in motion.keys])
    if motion.travels:
        keys = np.concatenate([keys, keys[:, [0, 1, 4, 5, 2, 3, 8, 9, 6, 7, 10]]])
    progress = np.clip((t / (take.length - 1) - take.start) / (take.end - take.start), 0, 1)
    progress = progress**2 * (3 - 2 * progress)  # eased in and out
    way = take.facing if motion.travels else 1  # facing left and going right is walking backwards
    cycle = (take.start + way * motion.rate * take.pace * t / FPS) % 1
    pose = _spline(keys, cycle if motion.rate else progress, loop=motion.rate > 0)  # (T, 11)
    sway = np.sin(2 * np.pi * (0.022 * t + take.start))[:, None]  # nobody stands like a statue
    angles = np.radians(
        pose[:, :10] + np.array(take.habit) + sway * [0.7, 1, 1.2, 1.8, -1.2, 1.8, 0, 0, 0, 0]
    )
    torso, head, *limbs = angles.T

    def along(angle: np.ndarray, length: float, flip: int = 1) -> np.ndarray:
        return length * np.stack([flip * np.sin(angle), np.cos(angle)], -1)  # (T, 2), y downwards

    joint = {"pelvis": np.zeros((take.length, 2)), "chest": -along(-torso, 0.27)}
    joint["head"] = joint["chest"] - along(-0.8 * (torso + head), 0.05 + look.head)
    for k, side in enumerate(("near", "far")):
        flip, spread = (1 - 2 * k if motion.front else 1), (0.5 - k) * (1 if motion.front else 0.22)
        (a, elbow), (b, knee) = limbs[2 * k : 2 * k + 2], limbs[4 + 2 * k : 6 + 2 * k]
        joint[f"{side} shoulder"] = joint["chest"] + [spread * look.shoulder, 0.02]
        joint[f"{side} elbow"] = joint[f"{side} shoulder"] + along(a, 0.17, flip)
        joint[f"{side} hand"] = joint[f"{side} elbow"] + along(a + elbow, 0.15, flip)
        joint[f"{side} hip"] = joint["pelvis"] + [spread * 0.11, 0]
        joint[f"{side} knee"] = joint[f"{side} hip"] + along(b, look.leg, flip)
        joint[f"{side} foot"] = joint[f"{side} knee"] + along(b - knee, look.leg, flip)
        toe = [flip * 0.033, 0.019] if motion.front else along(b - knee + np.radians(82), 0.055)
        joint[f"{side} toe"] = joint[f"{side} foot"] + toe
    # The lower foot bears the weight: it touches the floor without slipping, and so carries the body along.
    near, far, toes = joint["near foot"], joint["far foot"], (joint["near toe"], joint["far toe"])
    depth = 0.5 * (near + toes[0] - far - toes[1])[1:, 1]  # (T - 1,), how much lower the near foot is
    weight = 1 / (1 + np.exp(-depth / 0.01))
    x = -np.append(0, np.cumsum(weight * np.diff(near[:, 0]) + (1 - weight) * np.diff(far[:, 0])))
    lowest = np.max([path[:, 1] for path in (near, far, *toes)], axis=0)
    root = np.stack([x - (x.min() + x.max()) / 2, -lowest - pose[:, 10]], -1)  # (T, 2)
    place, scale = (take.place, look.floor - 0.022 * look.height), look.height * np.array([take.facing, 1])
    return {name: place + scale * (path + root) for name, path in joint.items()}, progress


def _film(label: str, look: Look, scenery: Image.Image, take: Take) -> np.ndarray:
    """Draw one clip: uint8 (T, 240, 320, 3)."""
    motion = MOTIONS[FORWARD.get(label, label)]
    joints, progress = _skeleton(motion, look, take)
    where = np.full((take.length, 2), look.floor)  # (T, 2), the point on which the chair, box or ball stands
    touch = int(np.argmax(progress >= 0.5))  # the frame of the grip or kick
    after = np.arange(take.length - touch) / FPS  # seconds since then
    if motion.thing == "box":
        hands = (joints["near hand"] + joints["far hand"]) / 2
        where[:, 0] = hands[touch, 0]
        where[touch:] += hands[touch:] - hands[touch]
    elif motion.thing == "ball":
        where[:, 0] = joints["near toe"][touch, 0] + take.facing * 0.05 * look.height
        where[touch:, 0] += take.facing * 420 * after
        where[touch:, 1] -= np.maximum(0, 190 * after - 300 * after**2)
    else:
        where[:, 0] = joints["pelvis"][np.argmax(progress), 0]
    still, film = scenery.reduce(FINE), []
    for t in range(take.length):
        at = {name: path[t] for name, path in joints.items()}
        # Only the part of the picture that the figure covers is redrawn.
        extent, margin = np.array([*at.values(), where[t]]), 0.22 * look.height
        x0, y0 = np.clip(extent.min(0) - margin, 0, [WIDTH - 1, HEIGHT - 1]).astype(int).tolist()
        x1, y1 = np.clip(extent.max(0) + margin, [x0 + 1, y0 + 1], [WIDTH, HEIGHT]).astype(int).tolist()
        patch = scenery.crop((x0 * FINE, y0 * FINE, x1 * FINE, y1 * FINE))
        draw_figure(Pen(patch, (x0, y0)), look, at, take.facing, motion.front, motion.thing, where[t])
        frame = still.copy()
        frame.paste(patch.reduce(FINE), (x0, y0))
        film.append(np.asarray(frame))
    return np.stack(film[::-1] if label in FORWARD else film)


def _generator(seed: int, label: str, *place: int) -> np.random.Generator:
    code = zlib.crc32(label.encode())  # hash() would differ from process to process
    return np.random.default_rng([seed, code, *place])


def _random_take(rng: np.random.Generator) -> Take:
    values = rng.uniform([0.02, 0.78, 0.8, 118], [0.22, 0.98, 1.25, 202]).tolist()
    return Take(*values, int(rng.integers(36, 45)), int(rng.choice([-1, 1])), rng.normal(0, 2.5, 10))


def frames(label: str, group: int, clip: int, seed: int = 0) -> np.ndarray:
    """Draw one clip as it is before video coding: the same arguments give the same pixels in every process.

    Returns uint8 (T, 240, 320, 3), RGB, with T from 36 to 44 at 25 frames per second; group and clip count from 1.
    Raises ValueError for a class that is not in CLASSES, a group or clip below 1, or a seed below 0.
    """
    _check((label,), seed, group=group, clip=clip)
    rng = _generator(seed, label, group)
    look = random_look(rng)
    return _film(label, look, draw_scenery(rng, look), _random_take(_generator(seed, label, group, clip)))


def _check(classes: Sequence[str], seed: int, **counts: int) -> None:
    unknown = [label for label in classes if label not in CLASSES]
    if unknown or not classes:
        what = f"class {unknown[0]!r}" if unknown else "empty list of classes"
        raise ValueError(f"{what} is not among the stick figures; choose from {', '.join(CLASSES)}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, but is {seed}")
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")


def _encode(film: np.ndarray) -> bytes:
    """Frames (T, 240, 320, 3) as an AVI file: MPEG-4 Part 2 with the code XVID, as in UCF101."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        options = {
            "flags": "+qscale+bitexact",
            "global_quality": str(3 * 118),
        }  # 118: FFmpeg's unit of quality
        stream = container.add_stream("mpeg4", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.codec_tag, stream.codec_context.thread_count = "XVID", 1
        for picture in [*(av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in film), None]:
            container.mux(stream.encode(picture))  # None: the end
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Write aside, then move into place: a reader of `path` finds the whole file or none."""
    try:
        with written(path, shared=True) as aside:
            aside.write_bytes(data)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = "make room or choose another folder, then call again: finished clips are kept"
        raise OSError(error.errno, f"{reason}; {advice}", str(path)) from error


def _whole(path: Path) -> bool:
    """Whether the file is there and as long as its RIFF header says."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(8)
        return head[:4] == b"RIFF" and int.from_bytes(head[4:], "little") + 8 == path.stat().st_size
    return False


def _claim(root: Path, settings: dict[str, Any]) -> bool:
    """Mark `root` as ours, or reject a folder that is not; return whether it is marked as finished."""
    content = [p.name for p in root.iterdir() if not p.name.startswith(".")] if root.exists() else []
    if not (root / MARKER).is_file():
        if content:
            raise ValueError(
                f"{root} holds {content[0]} and is not a stick-figure data set; give an empty or new folder, "
                "or, for your own clips, dataset ucf101"
            )
        _write(root / MARKER, json.dumps(settings).encode())
        return False
    found: dict[str, Any] = {}
    with suppress(ValueError):  # a damaged marker is not ours
        found = json.loads((root / MARKER).read_text(encoding="utf-8"))
    for key, value in settings.items():
        if found.get(key) != value:
            raise ValueError(
                f"{root} has {key} {found.get(key)}, not {value}; give another folder or delete this one"
            )
    return "finished" in found


def _render_clip(job: tuple[Path, str, int, int, int]) -> None:
    path, *what = job
    _write(path, _encode(frames(*what)))


def _die_with_parent() -> None:
    """End with the parent process: the workers of a killed rendering would wait for work for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def render(
    root: Path | str | None = None,
    *,
    classes: Sequence[str] = CLASSES,
    groups: int = 25,
    clips: int = 3,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write the data set as `root/<Class>/v_<Class>_gNN_cNN.avi` and return root.

    Without `root` it goes to the folder named by CTXLSTM_CACHE, or else to the user's cache folder. Whole
    clips are kept, so an interrupted rendering resumes and a finished one returns at once. `workers` is the
    number of processes (default: all cores; 1: this one alone); the decoded pixels do not depend on it.

    Raises ValueError for unknown classes, numbers below 1, or a folder that is not ours or has other
    settings; OSError if it cannot write; RuntimeError if a rendering process is killed.
    """
    _check(classes, seed, groups=groups, clips=clips, workers=1 if workers is None else workers)
    classes = sorted(set(classes))
    settings = {"renderer": VERSION, "seed": seed, "groups": groups, "clips": clips, "classes": classes}
    if root is None:
        code = zlib.crc32(" ".join(classes).encode())
        name = f"v{VERSION}-seed{seed}-{len(classes)}x{groups}x{clips}-{code:08x}"
        root = default_folder() / "stickfigures" / name
    root = Path(root)
    finished = _claim(root, settings)
    names = product(classes, range(1, groups + 1), range(1, clips + 1))
    jobs = [(root / label / f"v_{label}_g{g:02}_c{c:02}.avi", label, g, c, seed) for label, g, c in names]
    missing = [job for job in jobs if not _whole(job[0])]
    if finished and not missing:
        return root
    count = min(workers or os.cpu_count() or 1, len(missing), 61)  # 61: Windows waits for no more
    with ExitStack() as stack:
        run = map
        if count > 1:
            spawn = multiprocessing.get_context("spawn")  # the same on all systems, and safe with threads
            pool = ProcessPoolExecutor(count, mp_context=spawn, initializer=_die_with_parent)
            run = stack.enter_context(pool).map
        bar = stack.enter_context(
            tqdm(total=len(jobs), desc="stick figures", unit="clip", mininterval=1, disable=not progress)
        )
        bar.update(len(jobs) - len(missing))
        try:
            for _ in run(_render_clip, missing):
                bar.update()
        except BrokenProcessPool as error:
            advice = "call render again to go on; a script must call it under if __name__ == '__main__', or"
            advice += " with workers=1, which uses this process alone"
            raise RuntimeError(f"a rendering process for {root} ended too early; {advice}") from error
    for stale in root.rglob(".*.part"):  # left by a kill during a write; one in use is younger
        with suppress(OSError):
            if time.time() - stale.stat().st_mtime > 600:
                stale.unlink()
    _write(root / MARKER, json.dumps({**settings, "finished": len(jobs)}).encode())
    return root
