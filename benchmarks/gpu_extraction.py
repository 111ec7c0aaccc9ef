"""Extraction and fine-tuning on a GPU: `python -m benchmarks.gpu_extraction`.

Not run yet: an H200 is expected to take six minutes.

ResNet-50 with random weights (they cost what trained ones cost) on 224 x 224 frames: from the GPU's memory in several
ways, then end to end from .avi files with every processor core decoding, and a step of fine-tuning at the paper's batch.
`--small` tries every line of the script in a minute, on a CPU if there is no GPU; nothing is recorded then.
"""

import copy
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import gpu_training, harness
from benchmarks.gpu_training import call_seconds, ceilings
from benchmarks.harness import Row, alternate, row
from ctxlstm import cost, features, models, stickfigures, ucf101, video
from ctxlstm.backbone import Backbone
from ctxlstm.models import online
from ctxlstm.training import device

UCF101_FRAMES = 372_960  # 13,320 clips of 28
MINUTES = 3  # limit for all of them, end to end


@dataclass(frozen=True)
class Size:
    """How large everything is; the defaults are the paper's."""

    pixels: int = 224
    batch: int = 256  # images at once: the default of features.extract on a GPU
    frames: int = 28
    groups: int = 25  # of the stick figures: 900 clips, 25,200 frames
    clips: int = 80  # of a step of fine-tuning
    images: tuple[int, ...] = (64, 128, 512)  # frames at once through the backbone
    device: str = "cuda"


SMALL = Size(32, 8, 4, 1, 2, (2,), "cuda" if torch.cuda.is_available() else "cpu")


def from_memory(size: Size, rates: dict[str, float]) -> tuple[list[Row], dict]:
    """Frames per second of ways to run the network on frames in memory, and shares of the matrix rate."""
    flops, _ = cost.resnet50(size.pixels)
    images = torch.randint(0, 256, (size.batch, 3, size.pixels, size.pixels), dtype=torch.uint8)
    images = images.to(size.device)  # (B, 3, s, s)
    rows, raw = [], {}
    for precision in ("float32", "bf16"):
        net = cost.measured.random_resnet50(size.pixels)
        net.precision = precision
        net = net.to(size.device)
        peak = (
            rates["bf16" if precision == "bf16" else "no"] / flops
        )  # frames/s, if products were all the work
        ways = {"ours": net, "as published, eager": _plain(net)}
        if size.device == "cuda":
            ways |= {
                "compiled": torch.compile(_plain(net), mode="max-autotune-no-cudagraphs"),
                "graph": _graph(net, images),
            }
        for way, function in ways.items():
            with torch.inference_mode():
                seconds = call_seconds(lambda function=function: function(images), size)
            work = f"ResNet-50 forward from memory, {precision}, {way}"
            raw[work] = {"ours": [seconds], "reference": [size.batch / peak]}
            speed = size.batch / seconds
            rows.append(
                row(
                    work,
                    speed,
                    peak,
                    "frames/s",
                    speed / peak,
                    note="reference: the matrix rate over the FLOPs of a frame",
                )
            )
    return rows, raw


def _plain(net: Backbone) -> nn.Module:
    """The same network with BatchNorm not folded in: scaling, then layer by layer."""
    dtype = torch.bfloat16 if net.precision == "bf16" else torch.float32
    layers = copy.deepcopy(net.net).to(dtype=dtype, memory_format=torch.channels_last)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers
            self.register_buffer("mean", net.mean.clone())
            self.register_buffer("std", net.std.clone())

        def forward(self, images: Tensor) -> Tensor:
            x = ((images.float() - self.mean) / self.std).to(dtype)  # (B, 3, s, s)
            return self.layers(x.contiguous(memory_format=torch.channels_last)).float()  # (B, D)

    return Plain().to(net.mean.device).eval()


