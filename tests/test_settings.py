"""Settings from config files and notebooks: every key known, every value allowed, the nearest source counts."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from ctxlstm import backbone, models, paper, training, ucf101
from ctxlstm.experiments import runs, settings, steps
from ctxlstm.experiments.settings import Run, Settings, Study, read_config
from ctxlstm.models import augment
from ctxlstm.training.device import PRECISIONS

RESULTS = settings.CONFIGS.parent / "results"
CONFIGS = sorted(path.stem for path in settings.CONFIGS.glob("*.yaml"))


def build(asked: Settings) -> models.ContextLSTM:
    return models.build("context_lstm", input_size=8, num_classes=3, **asked.head)


def test_the_configs_are_there():
    ucf101 = {"subset", "nine", "nine_uniform", "nine_512", "midframes", "paper", "official", "finetune"}
    assert {"smoke", "stickfigures"} | {f"ucf101_{name}" for name in ucf101} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_makes_runs(name, tmp_path):
    made = Study(**read_config(name) | {"root": str(tmp_path)})
    jobs = made.runs()
    assert len(jobs) >= len(made.models) * len(made.protocols) * len(made.seeds)
    assert len({(j.model, j.protocol, j.fold, j.seed) for j in jobs}) == len(jobs)


def test_ucf101_paper_is_the_papers_setting(tmp_path):
    made = Study(**read_config("ucf101_paper") | {"root": str(tmp_path)})
    for name in ("epochs", "batch_size", "learning_rate", "hidden_size"):
        assert getattr(made, name) == paper.SETTINGS[name].value
    assert (made.backbone, made.frames, made.rule, made.size) == ("resnet50", 28, "first", 224)
    assert made.protocols == ("paper",)
    assert made.validation == 0
    assert made.batch_sizes == (20, 40, 80, 160)


def test_the_reference_configs_ask_for_what_is_published(tmp_path):
    stick = Study(**read_config("stickfigures"))
    assert set(stick.models) == set(models.NAMES)
    assert (stick.protocols, stick.folds, len(stick.seeds)) == (("paper", "grouped", "official"), (1,), 5)
    real = Study(**read_config("ucf101_subset") | {"root": str(tmp_path)})
    assert (real.protocols, real.folds, len(real.seeds)) == (("paper", "official"), (1, 2, 3), 3)
    assert len(real.models) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 5\n", r"unknown key 'epoch' in config .*own\.yaml: the keys are dataset, .*epochs"),
        ("epochs: 0\n", "epochs is 0: it must be at least 1"),
        ("protocols: [random]\n", "choose one of paper, grouped, official"),
        ("readings: [pool=space]\n", "unknown reading 'pool=space': choose one of default, pool=time"),
        ("seeds: [1, 1]\n", r"seeds is \[1, 1\]: give different numbers"),
        ("folds: [0]\n", "fold is 0: the official splits are 1, 2 and 3"),
        ("options: {pool: space}\nmodels: [context_lstm]\n", "unknown pool 'space'"),
        ("options: {pol: time}\nmodels: [context_lstm]\n", "has no option 'pol'; its options: .*pool"),
        ("epochs: [\n", "is not YAML"),
        ("- epochs\n", "must hold lines of the form name: value"),
    ],
)
def test_a_config_with_a_mistake_is_told(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Study.from_notebook({"config": str(path)})


def test_a_config_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match="no config ucf102: give the path of a YAML file, or one of smoke"
    ):
        read_config("ucf102")


def test_what_is_injected_counts_before_the_config_and_that_before_the_cell(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 7\nseeds: [3, 4]\n", encoding="utf-8")
    cell = {"config": str(path), "epochs": 5, "hidden_size": 16, "workers": 2}
    made = Study.from_notebook(cell, besides=("workers",))
    assert (made.epochs, made.hidden_size, made.seeds) == (7, 16, (3, 4))
    injected = cell | {"epochs": 9, "workers": 1, "In": ["", "# Parameters\nepochs = 9\nworkers = 1\n"]}
    assert Study.from_notebook(injected, besides=("workers",)).epochs == 9
    with pytest.raises(ValueError, match="unknown parameter 'workers'"):
        Study.from_notebook(injected)
    assert Study.from_notebook(cell | {"models": models}).models == Study().models, "a module, no setting"


def test_a_whole_file_that_papermill_injects_starts_from_the_defaults_and_not_from_the_cells_config():
    lines = "# Parameters\ndataset = 'stickfigures'\nepochs = 9\n"
    cell = {"config": "smoke", "dataset": "stickfigures", "epochs": 9, "In": ["", lines]}
    made = Study.from_notebook(cell)
    assert (made.epochs, made.size, made.frames) == (9, 160, Study().frames)
    both = cell | {"In": ["", lines + "config = 'smoke'\n"]}
    assert Study.from_notebook(both).frames == read_config("smoke")["frames"]


def test_one_run_takes_of_a_config_the_first_protocol_and_no_other_list(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("protocols: [grouped, official]\nseeds: [3, 4]\nfolds: [2, 3]\n", encoding="utf-8")
    cell = {"config": str(path), "model": "cnn_lstm", "protocol": "", "seed": 7}
    made = Run.from_notebook(cell)
    assert (made.model, made.protocol, made.fold, made.seed) == ("cnn_lstm", "grouped", 1, 7)
    injected = {"protocol": "official", "fold": 3}
    lines = "# Parameters\nprotocol = 'official'\nfold = 3\n"
    made = Run.from_notebook(cell | injected | {"In": [lines]})
    assert (made.protocol, made.fold, made.seed) == ("official", 3, 7)
    with pytest.raises(ValueError, match="unknown model 'lstm': choose one of context_lstm"):
        Run.from_notebook(cell | {"model": "lstm"})


def test_what_papermill_injects_about_itself_is_admitted():
    lines = "# Parameters\nPAPERMILL_INPUT_PATH = 'a.ipynb'\nPAPERMILL_OUTPUT_PATH = 'b.ipynb'\nepochs = 3\n"
    assert Study.from_notebook({"epochs": 3, "PAPERMILL_INPUT_PATH": "a.ipynb", "In": [lines]}).epochs == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_config_may_be_any_utf(tmp_path, encoding):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 7\nroot: männer\n", encoding=encoding)
    assert read_config(path) == {"epochs": 7, "root": "männer"}


def test_a_config_in_another_encoding_is_told(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("root: männer\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"own\.yaml is not YAML .*mend it"):
        read_config(path)


def test_yamls_no_is_a_name_where_it_can_be_one_and_a_number_is_no_path(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("precision: no\n", encoding="utf-8")
    assert Study(**read_config(path)).precision == "no"
    path.write_text("results: 2024_01\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^results is 202401: .*put it in quotes"):
        Study(**read_config(path))
    path.write_text("results: '2024_01'\n", encoding="utf-8")
    assert Study(**read_config(path)).results == "2024_01"


RIGHT = {"model": "context_lstm", "protocol": "paper"}
# A value out of range, of the fields that have one.
OUTSIDE = {
    "groups": 0, "size": 33, "frames": 0, "hidden_size": 0, "embedding": [8, 0], "fold": 4, "seed": -1, "epochs": 0,
    "batch_size": 0, "learning_rate": 0, "validation": 1, "backbone_learning_rate": -1, "images": -1,
    "models": [], "protocols": [], "folds": [0], "seeds": [2**32], "batch_sizes": [8, 8],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in (Study, Run) for name in kind.model_fields]
)
def test_each_mistake_in_each_field_is_one_sentence_that_names_it(kind, name):
    given = RIGHT if kind is Run else {}
    title = kind.model_fields[name].title or name
    called = rf"^(unknown )?({name}|{title})\b"
    for value in (object(), [{}], *([OUTSIDE[name]] if name in OUTSIDE else [])):
        with pytest.raises(ValueError, match=called) as told:
            kind(**given | {name: value})
        assert str(told.value).count("\n") == 0
        assert ": " in str(told.value), "what was given, and what is allowed"
    with pytest.raises(ValueError, match=f"^unknown name '{name}_': the names are .*{name}"):
        kind(**given | {f"{name}_": 1})
    with pytest.raises(ValueError, match="frozen"):
        setattr(kind(**given), name, 1)


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "seeds", "fold"])
@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), "many", "1e400"])
def test_what_is_no_number_is_none(name, value):
    with pytest.raises(ValueError, match=f"^{name} is .*: it must be (int|float|a finite number)$"):
        Study(**{name: value})


def test_the_names_are_those_of_the_registries():
    """Written down in settings, so that reading a config does not import torch."""

    def names(kind, field):
        found = [kind.model_fields[field].annotation]
        while not isinstance(found[0], str):
            found = [each for kind in found for each in get_args(kind) if each is not ...]
            found = [each for each in found if isinstance(each, str) or get_args(each)]
        return {name for name in found if name}

    assert names(Study, "models") == names(Run, "model") == set(models.NAMES)
    assert names(Study, "protocols") == names(Run, "protocol") == set(ucf101.PROTOCOLS)
    assert names(Study, "readings") == set(models.READINGS)
    assert names(Run, "backbone") == set(backbone.NAMES)
    assert names(Run, "batch_norm") == set(backbone.BATCH_NORMS)
    assert names(Run, "stride") == set(backbone.STRIDES)
    assert names(Run, "backbone_precision") == set(backbone.PRECISIONS)
    assert names(Run, "precision") == set(PRECISIONS)
    assert names(Run, "augment") == set(augment.NAMES)
    assert set(training.Config.__dataclass_fields__) <= set(Run.model_fields), "steps.train hands them on"


def test_reading_settings_does_not_import_torch():
    program = (
        "import sys; from ctxlstm.experiments import settings; settings.read_config('smoke'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", ["stickfigures", "ucf101_subset"])
def test_the_names_of_the_committed_records_follow_from_their_config(name, tmp_path):
    """Whoever runs a committed study once more finds its records finished."""
    records = runs.load(RESULTS / name)
    (digest,) = set(records["features"])
    study = Study(**read_config(name) | {"root": str(tmp_path)})
    asked = study.runs()
    for options in models.READINGS.values():
        asked += study.replace(models="context_lstm", options=options).runs()
    for size in study.batch_sizes:
        asked += study.replace(models=("cnn_lstm", "context_lstm"), batch_size=size).runs()
    found = {runs.run_id(run.params(digest)) for run in asked}
    assert {runs.run_id(run.params(digest)) for run in study.runs()} <= set(records["run"])
    assert set(records["run"]) <= found


@pytest.mark.parametrize(
    "options", ["{handover: none, num_blocks: 2}", {"handover": "none", "num_blocks": 2}]
)
def test_options_as_the_command_line_or_a_file_gives_them(options):
    with pytest.raises(ValueError, match="unknown handover 'none'"):  # YAML's none is null
        Study(models=("context_lstm",), options=options)
    made = Study(models=("context_lstm",), options="{handover: null, num_blocks: 2}")
    assert models.variant(made.options) == "handover=none, num_blocks=2"
    net = build(made)
    assert len(net.blocks) == 2
    assert net.handover is None


def test_options_that_are_none():
    with pytest.raises(ValueError, match="give names and values"):
        Study(options=[1])
    with pytest.raises(ValueError, match="are not YAML"):
        Study(options="{")


@pytest.mark.parametrize("name", list(models.READINGS))
def test_every_reading_builds_a_model_of_its_own(name):
    made = Study(models=("context_lstm",), options=models.READINGS[name])
    assert models.variant(made.options) == ("" if name == "default" else name)
    net, default = build(made), build(Study())
    same = str(net) == str(default) and (net.handover, net.readout) == (default.handover, default.readout)
    assert same == (name == "default")


def test_drift_has_no_use_for_a_head_that_is_not_trained():
    with pytest.raises(ValueError, match="choose another model, or imagenet or adapted"):
        Study(batch_norm="drift")
    assert Study(batch_norm="drift", models=("mean_linear",)).batch_norm == "drift"


def test_the_strong_baseline_is_fine_tuned_on_the_first_official_split(tmp_path):
    made = Study(**read_config("ucf101_finetune") | {"root": str(tmp_path)})
    assert made.on_frames
    assert (made.backbone, made.finetune, made.augment) == ("resnet50", True, "crop-flip")
    assert (made.protocols, {run.fold for run in made.runs()}) == (("official",), {1})
    assert set(made.models) == {"mean_linear", "context_lstm"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"finetune": True}, "reads the features once, but finetune changes them in every epoch"),
        ({"augment": "crop"}, "needs the frames in every epoch.*: add finetune or batch_norm drift"),
        ({"augment": "flip"}, "unknown augmentation 'flip': choose one of crop, crop-flip"),
        (
            {"finetune": True, "augment": "crop-flip", "models": "mean_linear"},
            "a mirrored WalkLeft of stickfigures is a WalkRight: choose crop",
        ),
        (
            {"finetune": True, "batch_norm": "drift", "models": "mean_linear"},
            "choose imagenet, or no finetune",
        ),
        ({"finetune": True, "batch_norm": "adapted", "models": "mean_linear"}, "choose imagenet, or no"),
        ({"images": -1}, "images is -1"),
        ({"backbone_learning_rate": 0}, "backbone_learning_rate is 0"),
        ({"backbone_precision": "fp8"}, "unknown backbone precision 'fp8': choose one of float32, bf16"),
        ({"precision": "fp8"}, "unknown precision 'fp8': choose one of no, tf32, bf16"),
    ],
)
def test_what_training_on_frames_and_precision_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        Study(**given)


def test_the_training_and_the_backbone_get_what_was_asked_for():
    how = {"backbone_learning_rate": 3e-5, "precision": "bf16", "backbone_precision": "bf16"}
    made = Run(model="mean_linear", protocol="paper", finetune="true", size=32, **how)
    assert (made.backbone_learning_rate, made.precision) == (3e-5, "bf16")
    net = steps.load_backbone(made)
    assert (net.precision, net.frozen) == ("bf16", True), "frozen until it is trained"
    assert Study(batch_norm="drift", augment="crop", models="mean_linear").on_frames
    assert not Study().on_frames


def test_a_record_names_the_younger_settings_only_where_they_count():
    """So a run of the same work has the same name as before there were these settings."""
    run = Run(model="mean_linear", protocol="paper")
    plain = run.params("0" * 64)
    assert not {*settings.LATER, "images"} & set(plain)
    added = run.replace(finetune=True, augment="crop", precision="tf32", images=8).params("0" * 64)
    assert added == plain | {"finetune": True, "augment": "crop", "precision": "tf32"}


def test_configs_name_no_place_of_a_machine():
    for name in CONFIGS:
        assert not set(read_config(name)) & set(settings.PLACES)
        assert "/" not in Path(settings.CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").replace(
            "results/", ""
        )


def test_an_own_data_set_has_a_name_of_its_own_in_a_record_and_no_place_of_a_machine(tmp_path):
    root = tmp_path / "My Films"
    root.mkdir()
    own = {"dataset": "folder", "root": root, "model": "mean_linear"}
    run = Run(**own, protocol="grouped", group_pattern="^([^_]+)_")
    assert run.title == "My Films"
    params = run.params("0" * 64)
    usual = Run(model="mean_linear", protocol="grouped").params("0" * 64)
    assert params == usual | {"dataset": "My Films", "group_pattern": "^([^_]+)_"}
    assert runs.run_id(params).startswith("My_Films-grouped-mean_linear-s0-")
    table = Run(**own, protocol="grouped", group_table=tmp_path / "groups.csv", title="Films")
    assert table.params("0" * 64) == usual | {"dataset": "Films"}
    assert run.replace(seed=1, root=str(tmp_path)).title == "My Films", (
        "it stays where the folder is another path"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"root": ""}, "dataset folder needs root"),
        ({"root": "none"}, "root none is not a folder: give the folder that holds a folder for each class"),
        ({"title": "UCF-101"}, "the title 'UCF-101' is not a valid name for your own data set"),
        ({"title": "stickfigures"}, "is not a valid name for your own data set: give another title"),
        ({"root": "/"}, "the title '' is not a valid name"),
        ({"group_pattern": "(", "protocol": "paper"}, r"group_pattern '\(' is not a regular expression"),
        ({"group_pattern": "(a)", "group_table": "t.csv"}, "both say which clips go together"),
        ({}, "protocol grouped needs to know which clips go together: give group_pattern or group_table"),
        ({"protocol": "official"}, "protocol official of dataset folder needs lists"),
        ({"dataset": "stickfigures", "group_pattern": "(a)"}, "group_pattern is for dataset folder"),
        ({"dataset": "stickfigures", "title": "Films"}, "title is for dataset folder"),
    ],
)
def test_what_an_own_data_set_cannot_be(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        Run(**{"dataset": "folder", "root": tmp_path, "model": "mean_linear", "protocol": "grouped"} | given)
