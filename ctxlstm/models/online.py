"""Training on frames instead of features (paper, section 4.3: what its hours and gigabytes were spent on).

`Online` puts a backbone before a head, so that `training.fit` trains on frames: all of them go through the backbone in
every epoch. Three reasons to do so:

- the public code base's way: a frozen backbone that takes the batch's frames of one time step at once. With
  batch_norm imagenet or adapted this gives the result of cached features, only slower; with drift it is the
  only way;
- augmentation, which changes the frames in every epoch;
- fine-tuning, which trains the backbone too: the strong baseline that the paper lacks.

Shape letters: B clips, T frames, D features, K classes; s side of a frame in pixels.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ctxlstm.backbone import Backbone
from ctxlstm.models.augment import Augment

# Frames through the backbone at once while it is trained: enough to keep the device busy.
IMAGES = {"cpu": 8, "gpu": 128}


class Online(nn.Module):
    """A backbone and a head, frames (B, T, 3, s, s) uint8 -> logits (B, K).

    The head is trained, and with `finetune` the backbone too, which is unfrozen in place. The frames then go
    through it in parts. Of all parts but the last only the features are kept, and the backward pass
    recomputes the activations (activation checkpointing): this needs memory for one part instead of all
    frames, and at most a third more work. The gradient does not depend on the size of the parts. The
    `state_dict` holds the backbone too, with its drifting statistics, so a checkpoint restores them.

    Args:
        finetune: train the backbone's weights too.
        images: frames that go through the backbone at once with `finetune`; 0: `IMAGES` of the device.
        augment: a name of `augment.NAMES`, applied to frames in training mode; empty: none.

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
                f"{name} has nothing to train, so it can use neither online training nor batch_norm drift: give it "
                "cached features (batch_norm imagenet or adapted)"
            )
        if getattr(head, "input_size", backbone.width) != backbone.width:
            raise ValueError(
                f"{name} reads {head.input_size} features per frame and {backbone.name} gives {backbone.width}: build it "
                f"with input_size={backbone.width}"
            )
        if images < 0:
            raise ValueError(
                f"images is {images}: give the number of frames to pass at once, or 0 for the default"
            )
        self.backbone = backbone.unfreeze() if finetune else backbone
        self.head = head
        self.augment = Augment(augment, backbone.size) if augment else None
        # Not part of what the model computes: a checkpoint may be resumed on a card that needs smaller parts.
        self._images = images

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (B, K) of frames (B, T, 3, s, s) uint8; frames of another size are squashed to the backbone's."""
        if frames.ndim != 5 or frames.dtype != torch.uint8:
            raise ValueError(
                f"online training takes uint8 frames (B, T, 3, s, s), not {frames.dtype} {tuple(frames.shape)}: "
                "get them from features.frames.frames"
            )
        if self.training and self.augment:
            frames = self.augment(frames)  # (B, T, 3, s, s)
        if self.backbone.frozen:
            steps = [self.backbone(images) for images in frames.unbind(1)]  # T x (B, D), without gradients
            return self.head(torch.stack(steps, dim=1))  # (B, T, D) -> (B, K)
        images = self._images or IMAGES["cpu" if frames.device.type == "cpu" else "gpu"]
        *parts, last = frames.flatten(0, 1).split(images)  # each (images, 3, s, s)
        x = [self._checkpointed(part) for part in parts]  # each (images, D)
        x.append(self.backbone(last))  # the backward pass needs its activations first: they are kept
        return self.head(torch.cat(x).unflatten(0, frames.shape[:2]))  # (B, T, D) -> (B, K)

    def _checkpointed(self, images: Tensor) -> Tensor:
        """Features (n, D) of images (n, 3, s, s); the backward pass recomputes the activations."""
        if not torch.is_grad_enabled():
            return self.backbone(images)
        # Nothing in the backbone is random, so there is no generator state to restore.
        return checkpoint(self.backbone, images, use_reentrant=False, preserve_rng_state=False)

    def parameter_groups(self, learning_rate: float, backbone_learning_rate: float) -> list[dict]:
        """Parameter groups for a torch optimizer: the head, and with fine-tuning the backbone at a rate of its own.

        What was learnt from a million photographs is easily lost at the rate that a new head needs.
        """
        head = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        groups = [{"params": head, "lr": learning_rate}]
        if not self.backbone.frozen:
            groups.append({"params": list(self.backbone.parameters()), "lr": backbone_learning_rate})
        return groups
