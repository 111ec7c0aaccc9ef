"""Checkpoints of a training run: one file that is always whole, and that no other run can be resumed from.

Weights, optimizer, history and seconds lie in one safetensors file with a checksum. It is written under
another name and renamed.
"""

import hashlib
import json
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ctxlstm.support.files import written


def save(
    path: Path, model: nn.Module, optimizer: Optimizer, identity: dict, rows: list[dict], seconds: list[float]
) -> None:
    """Write the checkpoint, and history.csv beside it for anyone who wants to look during the run.

    Args:
        path: the file; model, optimizer: as they are after the epoch.
        identity: what distinguishes this run from others; rows: the history so far; seconds: of each epoch.
    """
    tensors = {f"model.{key}": value.contiguous() for key, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.contiguous() for key, value in state.items()}
    metadata = {"identity": json.dumps(identity), "rows": json.dumps(rows), "seconds": json.dumps(seconds)}
    metadata["sha256"] = _checksum(tensors, metadata)
    with written(path) as part:
        save_file(tensors, part, metadata)
    with written(path.with_name("history.csv")) as part:
        pd.DataFrame(rows).to_csv(part, index=False)


def _checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over the whole content: a file damaged on disk must not be resumed from."""
    said = [(key, str(tensors[key].dtype), list(tensors[key].shape)) for key in sorted(tensors)]
    value = hashlib.sha256(json.dumps([said, sorted(metadata.items())]).encode())
    for key in sorted(tensors):
        value.update(tensors[key].detach().cpu().numpy().tobytes())
    return value.hexdigest()


def resume(
    path: str | Path, model: nn.Module, optimizer: Optimizer, identity: dict
) -> tuple[list[dict], list[float]]:
    """Load the checkpoint at `path` into model and optimizer; returns the rows and seconds of its epochs.

    Both are empty if there is no file. Raises ValueError for a damaged one, or one of another run or model.
    """
    path = Path(path)
    if not path.exists():
        return [], []
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # Copies: a tensor mapped onto the file would keep Windows from replacing it.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
        found, rows, seconds = (json.loads(metadata[key]) for key in ("identity", "rows", "seconds"))
        if metadata.pop("sha256") != _checksum(tensors, metadata):
            raise ValueError("its checksum does not match, so it is damaged")
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a checkpoint of a training run ({error}): remove it to start anew"
        ) from error
    for name, wanted in identity.items():
        if found.get(name) != wanted:
            raise ValueError(
                f"{path} is from another training run ({name}: {found.get(name)} there, {wanted} here): remove it to start "
                "anew"
            )
    weights = {
        key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} is from another model: remove it to start anew") from error
    state: dict[int, dict] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return rows, seconds
