"""Widgets over splits, records and clips: right numbers, equal twins, no reading while one moves, clear sentences."""

import shutil
import subprocess
import sys

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from small import write_clip
from synthetic import study

from ctxlstm import backbone, models, stickfigures, ucf101, video
from ctxlstm.experiments import runs
from ctxlstm.widgets.clips import (
    confusion_browser,
    confusion_browser_figure,
    frame_browser,
    frame_browser_figure,
)
from ctxlstm.widgets.dashboard import record_dashboard, record_dashboard_figure
from ctxlstm.widgets.film import see
from ctxlstm.widgets.panel import png
from ctxlstm.widgets.splits import split_explorer, split_explorer_figure
from ctxlstm.widgets.video import OwnVideo, Predictor, own_video, own_video_figure

CLASSES = list(stickfigures.CLASSES[:3])  # CloseArms, JumpingJack, Kick


class FakePredict:
    """Probabilities that follow from the frames' brightness, at no cost; counts how often it is asked."""

    def __init__(self, classes=CLASSES, frames=6):
        self.classes, self.frames, self.calls = list(classes), frames, 0

    def __call__(self, images):
        self.calls += 1
        assert images.dtype == torch.uint8
        rise = images.float().mean((1, 2, 3)).numpy() / 255 + np.arange(len(images))  # (T,)
        logits = rise[:, None] * np.linspace(0.5, 0, len(self.classes))
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def texts(figure: Figure) -> str:
    return "\n".join(
        text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))
    )


@pytest.fixture(scope="module")
def clips(tiny_clips) -> pd.DataFrame:
    return ucf101.index(tiny_clips)


def test_importing_the_widgets_does_not_wait_for_torchvision():
    code = "import sys, ctxlstm.widgets; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- splits -------------------------------------------------------------------------------------------------------


def test_split_explorer_shows_what_ucf101_says_of_the_full_data_set():
    full = ucf101.full_index()
    widget = split_explorer(full)
    leak = ucf101.leakage(full, ucf101.split(full, "paper"))
    assert f"<b>{leak.share:.1%}</b> of the test clips have a sibling" in widget.numbers.value
    assert "9,990 clips train and 3,330 test (25.0%)" in widget.numbers.value
    assert widget.picture.value == png(split_explorer_figure(full))
    widget.set(protocol="official", fold=3)
    assert "9,624 clips train and 3,696 test" in widget.numbers.value
    assert "<b>0.0%</b>" in widget.numbers.value
    assert "Of 2,525 source videos, 0 have clips in both parts" in widget.numbers.value
    assert widget.picture.value == png(split_explorer_figure(full, "official", fold=3))


def test_split_explorer_offers_only_what_counts(clips):
    widget = split_explorer(clips)
    fold, seed = widget.controls["fold"], widget.controls["seed"]
    assert (fold.disabled, seed.disabled) == (True, False)
    before = widget.picture.value
    widget.controls["protocol"].value = "official"  # as a hand does it
    assert (fold.disabled, seed.disabled) == (False, True)
    # Groups 1 to 4 all test in fold 1, and none does in fold 3: there is no such split of these clips.
    assert "leaves the training set empty" in widget.numbers.value
    assert widget.picture.value == before
    widget.controls["protocol"].value = "grouped"
    assert 'role="status"' in widget.numbers.value


def test_split_figure_counts_the_leak(clips):
    figure = split_explorer_figure(clips, "paper", seed=1)
    split = ucf101.split(clips, "paper", seed=1)
    leaked = int((ucf101.leakage(clips, split).siblings > 0).sum())
    assert f"test, sibling in train\n{leaked}" in texts(figure)
    assert f"train\n{len(split.train)}" in texts(figure)
    sources = figure.axes[1].images[0].get_array()  # (K, G, 3)
    assert sources.shape == (3, 4, 3)
    tested = clips.iloc[split.test].groupby(["label", "group"]).size()  # of two clips each
    orange = np.isclose(sources, sources[tuple(np.argwhere(_both(clips, tested))[0])]).all(axis=2)
    assert (orange == _both(clips, tested)).all()
    with pytest.raises(
        ValueError, match=r"Unknown protocol 'random': choose one of paper, grouped, official"
    ):
        split_explorer_figure(clips, "random")


