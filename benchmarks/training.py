"""Training beside a bare hand-written loop on the same tensors, and what an import costs.

The loop has the same torch.nn.LSTM modules and number of threads; it checks nothing, records nothing and
cannot be resumed. It runs one epoch after each epoch of `training.fit`, so that both see the same machine.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Row, alternate, ratio, row
from ctxlstm import models, training
from ctxlstm.features import Features
from ctxlstm.ucf101 import Split

IMPORT_LIMIT = 0.5  # seconds that `import ctxlstm` may add to `import torch`


@dataclass(frozen=True)
class Case:
    """A head, its data and the clips of a step; `epochs` are run, and all but the first are timed."""

    model: str
    options: dict
    batch_size: int
    frames: int = 28
    width: int = 2048
    classes: int = 10
    epochs: int = 8

    def __str__(self) -> str:
        return f"{self.model}, hidden {self.options['hidden_size']}, batch {self.batch_size} x {self.frames}"

    def build(self) -> nn.Module:
        """The same head every time."""
        torch.manual_seed(0)
        return models.build(self.model, input_size=self.width, num_classes=self.classes, **self.options)


MIDDLE = {"hidden_size": 128, "num_layers": 1, "embedding": (256,)}
SMALL_HEAD = {"hidden_size": 64, "num_layers": 1, "num_blocks": 2, "embedding": (64,)}
CASES = (
    Case("cnn_lstm", MIDDLE, 40),
    Case("context_lstm", MIDDLE, 40),
    Case("cnn_lstm", SMALL_HEAD, 40, frames=12, width=1280, epochs=40),
    Case("context_lstm", SMALL_HEAD, 40, frames=12, width=1280, epochs=40),
)  # steps of about 10 ms (the small heads) to 200 ms on one core


def measure(small: bool = False) -> tuple[list[Row], dict]:
    """Rows of the table, and the times behind them."""
    rows, raw = [], {}
    tiny = {"hidden_size": 4, "num_layers": 1, "num_blocks": 2, "embedding": (4,)}
    cases = (Case("context_lstm", tiny, 8, 4, 16, 3),) if small else CASES
    for case in cases:
        steps = 2 if small else 8
        for what, tested, most in (("step", 2, 1.05), ("epoch with evaluation", None, 1.1)):
            trained = steps * case.batch_size
            tested = tested or trained // 3  # the paper's split has three training clips per test clip
            threads, a, b = epochs(case, trained, tested, 3 if small else case.epochs)
            if what == "step":
                a, b = ([seconds / steps for seconds in column] for column in (a, b))
            work = f"{what}, {case}"
            raw[work] = {"ours": a, "reference": b, "threads": threads}
            note = f"a bare loop with the same modules; {threads} thread{'s' * (threads > 1)}" + (
                "" if what == "step" else f"; {steps} steps and {tested} clips to test"
            )
            rows.append(row(work, median(a), median(b), "s", ratio(a, b), at_most=most, note=note))
    modules = (("ctxlstm", 4), ("ctxlstm.models", 2))  # and how many times
    for module, often in modules[:1] if small else modules:
        limit = IMPORT_LIMIT if module == "ctxlstm" else None
        work = f"import torch, {module}"
        a, b = alternate(
            partial(importing, "torch", module),
            partial(importing, "torch"),
            1 if small else often,
            0 if small else 1,
        )
        raw[work] = {"ours": a, "reference": b}
        added = sorted(x - y for x, y in zip(a, b, strict=True))[len(a) // 2]
        met = None if limit is None else added <= limit
        bound = "" if limit is None else f"<= {limit} s more"
        rows.append(
            Row(work, median(a), median(b), "s", ratio(a, b), bound, met, "import torch; in fresh processes")
        )
    return rows, raw


def epochs(case: Case, trained: int, tested: int, count: int) -> tuple[int, list[float], list[float]]:
    """Threads of `training.fit`, and seconds of its and the bare loop's epochs, `count` without the first."""
    features, split = data(case, trained, tested)
    model, bare = case.build(), Bare(case, features, split)
    threads, seconds = [], []

    def look(*_) -> None:
        threads.append(torch.get_num_threads())
        hook.remove()

    def reference(_: dict) -> None:
        start = time.perf_counter()
        bare.epoch(threads[0])
        seconds.append(time.perf_counter() - start)

    hook = model.register_forward_pre_hook(look)
    config = training.Config(epochs=count, batch_size=case.batch_size, validation=0, cpu=True)
    history = training.fit(model, features, split, config, on_epoch=reference)
    return threads[0], history.seconds[1:], seconds[1:]


