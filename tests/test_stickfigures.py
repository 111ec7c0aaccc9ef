"""The embedded data set: real files in UCF101's layout, the same everywhere, whole or not there at all."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxlstm import stickfigures, ucf101
from ctxlstm.stickfigures import CLASSES, FORWARD, MARKER, MOTIONS, REVERSED_PAIRS, frames, render
from ctxlstm.stickfigures.drawing import HEIGHT, WIDTH, draw_scenery, random_look
from ctxlstm.support import files

SMALL = {"classes": ("SitDown", "Wave"), "groups": 2, "clips": 2, "progress": False}


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.glob("*/*"))}


def parts(label: str, group: int = 1, clip: int = 1) -> tuple:
    """The look, scenery and take of a clip, to draw another class with them."""
    rng = stickfigures._generator(0, label, group)
    look = random_look(rng)
    take = stickfigures._random_take(stickfigures._generator(0, label, group, clip))
    return look, draw_scenery(rng, look), take


def python(code: str, **environment: str) -> subprocess.Popen:
    """Start a fresh interpreter, as a user's own script would be."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("small") / "data", workers=1, **SMALL)


# What is written


def test_the_classes_and_pairs_promised():
    assert len(CLASSES) >= 12
    assert len(set(CLASSES)) == len(CLASSES)
    assert len(REVERSED_PAIRS) >= 3
    assert {label for pair in REVERSED_PAIRS for label in pair} < set(CLASSES)


def test_layout_and_names_are_those_of_ucf101(small: Path):
    names = [f"{k}/v_{k}_g0{g}_c0{c}.avi" for k in ("SitDown", "Wave") for g in (1, 2) for c in (1, 2)]
    assert sorted(p.relative_to(small).as_posix() for p in small.rglob("*.*") if p.name != MARKER) == names
    table = ucf101.index(small)
    assert list(table["label"]) == ["SitDown"] * 4 + ["Wave"] * 4
    assert list(table["group"]) == [1, 1, 2, 2] * 2
    assert set(table["kind"]) == {"video"}


def test_files_are_mpeg4_avi_at_320x240_and_25_fps(small: Path):
    with av.open(str(small / "SitDown" / "v_SitDown_g02_c01.avi")) as container:
        (stream,) = container.streams
        assert container.format.name == "avi"
        assert (stream.codec_context.name, stream.codec_context.codec_tag) == ("mpeg4", "XVID")
        assert (stream.width, stream.height, stream.average_rate) == (320, 240, 25)
    film, drawn = decode(small / "SitDown" / "v_SitDown_g02_c01.avi"), frames("SitDown", 2, 1)
    assert film.shape == drawn.shape
    assert np.abs(film.astype(int) - drawn).mean() < 3, "the coded film must look like the drawn one"


@settings(deadline=None, max_examples=8)
@given(st.sampled_from(CLASSES), st.integers(1, 25), st.integers(1, 5), st.integers(0, 2**32))
def test_frames_are_pictures_of_about_40_moments_that_differ(label: str, group: int, clip: int, seed: int):
    film = frames(label, group, clip, seed)
    assert film.dtype == np.uint8
    assert film.shape[1:] == (240, 320, 3)
    assert 36 <= len(film) <= 44
    changed = (film != film[:1]).any((0, 3))  # (240, 320)
    assert 0.005 < changed.mean() < 0.6, "the figure moves and the scenery stays"


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(MOTIONS)), st.integers(0, 10**6))
def test_the_feet_stand_on_the_floor_and_the_figure_stays_in_the_picture(label: str, seed: int):
    rng = np.random.default_rng(seed)
    look, take = random_look(rng), stickfigures._random_take(rng)
    joints, progress = stickfigures._skeleton(MOTIONS[label], look, take)
    feet = np.stack([joints[f"{side} {end}"] for side in ("near", "far") for end in ("foot", "toe")])
    above = look.floor - feet[..., 1].max(0)  # (T,) pixels between the lowest foot and the floor
    assert (above > 0).all()
    assert above.max() < (0.13 if label == "JumpingJack" else 0.023) * look.height
    assert np.abs(np.diff(joints["pelvis"], axis=0)).max() < 0.1 * look.height, "the body does not leap"
    assert np.all((joints["pelvis"] > 10) & (joints["pelvis"] < [WIDTH - 10, HEIGHT]))
    assert np.all(np.diff(progress) >= 0)


# Reversed pairs


@pytest.mark.parametrize("pair", REVERSED_PAIRS)
def test_a_reversed_pair_shares_its_frames_in_opposite_order(pair: tuple[str, str]):
    forward, backward = (stickfigures._film(label, *parts(pair[0], group=4)) for label in pair)
    np.testing.assert_array_equal(forward[::-1], backward)
    assert np.abs(forward.astype(int) - backward).max() > 50, "but the films themselves differ"


@pytest.mark.parametrize("label", ["Kick", "StandUp", "WalkLeft", "WalkRight"])
def test_a_class_is_its_motion_with_random_choices_that_do_not_know_the_class(label: str):
    film = stickfigures._film(FORWARD.get(label, label), *parts(label, 3, 2))
    np.testing.assert_array_equal(frames(label, 3, 2), film[::-1] if label in FORWARD else film)


