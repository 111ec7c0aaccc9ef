"""Records of runs that nobody has trained: drawn from a seed, on disk and as a table."""

import numpy as np
import pandas as pd

from ctxlstm import evaluation

CLASSES = ["Kick", "PickUp", "PutDown", "Wave"]


SKILL = {
    "nearest_neighbour": (0.9, 0.35),
    "mean_linear": (0.83, 0.55),
    "cnn_lstm": (0.86, 0.7),
    "context_lstm_no_pool": (0.88, 0.72),
    "context_lstm": (0.9, 0.75),
}


def run(
    folder,
    model="context_lstm",
    protocol="paper",
    seed=0,
    *,
    fold=1,
    variant="",
    batch_size=40,
    epochs=30,
    skill=None,
    **more,
):
    """A synthetic run: its history and predictions on disk, and its row as `runs.load` gives it."""
    name = f"{protocol}{fold}-{model}-{variant or 'default'}-b{batch_size}-s{seed}"
    place = folder / name
    place.mkdir(parents=True)
    rng = np.random.default_rng([seed, fold, batch_size, *name.encode()])
    skill = SKILL[model][protocol != "paper"] + rng.normal(0, 0.02) if skill is None else skill
    groups = (
        range(1, 8)
        if protocol == "official"
        else sorted(np.random.default_rng([seed, 7]).permutation(25)[:7] + 1)
    )
    groups = [g + 7 * (fold - 1) for g in groups]
    clips = pd.DataFrame(
        [(f"v_{k}_g{g:02}_c{c:02}", k) for k in CLASSES for g in groups for c in (1, 2, 3)],
        columns=["name", "label"],
    )
    right = rng.uniform(size=len(clips)) < skill
    wrong = clips["label"].map(lambda k: CLASSES[(CLASSES.index(k) + 1) % 4])
    clips["predicted"] = clips["label"].where(right, wrong)
    clips["probability"] = np.where(right, rng.beta(6, 1, len(clips)), rng.beta(3, 2, len(clips))).clip(0.26)
    clips["nll"] = np.where(
        right, -np.log(clips["probability"]), -np.log((1 - clips["probability"]) / 3 + 1e-9)
    )
    clips.to_csv(place / "predictions.csv", index=False)
    top1 = evaluation.top1(clips)
    trained = model != "nearest_neighbour"
    epoch = np.arange(1, epochs + 1 if trained else 2)
    curve = top1 * (1 - np.exp(-epoch / 4)) + rng.normal(0, 0.02, len(epoch))
    curve = np.append(curve[:-1], top1).clip(0, 1)
    history = pd.DataFrame({"epoch": epoch, "train_loss": 1.4 * np.exp(-epoch / 4) if trained else np.nan})
    history["train_top1"] = (1 - np.exp(-epoch / 3)) if trained else np.nan
    history["validation_loss"], history["validation_top1"] = (
        1.0,
        (curve + rng.normal(0, 0.03, len(epoch))).clip(0, 1),
    )
    history["test_loss"], history["test_top1"] = 1 - curve / 2, curve
    history.to_csv(place / "history.csv", index=False)
    chosen = int(epoch[history["validation_top1"].argmax()])
    row = {
        "run": name, "folder": str(place), "dataset": "stickfigures", "groups": 25, "backbone": "efficientnet_lite0",
        "batch_norm": "imagenet", "size": 160, "frames": 12, "rule": "uniform", "model": model, "options": {},
        "variant": variant, "hidden_size": 64, "embedding": [128], "protocol": protocol, "fold": fold, "seed": seed,
        "epochs": int(epoch[-1]), "batch_size": batch_size, "learning_rate": 0.001, "validation": 0.1, "top1_last": top1,
        "top1_late": evaluation.late(history).mean, "top1_best": float(curve.max()), "nll": clips["nll"].mean(),
        "top1_validation_chosen": float(curve[chosen - 1]),
        "chosen_epoch": chosen, "seconds": 10.0, "seconds_per_epoch": 4 / batch_size**0.7, "parameters": 1_000_000 * trained,
        "train_clips": 216, "validation_clips": 24, "test_clips": len(clips), "classes": 4, "device": "cpu",
        "test_clips_with_sibling": 0.97 if protocol == "paper" else 0.0, "features_digest": "a" * 64, "peak_memory_bytes": 10**9,
    }  # fmt: skip
    return row | more


def study(folder, seeds=3, **more) -> pd.DataFrame:
    """A whole study: main runs under three protocols, readings, and four batch sizes."""
    rows = []
    for seed in range(seeds):
        for model in SKILL:
            rows += [run(folder, model, protocol, seed, **more) for protocol in ("paper", "grouped")]
            rows += [run(folder, model, "official", seed, fold=fold, **more) for fold in (1, 2, 3)]
        for variant, skill in (
            ("pool=time", 0.91),
            ("handover=none", 0.9),
            ("num_blocks=2", 0.85),
            ("embedding=none", 0.7),
        ):
            rows.append(run(folder, "context_lstm", "paper", seed, variant=variant, skill=skill, **more))
        for size in (20, 80, 160):
            for model in ("cnn_lstm", "context_lstm"):
                rows += [run(folder, model, p, seed, batch_size=size, **more) for p in ("paper", "grouped")]
    return pd.DataFrame(rows)