def _both(clips: pd.DataFrame, tested: pd.Series) -> np.ndarray:
    """Source videos with one of their two clips in the test set, (K, G)."""
    every = pd.MultiIndex.from_product([CLASSES, range(1, 5)])
    return (tested.reindex(every, fill_value=0).to_numpy() == 1).reshape(3, 4)


# --- run records --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pd.DataFrame:
    return study(tmp_path_factory.mktemp("study"), seeds=2)


def test_record_dashboard_reads_every_history_once(records, monkeypatch):
    widget = record_dashboard(records)
    assert widget.picture.value == png(record_dashboard_figure(records))
    expected = png(record_dashboard_figure(records, ("cnn_lstm", "mean_linear"), "official", "test_loss"))
    monkeypatch.setattr(runs, "history", None)  # a call would fail
    chosen = {"context_lstm": False, "mean_linear": True, "protocol": "official", "measure": "test_loss"}
    widget.set(**chosen)
    assert widget.picture.value == expected
    assert "<b>mean_linear</b>" in widget.numbers.value
    widget.set(cnn_lstm=True, measure="train_loss")
    before = widget.picture.value
    widget.set(cnn_lstm=False, mean_linear=False)
    assert "No head is chosen: tick at least one." in widget.numbers.value
    assert widget.picture.value == before


def test_dashboard_draws_mean_and_range_of_the_seeds(records):
    figure = record_dashboard_figure(records, ("context_lstm",), "paper", "test_top1")
    main = records[(records["model"] == "context_lstm") & (records["protocol"] == "paper")]
    main = main[(main["variant"] == "") & (main["batch_size"] == 40)]
    curves = np.array([100 * runs.history(row)["test_top1"] for _, row in main.iterrows()])  # (seeds, epochs)
    axes = figure.axes[0]
    assert len(curves) == 2
    assert axes.lines[0].get_ydata() == pytest.approx(curves.mean(0))
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((curves.min(), curves.max()))
    assert "lowest to highest seed" in texts(figure)
    assert axes.get_ylabel() == "test top-1 (%)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": ("resnet",)}, r"unknown head 'resnet': choose one of context_lstm, "),
        ({"protocol": "random"}, r"unknown protocol 'random': choose one of paper, grouped, official"),
        ({"measure": "loss"}, r"unknown measure 'loss': choose one of test_top1, "),
        ({"models": ()}, r"No head is chosen"),
    ],
)
def test_dashboard_refuses_unknown_names(records, given, message):
    with pytest.raises(ValueError, match=message):
        record_dashboard_figure(records, **given)


# --- frames -------------------------------------------------------------------------------------------------------


def test_frame_browser_reads_and_judges_a_clip_once(clips, monkeypatch):
    predict = FakePredict()
    read = []
    monkeypatch.setattr(
        video, "read_frames", lambda *given, real=video.read_frames: read.append(given) or real(*given)
    )
    widget = frame_browser(clips, predict)
    first, second = clips["name"][:2]
    assert widget.state == {"name": first, "t": 0}
    widget.set(t=5)
    widget.set(t=2)
    widget.set(name=second)
    widget.set(name=first, t=4)
    assert (predict.calls, len(read)) == (2, 2)
    assert widget.picture.value == png(frame_browser_figure(clips, first, 4, predict))
    assert "After the frames so far the network says <b>CloseArms</b>" in widget.numbers.value


def test_frame_browser_figure_marks_the_frame_and_the_true_class(clips):
    name = clips["name"][len(clips) - 1]
    figure = frame_browser_figure(clips, name, 3, FakePredict())
    large, strip, table = figure.axes
    clip = video.read_frames(clips["path"].iloc[-1], 6, "uniform")
    assert [text.get_text() for text in strip.get_xticklabels()] == [str(i) for i in clip.index]
    assert strip.patches[0].get_x() == table.patches[0].get_x() == 2.5
    assert "Kick (true)" in texts(figure)
    assert f"frame {clip.index[3]} of {clip.decoded}" in texts(figure)
    middle = large.images[0].get_array()[:, 328:648]  # the frame before and a gap are left of it
    assert np.array_equal(middle, clip.images[3].permute(1, 2, 0))


