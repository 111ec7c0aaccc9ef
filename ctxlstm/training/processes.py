"""One training run in one process, or shared by several with Hugging Face Accelerate (`experiments.launch`).

Each of several processes takes its part of every batch; DistributedDataParallel averages their gradients, so all keep
the same weights. On GPUs `torch.nn.SyncBatchNorm` normalises with the statistics of the whole batch. On a CPU there is
no such layer: every process's BatchNorm sees only its own clips, the running statistics are those of the
first process, and the result differs slightly from that of one process. If a batch cannot be shared equally,
a clip of a smaller part weighs a little more than one of a larger part.
"""

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, TensorDataset

from ctxlstm.features.reader import Stored
from ctxlstm.training import loop

if TYPE_CHECKING:  # slow to import, and needed by launched processes only
    from accelerate import PartialState

# What every launcher sets for torch.distributed. A few of them left over in a shell start nothing.
GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=1)  # NCCL's default would end the others after ten minutes of feature extraction


def count() -> int:
    """How many processes share each training run: those of the process group, 1 without one."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the only process, or the first of several that share a run: it alone writes files."""
    return count() == 1 or distributed.get_rank() == 0


def join(cpu: bool) -> "PartialState | None":
    """Join the process group of the launcher that started this process; None if none did.

    From then on every training run of this process is shared. Nothing else joins a group, so a program that a
    launched process starts trains alone, although it inherits the environment.
    """
    if not all(name in os.environ for name in GROUP):
        return None
    from accelerate import PartialState

    return PartialState(cpu=cpu or not torch.cuda.is_available(), timeout=PATIENCE)


def workers(cpu: bool) -> "Alone | Together":
    """Who trains: this process or all of its group; on the CPU if `cpu`, else on a GPU if there is one."""
    cpu = cpu or not torch.cuda.is_available()
    return Together(cpu) if count() > 1 else Alone(cpu)


class Alone:
    """One process, which trains on whole batches."""

    def __init__(self, cpu: bool) -> None:
        self.device = torch.device("cpu" if cpu else "cuda")

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model as it is trained."""
        return model

    def parts(self, batches: list[Tensor]) -> list[Tensor]:
        """This process's clips of each batch (B,)."""
        return batches

    def mean(self, loss: float, top1: float, clips: int) -> tuple[float, float]:
        """Loss and top-1 over the clips of all processes, from those over this one's."""
        return loss, top1

    def predict(
        self, model: nn.Module, x: Tensor | Stored, rows: Tensor, batch_size: int, precision: str
    ) -> Tensor:
        """Logits (N, K) float32 of the clips `rows` (N,), in every process."""
        return loop.predict(model, x, rows=rows, batch_size=batch_size, precision=precision)


class Together(Alone):
    """One of several processes on one training run; the methods are those of `Alone`."""

    def __init__(self, cpu: bool) -> None:
        from accelerate import Accelerator

        # The loop sets the precision of products: Accelerate's would hold for all runs of the process.
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="no")
        self.device = self.accelerator.device

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.device.type == "cuda":
            share_batch_norm(model)
        return self.accelerator.prepare_model(model)

    def parts(self, batches: list[Tensor]) -> list[Tensor]:
        number, own = self.accelerator.num_processes, self.accelerator.process_index
        return [batch.tensor_split(number)[own] for batch in batches]

    def mean(self, loss: float, top1: float, clips: int) -> tuple[float, float]:
        sums = torch.tensor([loss * clips, top1 * clips, clips], dtype=torch.float64, device=self.device)
        loss, top1, clips = self.accelerator.reduce(sums, "sum").tolist()
        return loss / clips, top1 / clips

    def predict(
        self, model: nn.Module, x: Tensor | Stored, rows: Tensor, batch_size: int, precision: str
    ) -> Tensor:
        batch_size = min(batch_size, -(-len(rows) // self.accelerator.num_processes))
        loader = self.accelerator.prepare_data_loader(DataLoader(TensorDataset(rows), batch_size=batch_size))
        # The loader pads its last batches to equal size; `gather_for_metrics` removes the padding.
        logits = []
        for (part,) in loader:  # (B,), this process's
            own = loop.predict(model, x, rows=part, batch_size=batch_size, precision=precision)  # (B, K)
            logits.append(self.accelerator.gather_for_metrics(own))  # (processes * B, K)
        return torch.cat(logits)


def share_batch_norm(model: nn.Module) -> None:
    """Replace every BatchNorm of a head by `torch.nn.SyncBatchNorm` with the same weights and statistics, in place.

    The BatchNorms of a backbone (`BatchNorm2d`) keep their statistics while they train and have nothing to share.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
