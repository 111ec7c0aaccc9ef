"""Station 2, the frames: from a video file or a folder of JPEGs to the pictures the CNN sees (paper, section 4.1).

Frames are chosen by frame number alone, never by time: UCF101 has clips of 25 and of 29.97 frames per second,
and the rate may go with the class. Numbers count from 0 in presentation order. No result relies on the frame
count in a header: it is only a guess, and if decoding finds another count, the frames are chosen again.

PyAV and torchvision are imported only by functions that decode, so training on features waits for neither.
"""

import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import av.container
    import av.video

RULES = ("first", "uniform", "all")

# The formats that FFmpeg may recognise: video containers and streams. Not the others that it reads: images,
# text (which it draws as a terminal), audio, devices, and playlists, which make it open whatever files they
# name.
FORMATS = (
    "asf avi dhav dirac dnxhd dv flv gif gxf h261 h263 h264 hevc ivf kux live_flv m4v matroska mjpeg mov mpeg mpegts "
    "mpegvideo mxf nsv nut nuv obu av1 avs2 avs3 cavsvideo evc ogg pmp pva rm swf ty vc1 vc1test vvc wtv yuv4mpegpipe"
).split()

# Suffixes of these formats, in lower case: FFmpeg's, and those of cameras and the web where they differ.
# Suffixes that audio, images or text also use are left out (.m4a, .gif, .heic, .avs).
SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "3g2 3gp asf amv avi dav dv dif f4v flv gxf ism ismv ivf kux m4v mj2 mk3d mkv mov mp4 mpeg mpg dvd vob m2t m2ts mts "
        "ts mxf nut ogg ogv psp rm swf ty ty+ webm wmv wtv y4m 264 265 266 avc avs2 avs3 cavs dnxhd dnxhr drc evc h261 "
        "h263 h264 h265 h266 h26l hevc m1v m2v mjpeg mjpg obu rcv vc1 vc2 vvc "
        "3gp2 3gpp divx m2p mpe mpv nsv nuv ogm pmp pva qt rmvb tod tp trp vro xvid"
    ).split()
)