def test_walkers_go_where_their_class_says_and_face_both_ways():
    facings = set()
    for group in range(1, 13):
        look, _, take = parts("WalkRight", group)
        joints, _ = stickfigures._skeleton(MOTIONS["WalkRight"], look, take)
        assert joints["pelvis"][-1, 0] - joints["pelvis"][0, 0] > 0.4 * look.height
        facings.add(take.facing)
    assert facings == {-1, 1}


# Groups and clips


def test_groups_and_classes_differ_in_look_and_clips_of_a_group_share_it():
    def backdrop(label: str, group: int, clip: int = 1) -> np.ndarray:
        return np.median(frames(label, group, clip), axis=0)

    mine = backdrop("Wave", 1)
    assert (np.abs(mine - backdrop("Wave", 1, 2)).max(-1) < 2).mean() > 0.75
    for label, group in (("Wave", 2), ("Wave", 3), ("Squat", 1), ("SitDown", 1)):
        assert (np.abs(mine - backdrop(label, group)).max(-1) < 2).mean() < 0.2


def test_clips_of_a_group_differ_in_timing_and_place():
    takes = [parts("Wave", 1, clip)[2] for clip in range(1, 6)]
    for what in ("start", "pace", "place"):
        assert len({getattr(take, what) for take in takes}) == 5


# Determinism


def test_equal_seeds_give_equal_pixels_in_every_process_and_number_of_workers(small: Path, tmp_path: Path):
    assert contents(render(tmp_path / "again", workers=2, **SMALL)) == contents(small)
    code = "from ctxlstm.stickfigures import frames as f; import hashlib as h, sys;"
    code += "sys.stdout.write(h.sha256(f('Kick', 7, 2).tobytes()).hexdigest())"
    out, err = python(code, PYTHONHASHSEED="1").communicate(timeout=60)
    assert out == hashlib.sha256(frames("Kick", 7, 2).tobytes()).hexdigest(), err


def test_another_seed_gives_another_data_set():
    assert not np.array_equal(frames("Wave", 1, 1, seed=0)[0], frames("Wave", 1, 1, seed=1)[0])


# Places


def test_the_default_place_is_the_cache_folder_and_names_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CTXLSTM_CACHE", str(tmp_path / "cache"))
    tiny = {"groups": 1, "clips": 1, "workers": 1, "progress": False}
    roots = [
        render(classes=["Wave"], **tiny),
        render(classes=["Wave"], seed=5, **tiny),
        render(classes=["Squat"], **tiny),
    ]
    assert len(set(roots)) == 3
    assert all(root.parent == tmp_path / "cache" / "stickfigures" for root in roots)
    assert "seed5" in roots[1].name
    monkeypatch.delenv("CTXLSTM_CACHE")
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "user"))
    assert render(classes=["Wave"], **tiny).parent == tmp_path / "user" / "stickfigures"


def test_a_finished_data_set_is_returned_at_once(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stickfigures, "_render_clip", lambda job: pytest.fail(f"rendered {job} again"))
    start = time.perf_counter()
    assert render(small, **SMALL) == small
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("damage", ["delete", "truncate", "empty"])
def test_a_clip_missing_or_cut_in_a_finished_folder_is_rendered_again(tmp_path: Path, damage: str):
    tiny = {"classes": ["Wave"], "groups": 1, "clips": 2, "workers": 1, "progress": False}
    root = render(tmp_path / "data", **tiny)
    before = contents(root)
    good, bad = (root / "Wave" / f"v_Wave_g01_c0{clip}.avi" for clip in (1, 2))
    if damage == "delete":
        bad.unlink()
    else:
        bad.write_bytes(bad.read_bytes()[: 5000 * (damage == "truncate")])
    old = good.stat().st_mtime_ns
    render(root, **tiny)
    assert contents(root) == before
    assert good.stat().st_mtime_ns == old, "finished clips are kept"


