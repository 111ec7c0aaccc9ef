"""Frames of clips: exact indices and order, early stop, short clips, and every kind of damage."""

import math
import os
import random
import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features
from small import HEIGHT, WIDTH, picture, write_clip
from torchvision.io import write_jpeg

from ctxlstm import video
from ctxlstm.video import VideoError, frame_index, read_frames


def numbers(images: torch.Tensor) -> list[int]:
    """The numbers shown by images (T, 3, H, W)."""
    bars = images[:, :, 24, 4:64:8].float().mean(dim=1) > 128  # (T, 8)
    return [sum(int(on) << bit for bit, on in enumerate(row)) for row in bars]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """60 frames with two B-frames between the others, as .avi."""
    return write_clip(tmp_path_factory.mktemp("clip") / "v_Test_g01_c01.avi", 60, b_frames=2)


@pytest.fixture(scope="module")
def real(ucf101_subset) -> Path:
    return ucf101_subset / "videos" / "PushUps" / "v_PushUps_g16_c01.avi"  # 71 frames, 208,476 bytes


# --- which frames ---------------------------------------------------------------------------------------------


@given(count=st.integers(1, 3000), frames=st.integers(1, 300))
def test_index_rules(count, frames):
    first, uniform = frame_index("first", count, frames), frame_index("uniform", count, frames)
    assert frame_index("all", count, frames).tolist() == list(range(count))
    for index in (first, uniform):
        assert index.shape == (frames,)
        assert index.dtype == np.int64
        assert (np.diff(index) >= 0).all()
        assert index[0] >= 0
        assert index[-1] < count
    assert first.tolist() == [min(i, count - 1) for i in range(frames)]
    assert uniform.tolist() == [int((Fraction(i) + Fraction(1, 2)) * count / frames) for i in range(frames)]
    assert (uniform + uniform[::-1] - (count - 1)).max() <= 1  # centred in the clip
    if count >= frames:
        assert len(set(uniform.tolist())) == frames


def test_wrong_arguments(clip):
    with pytest.raises(ValueError, match=r"Unknown frame rule 'random': choose one of first, uniform, all"):
        read_frames(clip, 28, "random")
    for frames in (0, -1, None, 2.5, "28", True):
        with pytest.raises(ValueError, match=r"takes a whole number of frames, at least 1"):
            read_frames(clip, frames, "uniform")
    with pytest.raises(ValueError, match=r"from a clip of 0 frames"):
        frame_index("all", 0, None)


def test_first_stops_at_the_last_frame_needed(clip):
    got = read_frames(clip, 7)
    assert got.images.shape == (7, 3, HEIGHT, WIDTH)
    assert got.images.dtype == torch.uint8
    assert got.index.dtype == np.int64
    assert numbers(got.images) == got.index.tolist() == list(range(7))
    assert (got.decoded, got.problem) == (7, None)
    assert (got.images[0, :, 24, 68].int() - torch.tensor([200, 60, 20])).abs().max() < 12  # RGB, not BGR


def test_uniform_and_all(clip):
    got = read_frames(clip, 8, "uniform")
    assert numbers(got.images) == got.index.tolist() == [3, 11, 18, 26, 33, 41, 48, 56]
    assert (got.decoded, got.problem) == (60, None)
    got = read_frames(clip, None, "all")
    assert numbers(got.images) == got.index.tolist() == list(range(60))


@pytest.mark.parametrize(
    ("suffix", "codec", "b_frames"),
    [("avi", "mpeg4", 0), ("avi", "mpeg4", 1), ("mp4", "mpeg4", 2), ("mkv", "mpeg4", 2)],
)
def test_presentation_order_in_every_container(tmp_path, suffix, codec, b_frames):
    path = write_clip(tmp_path / f"50% of a:b.{suffix}", 30, codec=codec, b_frames=b_frames)
    assert numbers(read_frames(path, None, "all").images) == list(range(30))
    assert numbers(read_frames(path, 10).images) == list(range(10))


def vop_type(packet: bytes) -> int:
    """0 I, 1 P, 2 B: the two bits after the start code of an MPEG-4 picture."""
    return packet[packet.index(b"\0\0\1\xb6") + 4] >> 6


