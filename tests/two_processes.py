"""One training, as one process makes it and as each of two does: test_distributed.py starts this file twice."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from small import build, config, make_features

from ctxlstm import training, ucf101
from ctxlstm.training import processes

# BatchNorm of both kinds, and a model without any.
CASES = {"context_lstm": {}, "time": {"batch_norm": "time"}, "no_batch_norm": {}}


def fit(name: str, epochs: int = 4, **how) -> tuple[torch.nn.Module, training.History]:
    data = make_features()
    split = ucf101.split(data.clips, "grouped", seed=0)
    even = name == "no_batch_norm"  # batches of 6 and 6 ... else of 7 and 6, which two cannot share equally
    model = build("cnn_lstm" if even else "context_lstm", dropout=0.0, **CASES[name])
    return model, training.fit(model, data, split, config(epochs=epochs, batch_size=6 if even else 7), **how)


def main(out: Path) -> None:
    processes.join(cpu=True)
    for name in CASES:
        model, history = fit(name, checkpoint=out / f"{name}.safetensors")
        if training.is_main_process():
            history.table.to_csv(out / f"{name}.csv", index=False)
            history.predictions.to_csv(out / f"{name}.predictions.csv", index=False)
        else:
            save_file(dict(model.state_dict()), out / f"{name}.second.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
