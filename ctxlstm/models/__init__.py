"""From features to a prediction: Context-LSTM and CNN-LSTM, and `build` for every model of the book.

Paper sections 3.4 (Context-LSTM), 3.5 (CNN-LSTM), 4.2 (sizes) and 4.4 (the ablation). Every model reads the
features of a frozen CNN, x (B, T, D), and gives logits (B, K).

Shape letters: B clips, T frames, D features, H hidden units, K classes; L layers of a block, E features after
the embedding, W width of an output (2H for two directions).
"""

import inspect
from functools import partial
from typing import Any, Literal, overload

from torch import nn

from ctxlstm.models.cnn_lstm import CNNLSTM, ShuffledLSTM, count_parameters, wide_lstm
from ctxlstm.models.context_lstm import CELLS, HANDOVERS, READOUTS, ContextLSTM, State, swap_directions
from ctxlstm.models.references import MeanLinear, NearestNeighbour, SingleFrame, Transformer
from ctxlstm.support.names import variant

__all__ = [
    "CELLS",
    "CNNLSTM",
    "COMMON",
    "HANDOVERS",
    "MODELS",
    "NAMES",
    "READINGS",
    "READOUTS",
    "ContextLSTM",
    "MeanLinear",
    "NearestNeighbour",
    "ShuffledLSTM",
    "SingleFrame",
    "State",
    "Transformer",
    "build",
    "count_parameters",
    "swap_directions",
    "variant",
    "wide_lstm",
]

# The registry: one line per model. An option given here is fixed by the name.

MODELS: dict[str, partial[nn.Module]] = {
    "context_lstm": partial(ContextLSTM),
    "context_lstm_no_pool": partial(ContextLSTM, pool=None),
    "context_lstm_bn_relu": partial(ContextLSTM, order="bn-relu"),
    "cnn_lstm": partial(CNNLSTM),
    "mean_linear": partial(MeanLinear),
    "nearest_neighbour": partial(NearestNeighbour),
    "single_frame": partial(SingleFrame),
    "shuffled_lstm": partial(ShuffledLSTM),
    "gru": partial(CNNLSTM, cell="gru"),
    "bilstm": partial(CNNLSTM, bidirectional=True),
    "wide_lstm": partial(wide_lstm),
    "transformer": partial(Transformer),
}
NAMES = tuple(MODELS)

# What the paper leaves open about Context-LSTM (Fig. 2, section 3.4), one reading per line; default: {}.
# No pooling, and BN before ReLU, have names of their own above: they are the paper's ablation (section 4.4).
_READINGS: tuple[dict, ...] = (
    {},
    {"pool": "time"},
    {"batch_norm": "time"},
    {"handover": "h"},
    {"handover": "c"},
    {"handover": "swap"},
    {"handover": "detach"},
    {"handover": None},
    {"readout": "ends"},
    {"readout": "mean"},
    {"readout": "max"},
    {"num_blocks": 1},
    {"num_blocks": 2},
    {"num_blocks": 4},
    {"embedding": []},
    {"dropout": 0.3},  # the paper uses dropout but does not say how much; its code base's classes have 0.3
)

READINGS = {variant(options) or "default": options for options in _READINGS}

# Every name takes these, so that one set of options serves a whole comparison; a head that has no use for one
# (mean_linear for hidden_size) ignores it. Any other option must be the model's own.
COMMON = ("input_size", "num_classes", "hidden_size", "num_layers", "num_blocks", "embedding", "dropout")


@overload
def build(
    name: Literal["context_lstm", "context_lstm_no_pool", "context_lstm_bn_relu"], **options: Any
) -> ContextLSTM: ...
@overload
def build(
    name: Literal["cnn_lstm", "shuffled_lstm", "gru", "bilstm", "wide_lstm"], **options: Any
) -> CNNLSTM: ...
@overload
def build(name: str, **options: Any) -> nn.Module: ...
def build(name: str, **options: Any) -> nn.Module:
    """Make the model `name`, one of `NAMES`, with its own options and any of `COMMON`.

    Raises:
        ValueError: unknown name (lists the valid ones), an option the model does not have (lists its options),
            or a value the model refuses.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; valid names: {', '.join(NAMES)}")
    make = MODELS[name]
    own = [option for option in inspect.signature(make).parameters if option not in make.keywords]
    for option in options:
        if option not in own and option not in COMMON:
            raise ValueError(f"model {name!r} has no option {option!r}; its options: {', '.join(own)}")
    return make(**{option: value for option, value in options.items() if option in own})
