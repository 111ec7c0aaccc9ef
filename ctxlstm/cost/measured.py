"""Time and memory of training steps that are actually run (paper, section 4.3: hours and gigabytes).

`measure` takes a model; `in_fresh_process` takes a name and measures in a new process, whose memory is that
of one model. Two ways to train: `cached`, a head on features in memory; and `online`, all frames through a
ResNet-50 in every step, with drifting BatchNorm, as in the public code base.
"""

import copy
import math
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch
import torch.nn.functional as F
from torch import nn

from ctxlstm import models
from ctxlstm.models.layers import check_name, check_sizes
from ctxlstm.training.device import adam, arithmetic

WAYS = ("cached", "online")
NEEDED = ("ctxlstm.cost.measured", "ctxlstm.models.online", "torch._dynamo")


@dataclass(frozen=True)
class Measured:
    """Measurements of training steps that were actually run.

    Attributes:
        device: name of the GPU, or "cpu".
        batch_size, steps: clips per step; steps in the median.
        step_seconds: median of forward, loss, backward and Adam step.
        before_bytes, peak_bytes: memory before the model is copied to the device, and its peak: on a GPU what
            torch's allocator has given out; on a CPU the process's resident set, sampled every few
            milliseconds and at the end of each forward pass. A process that has done other work can reuse
            freed memory, so the difference is meaningful only in a fresh one (`in_fresh_process`).
        process_bytes: on a GPU all memory in use on it afterwards, as nvidia-smi shows it, including context,
            reserved blocks and other processes; on a CPU peak_bytes.
        forward_seconds: median of the forward pass and loss alone, a part of step_seconds.
    """

    device: str
    batch_size: int
    steps: int
    step_seconds: float
    before_bytes: int
    peak_bytes: int
    process_bytes: int
    forward_seconds: float

    @property
    def grown_bytes(self) -> int:
        """Memory that the training added; compare `cost.Cost.head_bytes`."""
        return self.peak_bytes - self.before_bytes


def in_fresh_process(
    name: str,
    way: str,
    *,
    batch_size: int,
    frames: int,
    size: int = 224,
    steps: int = 20,
    warmup: int = 3,
    device: str = "cpu",
    **options,
) -> Measured:
    """`measure` the model `models.build(name, **options)` in a new process that ends with it.

    Args:
        way: `cached` or `online`; batch_size, frames: B and T of a step; size: pixels of a frame's side
            (online).

    Raises:
        ValueError: an unknown way, or what `measure` and the model refuse.
        RuntimeError: the process died, as it does when the system is out of memory.
    """
    check_name("way", way, WAYS)
    how = {"batch_size": batch_size, "steps": steps, "warmup": warmup, "device": device}
    with ProcessPoolExecutor(1, mp_context=fresh(*NEEDED)) as process:
        try:
            threads = torch.get_num_threads()
            return process.submit(_by_name, name, options, way, frames, size, threads, how).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"the process that measured {name} ({way}) died, perhaps out of memory: choose a batch "
                f"smaller than {batch_size}"
            ) from error


def _by_name(name: str, options: dict, way: str, frames: int, size: int, threads: int, how: dict) -> Measured:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = models.build(name, **options)
    if way == "cached":
        return measure(model, (frames, model.input_size), **how)
    from ctxlstm.models.online import Online

    return measure(Online(random_resnet50(size).drift(), model), (frames, 3, size, size), **how)


def fresh(*needed: str) -> multiprocessing.context.BaseContext:
    """A context for processes that share no memory with this one and may use the GPU, unlike a plain fork.

    Windows starts a new Python. Elsewhere a server that has only imported the modules `needed` is forked each
    time, which saves ten seconds of imports per measurement.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*needed])
    return context


def random_resnet50(size: int = 224) -> nn.Module:
    """A `backbone.Backbone` with random weights: it costs as much as a trained one, and needs no download."""
    import torchvision

    from ctxlstm.backbone import Backbone

    net = torchvision.models.resnet50(weights=None)
    net.fc = nn.Identity()
    return Backbone("resnet50", net, 2048, [0.5] * 3, [0.25] * 3, size, "v1.5")


def device_name(device: str) -> str:
    """cpu, or the GPU's name, queried in a new process, as the query takes hundreds of MB on the GPU."""
    if device == "cpu":
        return device
    with ProcessPoolExecutor(1, mp_context=fresh(*NEEDED)) as process:
        return process.submit(torch.cuda.get_device_name).result()


