"""The feature cache: complete, resumable after a kill at any moment, and never taken for what it is not."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from filelock import FileLock
from torchvision import io

from ctxlstm import backbone, features, ucf101, video
from ctxlstm.features import cache, extraction, reader
from ctxlstm.features.cache import Cache
from ctxlstm.support import files

SETTINGS = {"frames": 4, "rule": "uniform", "batch_size": 7, "progress": False}


@pytest.fixture(scope="module")
def net() -> backbone.Backbone:
    return backbone.load("efficientnet_lite0", size=32)


@pytest.fixture(scope="module")
def clips(tiny_clips) -> pd.DataFrame:
    return ucf101.index(tiny_clips)


@pytest.fixture(scope="module")
def reference(clips, net, tmp_path_factory) -> features.Features:
    out = tmp_path_factory.mktemp("reference") / "cache"
    features.extract(clips, out, backbone=net, **SETTINGS)
    return features.load(out)


@pytest.fixture
def own_clips(clips, tmp_path) -> pd.DataFrame:
    """Six clips as copies that a test may damage."""
    table = clips.groupby("label").head(2).reset_index(drop=True)
    for row, path in table["path"].items():
        copy = tmp_path / "videos" / os.path.basename(path)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(open(path, "rb").read())
        table.loc[row, "path"] = str(copy)
    return table


def extract(clips, out, net, **changes) -> features.Extraction:
    return features.extract(clips, out, backbone=net, **(SETTINGS | changes))


def chunk_files(out) -> list:
    return sorted(path for path in (out / "features.zarr" / "c").rglob("*") if path.is_file())


def test_features_are_those_of_each_clip_alone(reference, clips, net):
    assert reference.x.shape == (len(clips), 4, 1280)
    assert reference.x.dtype == torch.float16
    assert list(reference.clips["name"]) == list(clips["name"])
    assert reference.left_out.empty
    for row in (0, 5, len(clips) - 1):  # batches of 7 cross the borders of clips of 4
        alone = net(net.resize(video.read_frames(clips["path"][row], 4, "uniform").images))
        torch.testing.assert_close(reference.x[row].float(), alone, rtol=1e-2, atol=1e-2)


def test_classes_and_numbers(reference):
    assert reference.classes == sorted(set(reference.clips["label"]))
    assert [reference.classes[k] for k in reference.y] == list(reference.clips["label"])


def test_a_finished_cache_is_kept(clips, net, tmp_path):
    assert extract(clips, tmp_path / "c", net).extracted == len(clips)
    before = {path: path.stat().st_mtime_ns for path in chunk_files(tmp_path / "c")}
    again = extract(clips, tmp_path / "c", net)
    assert (again.extracted, again.kept) == (0, len(clips))
    assert {path: path.stat().st_mtime_ns for path in chunk_files(tmp_path / "c")} == before


def test_the_number_of_workers_changes_no_bit_and_the_batch_size_only_the_last(
    reference, clips, net, tmp_path
):
    extract(clips, tmp_path / "one", net, workers=1)
    assert torch.equal(features.load(tmp_path / "one").x, reference.x)
    extract(clips, tmp_path / "large", net, batch_size=64, workers=3)
    torch.testing.assert_close(features.load(tmp_path / "large").x, reference.x, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("count", "frames", "chunk", "clips_a_piece"),
    [(24, 4, 1, 1), (300, 28, 1, 4), (1_000, 28, 3, 9), (13_320, 28, 8, 8), (13_320, 300, 8, 8)],
)
def test_pieces_are_whole_chunks_of_a_batch_or_less(count, frames, chunk, clips_a_piece):
    table = pd.DataFrame({"name": map(str, range(count)), "path": ""})
    chunks = [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    missing = [(rows, list(rows)) for rows in chunks]
    cut = list(extraction.cut(missing, chunk, table, extraction.How(frames, "first", None)))
    assert len(cut[0].clips) == clips_a_piece
    assert [rows for piece in cut for rows in piece.chunks] == chunks
    assert [row for piece in cut for row in piece.clips] == list(range(count))
    resumed = list(extraction.cut(missing[5:], chunk, table, extraction.How(frames, "first", None)))
    assert resumed[1:] == cut[-len(resumed) + 1 :], "what is missing does not move the borders"


def test_no_more_is_begun_than_the_workers_need():
    begun = []
    with extraction.pool_of(2) as pool:
        stream = extraction.ahead(
            pool, lambda item: item, (begun.append(item) or item for item in range(100))
        )
        for item in stream:
            assert len(begun) <= item + 5, "memory would grow with the number of clips"
    assert begun == list(range(100))


def test_extraction_leaves_the_number_of_threads_as_it_was(own_clips, net, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        extract(own_clips, tmp_path / "c", net)
        seen = [torch.get_num_threads()]
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert seen == [3, 3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(reference, clips, tmp_path):
    extract(clips, tmp_path / "c", backbone.load("efficientnet_lite0", size=32), device="cuda")
    torch.testing.assert_close(features.load(tmp_path / "c").x, reference.x, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_killed_with_minus_nine_and_resumed(reference, clips, net, tmp_path, tiny_clips):
    out = tmp_path / "c"
    program = (
        "import sys, time; from ctxlstm import backbone, features, ucf101, video\n"
        "read = video.read_frames\n"
        "def slow(*a): time.sleep(0.05); return read(*a)\n"
        "video.read_frames = slow\n"
        "features.extract(ucf101.index(sys.argv[1]), sys.argv[2], backbone=backbone.load('efficientnet_lite0', size=32),"
        " frames=4, rule='uniform', batch_size=7, workers=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tiny_clips), str(out)])
    deadline = time.monotonic() + 120
    while len(chunk_files(out) if out.exists() else []) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(ValueError, match="unfinished"):
        features.load(out)
    done = extract(clips, out, net)
    assert 0 < done.kept < len(clips)
    assert done.kept + done.extracted == len(clips)
    assert torch.equal(features.load(out).x, reference.x)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_chunk_is_refused_and_only_it_is_repaired(own_clips, net, tmp_path, damage):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    good = features.load(out).x
    victim = chunk_files(out)[2]
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x10
        victim.write_bytes(data)
    elif damage == "cut":
        victim.write_bytes(data[: len(data) // 2])
    else:
        victim.unlink()
    with pytest.raises(ValueError, match=r"features\.extract once more"):
        features.load(out)
    done = extract(own_clips, out, net)
    assert (done.extracted, done.kept) == (1, 5)
    torch.testing.assert_close(features.load(out).x, good, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace("float16", "flaot16"), lambda text: text[:50], None]
)
def test_a_damaged_description_of_the_array_is_refused_and_written_anew(own_clips, net, tmp_path, damage):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    good = features.load(out).x
    description = out / "features.zarr" / "zarr.json"
    if damage:
        description.write_text(damage(description.read_text()))
    else:
        description.unlink()
    with pytest.raises(ValueError, match=r"features\.extract once more"):
        features.load(out)
    assert extract(own_clips, out, net).kept == 6
    assert torch.equal(features.load(out).x, good)


def test_features_that_stay_on_disk_are_read_by_rows(own_clips, net, tmp_path):
    out = tmp_path / "c"
    open(own_clips["path"][1], "wb").close()  # left out: rows of x are not rows of the cache
    extract(own_clips, out, net)
    here, there = features.load(out), features.load(out, memory=False)
    x = there.x
    assert (x.shape, len(x), x.nbytes) == (here.x.shape, 5, here.x.nbytes)
    assert (x.dtype, x.device) == (torch.float16, torch.device("cpu"))
    rows = torch.tensor([4, 0, 2, 2, 1])
    assert torch.equal(x[rows], here.x[rows])
    assert x[rows[:0]].shape == (0, 4, 1280)
    assert there.digest == here.digest
    with pytest.raises(IndexError):
        x[torch.tensor([5])]


@pytest.mark.parametrize("left_out", [False, True])
def test_zarr_alone_reads_what_zarrs_reads(own_clips, net, tmp_path, monkeypatch, left_out):
    if left_out:
        open(own_clips["path"][1], "wb").close()
    extract(own_clips, tmp_path / "c", net)
    monkeypatch.setattr(reader, "AT_ONCE", 4)  # fewer clips than there are
    with_zarrs = features.load(tmp_path / "c").x
    assert reader.CODECS, "zarrs is one of the dependencies"
    monkeypatch.setattr(reader, "CODECS", {})
    assert torch.equal(features.load(tmp_path / "c").x, with_zarrs)
    assert len(with_zarrs) == len(own_clips) - left_out


def test_damage_is_told_at_once_by_size_and_by_checksum_when_it_is_read(own_clips, net, tmp_path):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    good = features.load(out).x
    files = sorted((out / "features.zarr" / "c").glob("*/0/0"))
    data = bytearray(files[2].read_bytes())
    data[100] ^= 1
    files[2].write_bytes(data)
    x = features.load(out, memory=False).x
    assert torch.equal(x[torch.tensor([0, 5])], good[[0, 5]])
    with pytest.raises(ValueError, match=r"damaged .*features\.extract once more"):
        x[torch.tensor([0, 2])]
    files[2].write_bytes(data[:-1])
    with pytest.raises(ValueError, match=f"chunk 2 has {len(data) - 1} bytes instead of {len(data)}"):
        features.load(out, memory=False)
    files[2].unlink()
    with pytest.raises(ValueError, match="chunk 2 is missing"):
        features.load(out, memory=False)


def test_every_byte_of_the_manifest_that_flips_is_told_or_harmless(own_clips, net, tmp_path):
    out = tmp_path / "c"
    extract(own_clips.head(2), out, net)
    path, good = out / "manifest.json", features.load(out)
    data, told = path.read_bytes(), 0
    said = {name: value for name, value in json.loads(data).items() if name != "sha256"}
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        try:
            found = cache.read_manifest(out)
        except ValueError as error:
            assert "extract again" in str(error) or "not a feature cache's manifest" in str(error)  # noqa: PT017
            told += 1
        else:  # white space, or the name of the checksum
            assert {name: found[name] for name in said} == said, place
    assert told > 0.7 * len(data)
    path.write_bytes(data)
    assert features.load(out).digest == good.digest


def test_a_manifest_from_before_there_was_a_checksum_is_read(own_clips, net, tmp_path):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    manifest = json.loads((out / "manifest.json").read_text())
    digest = features.load(out).digest
    del manifest["sha256"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert features.load(out).digest == digest
    assert extract(own_clips, out, net).kept == 6


def test_features_without_their_manifest_are_nobodys(own_clips, net, tmp_path):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    (out / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"without the manifest\.json that says what made them"):
        extract(own_clips, out, net, rule="first")


@pytest.mark.parametrize("error", [PermissionError("no"), MemoryError(), TypeError("a fault")])
def test_what_is_no_damage_is_not_called_so_and_nothing_is_overwritten(
    own_clips, net, tmp_path, monkeypatch, error
):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    before = {path: path.read_bytes() for path in chunk_files(out)}

    def refuse(self, key):
        raise error

    monkeypatch.setattr(zarr.Array, "__getitem__", refuse)
    with pytest.raises(type(error)):
        features.load(out)
    with pytest.raises(type(error)):
        extract(own_clips, out, net)
    assert {path: path.read_bytes() for path in chunk_files(out)} == before


def test_every_byte_of_the_description_that_flips_is_told_or_harmless_and_repaired(own_clips, net, tmp_path):
    out = tmp_path / "c"
    extract(own_clips.head(2), out, net)
    path, good = out / "features.zarr" / "zarr.json", features.load(out).x
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        try:
            assert torch.equal(features.load(out).x, good), place
        except ValueError as error:
            assert "features.extract once more" in str(error), place  # noqa: PT017
    assert extract(own_clips.head(2), out, net).kept == 2
    assert torch.equal(features.load(out).x, good)


@pytest.mark.parametrize("left_out", [False, True])
def test_a_finished_cache_on_a_read_only_disk_is_read(own_clips, net, tmp_path, monkeypatch, left_out):
    out = tmp_path / "c"
    if left_out:
        open(own_clips["path"][1], "wb").close()
    extract(own_clips, out, net)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr(FileLock, "_acquire", refuse)
    done = extract(own_clips, out, net)
    assert (done.extracted, done.kept, done.left_out) == (0, 6 - left_out, int(left_out))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    chunk_files(out)[0].unlink()
    with pytest.raises(OSError, match=r"cannot be written to \(Read-only file system\)"):
        extract(own_clips, out, net)


def test_thirty_students_read_one_finished_cache_at_once(own_clips, net, tmp_path, monkeypatch):
    """On a read-only disk; nobody is refused, though a copied clip has another time than the cache knows."""
    out = tmp_path / "c"
    extract(own_clips, out, net)
    digest = features.load(out).digest
    os.utime(own_clips["path"][0], (1, 1))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    together = threading.Barrier(30)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    def student(_) -> tuple[int, str]:
        together.wait(60)
        return extract(own_clips, out, net).kept, features.load(out).digest

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    with ThreadPoolExecutor(30) as room:
        assert list(room.map(student, range(30))) == [(6, digest)] * 30
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_the_precision_is_in_the_key_only_where_it_is_not_the_usual(clips):
    def key(**how) -> dict:
        net = backbone.load("efficientnet_lite0", size=32, **how)
        return features.make_key(net, clips, 4, "uniform")

    assert "precision" not in key(), "caches from before there was a choice stay valid"
    assert key(precision="bf16") == key() | {"precision": "bf16"}


def test_a_cache_of_another_precision_is_refused(own_clips, net, tmp_path):
    """The key of float32 does not name it, so that the other one's has to be looked at, too."""
    rounded = backbone.load("efficientnet_lite0", size=32, precision="bf16")
    extract(own_clips, tmp_path / "bf16", rounded)
    with pytest.raises(ValueError, match="made with another precision: 'bf16' there, 'float32' requested"):
        extract(own_clips, tmp_path / "bf16", net)
    extract(own_clips, tmp_path / "float32", net)
    with pytest.raises(ValueError, match="made with another precision: 'float32' there, 'bf16' requested"):
        extract(own_clips, tmp_path / "float32", rounded)


