"""Figures hold what they were given, are the same bytes each time, and leave matplotlib as it was."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ctxlstm import evaluation, figures

# How people with each deficiency see linear RGB, full severity (Machado, Oliveira and Fernandes 2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
HEADS = ["context_lstm", "context_lstm_no_pool", "cnn_lstm", "mean_linear", "nearest_neighbour"]


def history(epochs: int = 12, best: float = 0.6, validation: bool = True) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    top1 = best * (1 - np.exp(-epoch / 4)) - 0.02 * (epoch == epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 2.5 * np.exp(-epoch / 4),
            "validation_top1": top1 - 0.1 * (epoch > 8) if validation else np.nan,
            "test_top1": top1,
        }
    )


def heads(protocols=("paper", "grouped")) -> pd.DataFrame:
    rows = [
        (head, protocol, 0.95 - 0.3 * i - 0.02 * j)
        for i, protocol in enumerate(protocols)
        for j, head in enumerate(HEADS)
    ]
    return pd.DataFrame(rows, columns=["model", "protocol", "top1"]).eval(
        "low = top1 - 0.04\nhigh = top1 + 0.03"
    )


def predictions(classes: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.repeat(classes, 4)
    return pd.DataFrame(
        {
            "name": [f"v_{name}_g01_c{i:04d}" for i, name in enumerate(label)],
            "label": label,
            "predicted": np.where(rng.uniform(size=label.size) < 0.7, label, classes[0]),
            "probability": rng.uniform(0.3, 1, label.size),
            "nll": 0.5,
        }
    )


def clip(frames: int = 10) -> np.ndarray:
    """A clip in which frame t is all of one grey, 20 * t."""
    return np.repeat(np.arange(frames, dtype=np.uint8) * 20, 24 * 32 * 3).reshape(frames, 24, 32, 3)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(plt.Text) if text.get_text()]


EVERY = {
    "curves": lambda: figures.curves({"cnn_lstm": history(), "context_lstm": history(best=0.7)}, "Runs"),
    "confusion": lambda: figures.confusion(evaluation.confusion(predictions(["A", "B", "C"]))),
    "heads": lambda: figures.heads_by_protocol(heads()),
    "film_strip": lambda: figures.film_strip([clip()], ["SitDown"]),
    "reliability": lambda: figures.reliability(predictions(["A", "B"]), "run"),
}


# ---- all figures


@pytest.mark.parametrize("name", EVERY)
def test_no_state_is_left_behind(name):
    before = dict(mpl.rcParams)
    figure = EVERY[name]()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []  # an open figure would be shown by the notebook a second time
    assert dict(mpl.rcParams) == before


def test_a_failing_drawing_leaves_no_open_figure():
    with pytest.raises(ValueError, match="lacks the columns"):
        figures.heads_by_protocol(heads().drop(columns="top1"))
    assert plt.get_fignums() == []


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("name", ["curves", "film_strip"])
def test_saving_twice_gives_equal_bytes(name, suffix, tmp_path):
    first = figures.save(EVERY[name](), tmp_path / f"a{suffix}")
    second = figures.save(EVERY[name](), tmp_path / "deeper" / f"b{suffix}")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 300_000
    assert b"dc:date" not in first.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", "deeper"]


def test_saving_changes_nothing_in_the_figure(tmp_path):
    figure = EVERY["confusion"]()
    layout = figure.get_layout_engine()
    first = figures.save(figure, tmp_path / "a.png").read_bytes()
    assert figure.get_layout_engine() is layout
    assert figures.save(figure, tmp_path / "b.png").read_bytes() == first
    title = figure.suptitle("a title\nin two lines")  # a later title still gets room
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().y1 < title.get_window_extent().y0


def test_save_refuses_other_formats_and_keeps_the_old_file_on_failure(tmp_path, monkeypatch):
    figure = EVERY["heads"]()
    with pytest.raises(ValueError, match=r"\.png or \.svg, so figure\.gif cannot be"):
        figures.save(figure, tmp_path / "figure.gif")
    path = figures.save(figure, tmp_path / "figure.png")
    old = path.read_bytes()

    def full_disk(aside, **_):
        aside.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        figures.save(figure, path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_cut_off_at_the_edges(tmp_path):
    for name, make in EVERY.items():
        picture = np.asarray(Image.open(figures.save(make(), tmp_path / f"{name}.png")).convert("L"))
        edges = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (edges > 250).all(), name


# ---- colours


def seen(colour: str, matrix) -> np.ndarray:
    """CIE Lab of a colour as someone with that vision sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x = XYZ @ np.clip(np.asarray(matrix) @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    ("palette", "least"),
    [(figures.GATE_COLOURS, 15), (figures.PROTOCOL_COLOURS, 40), (figures.HEAD_COLOURS, 12)],
)
def test_colours_can_be_told_apart(palette, least, vision):
    for a, b in itertools.combinations(palette, 2):
        distance = np.linalg.norm(seen(palette[a], VISION[vision]) - seen(palette[b], VISION[vision]))
        assert distance > least, (a, b)