def test_frame_browser_without_predict_and_its_refusals(clips, tmp_path):
    name = clips["name"][0]
    assert len(frame_browser_figure(clips, name).axes) == 2
    assert "network" not in frame_browser(clips).numbers.value
    with pytest.raises(
        ValueError, match=r"There is no clip 'v_No_g01_c01' in the table: choose one of its 24"
    ):
        frame_browser_figure(clips, "v_No_g01_c01")
    with pytest.raises(ValueError, match=r"t is 12: the strip has the frames 0 to 11"):
        frame_browser_figure(clips, name, 12)
    with pytest.raises(ValueError, match=r"has no file for v_ApplyEyeMakeup_g01_c01"):
        frame_browser_figure(ucf101.full_index(), "v_ApplyEyeMakeup_g01_c01")
    (tmp_path / "text.avi").write_text("no film", encoding="utf-8")
    broken = clips.head(2).assign(path=[clips["path"][0], str(tmp_path / "text.avi")])
    widget = frame_browser(broken)
    before = widget.picture.value
    widget.controls["name"].value = clips["name"][1]
    assert "text.avi is not a video that can be decoded" in widget.numbers.value
    assert widget.picture.value == before
    short = FakePredict()
    short.classes = [*CLASSES, "Wave"]
    with pytest.raises(ValueError, match=r"of shape \(6, 3\) for 6 frames and 4 classes"):
        see(
            clips["path"][0],
            6,
            type("P", (), {"classes": short.classes, "__call__": lambda s, x: FakePredict()(x)})(),
        )


# --- the confusion matrix -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predictions(clips) -> pd.DataFrame:
    """All 24 clips tested; 5 clips of Kick taken for JumpingJack, 1 of JumpingJack for Kick."""
    table = clips[["name", "label"]].assign(predicted=clips["label"], probability=0.9, nll=0.1)
    kicks, jumps = (np.flatnonzero(table["label"] == name) for name in ("Kick", "JumpingJack"))
    table.loc[kicks[:5], "predicted"] = "JumpingJack"
    table.loc[kicks[:5], "probability"] = [0.4, 0.8, 0.5, 0.7, 0.6]
    table.loc[jumps[0], "predicted"] = "Kick"
    return table


def test_confusion_browser_opens_the_clips_of_a_cell(predictions, clips):
    widget = confusion_browser(predictions, clips)
    assert widget.state == {"true": "Kick", "predicted": "JumpingJack"}  # the commonest mistake
    assert "5 of the 8 test clips of <b>Kick</b> are taken for JumpingJack." in widget.numbers.value
    assert (
        "The other way round, JumpingJack taken for Kick: 1. The 4 most confident are shown."
        in widget.numbers.value
    )
    figure = confusion_browser_figure(predictions, clips)
    assert widget.picture.value == png(figure)
    kicks = clips[clips["label"] == "Kick"]["name"].tolist()
    titles = [axes.get_title(loc="left") for axes in figure.axes[1:]]
    assert titles == [f"{kicks[i]}, p = {p:.2f}" for i, p in ((1, 0.8), (3, 0.7), (4, 0.6), (2, 0.5))]
    frame = figure.axes[0].patches[0]  # row Kick, column JumpingJack
    assert (frame.get_x(), frame.get_y()) == (0.5, 1.5)
    assert "Kick, taken for JumpingJack: 5 test clips" in texts(figure)
    widget.set(predicted="Kick")
    assert "3 of the 8 test clips of <b>Kick</b> are recognised." in widget.numbers.value


def test_confusion_browser_says_when_a_cell_is_empty(predictions, clips):
    widget = confusion_browser(predictions, clips)
    widget.controls["predicted"].value = "CloseArms"
    assert (
        "The cell is empty: none of the 8 test clips of <b>Kick</b> is taken for CloseArms"
        in widget.numbers.value
    )
    figure = confusion_browser_figure(predictions, clips, "Kick", "CloseArms")
    assert "This cell is empty" in texts(figure)
    assert len(figure.axes) == 1
    kicks = predictions[predictions["label"] == "Kick"]
    widget = confusion_browser(kicks, clips)
    widget.controls["true"].value = "CloseArms"
    assert "no clip of CloseArms is in the test set" in widget.numbers.value