def test_unusable_clips_are_left_out_counted_and_listed_and_tried_again(own_clips, net, tmp_path):
    out, paths = tmp_path / "c", own_clips["path"]
    whole = open(paths[1], "rb").read()
    open(paths[0], "wb").close()  # zero bytes
    open(paths[1], "w").write("this is a text, not a video")
    done = extract(own_clips, out, net)
    assert (done.clips, done.extracted, done.left_out) == (6, 4, 2)
    data = features.load(out)
    assert list(data.left_out["name"]) == list(own_clips["name"][:2])
    assert data.left_out["reason"].str.len().min() > 20
    assert not data.left_out["reason"].str.contains(str(tmp_path), regex=False).any(), "reasons are published"
    assert len(data.x) == len(data.clips) == 4
    split = ucf101.Split("grouped", 1, 0, train=np.array([0, 2, 4]), test=np.array([1, 3, 5]))
    part = features.align(split, own_clips, data)
    assert list(data.clips["name"].iloc[part.train]) == list(own_clips["name"].iloc[[2, 4]])
    assert list(data.clips["name"].iloc[part.test]) == list(own_clips["name"].iloc[[3, 5]])
    open(paths[1], "wb").write(whole)  # repaired on disk: the next call takes it in
    done = extract(own_clips, out, net)
    assert (done.extracted, done.kept, done.left_out) == (1, 4, 1)


