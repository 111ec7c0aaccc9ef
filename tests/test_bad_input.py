"""What goes wrong on real machines: full disks, kills, damaged files, unusual places. One sentence, and nothing lost."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image
from small import make_features, run

from ctxlstm import backbone, features, models, stickfigures, training, ucf101, video
from ctxlstm.experiments import runs, steps
from ctxlstm.features import Features
from ctxlstm.features.cache import Cache

SAMPLING = {"frames": 4, "rule": "uniform", "batch_size": 7, "progress": False}
FILES = ("history.csv", "predictions.csv", "params.yaml", "model.safetensors")


@pytest.fixture(scope="module")
def net() -> backbone.Backbone:
    return backbone.load("efficientnet_lite0", size=32)


@pytest.fixture(scope="module")
def eight(tiny_clips) -> list[Path]:
    """Eight clips of two classes, two groups each, sorted by name."""
    return sorted(tiny_clips.rglob("*_g0[12]_c0?.avi"))[:8]


@pytest.fixture
def videos(eight, tmp_path) -> Path:
    """The eight clips as copies that a test may damage."""
    for source in eight:
        copy = tmp_path / "data" / source.parent.name / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def reference(eight, net) -> torch.Tensor:
    """Features (8, 4, 1280) of the eight clips, each computed alone."""
    return torch.stack(
        [net(net.resize(video.read_frames(path, 4, "uniform").images)) for path in eight]
    ).half()


@pytest.fixture(scope="module")
def data() -> Features:
    return make_features()


@pytest.fixture(scope="module")
def split(data) -> ucf101.Split:
    return ucf101.split(data.clips, "grouped", seed=0)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small file system can be mounted on Linux by root only")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave `free` bytes on the disk."""
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))
    return filler


def extract(clips, out, net, **changes) -> features.Extraction:
    return features.extract(clips, out, backbone=net, **(SAMPLING | changes))


def train(data, split, results, on_epoch=None, **changes) -> Path:
    return steps.train(run(**changes), data, split, results=results, on_epoch=on_epoch)