def test_a_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"holds thesis\.txt and is not a stick-figure data set; give an empty"
    ):
        render(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_of_other_settings_is_refused(small: Path):
    before = contents(small)
    with pytest.raises(ValueError, match=r"has seed 0, not 3; give another folder or delete this one"):
        render(small, seed=3, **SMALL)
    with pytest.raises(ValueError, match=r"has groups 2, not 4"):
        render(small, **{**SMALL, "groups": 4})
    assert contents(small) == before


def test_a_damaged_marker_is_refused(tmp_path: Path):
    (tmp_path / MARKER).write_text('{"renderer": ', encoding="utf-8")
    with pytest.raises(ValueError, match="has renderer None, not"):
        render(tmp_path, **SMALL)


def test_hidden_files_of_the_system_do_not_make_a_folder_foreign(tmp_path: Path):
    (tmp_path / ".DS_Store").touch()
    tiny = {"classes": ["Wave"], "groups": 1, "clips": 1, "workers": 1, "progress": False}
    assert len(contents(render(tmp_path, **tiny))) == 1


# Wrong arguments


def test_unknown_classes_list_the_valid_names():
    everything = re.escape(", ".join(CLASSES))
    with pytest.raises(
        ValueError, match=f"class 'Yodel' is not among the stick figures; choose from {everything}"
    ):
        frames("Yodel", 1, 1)
    with pytest.raises(ValueError, match=f"'Yodel'.*{everything}"):
        render("unused", classes=("Wave", "Yodel"))
    with pytest.raises(ValueError, match=f"empty list of classes.*{everything}"):
        render("unused", classes=())
    assert not Path("unused").exists()


@pytest.mark.parametrize("name", ["groups", "clips", "workers"])
def test_numbers_below_one_are_refused(name: str):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, but is 0"):
        render("unused", **{name: 0})
    with pytest.raises(ValueError, match="seed must not be negative, but is -1"):
        frames("Wave", 1, 1, seed=-1)
    with pytest.raises(ValueError, match="clip must be at least 1, but is 0"):
        frames("Wave", 1, 0)


# Accidents


def test_a_full_disk_is_reported_and_whole_clips_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write, tries = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        tries.append(path)
        if len(tries) > 3:  # the marker and two clips fit
            write(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OSError, match=r"No space left.*make room or choose another folder.*g02_c01\.avi"
    ) as caught:
        render(tmp_path / "data", workers=1, **SMALL)
    assert caught.value.errno == errno.ENOSPC
    assert list(contents(tmp_path / "data")) == ["v_SitDown_g01_c01.avi", "v_SitDown_g01_c02.avi"]
    monkeypatch.undo()
    assert len(contents(render(tmp_path / "data", workers=1, **SMALL))) == 8


@pytest.mark.slow
def test_a_killed_rendering_leaves_nothing_half_written_and_is_resumed(tmp_path: Path):
    root, wave = tmp_path / "data", {"classes": ["Wave"], "groups": 10, "clips": 2, "progress": False}
    process = python(f"from ctxlstm.stickfigures import render; render({str(root)!r}, workers=2, **{wave!r})")
    family, deadline = psutil.Process(process.pid), time.monotonic() + 60
    while len(list(root.glob("*/*.avi"))) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = family.children(recursive=True)
    process.kill()
    process.communicate(timeout=10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "the workers of a killed rendering end too"
    assert "finished" not in json.loads((root / MARKER).read_text(encoding="utf-8"))
    done = {path: path.read_bytes() for path in root.glob("*/*.avi")}
    assert 3 <= len(done) < 20
    assert len(ucf101.index(root)) == len(done)
    assert all(36 <= len(decode(path)) <= 44 for path in done)
    render(root, workers=1, **wave)
    assert all(path.read_bytes() == data for path, data in done.items()), "finished clips are kept"
    assert len(ucf101.index(root)) == 20
    assert contents(root)["v_Wave_g10_c02.avi"] == stickfigures._encode(frames("Wave", 10, 2))


def test_remains_of_a_killed_write_are_swept_and_a_living_one_is_spared(tmp_path: Path):
    tiny = {"classes": ["Wave"], "groups": 1, "clips": 1, "workers": 1, "progress": False}
    root = render(tmp_path / "data", **tiny)
    old, young = (root / "Wave" / f".v_Wave_g01_c01.avi.{k}.part" for k in ("old", "young"))
    for path in (old, young, root / "Wave" / "v_Wave_g01_c01.avi"):
        path.write_bytes(b"RIFF")
    os.utime(old, (0, 0))
    render(root, **tiny)
    assert not old.exists()
    assert young.exists()
    assert len(ucf101.index(root)) == 1


@pytest.mark.slow
def test_two_processes_rendering_into_one_place_do_no_harm(small: Path, tmp_path: Path):
    root = tmp_path / "data"
    call = f"from ctxlstm.stickfigures import render; render({str(root)!r}, workers=1, **{SMALL!r})"
    for process in [python(call), python(call)]:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert contents(root) == contents(small)
    assert json.loads((root / MARKER).read_text(encoding="utf-8"))["finished"] == 8


@pytest.mark.slow
def test_a_killed_worker_is_reported_with_what_to_do(tmp_path: Path):
    others = set(psutil.Process().children())  # such as workers of a cluster that another test left

    def kill_one() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for child in set(psutil.Process().children()) - others:
                if any("spawn_main" in word for word in child.cmdline()) and list(tmp_path.rglob("*.avi")):
                    return child.kill()
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(RuntimeError, match=r"ended too early; call render again to go on"):
        render(tmp_path / "data", classes=["Wave"], workers=2, progress=False)
    killer.join()
    assert all(stickfigures._whole(path) for path in tmp_path.rglob("*.avi"))


def test_progress_is_shown_on_stderr_and_can_be_silenced(tmp_path: Path, capsys: pytest.CaptureFixture):
    tiny = {"classes": ["Wave"], "groups": 1, "clips": 1, "workers": 1}
    render(tmp_path / "loud", **tiny)
    loud = capsys.readouterr()
    assert "1/1" in loud.err
    assert loud.out == ""
    render(tmp_path / "quiet", progress=False, **tiny)
    assert capsys.readouterr().err == ""