def data(case: Case, trained: int, tested: int) -> tuple[Features, Split]:
    """Random features of `trained` clips to train on and `tested` clips to test on."""
    count = trained + tested
    x = torch.empty(count, case.frames, case.width, dtype=torch.float16)  # (N, T, D)
    x.normal_(generator=torch.Generator().manual_seed(0))  # in place, without a float32 copy
    names = [f"v_Class{i % case.classes:03}_g{i % 25 + 1:02}_c{i:05}" for i in range(count)]
    labels = [f"Class{i % case.classes:03}" for i in range(count)]
    clips = pd.DataFrame({"name": names, "label": labels, "group": [i % 25 + 1 for i in range(count)]})
    return Features(x, clips), Split(
        "paper", fold=1, seed=0, train=np.arange(trained), test=np.arange(trained, count)
    )


class Bare:
    """What one would write by hand for one machine: a forward pass over the layers, Adam, and the test set."""

    def __init__(self, case: Case, features: Features, split: Split):
        self.model, self.batch_size = case.build(), case.batch_size
        self.x, self.y = features.x, features.y
        self.train, self.test = torch.as_tensor(split.train), torch.as_tensor(split.test)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.forward: Callable[[Tensor], Tensor] = {
            "cnn_lstm": self._cnn_lstm,
            "context_lstm": self._context_lstm,
        }[case.model]

    def epoch(self, threads: int) -> None:
        """Every training clip once, then the test set, with `threads` threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        self.model.train()
        total, right = 0.0, 0
        for batch in self.train[torch.randperm(len(self.train))].split(self.batch_size):
            logits = self.forward(self.x[batch].float())  # (B, K)
            loss = F.cross_entropy(logits, self.y[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(batch)
            right += (logits.argmax(1) == self.y[batch]).sum().item()
        self.model.eval()
        with torch.no_grad():
            for batch in self.test.split(4 * self.batch_size):
                logits = self.forward(self.x[batch].float())  # (B, K)
                total += F.cross_entropy(logits, self.y[batch]).item() * len(batch)
                right += (logits.argmax(1) == self.y[batch]).sum().item()
        torch.set_num_threads(before)

    def _embedded(self, x: Tensor) -> Tensor:
        (_, linear) = self.model.embedding  # dropout of 0, one layer
        return F.linear(x, linear.weight, linear.bias)  # (B, T, E)

    def _cnn_lstm(self, x: Tensor) -> Tensor:
        y, _ = self.model.block(self._embedded(x))  # (B, T, H)
        return self.model.head(y[:, -1])

    def _context_lstm(self, x: Tensor) -> Tensor:
        y, state = self._embedded(x), None
        for lstm, stage in zip(self.model.blocks, self.model.stages, strict=True):
            y, state = lstm(y, state)  # (B, T, 2H)
            y = stage.normalise(F.relu(y))  # (B, T, 2H)
            y = F.max_pool1d(y, 2)  # (B, T, H)
        return self.model.head(y[:, -1])


def importing(*modules: str) -> float:
    """Seconds that a fresh Python takes to import these modules, not counting its own start."""
    code = "import time; start = time.perf_counter(); " + "; ".join(f"import {name}" for name in modules)
    code += "; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)
