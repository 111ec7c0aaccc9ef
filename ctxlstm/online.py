"""Training on frames instead of features (paper, section 4.3: what its hours and gigabytes were spent on).

`Online` puts a backbone before a head, so that `training.fit` trains on frames: all of them go through the backbone in
every epoch. Three reasons to do so:

- the public code base's way, a frozen backbone, the batch's frames of one time step at once. With batch_norm imagenet
  or adapted this gives what cached features give, only slower; with drift there is no other way;
- augmentation, which makes other frames in every epoch;
- fine-tuning, which trains the backbone too: the strong baseline that the paper does not have.

Shape letters: B clips, T frames, D features, K classes; s side of a frame in pixels.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ctxlstm import video
from ctxlstm.augment import Augment
from ctxlstm.backbone import Backbone
from ctxlstm.cache import disk_full_is_told, file_bytes, locked
from ctxlstm.features import Features, decoded, make_key

# Frames through the backbone at once while it is trained: as many as keep the device busy.
IMAGES = {"cpu": 8, "gpu": 128}


class Online(nn.Module):
    """A backbone and a head, frames (B, T, 3, s, s) uint8 -> logits (B, K).

    The head is trained; with `finetune` the backbone too, which is unfrozen in place. Then the frames go through it in
    parts, and of all parts but the last only the features are kept for the backward pass, which computes the part anew
    (activation checkpointing): memory for one part instead of all frames, for a third more work at most. The gradient
    does not depend on the size of the parts. The `state_dict` holds the backbone too, with the statistics that drift:
    a checkpoint goes on from where they were.

    Args:
        finetune: train the backbone's weights too.
        images: frames that go through the backbone at once with `finetune`; 0: `IMAGES` of the device.
        augment: a name of `augment.NAMES`, done to frames in training mode; empty: none.

    Raises:
        ValueError: a head without anything to train, or one for features of another width; a backbone whose BatchNorm
            drifts with `finetune`; unknown augmentation.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        finetune: bool = False,
        images: int = 0,
        augment: str = "",
    ) -> None:
        super().__init__()
        name = type(head).__name__
        if not any(parameter.requires_grad for parameter in head.parameters()):
            raise ValueError(
                f"{name} has nothing to train, so online training, and with it batch_norm drift, means nothing to it: "
                "give it cached features (batch_norm imagenet or adapted)"
            )
        if getattr(head, "input_size", backbone.width) != backbone.width:
            raise ValueError(
                f"{name} reads {head.input_size} features a frame and {backbone.name} gives {backbone.width}: build it "
                f"with input_size={backbone.width}"
            )
        if images < 0:
            raise ValueError(f"images is {images}: give the frames that go through at once, or 0 to choose")
        self.backbone = backbone.unfreeze() if finetune else backbone
        self.head = head
        self.augment = Augment(augment, backbone.size) if augment else None
        # No part of what the model computes: a checkpoint may be resumed on a card that needs smaller parts.
        self._images = images

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (B, K) of frames (B, T, 3, s, s) uint8; frames of another size are squashed to the backbone's."""
        if frames.ndim != 5 or frames.dtype != torch.uint8:
            raise ValueError(
                f"online training takes uint8 frames (B, T, 3, s, s), not {frames.dtype} {tuple(frames.shape)}: "
                "get them from online.frames"
            )
        if self.training and self.augment:
            frames = self.augment(frames)  # (B, T, 3, s, s)
        if self.backbone.frozen:
            steps = [self.backbone(images) for images in frames.unbind(1)]  # T x (B, D), without gradients
            return self.head(torch.stack(steps, dim=1))  # (B, T, D) -> (B, K)
        images = self._images or IMAGES["cpu" if frames.device.type == "cpu" else "gpu"]
        *parts, last = frames.flatten(0, 1).split(images)  # each (images, 3, s, s)
        x = [self._checkpointed(part) for part in parts]  # each (images, D)
        x.append(self.backbone(last))  # its activations are what the backward pass wants first: they stay
        return self.head(torch.cat(x).unflatten(0, frames.shape[:2]))  # (B, T, D) -> (B, K)

    def _checkpointed(self, images: Tensor) -> Tensor:
        """Features (n, D) of images (n, 3, s, s); the backward pass computes the activations once more."""
        if not torch.is_grad_enabled():
            return self.backbone(images)
        # Nothing in the backbone is random, so there is no generator to put back.
        return checkpoint(self.backbone, images, use_reentrant=False, preserve_rng_state=False)

    def parameter_groups(self, learning_rate: float, backbone_learning_rate: float) -> list[dict]:
        """Parameter groups for a torch optimizer: the head, and with fine-tuning the backbone at a rate of its own.

        What was learnt from a million photographs is easily lost again at the rate that a new head needs.
        """
        head = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        groups = [{"params": head, "lr": learning_rate}]
        if not self.backbone.frozen:
            groups.append({"params": list(self.backbone.parameters()), "lr": backbone_learning_rate})
        return groups


