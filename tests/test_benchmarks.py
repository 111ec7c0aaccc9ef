"""The benchmarks: their table and records, and each of them at a size that takes seconds. No time is judged."""

import json
import math
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import __main__ as command
from benchmarks import cache, clips, decoding, extraction, harness, memory, online, training
from ctxlstm import video

pytestmark = pytest.mark.slow


def _eat(megabytes: int) -> int:
    return len(np.ones(megabytes * 125_000)) // 125_000


def _die() -> None:
    os._exit(3)


# --- the harness


def test_alternate_swaps_who_comes_first_and_leaves_the_warmup_out():
    calls = []
    ours, reference = harness.alternate(lambda: calls.append("a"), lambda: calls.append("b"), 3, warmup=1)
    assert calls == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(ours) == len(reference) == 3
    assert all(seconds >= 0 for seconds in ours + reference)


def test_alternate_takes_a_callables_own_seconds():
    own = iter([9.0, 1.0, 2.0, 9.0, 3.0, 4.0])
    ours, reference = harness.alternate(lambda: next(own), lambda: next(own), 2, warmup=1)
    assert (ours, reference) == ([9.0, 3.0], [2.0, 4.0])  # in the second turn the reference comes first
    slow, fast = harness.alternate(lambda: time.sleep(0.05), lambda: None, 2, warmup=0)
    assert min(slow) >= 0.05 > max(fast)


def test_ratio_is_the_median_of_pairs():
    assert harness.ratio([2, 3, 50], [1, 1, 1]) == 3
    assert harness.ratio([1.0], [4.0]) == 0.25


def test_a_rows_limit_decides_whether_it_is_met():
    assert harness.row("w", 1, 2, "s", 0.5, at_most=0.5).met
    assert not harness.row("w", 1, 2, "s", 0.51, at_most=0.5).met
    assert harness.row("w", 1, 2, "s", 0.9, at_least=0.9).met
    row = harness.row("w", 1, 2, "s", 0.89, at_least=0.9)
    assert (row.met, row.limit) == (False, ">= 0.9")
    free = harness.row("w", 1, 2, "s", 0.5)
    assert (free.met, free.limit) == (None, "")


def test_table_says_all_and_numbers_equal_notes_once():
    rows = [
        harness.row("first", 12345.6, 2, "frames/s", 0.5, at_most=1, note="same"),
        harness.row("second", 0.00123, 2, "s", 3, at_most=1, note="same"),
        harness.skipped("third", "no disk"),
    ]
    head, line, *body = harness.table(rows).splitlines()
    assert head.split() == ["work", "ours", "reference", "ratio", "limit", "met"]
    assert set(line) == {"-"}
    assert "first [1]" in body[0]
    assert "12,346 frames/s" in body[0]
    assert body[0].endswith("yes")
    assert "0.00123 s" in body[1]
    assert body[1].endswith("no")
    assert body[3:] == ["[1] same", "[2] not measured: no disk"]


def test_save_writes_a_whole_record_in_place_of_the_older_one(tmp_path):
    first = harness.save("x", [], {}, folder=tmp_path)
    rows = [harness.row("w", 1.23456789, 2, "s", 0.5, at_most=1), harness.skipped("v", "why")]
    path = harness.save("x", rows, {"w": {"ours": [1.0], "reference": [2.0]}}, folder=tmp_path)
    assert path == first
    assert list(tmp_path.iterdir()) == [path]
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["rows"][0] == asdict(rows[0]) | {"ours": 1.2346}
    assert record["rows"][1]["ratio"] is None  # strict JSON has no not-a-number
    assert record["raw"] == {"w": {"ours": [1.0], "reference": [2.0]}}
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["machine"].keys() == {"processor", "cores", "memory_gb", "torch_threads", "gpu"}
    assert record["date"].startswith("20")


def test_in_process_sees_memory_that_was_given_back():
    small, large = harness.in_process(_eat, 1), harness.in_process(_eat, 200)
    assert (small.value, large.value) == (1, 200)
    assert 190e6 < large.grown_bytes < 260e6
    assert small.grown_bytes < 60e6


def test_in_process_tells_of_a_process_that_died():
    with pytest.raises(RuntimeError, match="_die died"):
        harness.in_process(_die)


# --- the benchmarks, small