def test_a_clip_cut_short_is_used_and_listed_as_damaged(own_clips, net, tmp_path):
    path = own_clips["path"][0]
    data = open(path, "rb").read()
    open(path, "wb").write(data[: len(data) // 2])
    done = extract(own_clips, tmp_path / "c", net)
    assert (done.left_out, done.damaged) == (0, 1)
    assert list(features.load(tmp_path / "c").damaged["name"]) == [own_clips["name"][0]]


def padded(path, size: int) -> None:
    """A longer file, the same film."""
    with open(path, "ab") as file:
        file.write(bytes(size - os.path.getsize(path)))


@pytest.mark.parametrize("size", ["other", "equal"])
def test_a_video_that_was_replaced_is_extracted_again(own_clips, net, tmp_path, size):
    out, paths = tmp_path / "c", own_clips["path"]
    if size == "equal":
        for path in paths[[0, 5]]:
            padded(path, 300_000)
    extract(own_clips, out, net)
    before, digest = features.load(out).x, features.load(out).digest
    other = open(paths[5], "rb").read()
    open(paths[0], "wb").write(other)
    done = extract(own_clips, out, net)
    assert (done.extracted, done.kept) == (1, 5)
    after = features.load(out)
    assert not torch.equal(after.x[0], before[0])
    torch.testing.assert_close(after.x[0], before[5], rtol=2e-3, atol=2e-3)
    assert after.digest != digest, "runs on the old features must not pass for runs on these"
    torch.testing.assert_close(after.x[1:], before[1:])


def test_a_video_with_another_time_is_read_once_and_kept(own_clips, net, tmp_path, monkeypatch):
    out, lock = tmp_path / "c", FileLock(tmp_path / "c" / ".lock")
    extract(own_clips, out, net)
    digest = features.load(out).digest
    before = {path: path.stat().st_mtime_ns for path in chunk_files(out)}
    os.utime(own_clips["path"][2], (1, 1))
    read = []
    monkeypatch.setattr(cache, "content", lambda path: read.append(path) or files.content(path))
    for times in (1, 2):
        with lock:  # by somebody else: what cannot be written down now is read again
            assert extract(own_clips, out, net).kept == 6
        assert read == [own_clips["path"][2]] * times
    assert extract(own_clips, out, net).kept == 6
    assert extract(own_clips, out, net).kept == 6
    assert len(read) == 3
    assert features.load(out).digest == digest
    assert {path: path.stat().st_mtime_ns for path in chunk_files(out)} == before


def test_frames_that_were_written_anew_in_their_folder_are_extracted_again(net, tmp_path):
    for name in ("v_A_g01_c01", "v_A_g02_c01"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for number in range(1, 6):
            picture(tmp_path / "root" / name / f"image_{number:05d}.jpg", number)
    clips, out = ucf101.index(tmp_path / "root"), tmp_path / "c"
    extract(clips, out, net)
    before = features.load(out)
    picture(tmp_path / "root" / "v_A_g02_c01" / "image_00001.jpg", 6)
    assert extract(clips, out, net).extracted == 1
    after = features.load(out)
    assert torch.equal(after.x[0], before.x[0])
    assert not torch.equal(after.x[1], before.x[1])
    assert after.digest != before.digest


def picture(path, seed: int) -> None:
    """A JPEG of noise, 5,000 bytes whatever the seed."""
    noise = torch.randint(
        0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    io.write_jpeg(noise, str(path))
    padded(path, 5000)


def test_the_digest_is_of_contents_and_not_of_times_and_places(own_clips, net, tmp_path):
    elsewhere = own_clips.copy()
    for row, path in own_clips["path"].items():
        elsewhere.loc[row, "path"] = shutil.copy(path, tmp_path)
        os.utime(elsewhere["path"][row], (1, 1))
    for table, out in ((own_clips, "here"), (elsewhere, "there")):
        extract(table, tmp_path / out, net)
    assert features.load(tmp_path / "here").digest == features.load(tmp_path / "there").digest


def test_a_video_replaced_while_the_cache_is_unfinished_is_extracted_again(
    own_clips, net, tmp_path, monkeypatch
):
    out, paths = tmp_path / "c", own_clips["path"]
    for path in paths[[0, 5]]:
        padded(path, 300_000)
    with monkeypatch.context() as full:
        full.setattr(Cache, "finish", lambda self: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            extract(own_clips, out, net)
    open(paths[0], "wb").write(open(paths[5], "rb").read())
    done = extract(own_clips, out, net)
    assert (done.extracted, done.kept) == (1, 5)
    known = [row["sha256"] for row in cache.read_manifest(out)["clips"]]
    assert known == [hashlib.sha256(open(path, "rb").read()).hexdigest() for path in paths]


def test_a_cache_from_before_there_were_contents_is_made_anew(own_clips, net, tmp_path):
    out = tmp_path / "c"
    extract(own_clips, out, net)
    digest, manifest = features.load(out).digest, json.loads((out / "manifest.json").read_text())
    for row, path in zip(manifest["clips"], own_clips["path"], strict=True):
        del row["sha256"], row["seen"]
        row["bytes"] = os.path.getsize(path)
    del manifest["sha256"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"is of an older version: run features\.extract once more"):
        features.load(out)
    assert extract(own_clips, out, net).extracted == 6, "who knows what they were made of"
    assert features.load(out).digest == digest


def test_clips_that_got_other_labels_keep_their_features(own_clips, net, tmp_path):
    out, labels = tmp_path / "c", ["None", "NA", "001", "1e5", "True", 'ein "Ball", 🤾']
    extract(own_clips, out, net)
    digest = features.load(out).digest
    assert extract(own_clips.assign(label=labels), out, net).kept == 6
    assert list(features.load(out).clips["label"]) == labels
    assert features.load(out).digest != digest


def test_no_usable_clip_at_all(own_clips, net, tmp_path):
    for path in own_clips["path"]:
        open(path, "wb").close()
    with pytest.raises(ValueError, match="none of the 6 clips could be used"):
        extract(own_clips, tmp_path / "c", net)


@pytest.mark.parametrize(("changes", "field"), [({"frames": 3}, "frames"), ({"rule": "first"}, "rule")])
def test_another_frame_setting_is_refused_by_name(own_clips, net, tmp_path, changes, field):
    extract(own_clips, tmp_path / "c", net)
    with pytest.raises(ValueError, match=f"another {field}"):
        extract(own_clips, tmp_path / "c", net, **changes)
    assert len(features.load(tmp_path / "c").x) == 6


def test_another_backbone_size_or_clip_list_is_refused_by_name(own_clips, net, tmp_path, monkeypatch):
    extract(own_clips, tmp_path / "c", net)
    with pytest.raises(ValueError, match="another resize"):
        extract(own_clips, tmp_path / "c", backbone.load("efficientnet_lite0", size=64))
    adapted = features.adapt(
        backbone.load("efficientnet_lite0", size=32), own_clips, frames=4, rule="uniform"
    )
    with pytest.raises(ValueError, match="another weights"):
        extract(own_clips, tmp_path / "c", adapted)
    with pytest.raises(ValueError, match="other clips"):
        extract(own_clips.iloc[1:], tmp_path / "c", net)
    monkeypatch.setattr(video, "decoder_version", lambda kind: "another decoder")
    with pytest.raises(ValueError, match="another decoder"):
        extract(own_clips, tmp_path / "c", net)


def test_a_folder_that_is_not_ours_is_refused_and_left_alone(own_clips, net, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds cat\.jpg and is not a feature cache"):
        extract(own_clips, tmp_path / "photos", net)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        extract(own_clips, tmp_path / "file", net)
    (tmp_path / "photos" / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(ValueError, match="not a feature cache's manifest"):
        extract(own_clips, tmp_path / "photos", net)


def test_two_processes_in_one_cache(own_clips, net, tmp_path):
    out = tmp_path / "c"
    out.mkdir()
    held, leave = threading.Event(), threading.Event()

    def hold():
        with FileLock(out / ".lock"):
            held.set()
            leave.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    try:
        with pytest.raises(RuntimeError, match="another process is extracting"):
            extract(own_clips, out, net)
    finally:
        leave.set()
        other.join()
    assert extract(own_clips, out, net).extracted == 6


def test_a_full_disk_loses_nothing(own_clips, net, tmp_path, monkeypatch):
    written = zarr.Array.__setitem__
    left = [3]

    def write(self, key, value):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return written(self, key, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", write)
    with pytest.raises(OSError, match="the disk is full while writing features"):
        extract(own_clips, tmp_path / "c", net)
    monkeypatch.undo()
    done = extract(own_clips, tmp_path / "c", net)
    assert (done.kept, done.extracted) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "at least one frame"),
        ({"rule": "all"}, "choose first or uniform"),
        ({"rule": "middle"}, "choose first or uniform"),
        ({"backbone": "vgg"}, "choose one of resnet50, efficientnet_lite0"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(own_clips, net, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        features.extract(own_clips, tmp_path / "c", **({"backbone": net} | SETTINGS | changes))
    assert not (tmp_path / "c").exists()
    with pytest.raises(ValueError, match="no clips"):
        extract(own_clips.iloc[:0], tmp_path / "c", net)


def test_load_of_nothing_says_how_to_make_a_cache(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"features\.extract"):
        features.load(tmp_path / "none")


def test_three_frame_clip_is_filled_by_the_stated_rule(net, tmp_path, own_clips):
    import av

    path = tmp_path / "v_Short_g01_c01.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for value in (0, 100, 200):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    table = own_clips.iloc[:1].assign(name="v_Short_g01_c01", label="Short", path=str(path))
    features.extract(table, tmp_path / "c", backbone=net, frames=5, rule="first", progress=False)
    x = features.load(tmp_path / "c").x[0]
    assert torch.equal(x[2], x[3])
    assert torch.equal(x[2], x[4])
    assert not torch.equal(x[0], x[2])