def finetune_bytes(backbone: Backbone, *, clips: int, frames: int, images: int) -> int:
    """Bytes that a step of fine-tuning takes at its fullest, the head's own left out (`cost` has those).

    Frames; all features and their gradient; weights, gradients and Adam's two means; the activations of one part, and
    two of its largest maps for the gradients on their way back. What a convolution needs to work in is not counted.

    Args:
        backbone: an unfrozen one; clips, frames: B and T of a step; images: frames through the backbone at once.
    """
    one, two = _kept(backbone, 1), _kept(backbone, 2)
    maps = [
        b - a for a, b in zip(one, two, strict=True)
    ]  # of an image; what does not grow are weights in bf16
    images = min(images, clips * frames)
    part = sum(one) - sum(maps) + images * (sum(maps) + 2 * max(maps))
    weights = 4 * sum(p.numel() * p.element_size() for p in backbone.parameters())
    a_frame = 3 * backbone.size**2 + 2 * backbone.width * backbone.mean.element_size()
    return part + weights + clips * frames * a_frame


def _kept(backbone: Backbone, images: int) -> list[int]:
    """Bytes of each tensor that a forward pass of so many images keeps for the backward pass, weights left out."""
    own = {value.untyped_storage().data_ptr() for value in backbone.state_dict().values()}
    kept = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    size = (images, 3, backbone.size, backbone.size)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        _x = backbone(torch.zeros(size, dtype=torch.uint8))  # held, so that no memory is given out twice
    return list(kept.values())


def frames(
    clips: pd.DataFrame,
    *,
    backbone: Backbone,
    frames: int = 28,
    rule: str = "first",
    folder: str | Path | None = None,
    workers: int | None = None,
) -> Features:
    """Decoded and resized frames of all clips, for `training.fit` to train an `Online` model on.

    Args:
        clips: table as from `ucf101.index` (columns name, label, group, clip, path, kind).
        backbone: says to which size frames are squashed.
        frames: T, frames sampled from each clip; rule: `first` or `uniform` (`video.read_frames`).
        folder: where the frames are written, for what does not fit into memory (UCF101 at 28 frames of 224x224:
            56 GB); a later call with the same clips and settings opens what is there. Default: memory.
        workers: decoding threads; default: one per core.

    Returns:
        Features with `x` (N, T, 3, s, s) uint8. Clips that cannot be decoded are left out, with the reason.

    Raises:
        ValueError: unknown rule, T < 1, no clips, none that can be decoded, or a folder with other frames.
        MemoryError: the frames do not fit into memory and no folder is given.
        OSError: the disk is full.
    """
    if rule not in video.RULES or rule == "all":
        raise ValueError(
            f"unknown frame rule {rule!r} for training: choose first or uniform (all gives clips of unequal length)"
        )
    if frames < 1:
        raise ValueError(f"frames is {frames}: a clip needs at least one frame")
    if clips.empty:
        raise ValueError("there are no clips to decode: check the table given as clips")
    clips = clips.reset_index(drop=True)
    key = frames_key(backbone, clips, frames, rule)
    rows = clips.drop(columns="path").assign(bytes=clips["path"].map(file_bytes)).to_dict("records")
    wanted = {"key": key, "clips": json.loads(json.dumps(rows))}
    shape = (frames, 3, backbone.size, backbone.size)
    if folder is None:
        x, notes = _in_memory(_images(clips, backbone, frames, rule, workers), len(clips), shape)
    else:
        x, notes = _on_disk(
            Path(folder), wanted, shape, lambda: _images(clips, backbone, frames, rule, workers)
        )
    left_out, damaged = (
        pd.DataFrame(notes[kind], columns=["name", "reason"]) for kind in ("left_out", "damaged")
    )
    if len(x) == 0:
        raise ValueError(
            f"none of the {len(clips)} clips could be decoded (the first: {left_out['reason'].iloc[0]}): check the videos"
        )
    files = hashlib.sha256(json.dumps([wanted["clips"], notes["left_out"]]).encode()).hexdigest()
    used = clips[~clips["name"].isin(left_out["name"])].reset_index(drop=True)
    return Features(x, used, left_out, damaged, key | {"clips": files})