def test_confusion_without_mistakes_shows_what_is_right(predictions, clips):
    right = predictions.assign(predicted=predictions["label"])
    figure = confusion_browser_figure(right, clips, true="Kick")
    assert "Kick, right: 8 test clips" in texts(figure)
    state = confusion_browser(right, clips).state
    assert state["true"] == state["predicted"]


def test_confusion_browser_refuses_what_does_not_belong_together(predictions, clips, tmp_path):
    with pytest.raises(
        ValueError, match=r"8 of the 24 predicted clips are not in the clip table \(the first is v_Close"
    ):
        confusion_browser(predictions, clips[clips["label"] != "CloseArms"])
    with pytest.raises(
        ValueError, match=r"unknown class 'Waltz': choose one of CloseArms, JumpingJack, Kick"
    ):
        confusion_browser_figure(predictions, clips, true="Waltz")
    gone = clips.assign(path=[str(tmp_path / "gone.avi") for _ in clips["path"]])
    figure = confusion_browser_figure(predictions, gone)  # the other clips of a cell may still be there
    assert texts(figure).count("There is no video file") == 4


# --- your own video -----------------------------------------------------------------------------------------------


def give(widget: OwnVideo, name: str, content: bytes) -> str:
    """Upload a file as the browser's message does; what the widget then says."""
    file = {"name": name, "type": "", "size": len(content), "content": memoryview(content)}
    widget.upload.set_state({"value": [file | {"last_modified": 0}]})
    return widget.numbers.value