def _check(measured, count: int) -> list[harness.Row]:
    """Rows and raw times hang together; returns the rows."""
    rows, raw = measured
    assert len(rows) == count
    assert len({row.work for row in rows}) == count
    for row in rows:
        assert row.work
        assert row.note
        assert row.unit
        assert math.isfinite(row.ratio)
        assert (row.met is None) == (row.limit == "")
    json.dumps(harness._short(raw), allow_nan=False)
    assert all(values for values in raw.values())
    return rows


def test_bare_decoding_gives_the_same_pictures():
    table, _ = clips.table(2, small=True)
    for rule in ("first", "uniform"):
        frames = video.read_frames(table["path"][0], 28, rule)
        pictures = decoding.bare(table["path"][0], frames.index)  # (T, H, W, 3)
        assert np.array_equal(pictures, frames.images.permute(0, 2, 3, 1).numpy())


def test_a_long_clip_is_made_where_there_is_no_real_one(tmp_path):
    path, source = clips.long_clip(tmp_path, small=True)
    count = clips.count_frames(path)
    frames = video.read_frames(path, rule="all")
    assert count == frames.decoded > 400
    assert frames.problem is None
    assert str(count) in source


def test_decoding():
    first, uniform, long = _check(decoding.measure(small=True), 3)
    assert first.unit == uniform.unit == "frames/s"
    assert first.ours > 100
    assert "repeats itself" in long.note


def test_extraction():
    rows = _check(extraction.measure(small=True), 3)
    assert [row.limit for row in rows] == [">= 0.85", ">= 0.85", ""]
    assert all(row.ours > 0 and row.reference > 0 for row in rows)


def test_training_and_its_bare_loop_start_with_the_same_loss():
    case = training.Case("context_lstm", {"hidden_size": 4, "num_layers": 1, "embedding": (4,)}, 8, 4, 16)
    features, split = training.data(case, 16, 8)
    bare = training.Bare(case, features, split)
    x = features.x.float()
    model = case.build()
    torch.testing.assert_close(bare.forward(x), model(x))
    before = [p.clone() for p in bare.model.parameters()]
    bare.epoch(1)
    assert any(not torch.equal(a, b) for a, b in zip(before, bare.model.parameters(), strict=True))


def test_training():
    measured = training.measure(small=True)
    step, epoch, imported = _check(measured, 3)
    assert step.work.startswith("step")
    assert epoch.work.startswith("epoch")
    for one in (step, epoch):  # the first of three epochs is not counted
        times = measured[1][one.work]
        assert len(times["ours"]) == len(times["reference"]) == 2
        assert min(times["ours"]) <= one.ours <= max(times["ours"])
    assert imported.limit == "<= 0.5 s more"


def test_cache():
    rows = _check(cache.measure(small=True), 4)
    assert [row.unit for row in rows] == ["s", "MB", "MB/s", "MB"]


def test_cache_is_left_out_with_a_reason_where_the_disk_is_full(monkeypatch):
    monkeypatch.setitem(cache.NEEDED, "disk", 1e18)
    (row,), raw = cache.measure()
    assert "of disk are free" in row.note
    assert (row.met, raw) == (None, {})


def test_memory():
    rows = _check(memory.measure(small=True), 5)
    assert all(row.unit == "MB" for row in rows)
    assert rows[3].reference == pytest.approx(
        3 * rows[2].reference, rel=0.1
    )  # 4x adds three times what 2x adds


def test_online():
    way, start = _check(online.measure(small=True), 2)
    assert way.ratio > 1
    assert "by the end of epoch" in start.note


def test_break_even():
    assert online.break_even(0.0, [1, 1], 0.0, [9, 9]) == 1
    assert online.break_even(20.0, [2, 1], 0.0, [9, 9]) == 3  # 22, 23, 24 against 9, 18, 27
    assert online.break_even(20.0, [9], 0.0, [9]) == math.inf


def test_the_command_prints_one_table_and_survives_a_benchmark_that_breaks(monkeypatch, capsys):
    def broken(small):
        raise ZeroDivisionError("on purpose")

    rows = [harness.row("some work", 1, 2, "s", 0.5, at_most=0.1, note="n")]
    monkeypatch.setattr(decoding, "measure", lambda small: (rows, {"some work": {}}))
    assert command.main(["decoding", "--small"]) == 0  # a limit that is missed breaks nothing
    assert "some work" in capsys.readouterr().out
    monkeypatch.setattr(cache, "measure", broken)
    assert command.main(["cache", "decoding", "--small"]) == 1
    printed = capsys.readouterr()
    assert "failed, see above: cache" in printed.out
    assert "some work" in printed.out
    assert "on purpose" in printed.err
    with pytest.raises(SystemExit):
        command.main(["nothing"])