def frames_key(backbone: Backbone, clips: pd.DataFrame, frames: int, rule: str) -> dict:
    """Everything that shaped the frames, and the backbone that they are for (`features.make_key`)."""
    key = make_key(backbone, clips, frames, rule) | {"dtype": "uint8 frames"}
    return {
        name: value for name, value in key.items() if name != "precision"
    }  # of products; frames are bytes


def _images(
    clips: pd.DataFrame, net: Backbone, frames: int, rule: str, workers: int | None
) -> Iterator[tuple[str, Tensor | None, str | None]]:
    """Yield (name, images (T, 3, s, s) or None, problem) of every clip, in order."""
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for row, images, problem in decoded(pool, net, clips, range(len(clips)), frames, rule):
            yield clips["name"][row], images, problem


def _usable(stream: Iterator[tuple[str, Tensor | None, str | None]], notes: dict) -> Iterator[Tensor]:
    """The images of clips that can be used; what is wrong with the others goes into `notes`."""
    for name, images, problem in stream:
        if problem:
            notes["left_out" if images is None else "damaged"].append({"name": name, "reason": problem})
        if images is not None:
            yield images


def _in_memory(stream: Iterator, count: int, shape: tuple[int, ...]) -> tuple[Tensor, dict]:
    needed, free = count * int(np.prod(shape)), psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise MemoryError(
            f"the frames of {count} clips take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB of memory are free: give a "
            "folder that they are written to, or choose a smaller size or fewer frames"
        )
    x, notes, used = torch.empty(count, *shape, dtype=torch.uint8), {"left_out": [], "damaged": []}, 0
    for images in _usable(stream, notes):
        x[used] = images
        used += 1
    return x[:used], notes


def _on_disk(folder: Path, wanted: dict, shape: tuple[int, ...], stream) -> tuple[Tensor, dict]:
    """Frames in `folder`/frames.bin, written if they are not there; frames.json, written last, says what they are."""
    data, about = folder / "frames.bin", folder / "frames.json"
    if about.is_file():
        try:
            found = json.loads(about.read_text(encoding="utf-8"))
            notes = {kind: found[kind] for kind in ("left_out", "damaged")}
            whole = found["bytes"] == data.stat().st_size
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{about} cannot be used ({error}): remove {folder} and decode again") from error
        if any(found.get(name) != value for name, value in wanted.items()) or not whole:
            raise ValueError(
                f"{folder} holds frames of other clips or settings, or damaged ones: remove it or give another folder"
            )
    else:
        notes = {"left_out": [], "damaged": []}
        with (
            locked(folder / ".lock", f"decoding into {folder}"),
            disk_full_is_told(f"writing frames to {folder}"),
        ):
            with open(folder / "frames.bin.part", "wb") as file:
                for images in _usable(stream(), notes):
                    file.write(images.contiguous().numpy().tobytes())
            os.replace(folder / "frames.bin.part", data)
            text = json.dumps(wanted | notes | {"bytes": data.stat().st_size})
            (folder / "frames.json.part").write_text(text, encoding="utf-8")
            os.replace(folder / "frames.json.part", about)
    if data.stat().st_size == 0:
        return torch.empty(0, *shape, dtype=torch.uint8), notes
    # Copy on write: PyTorch wants memory that can be written to, and the file stays as it is.
    x = np.memmap(data, np.uint8, mode="c").reshape(-1, *shape)
    return torch.from_numpy(x), notes
