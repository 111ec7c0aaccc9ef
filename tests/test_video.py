"""Frames of clips: exact indices and order, early stop, short clips, and every kind of damage."""

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
        VideoError, match=r"locked\.avi cannot be read \(Permission denied\): check its rights"
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
    (folder / "flow000003.jpg").write_bytes(b"x")
    with pytest.raises(
        VideoError, match=r"two pictures of frame 3, flow000003\.jpg and frame000003\.jpg: remove one"
    ):
        read_frames(folder, 5)


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
