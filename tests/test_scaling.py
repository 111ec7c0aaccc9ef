"""The cost model of benchmarks/scaling.md: its arithmetic, where the bottleneck moves, and page against record."""

import json
import re

import numpy as np
import pytest

from benchmarks import harness, scaling, stages
from benchmarks.scaling import BATCH, STORE, Data, Machine, epoch, extraction

EACH = {"resize, resnet50": 1e-4, **scaling.GPU}
MACHINE = Machine((0.001, 1e-4, 1e-4), EACH, cores=16, network=3e9, nets_on="GPU")
DATA = Data("some", 800_000, 28, 320 * 240, 1, 1e6)
HEAD = 10_000_000  # parameters


def extract(count, machine=MACHINE, data=DATA):
    return extraction(machine, data, "resnet50", count)


def train(count, machine=MACHINE, data=DATA):
    return epoch(machine, data, "context_lstm", HEAD, count)


def slowest(busy):
    return max(busy, key=busy.get)


def fit(columns, seconds):
    return stages.stage((), "wall", columns, seconds)["coefficients"]


def test_fit_recovers_known_costs_and_gives_none_below_zero():
    columns = [[1, decoded, kept] for decoded, kept in ((7, 7), (28, 28), (90, 7), (120, 28), (60, 14))]
    known = [2e-3, 7e-5, 9e-5]
    seconds = [sum(c * x for c, x in zip(known, column, strict=True)) for column in columns]
    assert fit(columns, seconds) == pytest.approx(known)
    assert fit([[1, 10], [1, 20]], [1.0, 2.5])[0] == 0  # the line through both would start at -0.5


def test_a_clip_costs_what_its_frames_and_pixels_cost():
    def of_a_clip(data):
        return extract(1, data=data)["cores"] * MACHINE.cores / DATA.clips

    assert of_a_clip(DATA) == pytest.approx(0.001 + 28 * 3e-4)
    double = DATA._replace(pixels=2 * DATA.pixels)
    assert of_a_clip(double) == pytest.approx(0.001 + 2 * 28 * 3e-4)
    whole = DATA._replace(decoded=280, codec=2)
    assert of_a_clip(whole) == pytest.approx(0.001 + 280 * 2e-4 + 28 * 2e-4)


def test_a_machines_seconds_shrink_with_their_number_and_the_stores_do_not():
    one, hundred = extract(1), extract(100)
    for resource in ("cores", "GPU", "network"):
        assert one[resource] == pytest.approx(100 * hundred[resource])
    assert one["store"] == hundred["store"] == pytest.approx(800_000 * (1e6 + 28 * 2048 * 2) / STORE)
    twice = extract(1, data=DATA._replace(clips=2 * DATA.clips))
    assert twice == pytest.approx({resource: 2 * seconds for resource, seconds in one.items()})


def test_without_a_gpu_the_backbone_is_added_to_the_cores():
    busy, cores = extract(1), extract(1, MACHINE._replace(nets_on="cores"))
    assert "GPU" not in cores
    assert cores["cores"] == pytest.approx(busy["cores"] + busy["GPU"])


def test_the_bottleneck_of_extraction_moves_from_computing_to_the_store():
    assert slowest(extract(1)) == "GPU"
    assert slowest(extract(1, data=DATA._replace(decoded=1000))) == "cores"
    assert slowest(extract(1, MACHINE._replace(network=1e6))) == "network"
    assert slowest(extract(100)) == slowest(extract(1000)) == "store"


def test_the_bottleneck_of_training_moves_from_computing_to_the_network():
    assert train(1)["network"] == 0
    assert slowest(train(1)) == "GPU"
    two = train(2)
    assert two["network"] == pytest.approx(DATA.clips / BATCH / 2 * 4 * HEAD * 2 / MACHINE.network)
    assert slowest(two) == "network"


def test_a_time_is_that_of_the_busiest_resource_in_a_unit_that_suits_it():
    found = [scaling.waits({"cores": seconds, "store": 0.5}) for seconds in (0.1, 59, 60, 3600, 259_200, 1e8)]
    words = "0.5 s, store; 59 s, cores; 1 min, cores; 1 h, cores; 3 days, cores; 1,157 days, cores"
    assert "; ".join(found) == words


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
    assert set(raw["parameters"]) == set(stages.HEADS)
    pairs = [(stage, net) for stage in ("resize", "backbone") for net in stages.WIDTHS]
    pairs += [("epoch", head) for head in stages.HEADS]
    assert set(pairs) < {tuple(name.split(", ")[:2]) for name in raw["stages"]}  # what the model looks up


def the_record():
    """The file of the record that the page names."""
    name = re.search(r"`results/(scaling-[\w.-]+\.json)`", scaling.PAGE.read_text(encoding="utf-8"))[1]
    return harness.RESULTS / name


def test_the_page_follows_from_its_record(tmp_path, monkeypatch):
    text = scaling.PAGE.read_text(encoding="utf-8")
    copy = tmp_path / "scaling.md"
    copy.write_text(re.sub(r"(?m)^\| .*\n", "", text), encoding="utf-8")  # no tables
    record = the_record()
    monkeypatch.setattr(scaling, "PAGE", copy)
    scaling.main(record)
    assert copy.read_text(encoding="utf-8") == text


def test_the_page_names_the_inputs_that_the_code_assumes():
    text = scaling.PAGE.read_text(encoding="utf-8")
    rates = {work.split(", ")[1]: 1 / seconds for work, seconds in scaling.GPU.items()}
    wanted = [f"{rates[net]:,.0f} frames/s through {net}" for net in stages.WIDTHS]
    wanted += [f"{rates[head]:,.0f} clips/s with {head}" for head in stages.HEADS]
    wanted += [f"{scaling.GPU_CORES} cores like", f"network of {scaling.NETWORK / 1e6:.0f} MB/s"]
    wanted += [f"network of {scaling.GPU_NETWORK / 1e6:,.0f} MB/s", f"delivers {STORE / 1e6:,.0f} MB/s"]
    for data in scaling.DATA:
        wanted.append(f"- {data.name}: {data.clips:,} clips of {data.video_bytes / 1e6} MB, ")
        wanted[-1] += f"{data.decoded} frames decoded of {data.pixels:,} pixels"
        (line,) = re.findall(f"- {data.name}: .*", text)
        assert f"{data.codec} × the CPU time per pixel" in line
    assert [words for words in wanted if words not in text] == []


def test_the_costs_on_the_page_are_fitted_to_the_times_in_the_record():
    for stage in json.loads(the_record().read_text(encoding="utf-8"))["raw"]["stages"].values():
        # The record has five digits of each time, and a small coefficient may be a difference of large ones: the lines
        # are compared where they were measured.
        columns = np.array(stage["columns"])  # (N, k)
        fitted = columns @ fit(stage["columns"], stage["seconds"])  # (N,)
        assert fitted == pytest.approx(columns @ stage["coefficients"], rel=1e-4)


def test_a_stage_lost_in_noise_is_refused():
    record = json.loads(the_record().read_text(encoding="utf-8"))
    record["raw"]["stages"]["epoch, cnn_lstm"]["coefficients"][-1] = 0
    with pytest.raises(ValueError, match="epoch, cnn_lstm took no longer at twice the size: measure again"):
        scaling.machine_of(record)