@pytest.fixture(scope="module")
def files(tmp_path_factory, clips, sound_only):
    """Files that are no film to be judged."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "notes.txt").write_text("These are not the frames you look for.\n" * 99, encoding="utf-8")
    (folder / "renamed.avi").write_bytes((folder / "notes.txt").read_bytes())
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "header.avi").write_bytes(open(clips["path"][0], "rb").read()[:200])
    shutil.copy(sound_only, folder)
    write_clip(folder / "one.avi", 1)
    Image.new("RGB", (64, 48)).save(folder / "photo.png")
    (folder / "folder").mkdir()
    return folder


BAD = {
    "notes.txt": "notes.txt is not a video that can be decoded (it may be an image, audio, text",
    "renamed.avi": "renamed.avi is not a video that can be decoded",
    "empty.mp4": "empty.mp4 is empty (0 bytes)",
    "header.avi": "header.avi is not a video that can be decoded",
    "sound.avi": "sound.avi holds no video stream",
    "one.avi": "one.avi has a single frame: a movement needs at least two",
    "photo.png": "photo.png is not a video that can be decoded (it may be an image",
    "folder": "folder is a folder: give the path of one video file",
    "missing.avi": "There is no video file or frame folder at",
}


@pytest.mark.parametrize("name", BAD)
def test_own_video_answers_a_bad_file_with_one_sentence(files, name, capfd):
    predict = FakePredict()
    widget = own_video(predict)
    widget.path.value = str(files / name)
    widget.button.click()
    assert BAD[name] in widget.numbers.value
    assert name in widget.numbers.value
    assert 'role="alert"' in widget.numbers.value
    assert widget.picture.layout.display == "none"
    assert not widget.button.disabled
    with pytest.raises(video.VideoError, match=r"^(There is no .*)?" + name.replace(".", r"\.")):
        own_video_figure(predict, files / name)
    if (files / name).is_file():
        said = give(widget, name, (files / name).read_bytes())
        assert 'role="alert"' in said
        assert said.count(name) == 1
        assert "uploaded-file" not in said
    assert predict.calls <= 4
    assert capfd.readouterr() == ("", "")


def test_own_video_shows_an_upload_and_says_what_it_cannot_know(clips):
    predict = FakePredict()
    widget = own_video(predict)
    assert widget.picture.layout.display == "none"
    data = open(clips["path"][0], "rb").read()
    said = give(widget, "my film.avi", data)
    assert "my film.avi: <b>CloseArms</b>" in said
    assert "knows only these 3 classes: CloseArms, JumpingJack, Kick." in said
    assert "a video of anything else also gets one of them" in said
    assert widget.picture.layout.display is None
    assert bytes(widget.picture.value).startswith(b"\x89PNG")
    assert widget.upload.value == ()
    give(widget, "my film.avi", data)  # the same file once more
    assert predict.calls == 2
    assert 'role="alert"' in give(widget, "notes.txt", b"text " * 100)
    assert widget.picture.layout.display == "none"  # the picture was of another film


def test_an_uploaded_name_is_text_and_never_a_path(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    widget = own_video(FakePredict())
    data = open(clips["path"][0], "rb").read()
    for name in (
        "../../up.avi",
        "/etc/passwd",
        "<img src=x onerror=alert(1)>.avi",
        "a$b$_{.avi",
        "x" * 5000,
        "",
    ):
        said = give(widget, name, data)
        assert 'role="status"' in said
        assert "<img" not in said
        assert "<img" not in give(widget, name, b"text")
    assert list(tmp_path.iterdir()) == []
    widget.path.value = "<b>no</b>.avi"
    widget.button.click()
    assert "&lt;b&gt;no&lt;/b&gt;.avi" in widget.numbers.value


def test_own_video_starts_with_a_file_and_takes_pasted_paths(clips):
    path = clips["path"][3]
    widget = own_video(FakePredict(), path)
    assert widget.path.value == path
    assert 'role="status"' in widget.numbers.value
    first = widget.picture.value
    assert first == png(own_video_figure(FakePredict(), path))
    widget.path.value = f'  "{clips["path"][20]}" '  # as some file managers copy it
    widget.button.click()
    assert widget.picture.value != first
    widget.path.value = " "
    widget.button.click()
    assert "Give the path of a video file, or upload one." in widget.numbers.value
    assert 'role="alert"' in own_video(FakePredict(), "gone.avi").numbers.value


def test_own_video_tells_of_short_and_damaged_films(tmp_path, clips):
    widget = own_video(FakePredict())
    short = write_clip(tmp_path / "short.avi", 3).read_bytes()
    assert "The video has 3 frames, fewer than the 6 that the network reads" in give(
        widget, "short.avi", short
    )
    data = open(clips["path"][0], "rb").read()
    said = give(widget, "cut.avi", data[: len(data) // 2])
    assert "cut.avi: the file ends in the middle of a frame" in said
    assert "uploaded-file" not in said


def test_own_video_says_that_it_reads_and_survives_a_failing_model(clips):
    widget = own_video(FakePredict())
    seen = []

    def failing(images):
        seen.append((widget.numbers.value, widget.button.disabled))
        raise RuntimeError("the model expects 5 features")

    failing.classes, failing.frames = CLASSES, 6
    widget.predict = failing
    said = give(widget, "film.avi", open(clips["path"][0], "rb").read())
    assert seen == [('<div role="status">Reading film.avi ...</div>', True)]
    assert "the model expects 5 features" in said
    assert not widget.button.disabled


def test_controls_can_be_reached_by_keyboard(clips, predictions, records):
    kinds = (ipywidgets.Dropdown, ipywidgets.IntSlider, ipywidgets.Checkbox)
    for widget in (
        split_explorer(clips),
        frame_browser(clips),
        confusion_browser(predictions, clips),
        record_dashboard(records),
    ):
        assert all(isinstance(control, kinds) and control.description for control in widget.controls.values())


def test_predictor_runs_along_the_clip(clips):
    """Row t is the model's answer to the features of frames 0..t, in evaluation mode."""
    torch.manual_seed(0)
    net = backbone.load("efficientnet_lite0", size=32)
    model = models.build(
        "context_lstm", input_size=1280, num_classes=3, hidden_size=4, num_layers=1, embedding=(8,)
    )
    model.train()
    predict = Predictor(net, model, CLASSES, frames=5)
    images = video.read_frames(clips["path"][0], 5, "uniform").images
    p = predict(images)
    assert model.training
    assert p.shape == (5, 3)
    assert p.sum(axis=1) == pytest.approx(1)
    model.eval()
    features = net(images).half().float()
    for t in (0, 2, 4):
        with torch.no_grad():
            expected = model(features[None, : t + 1]).softmax(dim=1)[0].numpy()
        assert p[t] == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(p, predict(images))
    with pytest.raises(ValueError, match=r"has 3 classes, but 2 names were given"):
        Predictor(net, model, CLASSES[:2])(images)
    over_time = models.build(
        "context_lstm", input_size=1280, num_classes=3, hidden_size=4, embedding=(), pool="time"
    )
    with pytest.raises(ValueError, match=r"frames"):
        Predictor(net, over_time, CLASSES)(images)