def _graph(net: Backbone, images: Tensor):
    """Our forward pass as a CUDA graph, replayed on the same memory."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode(), torch.cuda.stream(stream):
        for _ in range(3):
            net(images)
    torch.cuda.current_stream().wait_stream(stream)
    with torch.inference_mode(), torch.cuda.graph(graph):
        net(images)
    return lambda _: graph.replay()


def end_to_end(size: Size) -> tuple[list[Row], dict]:
    """From .avi files to features on disk, beside decoding alone and the forward pass alone; UCF101 by extrapolation."""
    rows, raw = [], {}
    with tempfile.TemporaryDirectory() as folder:
        root = stickfigures.render(Path(folder) / "clips", groups=size.groups, progress=False)
        clips = ucf101.index(root)
        count = len(clips) * size.frames
        for precision in ("float32", "bf16"):
            net = cost.measured.random_resnet50(size.pixels)
            net.precision = precision
            net = net.to(size.device)

            def extract(net=net) -> float:
                with tempfile.TemporaryDirectory(dir=folder) as out:
                    how = {
                        "frames": size.frames,
                        "batch_size": size.batch,
                        "device": size.device,
                        "progress": False,
                    }
                    return features.extract(clips, Path(out) / "f", backbone=net, **how).seconds

            def decode(net=net) -> None:
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    for clip in pool.map(
                        lambda path: net.resize(video.read_frames(path, size.frames).images), clips["path"]
                    ):
                        del clip

            ours, decoding = alternate(extract, decode, 2)
            images = torch.randint(0, 256, (size.batch, 3, size.pixels, size.pixels), dtype=torch.uint8)
            images = images.to(size.device)  # (B, 3, s, s)
            with torch.inference_mode():
                forward = call_seconds(lambda net=net, images=images: net(images), size) * count / size.batch
            work = f"extraction from .avi, {os.cpu_count()} cores, {precision}"
            raw[work] = {"ours": ours, "reference": decoding, "forward": [forward], "frames": count}
            slower = max(median(decoding), forward)
            note = "reference: the slower of decoding alone and the forward pass alone"
            speeds = (count / median(ours), count / slower)
            rows.append(row(work, *speeds, "frames/s", slower / median(ours), note=note))
            minutes = median(ours) / count * UCF101_FRAMES / 60
            note = f"extrapolated from {count} frames of generated clips; reference: the limit"
            rows.append(
                row(
                    f"UCF101's frames, {precision}",
                    minutes,
                    MINUTES,
                    "min",
                    minutes / MINUTES,
                    at_most=1,
                    note=note,
                )
            )
    return rows, raw


def finetuning(size: Size) -> tuple[list[Row], dict]:
    """A step of fine-tuning at the paper's batch: seconds, and peak memory beside the prediction."""
    rows, raw = [], {}
    for images in size.images:
        net = cost.measured.random_resnet50(size.pixels)
        net.precision = "bf16"
        model = online.Online(net, models.build("mean_linear", input_size=2048), finetune=True, images=images)
        predicted = (
            cost.finetuning.finetune_bytes(net, clips=size.clips, frames=size.frames, images=images) / 1e9
        )
        shape = (size.frames, 3, size.pixels, size.pixels)
        found = cost.measured.measure(
            model, shape, batch_size=size.clips, steps=3, warmup=2, device=size.device
        )
        work = f"fine-tuning step, {size.clips} clips of {size.frames} frames, {images} frames at once"
        raw[work] = {
            "ours": [found.step_seconds],
            "memory": [found.grown_bytes],
            "predicted": [1e9 * predicted],
        }
        gigabytes = found.grown_bytes / 1e9
        rows.append(
            row(
                work,
                gigabytes,
                predicted,
                "GB",
                gigabytes / predicted,
                note=f"{found.step_seconds:.3g} s a step",
            )
        )
    return rows, raw


def main(arguments: list[str] | None = None) -> int:
    """Measure everything, print the table, save the record."""
    small = harness.small_or_gpu("gpu_extraction", __doc__, arguments)
    if small is None:
        return 2
    size = SMALL if small else Size()
    rates = ceilings(gpu_training.SMALL if small else gpu_training.Size())
    rows, raw = [], {"ceilings": rates}
    with device.arithmetic("no"):  # float32, as in extraction
        measured = [from_memory(size, rates), end_to_end(size), finetuning(size)]
    for found in measured:
        rows += found[0]
        raw |= found[1]
        print(harness.table(found[0]), flush=True)
    if not small:
        print(f"record: {harness.save('gpu_extraction', rows, raw).name}")
    print(harness.table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