def test_every_gate_and_protocol_has_a_colour():
    assert list(figures.GATE_COLOURS) == ["f", "i", "g", "o", "c", "h"]
    assert figures.PROTOCOL_COLOURS.keys() == figures.PROTOCOL_MARKERS.keys() == figures.PROTOCOL_NAMES.keys()


# ---- curves


def test_curves_mark_the_best_and_the_chosen_epoch():
    run = history()
    loss, top1 = figures.curves({"context_lstm": run}).axes
    line, best, chosen = top1.lines
    assert line.get_ydata() == pytest.approx(100 * run.test_top1)
    assert (best.get_marker(), best.get_xdata().item()) == ("^", 12 - 1)
    assert (chosen.get_marker(), list(chosen.get_xdata())) == ("o", [8])
    assert loss.lines[0].get_ydata() == pytest.approx(run.train_loss)
    assert loss.get_ylabel() == "training loss (nats, log scale)"
    assert top1.get_ylabel() == "test top-1 (%)"


def test_curves_without_validation_mark_no_chosen_epoch():
    top1 = figures.curves({"context_lstm": history(validation=False)}).axes[1]
    assert [line.get_marker() for line in top1.lines] == ["None", "^"]


def test_curves_draw_an_untrained_head_as_a_level():
    run = history(1)
    run["train_loss"] = np.nan
    loss, top1 = figures.curves({"nearest_neighbour": run, "context_lstm": history()}).axes
    assert len(loss.lines) == 1
    assert list(top1.lines[0].get_ydata()) == [100 * run.test_top1.item()] * 2


def test_curves_of_a_single_epoch_and_of_untrained_heads_only():
    loss, top1 = figures.curves({"context_lstm": history(1)}).axes
    assert loss.lines[0].get_marker() == "."
    assert [line.get_marker() for line in top1.lines] == ["None", "^", "o"]
    untrained = history(1).assign(train_loss=np.nan)
    loss, top1 = figures.curves({"nearest_neighbour": untrained}).axes
    assert (len(loss.lines), len(top1.lines)) == (0, 1)


def test_curves_keep_the_colour_of_a_head_and_vary_its_line():
    names = ["context_lstm, paper", "context_lstm, grouped", "context_lstm_no_pool", "something else"]
    loss = figures.curves({name: history() for name in names}).axes[0]
    colours = [line.get_color() for line in loss.lines]
    assert colours[:3] == [
        figures.HEAD_COLOURS[name] for name in ["context_lstm"] * 2 + ["context_lstm_no_pool"]
    ]
    assert len({(line.get_color(), line.get_linestyle()) for line in loss.lines}) == 4


def test_curves_legend_lies_outside_the_panels():
    runs = {f"{head}, {split}": history() for head in HEADS[:4] for split in ("paper", "grouped")}
    figure = figures.curves(runs)
    legend = figure.legends[0].get_window_extent()
    assert [text.get_text() for text in figure.legends[0].texts][:8] == list(runs)
    assert not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


@pytest.mark.parametrize("count", [0, 9])
def test_curves_refuse_none_and_too_many(count):
    with pytest.raises(ValueError, match=f"1 to 8 runs, not {count}"):
        figures.curves({f"run {i}": history() for i in range(count)})


# ---- confusion


def test_confusion_shows_counts_and_the_empty_row():
    table = predictions(["A", "B", "C"])
    matrix = evaluation.confusion(table, ["A", "B", "C", "D"])
    figure = figures.confusion(matrix)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown[:-1] == [str(count) if count else "" for count in matrix.to_numpy()[:3].ravel()]
    assert shown[-1] == "no test clip"
    colours = figure.axes[0].collections[0].get_array().reshape(4, 4)
    assert colours[:3].data.sum(axis=1) == pytest.approx([100] * 3)
    assert colours.mask[3].all()