def measure(
    model: nn.Module,
    clip_shape: tuple[int, ...],
    *,
    batch_size: int = 80,
    steps: int = 20,
    warmup: int = 3,
    device: str | torch.device = "cpu",
) -> Measured:
    """Time training steps of a copy of `model` on a batch of random clips, in float32 as `training.fit` does them.

    CUDA events give the time on a GPU, `time.perf_counter` on a CPU. The first `warmup` steps do not count:
    in them kernels are chosen and Adam's state is created.

    Args:
        model: a head that reads features, or an `online.Online` model that reads frames.
        clip_shape: (T, D) for features, or (T, 3, s, s) for uint8 frames.
        steps: steps in the median.

    Raises:
        ValueError: a size below 1, an unavailable device, a model with nothing to train, or a shape that it
            refuses.
    """
    check_sizes(batch_size=batch_size, steps=steps, warmup=warmup)
    if len(clip_shape) not in (2, 4):
        raise ValueError(f"a clip of shape {clip_shape} cannot be measured: give (T, D) or (T, 3, s, s)")
    check_sizes(frames=clip_shape[0], features=math.prod(clip_shape[1:]))
    device = torch.device(device)
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(
            f"cannot measure on {str(device)!r}: choose 'cpu', or 'cuda' where torch finds a GPU"
        )
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("the model has nothing to train: measure one with parameters")
    on_gpu = device.type == "cuda"
    _prime(device)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device) if on_gpu else psutil.Process().memory_info().rss
    seen = [before]  # resident sets; on a GPU the allocator keeps count itself
    model = copy.deepcopy(model).to(device).train()
    optimizer = adam(model, 1e-3, 1e-4)
    shape = (batch_size, *clip_shape)  # features (B, T, D) or frames (B, T, 3, s, s)
    x = torch.randn(shape) if len(shape) == 3 else torch.randint(0, 256, shape, dtype=torch.uint8)
    x = x.to(device)
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)  # (B,)

    def look() -> None:
        if not on_gpu:
            seen.append(psutil.Process().memory_info().rss)

    marks = []
    with _every(0.005, look), arithmetic("no"):
        for _ in range(warmup + steps):
            start = now(device)
            loss = F.cross_entropy(model(x), labels)
            middle = now(device)
            look()  # the last step's gradients and all activations are in memory
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            marks.append((start, middle, now(device)))
            if on_gpu:
                torch.cuda.synchronize(device)
    step, forward = (
        statistics.median(seconds(mark[0], mark[last]) for mark in marks[warmup:]) for last in (2, 1)
    )
    peak = process = max(seen)
    if on_gpu:
        peak = torch.cuda.max_memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        process = total - free
    name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
    return Measured(name, batch_size, steps, step, before, peak, process, forward)


def _prime(device: torch.device) -> None:
    """Run a tiny step: the libraries that a process's first step loads are not the model's memory."""
    tiny = nn.Linear(1, 1, device=device)
    optimizer = torch.optim.Adam(tiny.parameters())
    tiny(torch.zeros(1, 1, device=device)).sum().backward()
    optimizer.step()


@contextmanager
def _every(seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` repeatedly in a thread: memory that a forward pass frees again shows only while it runs."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(seconds):
            look()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(watch)
        try:
            yield
        finally:
            done.set()


def seconds(start: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    """Seconds between two marks of `now`; on a GPU call `torch.cuda.synchronize` first."""
    return end - start if isinstance(start, float) else start.elapsed_time(end) / 1000


def now(device: torch.device) -> float | torch.cuda.Event:
    """A time mark: on a CPU this moment, on a GPU the moment when all work queued so far is done."""
    if device.type == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event
