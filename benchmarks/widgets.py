"""Seconds that each widget of the book takes to follow a control: `python benchmarks/widgets.py` (a minute or two).

A control is moved from place to place; the time is that of the whole update, new picture and new numbers.
Wall time is how long a reader waits; CPU time hardly changes when other programs run. The exit code is 1 if a
median of wall seconds is above the limit (widgets marked * have none). Needs the chapters' clips and
features, made if missing.
"""

import statistics
import sys
import time
from collections.abc import Iterator

import torch

from ctxlstm import classroom, evaluation, models, ucf101, widgets
from ctxlstm.experiments import runs
from ctxlstm.widgets.panel import Panel

LIMIT = 0.2  # seconds of an update, median
TIMES = 12  # updates of each widget
RECORDS = "papermill_runs/results/stickfigures"


def cases() -> Iterator[tuple[str, Panel, list[dict]]]:
    """Name, widget and the states that it is put into, one after the other."""
    torch.manual_seed(0)
    clips, features = classroom.clips(), classroom.features()
    model = models.build("context_lstm", **classroom.SMALL).eval()
    x = features.x[5]  # (T, D)

    yield "gate_explorer", widgets.gate_explorer(), [{"x": step / 4 - 1.5} for step in range(TIMES)]
    lstm = torch.nn.LSTM(x.shape[1], 32, batch_first=True)
    steps = [{"t": (5 * step + 3) % len(x)} for step in range(TIMES)]
    yield "sequence_stepper", widgets.sequence_stepper(x, lstm), steps
    handovers = [{"handover": name} for name in (None, "h", "c", "swap", "hc")] * 3
    yield "state_flow", widgets.state_flow(model, x), handovers
    pools = [{"pool": pool} for pool in ("time", None, "feature")] * (TIMES // 3)
    yield "stage_explorer", widgets.stage_explorer(), pools

    seeds = [{"seed": seed + 1} for seed in range(TIMES)]
    yield "split_explorer, 288 clips", widgets.split_explorer(clips), seeds
    yield "split_explorer, 13,320 clips", widgets.split_explorer(ucf101.full_index()), seeds
    measures = [{"protocol": protocol} for protocol in ("grouped", "official", "paper")] * (TIMES // 3)
    yield "record_dashboard", widgets.record_dashboard(runs.load(RECORDS)), measures

    predict = widgets.Predictor(classroom.backbone(), model, features.classes)
    frames = [{"t": (5 * step + 3) % classroom.FRAMES} for step in range(TIMES)]
    yield "frame_browser, other frame", widgets.frame_browser(clips, predict), frames
    names = [{"name": name} for name in clips["name"][1 : 1 + TIMES]]
    yield "frame_browser, other clip", widgets.frame_browser(clips), names
    yield "frame_browser, other clip, predict *", widgets.frame_browser(clips, predict), names

    split = ucf101.split(clips, "grouped")
    with torch.no_grad():
        logits = model(features.x[split.test].float())  # (N, K)
    test = clips["name"].iloc[split.test]
    predictions = evaluation.predictions(logits, features.y[split.test], list(test), features.classes)
    cells = [{"true": name} for name in (*features.classes[1:], features.classes[0])] * 2
    yield "confusion_browser", widgets.confusion_browser(predictions, clips), cells


def measure(panel: Panel, states: list[dict]) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of putting a widget into these states; the first one is not counted."""
    wall, cpu = [], []
    for state in states:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        panel.set(**state)
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
        assert "alert" not in panel.numbers.value, panel.numbers.value
    return wall[1:], cpu[1:]


def main() -> int:
    print(f"{'seconds of an update':38} {'median':>7} {'longest':>8} {'CPU':>7}   limit {LIMIT}")
    late = []
    for name, panel, states in cases():
        wall, cpu = measure(panel, states)
        median = statistics.median(wall)
        over = median > LIMIT
        if over and not name.endswith("*"):
            late.append(name)
        print(
            f"{name:38} {median:7.3f} {max(wall):8.3f} {statistics.median(cpu):7.3f}   {'above' if over else 'ok'}"
        )
    print("* runs the CNN over the clip's frames: no limit")
    print(f"above the limit: {', '.join(late)}" if late else "all within the limit")
    return int(bool(late))


if __name__ == "__main__":
    sys.exit(main())