def test_confusion_names_all_101_classes_without_overlap():
    classes = [f"HandstandPushups{i:03d}" for i in range(101)]
    figure = figures.confusion(evaluation.confusion(predictions(classes), classes))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == classes
    assert len(axes.texts) == 0
    for labels, side in ((axes.get_yticklabels(), "y0"), (axes.get_xticklabels(), "x0")):
        starts = [getattr(label.get_window_extent(), side) for label in labels]
        pitch = np.abs(np.diff(starts)).min() * 72 / figure.dpi  # points
        assert pitch >= labels[0].get_size() >= 6


# ---- heads by protocol


@pytest.mark.parametrize("protocols", [("paper", "grouped"), ("paper", "grouped", "official")])
def test_heads_shows_every_number_once(protocols):
    table = heads(protocols)
    axes = figures.heads_by_protocol(table).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == HEADS[::-1]  # best at the top
    drawn = {line.get_label(): sorted(line.get_xdata()) for line in axes.lines}
    for protocol in protocols:
        values = table[table.protocol == protocol].top1
        assert drawn[figures.PROTOCOL_NAMES[protocol]] == pytest.approx(sorted(100 * values))
    numbers = sorted(float(text.get_text()) for text in axes.texts)
    ends = table[table.protocol.isin([protocols[0], protocols[-1]])]
    assert numbers == pytest.approx(sorted(100 * ends.top1), abs=0.05)


def test_heads_without_intervals_and_with_a_missing_protocol():
    table = heads().drop(columns=["low", "high"]).query("not (model == 'cnn_lstm' and protocol == 'grouped')")
    axes = figures.heads_by_protocol(table).axes[0]
    assert len(axes.texts) == 9
    assert "cnn_lstm" in [text.get_text() for text in axes.get_yticklabels()]


def test_heads_labels_stay_inside_the_figure():
    figure = figures.heads_by_protocol(heads())
    for text in figure.axes[0].get_yticklabels() + figure.axes[0].texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, text.get_text()


def test_heads_refuses():
    with pytest.raises(
        ValueError, match=r"Unknown protocols \['random'\]: the valid ones are paper, grouped"
    ):
        figures.heads_by_protocol(heads(("random",)))
    with pytest.raises(ValueError, match="average over seeds"):
        figures.heads_by_protocol(pd.concat([heads(), heads()]))
    with pytest.raises(ValueError, match="empty"):
        figures.heads_by_protocol(heads().iloc[:0])


# ---- frames


def test_film_strip_takes_evenly_spaced_frames_in_order():
    figure = figures.film_strip([clip(10)], ["WalkLeft"], frames=4)
    picture = figure.axes[0].images[0].get_array()
    gap = 1
    firsts = picture[0, :: 32 + gap, 0]
    assert list(firsts) == [0, 60, 120, 180]  # frames 0, 3, 6, 9
    assert picture.shape == (24, 4 * 32 + 3 * gap, 3)
    assert "WalkLeft" in texts(figure)


def test_film_strip_same_picture_from_array_tensor_and_floats():
    array = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).movedim(-1, 1)  # (T, 3, H, W)
    rows = figures.film_strip([array, tensor, tensor / 255]).axes
    pictures = [row.images[0].get_array() for row in rows]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()


def test_film_strip_fills_up_a_short_clip():
    long, short = (axes.images[0].get_array() for axes in figures.film_strip([clip(10), clip(2)]).axes)
    assert long.shape == short.shape
    assert (short[:, 2 * 33 :] == 255).all()


def test_film_strip_refuses():
    with pytest.raises(ValueError, match=r"not \(24, 32, 3\)"):
        figures.film_strip([clip()[0]])
    with pytest.raises(ValueError, match="undo the normalisation"):
        figures.film_strip([torch.randn(2, 3, 8, 8)])
    with pytest.raises(ValueError, match="2 clips, 1 titles"):
        figures.film_strip([clip(), clip()], ["SitDown"])
    with pytest.raises(ValueError, match="0 clips"):
        figures.film_strip([])


# ---- reliability


def test_reliability_shows_the_bins():
    table = predictions(["A", "B", "C"])
    error, bins = evaluation.calibration(table)
    figure = figures.reliability(table)
    upper, lower = figure.axes
    assert upper.get_title(loc="left") == f"expected calibration error {error:.3f}"
    assert [bar.get_height() for bar in lower.patches] == list(bins.clips)
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)