_PYAV = int(version("av").split(".")[0])
# The caller decodes clips in parallel, so one clip takes one thread, in the decoder and in the conversion
# to RGB (which starts a thread per core from PyAV 17 on). A 320x240 clip is slower with more threads, not faster.
_TO_RGB: dict[str, Any] = {"format": "rgb24"} | ({"threads": 1} if _PYAV >= 17 else {})
# No other format, and no other file: neither what a playlist names nor anything on a network.
_OPEN: dict[str, Any] = {
    "container_options": {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
}
if _PYAV < 19:
    # A flipped bit in a title or an encoder's name must not make the pictures unreadable.
    _OPEN["metadata_errors"] = "replace"

# AVIF and HEIC images use the same container as MP4 videos; only this brand in the header differs.
_PICTURES = ("avif", "heic", "heix", "heim", "heis", "mif1")

# This many damaged frames and no intact one mean a damaged header, whose picture size may be absurd: stop.
_HOPELESS = 25


class VideoError(ValueError):
    """A clip that gives no frames; the message names the file and says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(_printable(message))


def _printable(text: str) -> str:
    """The text in a form that can be printed and stored even if a file name in it is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames taken from one clip, upright, as a player shows them.

    images: uint8 RGB, (T, 3, H, W); from a video it is a permuted view of a (T, H, W, 3) array, so that no pixel is
    copied twice. index: int64 (T,), the frame number of each image in the clip, from 0 in presentation order (in a
    video, from its first key frame: frames before it cannot be decoded).
    decoded: number of frames decoded (of a video all under "uniform" and "all", and under "first" none after
    the last one needed; of a frame folder only those needed). problem: None, or one sentence on damage among
    these frames and what was used.
    """

    images: torch.Tensor
    index: np.ndarray
    decoded: int
    problem: str | None


def frame_index(rule: str, count: int, frames: int | None) -> np.ndarray:
    """Numbers of the `frames` (T) frames that `rule` takes from a clip of `count` (n) frames -> int64 (T,).

    - "first": 0 ... T-1, as the public code base does (its frames 1-28); the last frame of a shorter clip is repeated.
    - "uniform": the centres of T equal segments, floor((i + 0.5) n / T); a shorter clip repeats frames evenly.
    - "all": 0 ... n-1; `frames` is ignored.

    Raises ValueError for an unknown rule, for fewer than 1 requested frame, and for a clip without frames.
    """
    _check(rule, frames)
    if count < 1:
        raise ValueError(f"No frame can be taken from a clip of {count} frames")
    if rule == "all":
        return np.arange(count)
    assert frames is not None  # by _check: only "all" may go without
    if rule == "first":
        return np.minimum(np.arange(frames), count - 1)
    # The formula in whole numbers, so that no rounding can move a frame.
    return (2 * np.arange(frames) + 1) * count // (2 * frames)


def _check(rule: str, frames: int | None) -> None:
    if rule not in RULES:
        raise ValueError(f"Unknown frame rule {rule!r}: choose one of {', '.join(RULES)}")
    if rule != "all" and (isinstance(frames, bool) or not isinstance(frames, int | np.integer) or frames < 1):
        raise ValueError(f"frames is {frames!r}: rule {rule!r} takes a whole number of frames, at least 1")


def read_frames(path: str | os.PathLike, frames: int | None = 28, rule: str = "first") -> Frames:
    """Take `frames` (T) frames from the clip at `path` by `rule` (see `frame_index`).

    `path` is a video file, or a folder with one JPEG per frame whose names end in the frame number
    (frame000001.jpg, ...; counted from 0 or 1, without gaps). Of several series in a folder, the one called frame,
    img or image is taken. Only the frames needed are converted to RGB, and "first" stops decoding at the last
    one. Frames come upright: a video is turned as its display matrix says, a JPEG as its EXIF orientation says. A
    cover image is never taken for the video.

    A damaged or truncated video gives what can be decoded, and `problem` says so. Frames that the decoder had
    to patch are kept; a frame cut off by the end of the file, and frames before the first key frame, are not.

    Raises ValueError as `frame_index` does, and VideoError for a clip that is missing, is not readable, is
    not a video (see `FORMATS`) or gives no intact frame; for a frame folder with gaps, several series, a
    corrupt JPEG or pictures of several sizes.
    """
    import av.error
    import av.logging

    _check(rule, frames)  # before any file is touched
    path = Path(path)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            return _read_folder(path, frames, rule)
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would block forever
            raise VideoError(f"{path} is a pipe, a socket or a device, not a video file: give a file")
        if not found.st_size:
            raise VideoError(f"{path} is empty (0 bytes): replace it with the original clip")
        with av.logging.Capture():  # FFmpeg's own messages stay off the screen; what matters is in `problem`
            return _read_video(path, frames, rule)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError(f"There is no video file or frame folder at {path}: check the path") from error
    except (OSError, av.error.FFmpegError) as error:
        if error.errno == errno.ELOOP:
            what = "is a link that leads back to itself: replace it with the original clip"
        elif isinstance(error, PermissionError):
            what = f"cannot be read ({error.strerror}): check its permissions"
        elif isinstance(error, av.error.FFmpegError):
            what = f"is not a video that can be decoded ({error.strerror}): replace it with the original clip"
        else:
            what = f"cannot be read ({error.strerror}): check the path and the disk"
        raise VideoError(f"{path} {what}") from error


def decoder_version(kind: str = "video") -> str:
    """The decoder and its version, for a cache key; `kind`, as in clip tables: "video" or "frames"."""
    if kind == "frames":
        return f"torchvision {version('torchvision')} decode_image"
    import av

    libraries = (
        f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libswscale")
    )
    return f"PyAV {av.__version__} / FFmpeg {', '.join(libraries)}"


# --- video files ------------------------------------------------------------------------------------------------


@dataclass
class _Decoded:
    """What one pass over a video gave: the wanted pictures (those that exist), all frames counted, and damage."""

    pictures: np.ndarray | None  # (wanted, H, W, 3) uint8
    count: int = 0
    before_key: int = 0
    patched: int = 0
    first_patched: int = 0
    lost_packets: int = 0
    ending: str | None = None

    def problem(self, name: str) -> str | None:
        """One sentence on the damage, with the file's `name`, or None."""
        parts = []
        if self.before_key:
            frames, were = ("frame", "was") if self.before_key == 1 else (f"{self.before_key} frames", "were")
            parts.append(
                f"its first {frames} cannot be decoded without the key frame before and {were} left out"
            )
        if self.patched:
            parts.append(
                f"{self.patched} of {self.count} decoded frames are damaged (the first is frame {self.first_patched}) "
                "and were used as the decoder patched them"
            )
        if self.lost_packets:
            parts.append(f"{self.lost_packets} packets could not be decoded and were left out")
        if self.ending:
            parts.append(f"{self.ending}, and the {self.count} frames before that were used")
        return _printable(f"{name}: {'; '.join(parts)}") if parts else None


def _read_video(path: Path, frames: int | None, rule: str) -> Frames:
    expected = max(1, (frames or 0) if rule == "first" else _guess_count(path, rule))
    index = frame_index(rule, expected, frames)
    wanted = _once(index)
    clip = _decode(path, wanted, stop_early=rule == "first")
    if clip.count == clip.patched:
        raise VideoError(f"{path} gives no intact frame: replace it with the original clip")
    problem = clip.problem(path.name)
    if clip.count != expected:  # there are more or fewer frames than expected: take the right ones
        index = frame_index(rule, clip.count, frames)
        if not set(index.tolist()) <= set(wanted):
            wanted = _once(index)
            clip.pictures = _decode(path, wanted, stop_early=True).pictures
    pictures = clip.pictures
    assert pictures is not None  # there is an intact frame
    if index.tolist() != wanted:  # frames repeated or left out
        pictures = pictures[np.searchsorted(wanted, index)]
    return Frames(torch.from_numpy(pictures).permute(0, 3, 1, 2), index, clip.count, problem)  # (T, 3, H, W)


def _once(index: np.ndarray) -> list[int]:
    """Frame numbers in ascending order, each once."""
    return list(dict.fromkeys(index.tolist()))


def _open(path: Path) -> "tuple[av.container.InputContainer, av.video.VideoStream]":
    import av
    import av.error

    try:
        # "file:" keeps FFmpeg from taking a colon or a per cent sign in a name for a protocol or a pattern.
        container = av.open(f"file:{path}", **_OPEN)
    except av.error.FFmpegError as error:
        if error.errno != errno.EINVAL:  # FFmpeg's answer if the format is not one of ours
            raise
        raise VideoError(
            f"{path} is not a video that can be decoded (it may be an image, audio, text or a playlist): "
            "replace it with the original clip"
        ) from error
    stream = _film(container)
    if stream is None or stream.codec_context is None:
        lack = "is in a format that cannot be decoded here"
        if stream is None:
            lack = "holds an image and no video" if container.streams.video else "holds no video stream"
        container.close()
        raise VideoError(f"{path} {lack}: replace it with the original clip")
    stream.codec_context.thread_count = 1
    return container, stream


def _film(container: "av.container.InputContainer") -> "av.video.VideoStream | None":
    """FFmpeg's best video stream, or another if that has a single frame; None if all are covers or stills."""
    from av.stream import Disposition

    if container.metadata.get("major_brand") in _PICTURES:
        return None
    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    films = [stream for stream in container.streams.video if not stream.disposition & still]
    best = container.streams.best("video")
    return min(films, key=lambda stream: (stream.frames == 1, stream is not best), default=None)


def _guess_count(path: Path, rule: str) -> int:
    """How many frames to expect; decoding shows whether that is right.

    "uniform" takes the header's number if there is one: free, and right for an intact clip. "all" must know
    how much memory to allocate, and a damaged header may say anything, so it counts the packets without
    decoding.
    """
    import av.error

    container, stream = _open(path)
    with container:
        if rule == "uniform" and stream.frames > 0:
            return stream.frames
        count = 0
        try:
            for packet in container.demux(stream):
                count += packet.size > 0 and not packet.is_corrupt
        except av.error.FFmpegError:
            pass  # what came before the damage counts; decoding reports it
    return count


def _decode(path: Path, wanted: list[int], stop_early: bool) -> _Decoded:
    """Decode to the last wanted frame, or to the end, and convert the wanted frames (sorted numbers) to RGB."""
    from av.video.reformatter import VideoReformatter

    container, stream = _open(path)
    with container:
        clip = _Decoded(pictures=None)
        convert = VideoReformatter()  # one for all frames: it keeps its tables from frame to frame
        filled = 0
        height = width = 0
        swap, down, right = False, 1, 1
        for frame in _frames(container, stream, clip):
            if clip.pictures is None:
                height, width = frame.height, frame.width
                swap, down, right = _turns(frame)
                shape = (width, height) if swap else (height, width)
                try:
                    clip.pictures = np.empty((len(wanted), *shape, 3), np.uint8)
                except MemoryError as error:
                    size = f"{len(wanted)} frames of {width}x{height}"
                    raise VideoError(f"{path}: {size} do not fit into memory: take fewer frames") from error
            elif (frame.height, frame.width) != (height, width):
                clip.ending = (
                    f"the picture size changes from {width}x{height} to {frame.width}x{frame.height}"
                )
                break
            if frame.is_corrupt:
                clip.first_patched = clip.first_patched if clip.patched else clip.count
                clip.patched += 1
            if filled < len(wanted) and wanted[filled] == clip.count:
                plane = convert.reformat(frame, **_TO_RGB).planes[0]
                rows = np.frombuffer(memoryview(plane), np.uint8)  # rows end in padding
                rows = rows.reshape(height, plane.line_size)
                picture = rows[:, : 3 * width].reshape(height, width, 3)
                clip.pictures[filled] = (picture.swapaxes(0, 1) if swap else picture)[::down, ::right]
                filled += 1
            clip.count += 1
            if clip.count == clip.patched == _HOPELESS:
                break
            if stop_early and filled == len(wanted):
                break
        if clip.pictures is not None:
            clip.pictures = clip.pictures[:filled]
    return clip


def _turns(frame: "av.VideoFrame") -> tuple[bool, int, int]:
    """How to turn a frame upright in quarter turns: swap rows and columns or not, then the step in each."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV before 19 fails on kinds of side data new to it, but it knows the angle
        angle = math.radians(frame.rotation)
        a, b, c, d = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    else:
        if matrix is None:
            return False, 1, 1
        # The pixel in column p and row q goes to column ap + cq and row bp + dq.
        a, b, _, c, d, *_ = np.frombuffer(memoryview(matrix), np.int32).tolist()
    swap = abs(a) + abs(d) < abs(b) + abs(c)
    down, right = (b, c) if swap else (d, a)
    return swap, -1 if down < 0 else 1, -1 if right < 0 else 1


def _frames(
    container: "av.container.InputContainer", stream: "av.video.VideoStream", clip: _Decoded
) -> "Iterator[av.VideoFrame]":
    """Yield decoded frames in presentation order from the first key frame to the end; note what is lost on the way."""
    import av.error

    packets = iter(container.demux(stream))
    taken, first, end, length = 0, None, 0, 1  # packets and, in the stream's ticks, the times they span
    started = False
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            clip.ending = "the file cannot be read to its end"
            packet = None
        if packet is None:
            break
        if not packet.size:
            continue  # an empty packet would end the decoding, wherever it stands
        if packet.is_corrupt:
            clip.ending = "the file ends in the middle of a frame"
            continue
        taken += 1
        if packet.dts is not None:
            first = packet.dts if first is None else first
            length = packet.duration or 1
            end = packet.dts + length
        started = started or packet.is_keyframe
        if not started:  # some decoders would draw it on grey
            clip.before_key += 1
            continue
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            clip.lost_packets += 1
    try:
        yield from stream.codec_context.decode(None)  # frames held back for reordering
    except av.error.FFmpegError:
        clip.lost_packets += 1
    # An AVI header also counts ticks without a frame, so it is compared with the time, and it may be off by one.
    reached = max(taken, (end - (first or 0)) // length)
    if stream.frames > reached + 1 and not clip.ending:
        clip.ending = f"the file ends before the {stream.frames} frames its header promises"


# --- folders of JPEG frames -------------------------------------------------------------------------------------


def _read_folder(folder: Path, frames: int | None, rule: str) -> Frames:
    from torchvision.io import ImageReadMode, decode_image

    files = _numbered_jpegs(folder)
    index = frame_index(rule, len(files), frames)
    needed, slots = np.unique(index, return_inverse=True)
    images: list[torch.Tensor] = []
    for file in (files[i] for i in needed):
        try:
            data = torch.from_numpy(np.fromfile(file, np.uint8))
            image = decode_image(data, ImageReadMode.RGB, apply_exif_orientation=True)  # (3, H, W)
        except (RuntimeError, OSError) as error:
            said = str(error.strerror if isinstance(error, OSError) else error)
            reason = re.split(r"[.:] ", re.sub(r"(?s).*\.cpp:\d+, ", "", said))[0]
            raise VideoError(
                f"{file} cannot be read as a JPEG ({reason}): extract the frame again"
            ) from error
        if images and image.shape != images[0].shape:
            (_, height, width), (_, first_height, first_width) = image.shape, images[0].shape
            raise VideoError(
                f"{file} is {width}x{height} but {files[needed[0]].name} is {first_width}x{first_height}: the frames "
                "of a clip must have one size, extract them again"
            )
        images.append(image)
    stacked = torch.stack([images[slot] for slot in slots])  # (T, 3, H, W)
    return Frames(stacked, index, len(images), None)


def _numbered_jpegs(folder: Path) -> list[Path]:
    """The clip's JPEGs by the numbers that their names end in; other files and folders are ignored."""
    series: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = re.fullmatch(r"(.*?)([0-9]+)\.jpe?g", file.name, re.IGNORECASE | re.DOTALL)
        if not match or file.name.startswith(".") or os.path.isdir(file):
            continue
        if not os.path.isfile(file):  # opening a pipe would block forever
            raise VideoError(
                f"{file} is a pipe, a device or a broken link, not an image: extract the frame again"
            )
        numbered, number = series.setdefault(match[1].lower(), {}), int(match[2])
        if number in numbered:
            raise VideoError(
                f"{folder} holds two pictures of frame {number}, {numbered[number].name} and {file.name}: "
                "extract the clip's frames again, into an empty folder"
            )
        numbered[number] = file
    if not series:
        raise VideoError(
            f"{folder} holds no JPEG frames (frame000001.jpg, ...): extract the clip's frames again"
        )
    numbered = _series_of_frames(folder, series)
    start = min(1, min(numbered))
    numbers = range(start, start + len(numbered))
    for number in numbers:
        if number not in numbered:
            raise VideoError(f"{folder} lacks frame {number}: extract the clip's frames again")
    return [numbered[number] for number in numbers]


def _series_of_frames(folder: Path, series: dict[str, dict[int, Path]]) -> dict[int, Path]:
    """The video frames among several series, as optical-flow tools write them: img_*, image_* or frame_*."""
    if len(series) == 1:
        return next(iter(series.values()))
    pictures = [found for name, found in series.items() if name.strip("_- .") in ("img", "image", "frame")]
    if len(pictures) == 1:
        return pictures[0]
    names = ", ".join(next(iter(found.values())).name for found in list(series.values())[:4])
    raise VideoError(
        f"{folder} holds {len(series)} series of JPEGs ({names}{', ...' if len(series) > 4 else ''}): name the one "
        "with the clip's frames img_00001.jpg, ..."
    )
