"""Files that are whole at any moment (`support.files`)."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from ctxlstm.support.files import AWAY, content, default_folder, locked, seen, written

# What takes seconds to import or is seldom needed: the functions that need it import it.
HEAVY = {
    "ctxlstm": {"torch", "numpy", "pandas"},
    "ctxlstm.evaluation": {
        "scipy",
        "sklearn",
        "matplotlib",
        "seaborn",
        "av",
        "zarr",
        "torchvision",
        "distributed",
    },
    "ctxlstm.training": {
        *("scipy", "sklearn", "matplotlib", "seaborn", "av", "zarr", "torchvision", "distributed"),
        *("torch._dynamo", "sympy"),
    },
}


def test_an_import_waits_for_nothing_that_it_does_not_need():
    program = "import sys\n"
    for module, heavy in HEAVY.items():
        program += f"import {module}\nprint([name for name in {sorted(heavy)} if name in sys.modules])\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]"] * len(HEAVY), f"imported by {list(HEAVY)}"


def test_a_file_appears_whole_and_replaces_the_one_before(tmp_path):
    path = tmp_path / "new" / "table.csv"
    for text in ("one", "two"):
        with written(path) as part:
            part.write_text(text, encoding="utf-8")
            assert part.parent == path.parent, "a rename is atomic on one disk only"
    assert path.read_text(encoding="utf-8") == "two"
    assert [each.name for each in path.parent.iterdir()] == ["table.csv"]


def test_an_error_leaves_the_file_before_and_nothing_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(KeyError), written(path) as part:  # noqa: PT012  the error is in the body
        part.write_text("half", encoding="utf-8")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    with pytest.raises(OSError, match=r"the disk is full while writing .*table\.csv: free some space"):
        with written(tmp_path / "table.csv"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_written_aside_too(tmp_path):
    with written(tmp_path / "run") as part:
        part.mkdir()
        (part / "a").touch()
    assert (tmp_path / "run" / "a").is_file()


def test_what_a_kill_left_aside_is_removed(tmp_path):
    (tmp_path / "run.part").mkdir()
    (tmp_path / "run.part" / "half").touch()
    with written(tmp_path / "run") as part:
        part.mkdir()
    assert not list((tmp_path / "run").iterdir())


def test_who_shares_a_path_writes_aside_under_a_name_of_his_own(tmp_path):
    path = tmp_path / "clip.avi"
    with written(path, shared=True) as first:
        first.write_text("first")
        with written(path, shared=True) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_of_generated_things_may_be_below_home(monkeypatch):
    monkeypatch.setenv("CTXLSTM_CACHE", "~/big")
    assert default_folder() == Path.home() / "big"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_marker_instead(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    lock, marker = tmp_path / ".lock", tmp_path / ".locked"
    with locked(lock, "writing"):
        assert marker.exists()
        with pytest.raises(RuntimeError, match=r"another process is writing: wait .* remove .*\.locked"):
            with locked(lock, "writing"):
                pass
    assert not marker.exists()
    with locked(lock, "writing"):
        assert marker.exists()


def test_a_lock_does_not_explain_the_errors_of_what_it_guards(tmp_path):
    with (
        pytest.raises(PermissionError, match=r"^\[Errno 13\] not the lock's$"),
        locked(tmp_path / ".lock", "writing"),
    ):
        raise PermissionError(errno.EACCES, "not the lock's")
    with locked(tmp_path / ".lock", "writing"):
        pass


def clip(folder: Path, **frames: bytes) -> Path:
    """A frame folder, or with no frames a video file."""
    if not frames:
        folder.write_bytes(b"film")
        return folder
    folder.mkdir()
    for name, data in frames.items():
        (folder / f"{name}.jpg").write_bytes(data)
    return folder


def test_the_content_of_a_video_is_the_sha256_of_its_file(tmp_path):
    assert content(str(clip(tmp_path / "a.avi"))) == hashlib.sha256(b"film").hexdigest()


def test_a_copy_of_a_clip_elsewhere_has_the_same_content(tmp_path):
    folder = clip(tmp_path / "a", one=b"1", two=b"2")
    (folder / ".DS_Store").write_bytes(b"where the window was")
    os.utime(folder / "one.jpg", (1, 1))
    copy = clip(tmp_path / "b", two=b"2", one=b"1")
    assert content(str(folder)) == content(str(copy))
    assert seen(str(folder)) != seen(str(copy))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "one.jpg").write_bytes(b"3"),
        lambda folder: shutil.copy(folder / "two.jpg", folder / "three.jpg"),
        lambda folder: (folder / "two.jpg").unlink(),
        lambda folder: (folder / "two.jpg").rename(folder / "three.jpg"),
    ],
    ids=["frame of equal size", "frame more", "frame less", "name"],
)
def test_whatever_changes_in_a_frame_folder_is_seen_and_is_another_content(tmp_path, change):
    folder = clip(tmp_path / "a", one=b"1", two=b"2")
    for name in ("one.jpg", "two.jpg"):
        os.utime(folder / name, (1, 1))
    before = seen(str(folder)), content(str(folder))
    assert (seen(str(folder)), content(str(folder))) == before
    change(folder)
    after = seen(str(folder)), content(str(folder))
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_what_is_no_clip_is_not_waited_for(tmp_path):
    assert seen(str(tmp_path / "none.avi")) == AWAY
    assert content(str(tmp_path / "none.avi")) is None
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(tmp_path / "pipe.avi")
        assert content(str(tmp_path / "pipe.avi")) is None
        folder = clip(tmp_path / "a", one=b"1")
        before = content(str(folder))
        os.mkfifo(folder / "two.jpg")
        assert content(str(folder)) == before
    loop = tmp_path / "loop.avi"
    loop.symlink_to(loop)
    assert (seen(str(loop)), content(str(loop))) == (AWAY, None)