def assert_same_record(folder: Path, expected: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {p.name for p in expected.iterdir()}
    for name in FILES:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


# --- a disk that is really full -----------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [0, 12_000, 60_000])
def test_real_full_disk_while_extracting(videos, net, reference, small_disk, free):
    clips = ucf101.index(videos)
    filler = fill(small_disk, free)
    with pytest.raises(OSError, match=r"disk is full while writing features to .*run the same command again"):
        extract(clips, small_disk / "c", net)
    filler.unlink()
    done = extract(clips, small_disk / "c", net)
    assert done.kept + done.extracted == 8
    assert (done.kept > 0) == (free > 50_000)
    torch.testing.assert_close(features.load(small_disk / "c").x, reference, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("free", [0, 130_000])
def test_real_full_disk_while_checkpointing(data, split, small_disk, tmp_path, free):
    filler = fill(small_disk, free)
    with pytest.raises(
        OSError, match=r"disk is full while writing .*free some space and run the same command again"
    ):
        train(data, split, small_disk / "r")
    filler.unlink()
    assert_same_record(train(data, split, small_disk / "r"), train(data, split, tmp_path / "r"))


@pytest.mark.parametrize("free", [0, 4096, 12_288])  # params, history, weights do not fit
def test_real_full_disk_while_writing_a_record_loses_nothing(data, split, small_disk, tmp_path, free):
    def fill_at_the_end(row):
        if row["epoch"] == 3:
            fill(small_disk, free)

    with pytest.raises(Exception, match=r"(?i)no space left|disk is full"):
        train(data, split, small_disk / "r", fill_at_the_end)
    assert runs.load(small_disk / "r").empty
    (small_disk / "filler").unlink()
    epochs = []
    folder = train(data, split, small_disk / "r", epochs.append)
    assert epochs == [], "the checkpoint of the last epoch is enough"
    assert_same_record(folder, train(data, split, tmp_path / "r"))


@pytest.mark.parametrize("free", [0, 12_288])
def test_real_full_disk_while_writing_a_record_is_told(data, split, small_disk, free):
    def fill_at_the_end(row):
        if row["epoch"] == 3:
            fill(small_disk, free)

    with pytest.raises(OSError, match=r"disk is full .*free some space and run"):
        train(data, split, small_disk / "r", fill_at_the_end)


def test_real_full_disk_while_rendering(small_disk, tmp_path):
    options = {"classes": stickfigures.CLASSES[:2], "groups": 2, "clips": 1, "workers": 1, "progress": False}
    filler = fill(small_disk, 100_000)
    with pytest.raises(OSError, match="No space left on device; make room or choose another folder"):
        stickfigures.render(small_disk / "s", **options)
    kept = {path: path.stat().st_mtime_ns for path in (small_disk / "s").rglob("*.avi")}
    assert kept
    assert not list((small_disk / "s").rglob("*.part"))
    filler.unlink()
    stickfigures.render(small_disk / "s", **options)
    assert len(ucf101.index(small_disk / "s")) == 4
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in kept.items())


# --- killed or interrupted ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_ones_death_frees_the_cache(videos, net, tmp_path):
    out, clips = tmp_path / "c", ucf101.index(videos)
    program = (
        "import sys, time; from ctxlstm import backbone, features, ucf101, video\n"
        "read = video.read_frames\n"
        "def slow(*a): time.sleep(0.4); return read(*a)\n"
        "video.read_frames = slow\n"
        "net = backbone.load('efficientnet_lite0', size=32)\n"
        "features.extract(ucf101.index(sys.argv[1]), sys.argv[2], backbone=net, frames=4, rule='uniform',"
        " batch_size=4, workers=1, progress=False)"
    )
    first = subprocess.Popen([sys.executable, "-c", program, str(videos), str(out)])
    deadline = time.monotonic() + 120
    while not list(out.glob("features.zarr/c/**/0")):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(
        RuntimeError, match=r"another process is extracting into .*wait until it has finished"
    ):
        extract(clips, out, net)
    first.kill()
    first.wait()
    done = extract(clips, out, net)
    assert done.kept > 0
    assert done.kept + done.extracted == 8


@pytest.mark.parametrize("moment", [0, 1, 2, 6, 9, 10])  # of 11: the start, a note, eight chunks, the end
def test_interrupted_at_any_write_an_extraction_goes_on(
    videos, net, reference, tmp_path, monkeypatch, moment
):
    clips, out = ucf101.index(videos), tmp_path / "c"
    Path(clips["path"][2]).write_bytes(b"")  # so that notes are written too
    left = [moment]

    def interrupted(method):
        def call(*args, **kwargs):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return method(*args, **kwargs)

        return call

    for name in ("write", "save"):
        monkeypatch.setattr(Cache, name, interrupted(getattr(Cache, name)))
    with pytest.raises(KeyboardInterrupt):
        extract(clips, out, net)
    with pytest.raises((ValueError, FileNotFoundError), match=r"features\.extract"):
        features.load(out)
    monkeypatch.undo()
    done = extract(clips, out, net)
    assert (done.kept + done.extracted, done.left_out) == (7, 1)
    expected = torch.cat([reference[:2], reference[3:]])
    torch.testing.assert_close(features.load(out).x, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("step", ["write_text", "to_csv", "save_file", "read_csv", "replace"])
def test_interrupted_at_any_step_of_saving_a_run_goes_on(data, split, tmp_path, monkeypatch, step):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    owner = {
        "write_text": Path,
        "to_csv": pd.DataFrame,
        "save_file": safetensors.torch,
        "read_csv": runs.pd,
        "replace": None,
    }
    if step == "replace":  # the folder's own renaming, not that of the checkpoints
        whole = os.replace
        monkeypatch.setattr(os, "replace", lambda a, b: interrupt() if Path(a).is_dir() else whole(a, b))
    else:
        monkeypatch.setattr(owner[step], step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(data, split, tmp_path / "r")
    monkeypatch.undo()
    assert runs.load(tmp_path / "r").empty
    assert_same_record(train(data, split, tmp_path / "r"), train(data, split, tmp_path / "whole"))


def test_results_removed_while_training(data, split, tmp_path):
    def remove(row):
        if row["epoch"] == 2:
            shutil.rmtree(tmp_path / "r")

    folder = train(data, split, tmp_path / "r", remove)
    assert_same_record(folder, train(data, split, tmp_path / "whole"))


# --- damaged clips, through the extraction ------------------------------------------------------------------------


def test_every_kind_of_bad_video_among_good_ones(videos, net, tmp_path):
    paths = sorted(videos.rglob("*.avi"))
    with av.open(str(paths[0]), "w") as container:  # sound alone
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    paths[1].write_bytes(paths[1].read_bytes()[:300])  # not even a whole header
    paths[2].write_text("a text\n" * 100)
    paths[3].unlink()
    paths[3].symlink_to(tmp_path / "nowhere.avi")
    flipped = bytearray(paths[4].read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    paths[4].write_bytes(flipped)
    done = extract(ucf101.index(videos), tmp_path / "c", net)
    assert (done.extracted, done.left_out) == (4, 4)
    loaded = features.load(tmp_path / "c")
    reasons = loaded.left_out.set_index("name")["reason"]
    for path, what in zip(paths, ("no video stream", "decoded", "decoded", "no video file"), strict=False):
        assert path.name in reasons[path.stem]
        assert what in reasons[path.stem]
    assert list(loaded.damaged["name"]) == [paths[4].stem]


@pytest.mark.parametrize("class_folder", [False, True])
def test_bad_frame_folders_among_good_ones(videos, net, tmp_path, class_folder):
    folders = []
    for path in sorted(videos.rglob("*.avi")):
        folder = tmp_path / "frames" / (path.parent.name if class_folder else "") / path.stem
        folder.mkdir(parents=True)
        for number, image in enumerate(video.read_frames(path, 6, "uniform").images, 1):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"frame{number:06d}.jpg")
        folders.append(folder)
    (folders[0] / "frame000003.jpg").unlink()
    (folders[1] / "frame000001.jpg").write_text("no jpeg")
    cut = folders[2] / "frame000001.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    for file in folders[3].iterdir():
        file.unlink()
    clips = ucf101.index(tmp_path / "frames")
    assert set(clips["kind"]) == {"frames"}
    done = extract(clips, tmp_path / "c", net, rule="first")
    assert (done.extracted, done.left_out) == (4, 4)
    reasons = features.load(tmp_path / "c").left_out["reason"].tolist()
    for reason, what in zip(
        reasons, ("lacks frame 3", "as a JPEG", "as a JPEG", "no JPEG frames"), strict=True
    ):
        assert what in reason
        assert str(tmp_path) not in reason


def test_a_damaged_video_replaced_by_the_original_of_equal_size_is_extracted_again(videos, net, tmp_path):
    clips, out = ucf101.index(videos), tmp_path / "c"
    victim = Path(clips["path"][0])
    whole = victim.read_bytes()
    flipped = bytearray(whole)
    for place in range(len(whole) // 3, len(whole), 500):
        flipped[place] ^= 0x55
    victim.write_bytes(flipped)
    assert extract(clips, out, net).damaged == 1
    victim.write_bytes(whole)
    done = extract(clips, out, net)
    assert (done.extracted, done.damaged) == (1, 0)


def test_features_survive_that_their_videos_are_away(videos, net, tmp_path):
    clips, out = ucf101.index(videos), tmp_path / "c"
    extract(clips, out, net)
    videos.rename(tmp_path / "unplugged")
    try:
        extract(clips, out, net)
    except ValueError:
        pass
    (tmp_path / "unplugged").rename(videos)
    assert extract(clips, out, net).kept == 8


def test_a_damaged_description_of_the_array_is_repaired(videos, net, tmp_path):
    clips, out = ucf101.index(videos), tmp_path / "c"
    extract(clips, out, net)
    before = features.load(out).x
    (out / "features.zarr" / "zarr.json").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is damaged .*features\.extract once more"):
        features.load(out)
    assert extract(clips, out, net).kept == 8
    assert torch.equal(features.load(out).x, before)


@pytest.mark.parametrize(("field", "value"), [("code_version", 0), ("dtype", "float32"), ("batch_norm", "x")])
def test_a_cache_of_another_version_is_refused_by_name(videos, net, tmp_path, monkeypatch, field, value):
    clips, out = ucf101.index(videos), tmp_path / "c"
    with monkeypatch.context() as patched:
        honest = features.make_key
        patched.setattr(features, "make_key", lambda *a: honest(*a) | {field: value})
        extract(clips, out, net)
    with pytest.raises(ValueError, match=f"another {field}: {value!r} there"):
        extract(clips, out, net)
    assert len(features.load(out).x) == 8


def test_spaces_unicode_and_signs_in_paths_and_a_linked_relative_root(videos, net, tmp_path, monkeypatch):
    odd = tmp_path / "männer & frauen 100%d #1 ✓"
    videos.rename(odd)
    (tmp_path / "link").symlink_to(odd, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    done = extract(ucf101.index("link"), "cäche 50%", net)
    assert (done.extracted, done.left_out) == (8, 0)
    assert extract(ucf101.index(odd), tmp_path / "cäche 50%", net).kept == 8


# --- training and records -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("name", ["context_lstm", "nearest_neighbour"])
def test_a_split_with_an_empty_part_is_refused_before_training(data, split, part, name):
    model = models.build(name, input_size=12, num_classes=3, hidden_size=4, embedding=(8,))
    epochs = []
    empty = replace(split, **{part: np.array([], dtype=np.int64)})
    with pytest.raises(ValueError, match=f"{part}.* empty"):
        training.fit(
            model,
            data,
            empty,
            training.Config(epochs=2, batch_size=8, cpu=True),
            on_epoch=epochs.append,
        )
    assert epochs == []


def test_single_frames_and_a_last_batch_of_one_clip(data, split):
    single = Features(data.x[:, :1], data.clips)
    fit, _ = ucf101.validation(data.clips, split, share=0.1, seed=0)
    model = models.build("context_lstm", input_size=12, num_classes=3, hidden_size=4, embedding=(8,))
    config = training.Config(epochs=1, batch_size=len(fit) - 1, cpu=True)
    assert len(training.fit(model, single, split, config).table) == 1


def test_a_checkpoint_with_a_flipped_byte_is_refused(data, split, tmp_path):
    class Stopped(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(data, split, tmp_path, stop)
    checkpoint = next(tmp_path.glob("*.part/checkpoint.safetensors"))
    content = bytearray(checkpoint.read_bytes())
    content[len(content) * 3 // 4] ^= 0x40
    checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a checkpoint of a training run .*remove it"):
        train(data, split, tmp_path)


def test_a_record_without_its_metrics_is_refused_before_training(data, split, tmp_path):
    folder = train(data, split, tmp_path)
    (folder / "metrics.json").unlink()
    epochs = []
    with pytest.raises((ValueError, FileExistsError), match="remove"):
        train(data, split, tmp_path, epochs.append)
    assert epochs == []


def test_a_renamed_run_folder_is_still_a_record(data, split, tmp_path):
    folder = train(data, split, tmp_path)
    folder.rename(tmp_path / "my best run")
    assert runs.load(tmp_path)["run"].tolist() == ["my best run"]
    assert train(data, split, tmp_path) == folder