def test_packed_b_frames(tmp_path):
    """DivX's packed bitstream: a B-frame in one packet with the P-frame it follows, then a packet without picture."""
    plain = write_clip(tmp_path / "plain.avi", 40, b_frames=1)
    with av.open(str(plain)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    packed = []
    for i, data in enumerate(packets):
        if vop_type(data) == 2:
            continue
        at = data.index(b"\0\0\1\xb6")
        data = data[:at] + b"\0\0\1\xb2DivX503b1393p" + data[at:]
        followed = i + 1 < len(packets) and vop_type(packets[i + 1]) == 2
        packed += [data + packets[i + 1], b"\0\0\1\xb6\x50\x7f"] if followed else [data]
    path = tmp_path / "packed.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, data in enumerate(packed):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            container.mux(packet)
    assert sum(vop_type(data) == 2 for data in packets) > 10
    got = read_frames(path, None, "all")
    assert numbers(got.images) == list(range(40))
    assert numbers(read_frames(path, 5, "uniform").images) == [4, 12, 20, 28, 36]


def test_dropped_frames_are_no_damage(tmp_path):
    """An AVI stores an empty packet for a tick without frame, and its header counts them."""
    path = write_clip(tmp_path / "slow.avi", 20, step=3)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > 50
    got = read_frames(path, 4, "uniform")
    assert numbers(got.images) == got.index.tolist() == [2, 7, 12, 17]
    assert (got.decoded, got.problem) == (20, None)


@pytest.mark.parametrize("suffix", ["avi", "mkv"])  # .mkv states no number of frames
def test_more_packets_than_frames(tmp_path, suffix):
    """Packets that give no frame shift a choice made from their number: it is made again from the true one."""
    path = write_clip(tmp_path / f"junk.{suffix}", 30, junk_every=3)
    assert video._guess_count(path, "uniform") == video._guess_count(path, "all") == 40
    got = read_frames(path, 5, "uniform")
    assert numbers(got.images) == got.index.tolist() == [3, 9, 15, 21, 27]
    assert got.decoded == 30
    assert got.problem == f"junk.{suffix}: 10 packets could not be decoded and were left out"
    assert numbers(read_frames(path, None, "all").images) == list(range(30))


def test_clip_shorter_than_asked(tmp_path):
    path = write_clip(tmp_path / "short.avi", 3)
    got = read_frames(path, 8)
    assert numbers(got.images) == got.index.tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert (got.decoded, got.problem) == (3, None)
    got = read_frames(path, 8, "uniform")
    assert numbers(got.images) == got.index.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert read_frames(path, None, "all").index.tolist() == [0, 1, 2]


def test_real_clips_equal_a_bare_loop(real):
    with av.open(str(real)) as container:
        bare = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(bare) == 71
    for rule in video.RULES:
        got = read_frames(real, 28, rule)
        assert np.array_equal(got.images.permute(0, 2, 3, 1).numpy(), bare[got.index])
        assert got.problem is None
    assert read_frames(real, 28).decoded == 28
    assert read_frames(real, 28, "uniform").decoded == 71


def test_only_frames_asked_for_are_converted(clip, monkeypatch):
    converted, original = [], av.video.reformatter.VideoReformatter

    class Counting:
        def __init__(self):
            self.real = original()

        def reformat(self, frame, **options):
            converted.append(frame)
            return self.real.reformat(frame, **options)

    monkeypatch.setattr(av.video.reformatter, "VideoReformatter", Counting)
    read_frames(clip, 4, "uniform")
    assert len(converted) == 4


def test_decoder_version():
    assert re.fullmatch(
        r"PyAV [\d.]+ / FFmpeg libavcodec \d+\.\d+\.\d+, libswscale \d+\.\d+\.\d+", video.decoder_version()
    )
    assert video.decoder_version("frames").startswith("torchvision ")


def test_suffixes_are_those_of_ffmpeg():
    known = set()
    for name in [*video.FORMATS, "mpeg1video", "mpeg2video", "amv", "dvd", "vob", "ogv", "ipod"]:
        for mode in "rw":
            try:
                known |= av.format.ContainerFormat(name, mode).extensions
            except ValueError:  # it can be read alone or written alone
                continue
    no_video = "avif avs gif heic heif isma m4a m4b mka mks mpo ra wma"
    ours = "3gp2 3gpp divx m2p mpe mpv nsv nuv ogm pmp pva qt rmvb tod tp trp vro xvid"
    assert {f".{name}" for name in known} - video.SUFFIXES == {f".{name}" for name in no_video.split()}
    assert video.SUFFIXES - {f".{name}" for name in known} == {f".{name}" for name in ours.split()}


# --- upright ----------------------------------------------------------------------------------------------------

# EXIF orientation: how to turn the stored picture upright, and the display matrix that says the same: (a, b, c, d)
# sends the pixel in column p and row q to column ap + cq and row bp + dq.
ORIENTATIONS = {
    1: (lambda stored: stored, (1, 0, 0, 1)),
    2: (np.fliplr, (-1, 0, 0, 1)),
    3: (lambda stored: np.rot90(stored, 2), (-1, 0, 0, -1)),
    4: (np.flipud, (1, 0, 0, -1)),
    5: (lambda stored: stored.swapaxes(0, 1), (0, 1, 1, 0)),
    6: (lambda stored: np.rot90(stored, -1), (0, 1, -1, 0)),
    7: (lambda stored: np.rot90(stored, 2).swapaxes(0, 1), (0, -1, -1, 0)),
    8: (np.rot90, (0, -1, 1, 0)),
}
STORED = np.kron([[40, 90], [150, 220]], np.ones((32, 48)))[..., None].repeat(3, -1).astype(np.uint8)


def write_turned(path: Path, matrix: tuple[float, ...], *frames: np.ndarray) -> Path:
    """A film in MP4 whose head has this display matrix (a, b, c, d)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    a, b, c, d = (round(65536 * value) for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_videos_and_jpegs_come_upright(tmp_path, orientation):
    turn, matrix = ORIENTATIONS[orientation]
    upright = turn(STORED).astype(int)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(STORED).save(tmp_path / "frame1.jpg", exif=exif, quality=95)
    film = write_turned(tmp_path / "film.mp4", matrix, STORED, 255 - STORED, STORED)
    for rule in video.RULES:
        got = read_frames(film, 3, rule).images.permute(0, 2, 3, 1).numpy()
        assert got.shape == (3, *upright.shape)
        assert abs(got - np.stack([upright, 255 - upright, upright])).mean() < 4
    got = read_frames(tmp_path, 1).images.permute(0, 2, 3, 1).numpy()
    assert got.shape == (1, *upright.shape)
    assert abs(got[0] - upright).mean() < 4


def test_a_tilted_film_is_turned_to_the_nearest_quarter(tmp_path):
    for angle, orientation in ((30, 1), (60, 6), (100, 6), (170, 3), (-80, 8)):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        film = write_turned(tmp_path / "film.mp4", (cos, sin, -sin, cos), STORED)
        upright = ORIENTATIONS[orientation][0](STORED)
        assert read_frames(film, 1).images.shape == (1, 3, *upright.shape[:2])
        assert abs(read_frames(film, 1).images[0, 0].numpy() - upright[..., 0].astype(int)).mean() < 4


def test_side_data_that_pyav_does_not_know_leaves_the_rotation(tmp_path):
    class Frame:
        rotation = -90

        @property
        def side_data(self):
            raise ValueError("33 is not a valid Type")

    with av.open(str(write_turned(tmp_path / "film.mp4", (0, 1, -1, 0), STORED))) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == Frame.rotation
    assert video._turns(Frame()) == video._turns(frame) == (True, 1, -1)


# --- the film and not its cover -----------------------------------------------------------------------------------


def write_with_picture(path: Path, count: int, *, attached: bool) -> Path:
    """A green picture, as the cover or as a stream of one frame, and then a film of `count` numbered frames."""
    with av.open(str(path), "w") as container:
        green = container.add_stream("mjpeg", rate=25)
        green.width, green.height, green.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        if attached:
            green.disposition = av.stream.Disposition.attached_pic.value
        film = container.add_stream("mpeg4", rate=25)
        film.width, film.height, film.pix_fmt, film.bit_rate = WIDTH, HEIGHT, "yuv420p", 2_000_000
        cover = np.full((HEIGHT, WIDTH, 3), (0, 200, 0), np.uint8)
        for stream, pictures in ((green, [cover]), (film, map(picture, range(count)))):
            for image in pictures:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
    return path


def boxes(data: bytes) -> list[bytes]:
    """The boxes of an MP4 file, or of what is in one of them."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize("kind", ["cover", "cover first", "one frame"])
def test_the_film_and_not_a_picture_beside_it(tmp_path, kind):
    path = write_with_picture(tmp_path / "film.mp4", 12, attached=kind != "one frame")
    if kind == "cover first":  # the box with the cover is moved before the track: its stream has the number 0
        *others, moov = boxes(path.read_bytes())
        assert moov[4:8] == b"moov"
        parts = sorted(boxes(moov[8:]), key=lambda box: box[4:8] != b"udta")
        path.write_bytes(b"".join([*others, moov[:8], *parts]))
    with av.open(str(path)) as container:
        names = [stream.codec_context.name for stream in container.streams.video]
    assert names == (["mpeg4", "mjpeg"] if kind == "cover" else ["mjpeg", "mpeg4"])
    for rule in video.RULES:
        got = read_frames(path, 12, rule)
        assert numbers(got.images) == list(range(12))
        assert got.problem is None


def test_of_two_films_the_one_that_the_file_calls_its_own(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        for disposition in (0, av.stream.Disposition.default.value):
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.bit_rate, stream.disposition = 2_000_000, disposition
        for stream, start in zip(container.streams.video, (100, 0), strict=True):
            for number in range(start, start + 10):
                frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert numbers(read_frames(path, 10).images) == list(range(10))


def test_a_cover_alone_is_no_film(tmp_path):
    path = write_with_picture(tmp_path / "film.mp4", 0, attached=True)
    with pytest.raises(VideoError, match=r"film\.mp4 holds an image and no video: replace it"):
        read_frames(path)


# --- what comes before the first key frame ------------------------------------------------------------------------


def write_tail(path: Path, first: int, end: int, codec: str) -> Path:
    """Frames `first` to `end` of a clip with a key frame every 12 frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, 0
        stream.codec_context.flags |= av.codec.context.Flags.global_header
        frames = [av.VideoFrame.from_ndarray(picture(i), format="rgb24") for i in range(end)]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        container.mux(packets[first:])
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("mkv", "libx264")])
def test_frames_before_the_first_key_frame_are_left_out(tmp_path, suffix, codec):
    path = write_tail(tmp_path / f"tail.{suffix}", 5, 40, codec)
    what = "its first 7 frames cannot be decoded without the key frame before and were left out"
    for rule, frames, wanted in (
        ("first", 4, [12, 13, 14, 15]),
        ("uniform", 4, [15, 22, 29, 36]),
        ("all", None, [*range(12, 40)]),
    ):
        got = read_frames(path, frames, rule)
        assert numbers(got.images) == wanted
        assert (got.index + 12).tolist() == wanted
        assert got.problem == f"tail.{suffix}: {what}"


def test_one_frame_before_the_first_key_frame(tmp_path):
    got = read_frames(write_tail(tmp_path / "tail.mkv", 11, 30, "mpeg4"), 4)
    assert got.problem == (
        "tail.mkv: its first frame cannot be decoded without the key frame before and was left out"
    )


def test_clip_without_a_key_frame(tmp_path):
    path = write_tail(tmp_path / "tail.avi", 3, 11, "mpeg4")
    for rule in video.RULES:
        with pytest.raises(VideoError, match=r"tail\.avi gives no intact frame: replace it"):
            read_frames(path, 4, rule)


# --- files that give nothing: one sentence each ---------------------------------------------------------------


def test_unusable_files(tmp_path, clip, capfd):
    cases = {
        "missing.avi": (None, r"There is no video file or frame folder at .*missing\.avi: check the path"),
        "zero.avi": (b"", r"zero\.avi is empty \(0 bytes\): replace it"),
        "text.avi": (
            b"These are not the frames you look for.\n" * 99,
            r"text\.avi is not a video that can be decoded",
        ),
        "header.avi": (
            clip.read_bytes()[:200],
            r"header\.avi is not a video that can be decoded .*: replace it",
        ),
        "no_frame.avi": (clip.read_bytes()[:5700], r"no_frame\.avi gives no intact frame: replace it"),
    }
    for name, (data, message) in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        for rule in video.RULES:
            with pytest.raises(VideoError, match=message):
                read_frames(tmp_path / name, 28, rule)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_sound_without_video(sound_only):
    with pytest.raises(VideoError, match=r"sound\.avi holds no video stream: replace it"):
        read_frames(sound_only)


def test_pictures_texts_sound_and_lists_called_avi(tmp_path, clip):
    (tmp_path / "clip.avi").write_bytes(clip.read_bytes())
    pictures = ["jpeg", "png", "bmp", "tiff", *(kind for kind in ("webp", "avif") if features.check(kind))]
    for format in pictures:
        Image.fromarray(picture(3)).save(tmp_path / f"{format}.avi", format=format)
    texts = {
        "concat": "ffconcat version 1.0\nfile clip.avi\n",
        "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.avi\n#EXT-X-ENDLIST\n",
        "subtitles": "1\n00:00:00,000 --> 00:00:02,000\nclip.avi\n\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=clip\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.avi").write_text(text, encoding="utf-8")
    (tmp_path / "terminal.txt").write_text("These are not the frames you look for.\n" * 99, encoding="utf-8")
    (tmp_path / "sound.avi").write_bytes(b"RIFF\x24\x10\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + bytes(4120))
    files = sorted(set(tmp_path.iterdir()) - {tmp_path / "clip.avi"})
    assert len(files) == len(pictures) + 6
    for path in files:
        for rule in video.RULES:
            with pytest.raises(
                VideoError, match=rf"{path.name} (is not a video|holds an image and no video).*: replace it"
            ):
                read_frames(path, 4, rule)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_pipes_devices_and_links_to_themselves_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    os.symlink("loop.avi", tmp_path / "loop.avi")
    os.symlink("nothing.avi", tmp_path / "broken.avi")
    messages = {
        tmp_path / "pipe.avi": r"pipe\.avi is a pipe, a socket or a device, not a video file",
        Path("/dev/zero"): r"/dev/zero is a pipe, a socket or a device, not a video file",
        tmp_path / "loop.avi": r"loop\.avi is a link that leads back to itself",
        tmp_path / "broken.avi": r"There is no video file or frame folder at .*broken\.avi",
        tmp_path / ("x" * 300): r"xxx cannot be read \(File name too long\): check the path",
    }
    for path, message in messages.items():
        with pytest.raises(VideoError, match=message):
            read_frames(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_folder_with_a_pipe_among_its_frames(folder):
    for make in (os.mkfifo, lambda path: os.symlink(path.name, path)):
        (folder / "frame000003.jpg").unlink()
        make(folder / "frame000003.jpg")
        with pytest.raises(
            VideoError, match=r"frame000003\.jpg is a pipe, a device or a broken link, not an image"
        ):
            read_frames(folder, 8)


def test_names_that_are_not_utf8(tmp_path, clip):
    name = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / name).mkdir()
    except OSError:
        pytest.skip("this disk takes only names in UTF-8")
    write_jpeg(torch.zeros(3, 48, 72, dtype=torch.uint8), str(tmp_path / "plain.jpg"))
    (tmp_path / "plain.jpg").rename(tmp_path / name / f"{name}_1.jpg")
    assert read_frames(tmp_path / name, 1).images.shape == (1, 3, 48, 72)
    film = tmp_path / f"{name}.avi"
    film.write_bytes(clip.read_bytes()[:-2000])
    assert read_frames(film, 60).problem.startswith(r"caf\udce9.avi: the file ends")
    film.write_bytes(b"no film")
    (tmp_path / name / f"{name}_1.jpg").write_bytes(b"no picture")
    for path in (film, tmp_path / name):
        with pytest.raises(VideoError) as error:
            read_frames(path)
        assert r"caf\udce9" in str(error.value).encode("utf-8").decode()


def test_file_without_read_permission(tmp_path, clip, monkeypatch):
    path = tmp_path / "locked.avi"
    path.write_bytes(clip.read_bytes())
    if os.name == "posix" and os.geteuid() != 0:
        path.chmod(0)
    else:  # root may read everything

        def refuse(*_, **__):
            raise av.error.PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(
        VideoError, match=r"locked\.avi cannot be read \(Permission denied\): check its permissions"
    ):
        read_frames(path)


# --- damage: what can be decoded is used, and said -------------------------------------------------------------


def damaged(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "damaged.avi"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("part", [0.05, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_cut_off_real_clip(tmp_path, real, part, capfd):
    whole = read_frames(real, None, "all")
    path = damaged(tmp_path, real.read_bytes()[: int(part * real.stat().st_size)])
    if part == 0.05:  # the cut goes through the first frame
        with pytest.raises(VideoError, match="no intact frame"):
            read_frames(path, 28)
        return
    got = read_frames(path, None, "all")
    assert 0 < got.decoded < 71
    assert torch.equal(got.images, whole.images[: got.decoded])
    assert got.problem == (
        f"damaged.avi: the file ends in the middle of a frame, and the {got.decoded} frames before that were used"
    )
    uniform = read_frames(path, 28, "uniform")
    assert uniform.index.tolist() == frame_index("uniform", got.decoded, 28).tolist()
    assert torch.equal(uniform.images, whole.images[uniform.index])
    assert uniform.problem == got.problem
    first = read_frames(path, 28)
    assert torch.equal(first.images, whole.images[first.index])
    if got.decoded >= 28:  # the cut lies behind the frames needed
        assert (first.decoded, first.problem) == (28, None)
    else:
        assert first.problem == got.problem
    assert capfd.readouterr() == ("", "")


def test_cut_between_two_frames(tmp_path, real):
    """No frame is cut in two, but the header promises more time than there is."""
    with av.open(str(real)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    data = real.read_bytes()
    cut = data.index(b"00dc", ends[39])  # where the chunk of frame 40 begins
    got = read_frames(damaged(tmp_path, data[:cut]), 28, "uniform")
    assert got.decoded == 40
    assert got.problem == (
        "damaged.avi: the file ends before the 71 frames its header promises, and the 40 frames before that were used"
    )


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bits_never_crash(tmp_path, real, seed, capfd):
    random_ = random.Random(seed)
    data = bytearray(real.read_bytes())
    start = 0 if seed % 2 else 4096  # every second clip in the header too
    for _ in range(20):
        position = random_.randrange(start, len(data) if seed % 4 else 6000)
        data[position] ^= 1 << random_.randrange(8)
    path = damaged(tmp_path, bytes(data))
    for rule in video.RULES:
        try:
            got = read_frames(path, 28, rule)
        except VideoError as error:
            assert "damaged.avi" in str(error)  # noqa: PT017
            continue
        assert got.images.shape[:2] == (len(got.index), 3)
        assert got.images.shape[0] == (28 if rule != "all" else got.decoded)
        assert got.index[-1] < got.decoded
    assert capfd.readouterr() == ("", "")


def test_patched_frames_are_counted(tmp_path, real):
    data = bytearray(real.read_bytes())
    with av.open(str(real)) as container:
        packet = next(p for i, p in enumerate(container.demux(video=0)) if i == 40)
        position, size = packet.pos, packet.size
    data[position + size // 3 : position + 2 * size // 3] = bytes(size // 3 + size % 3)[
        : 2 * size // 3 - size // 3
    ]
    path = damaged(tmp_path, bytes(data))
    assert read_frames(path, 40).problem is None  # frames 0-39 come before the damage
    assert read_frames(path, 41).problem.startswith(
        "damaged.avi: 1 of 41 decoded frames are damaged (the first is frame 40)"
    )
    assert "1 of 71" in read_frames(path, 4, "uniform").problem


def test_ffmpeg_keeps_quiet_even_where_its_log_is_on(tmp_path, real, capfd, caplog):
    data = bytearray(real.read_bytes())
    for position in range(8000, len(data), 3000):
        data[position] ^= 255
    path = damaged(tmp_path, bytes(data))
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # as some versions of torchvision do
    try:
        assert read_frames(path, 28, "uniform").problem is not None
    finally:
        av.logging.set_level(before)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_clip_of_damaged_frames_alone_is_given_up_early(tmp_path, real):
    data = bytearray(real.read_bytes())
    with av.open(str(real)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for position, size in packets:
        data[position + size // 4 : position + size] = bytes(size - size // 4)
    path = damaged(tmp_path, bytes(data))
    assert video._decode(path, np.arange(71), stop_early=False).count == 25
    with pytest.raises(VideoError, match=r"damaged\.avi gives no intact frame: replace it"):
        read_frames(path, 28, "uniform")


def test_frames_that_do_not_fit_into_memory(clip, monkeypatch):
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(video.np, "empty", refuse)
    with pytest.raises(VideoError, match=r"60 frames of 72x48 do not fit into memory: take fewer frames"):
        read_frames(clip, None, "all")


def test_flipped_bit_in_the_title(tmp_path, clip):
    data = clip.read_bytes()
    assert data.count(b"Lavf") >= 1  # the encoder's name
    path = damaged(tmp_path, data.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert numbers(read_frames(path, 5).images) == list(range(5))


def test_header_that_lies_about_the_length(tmp_path, clip):
    data = bytearray(clip.read_bytes())
    at = data.index(b"avih") + 8 + 16
    assert struct.unpack_from("<I", data, at) == (60,)
    stream_length = data.index(b"strh") + 8 + 32
    assert struct.unpack_from("<I", data, stream_length) == (60,)
    for lie, problem in ((7, None), (2**31 - 1, "ends before the 2147483647 frames its header promises")):
        struct.pack_into("<I", data, at, lie)
        struct.pack_into("<I", data, stream_length, lie)
        path = damaged(tmp_path, bytes(data))
        got = read_frames(path, 8, "uniform")
        assert numbers(got.images) == [3, 11, 18, 26, 33, 41, 48, 56]
        assert problem in got.problem if problem else got.problem is None
        assert len(read_frames(path, None, "all").images) == 60


def test_change_of_picture_size_ends_the_clip(tmp_path):
    paths = [write_clip(tmp_path / "a.mkv", 10), tmp_path / "b.mkv"]
    with av.open(str(paths[1]), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(8):
            coder = av.CodecContext.create("mjpeg", "w")
            coder.width, coder.height = (WIDTH, HEIGHT) if number < 5 else (2 * WIDTH, HEIGHT)
            coder.pix_fmt, coder.time_base = "yuvj420p", Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            for packet in coder.encode(frame.reformat(coder.width, HEIGHT, "yuvj420p")):
                packet.stream, packet.pts, packet.dts, packet.time_base = (
                    stream,
                    number,
                    number,
                    Fraction(1, 25),
                )
                container.mux(packet)
    got = read_frames(paths[1], 3, "uniform")
    assert numbers(got.images) == got.index.tolist() == [0, 2, 4]
    assert (
        "the picture size changes from 72x48 to 144x48, and the 5 frames before that were used" in got.problem
    )
    assert read_frames(paths[1], 5).problem is None


# --- folders of JPEG frames -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """Frames 1-30 as JPEGs, with strays that are no frames."""
    folder = tmp_path / "v_Test_g01_c02"
    folder.mkdir()
    for number in range(30):
        image = torch.from_numpy(picture(number)).permute(2, 0, 1).contiguous()
        write_jpeg(image, str(folder / f"frame{number + 1:06d}.jpg"), quality=95)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "._frame000001.jpg").write_bytes(b"x")
    (folder / "cover.jpg").write_bytes(b"x")
    (folder / "frame000031.jpg").mkdir()
    return folder


def test_folder_follows_the_rules_of_videos(tmp_path, folder):
    clip = write_clip(tmp_path / "same.avi", 30)
    for rule, frames in (("first", 7), ("first", 40), ("uniform", 8), ("uniform", 40), ("all", None)):
        jpegs, video_ = read_frames(folder, frames, rule), read_frames(clip, frames, rule)
        assert (
            jpegs.index.tolist() == video_.index.tolist() == numbers(jpegs.images) == numbers(video_.images)
        )
        assert jpegs.images.shape == video_.images.shape
        assert (jpegs.images.float() - video_.images.float()).abs().mean() < 6
        assert jpegs.problem is None
        assert jpegs.decoded == len(set(jpegs.index.tolist()))


def test_folder_order_is_by_number(folder):
    for file in sorted(folder.glob("frame*.jpg")):
        if file.is_file():
            number = int(file.stem[5:]) - 1
            file.rename(
                folder / f"{number}.{'jpeg' if number % 2 else 'JPG'}"
            )  # 0, 1, ... 10: sorted, "10" < "2"
    assert numbers(read_frames(folder, None, "all").images) == list(range(30))


def test_folder_with_gaps(folder):
    (folder / "frame000012.jpg").unlink()
    (folder / "frame000020.jpg").unlink()
    with pytest.raises(VideoError, match=r"v_Test_g01_c02 lacks frame 12: extract the clip's frames again"):
        read_frames(folder, 28, "uniform")
    (folder / "frame000001.jpg").unlink()
    with pytest.raises(VideoError, match=r"lacks frame 1:"):
        read_frames(folder, 5)


def test_folder_with_two_files_of_one_number(folder):
    (folder / "Frame3.jpg").write_bytes(b"x")
    with pytest.raises(
        VideoError,
        match=r"two pictures of frame 3, Frame3\.jpg and frame000003\.jpg: extract the clip's frames again",
    ):
        read_frames(folder, 5)


@pytest.mark.parametrize("name", ["frame", "img_", "IMG-", "image"])
def test_folder_with_optical_flow(folder, name):
    for file in sorted(folder.glob("frame*.jpg")):
        file.rename(folder / file.name.replace("frame", name))
    for number in range(1, 30):
        for flow in ("flow_x_", "flow_y_"):
            (folder / f"{flow}{number:05d}.jpg").write_bytes(b"x")
    (folder / f"{name}000031.jpg").rmdir()
    assert numbers(read_frames(folder, None, "all").images) == list(range(30))


def test_folder_with_several_series_and_none_of_frames(tmp_path):
    for name in "vuflow":
        (tmp_path / f"{name}_1.jpg").write_bytes(b"x")
    with pytest.raises(
        VideoError,
        match=r"holds 6 series of JPEGs \(f_1\.jpg, l_1\.jpg, o_1\.jpg, u_1\.jpg, \.\.\.\): name the one with the "
        r"clip's frames img_00001\.jpg, \.\.\.$",
    ):
        read_frames(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no picture", None])
def test_folder_with_a_corrupt_jpeg(folder, data):
    bad = folder / "frame000009.jpg"
    bad.write_bytes(bad.read_bytes()[:500] if data is None else data)
    with pytest.raises(
        VideoError, match=r"frame000009\.jpg cannot be read as a JPEG \(.+\): extract the frame again"
    ):
        read_frames(folder, 28)
    got = read_frames(folder, 8)  # does not need frame 9
    assert numbers(got.images) == list(range(8))


def test_folder_of_several_sizes(folder):
    write_jpeg(torch.zeros(3, 48, 60, dtype=torch.uint8), str(folder / "frame000004.jpg"))
    with pytest.raises(VideoError, match=r"frame000004\.jpg is 60x48 but frame000001\.jpg is 72x48"):
        read_frames(folder, 28)


def test_folder_without_jpegs(tmp_path):
    with pytest.raises(VideoError, match=r"holds no JPEG frames \(frame000001\.jpg, \.\.\.\)"):
        read_frames(tmp_path)
