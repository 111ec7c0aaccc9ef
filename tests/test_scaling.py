"""The cost model of benchmarks/scaling.md: its arithmetic, where the bottleneck moves, and page against record."""

import json

import numpy as np
import pytest

from benchmarks import scaling, stages
from benchmarks.scaling import (
    BATCH,
    GPU_MACHINE,
    STORE,
    Costs,
    Data,
    epoch,
    extraction,
    feature_bytes,
    slowest,
    store_limits_from,
    sum_bytes,
)
from benchmarks.stages import fit

COSTS = Costs(open=0.001, decode=1e-4, convert=1e-4, resize=1e-4)
DATA = Data("some", 800_000, 28, 320 * 240, 1, 1e6)
HEAD = 10_000_000  # parameters


def extract(count, machine=GPU_MACHINE, data=DATA):
    return extraction(machine, data, "resnet50", COSTS, count)


def train(count, machine=GPU_MACHINE, data=DATA):
    return epoch(machine, data, "context_lstm", HEAD, count)


def test_fit_recovers_known_costs_and_gives_none_below_zero():
    columns = [[1, decoded, kept] for decoded, kept in ((7, 7), (28, 28), (90, 7), (120, 28), (60, 14))]
    known = [2e-3, 7e-5, 9e-5]
    seconds = [sum(c * x for c, x in zip(known, column, strict=True)) for column in columns]
    assert fit(columns, seconds) == pytest.approx(known)
    assert fit([[1, 1e8], [1, 2e8]], [0.3, 0.5]) == pytest.approx([0.1, 2e-9])
    assert fit([[1, 10], [1, 20]], [1.0, 2.5])[0] == 0  # the line through both would start at -0.5


def test_a_clip_costs_what_its_frames_and_pixels_cost():
    assert COSTS.clip(DATA) == pytest.approx(0.001 + 28 * 3e-4)
    double = DATA._replace(pixels=2 * DATA.pixels)
    assert COSTS.clip(double) == pytest.approx(0.001 + 2 * 28 * 3e-4)
    whole = DATA._replace(decoded=280, codec=2)
    assert COSTS.clip(whole) == pytest.approx(0.001 + 280 * 2e-4 + 28 * 2e-4)


def test_a_machines_seconds_shrink_with_their_number_and_the_stores_do_not():
    one, hundred = extract(1), extract(100)
    for resource in ("cores", "GPU", "network"):
        assert one[resource] == pytest.approx(100 * hundred[resource])
    assert one["store"] == hundred["store"] == pytest.approx(800_000 * (1e6 + feature_bytes()) / STORE)
    twice = extract(1, data=DATA._replace(clips=2 * DATA.clips))
    assert twice == pytest.approx({resource: 2 * seconds for resource, seconds in one.items()})


def test_without_a_gpu_the_backbone_is_added_to_the_cores():
    busy, cores = extract(1), extract(1, GPU_MACHINE._replace(gpu=False))
    assert "GPU" not in cores
    assert cores["cores"] == pytest.approx(busy["cores"] + busy["GPU"])


def test_the_bottleneck_of_extraction_moves_from_computing_to_the_store():
    assert slowest(extract(1))[0] == "GPU"
    whole_clips = DATA._replace(decoded=1000)
    assert slowest(extract(1, data=whole_clips))[0] == "cores"
    assert slowest(extract(1, GPU_MACHINE._replace(network=1e6)))[0] == "network"
    limit = store_limits_from(GPU_MACHINE, DATA, "resnet50", COSTS)
    assert 2 < limit < 1000
    assert slowest(extract(limit))[0] == "store"
    assert slowest(extract(limit - 1))[0] != "store"
    assert slowest(extract(10 * limit))[1] == slowest(extract(limit))[1]  # more machines only wait


def test_the_bottleneck_of_training_moves_with_machines_and_memory(monkeypatch):
    steps, share = DATA.clips / BATCH, DATA.clips * feature_bytes()
    assert train(1)["disk"] == pytest.approx(share / GPU_MACHINE.disk_speed)  # 92 GB, more than its memory
    assert train(1)["network"] == train(1)["store"] == 0
    roomy = GPU_MACHINE._replace(memory=1e12)
    assert train(1, roomy)["disk"] == 0
    two = train(2, roomy)
    assert two["network"] == pytest.approx(steps / 2 * sum_bytes(HEAD) / GPU_MACHINE.network)
    assert slowest(train(1, roomy))[0] == "GPU"
    assert slowest(two)[0] == "network"
    small = GPU_MACHINE._replace(memory=share / 15, disk=share / 5)
    assert train(1, small)["store"] == pytest.approx(share / STORE)
    assert train(1, small)["disk"] == 0
    assert train(10, small)["store"] == 0
    assert train(10, small)["disk"] == pytest.approx(share / 10 / small.disk_speed)
    assert train(100, small)["disk"] == 0
    monkeypatch.setattr(scaling, "STORE", 1e8)
    assert slowest(train(1, small))[0] == "store"


def test_an_epoch_is_at_least_one_step():
    few = DATA._replace(clips=100)
    assert train(2, data=few)["GPU"] == train(1000, data=few)["GPU"] == pytest.approx(BATCH / 5000)


def test_everything_is_measured_and_predicted_at_small_size():
    rows, raw = stages.measure(small=True)
    assert [row.work.rsplit(", ", 1)[1] for row in rows] == ["8 clips", "32 clips"]
    assert all(row.ours > 0 and row.reference > 0 for row in rows)
    for name, stage in raw["stages"].items():
        assert len(stage["columns"]) == len(stage["seconds"]) >= 2, name
        assert len(stage["units"]) == len(stage["coefficients"]), name
        assert fit(stage["columns"], stage["seconds"]) == pytest.approx(stage["coefficients"])
    assert set(raw["parameters"]) == {"cnn_lstm", "context_lstm"}


def test_the_page_follows_from_its_record(tmp_path, monkeypatch):
    text = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.render() == text
    copy = tmp_path / "scaling.md"
    copy.write_text(text.replace("extraction, resnet50 |", "extraction, resnet50 | 1", 1), encoding="utf-8")
    monkeypatch.setattr(scaling, "PAGE", copy)
    scaling.main(["--page"])
    assert copy.read_text(encoding="utf-8") == text


def the_record():
    """The record that the page names."""
    return json.loads(scaling.record_of(scaling.PAGE).read_text(encoding="utf-8"))


def test_the_costs_on_the_page_are_fitted_to_the_times_in_the_record():
    for stage in the_record()["raw"]["stages"].values():
        # The record has five digits of each time, and a small coefficient may be a difference of large ones: the lines
        # are compared where they were measured.
        columns = np.array(stage["columns"])  # (N, k)
        fitted = columns @ fit(stage["columns"], stage["seconds"])  # (N,)
        assert fitted == pytest.approx(columns @ stage["coefficients"], rel=1e-4)


def test_a_page_without_record_and_a_stage_lost_in_noise_are_refused(tmp_path):
    page = tmp_path / "scaling.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match=r"scaling\.md names no record: run python -m benchmarks\.scaling"):
        scaling.render(page)
    record = the_record()
    record["raw"]["stages"]["disk, read"]["coefficients"][-1] = 0
    with pytest.raises(ValueError, match="disk, read took no longer at twice the size: measure again"):
        scaling.machine_of(record)
