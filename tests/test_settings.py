"""Settings from config files and notebooks: every key known, every value allowed, the nearest source counts."""

from pathlib import Path

import pytest

from ctxlstm import models, paper
from ctxlstm.experiments import settings
from ctxlstm.experiments.settings import Settings, read_config

CONFIGS = sorted(path.stem for path in settings.CONFIGS.glob("*.yaml"))


def test_the_configs_are_there():
    ucf101 = {"ucf101_subset", "ucf101_paper", "ucf101_official", "ucf101_finetune"}
    assert {"smoke", "stickfigures"} | ucf101 == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_makes_jobs(name, tmp_path):
    made = Settings(**read_config(name) | {"root": str(tmp_path)})
    jobs = made.jobs()
    assert len(jobs) >= len(made.models) * len(made.protocols) * len(made.seeds)
    assert len({(j.models, j.protocols, j.fold, j.seed) for j in jobs}) == len(jobs)


def test_ucf101_paper_is_the_papers_setting(tmp_path):
    made = Settings(**read_config("ucf101_paper") | {"root": str(tmp_path)})
    for name in ("epochs", "batch_size", "learning_rate", "hidden_size"):
        assert getattr(made, name) == paper.SETTINGS[name].value
    assert (made.backbone, made.frames, made.rule, made.size) == ("resnet50", 28, "first", 224)
    assert made.protocols == ("paper",)
    assert made.validation == 0
    assert made.batch_sizes == (20, 40, 80, 160)


def test_the_reference_configs_ask_for_what_is_published(tmp_path):
    stick = Settings(**read_config("stickfigures"))
    assert set(stick.models) == set(models.NAMES)
    assert (stick.protocols, stick.folds, len(stick.seeds)) == (("paper", "grouped", "official"), (1,), 5)
    real = Settings(**read_config("ucf101_subset") | {"root": str(tmp_path)})
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
        Settings.from_notebook({"config": str(path)})


def test_a_config_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match="no config ucf102: give the path of a YAML file, or one of smoke"
    ):
        read_config("ucf102")


def test_what_is_injected_counts_before_the_config_and_that_before_the_cell(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("epochs: 7\nseeds: [3, 4]\n", encoding="utf-8")
    cell = {"config": str(path), "epochs": 5, "hidden_size": 16, "workers": 2}
    made = Settings.from_notebook(cell, besides=("workers",))
    assert (made.epochs, made.hidden_size, made.seeds) == (7, 16, (3, 4))
    injected = cell | {"epochs": 9, "workers": 1, "In": ["", "# Parameters\nepochs = 9\nworkers = 1\n"]}
    assert Settings.from_notebook(injected, besides=("workers",)).epochs == 9
    with pytest.raises(ValueError, match="unknown parameter 'workers'"):
        Settings.from_notebook(injected)
    assert Settings.from_notebook(cell | {"models": models}).models == Settings().models, (
        "a module, no setting"
    )


def test_a_whole_file_that_papermill_injects_starts_from_the_defaults_and_not_from_the_cells_config():
    lines = "# Parameters\ndataset = 'stickfigures'\nepochs = 9\n"
    cell = {"config": "smoke", "dataset": "stickfigures", "epochs": 9, "In": ["", lines]}
    made = Settings.from_notebook(cell)
    assert (made.epochs, made.size, made.frames) == (9, 160, Settings().frames)
    both = cell | {"In": ["", lines + "config = 'smoke'\n"]}
    assert Settings.from_notebook(both).frames == read_config("smoke")["frames"]


@pytest.mark.parametrize(
    "options", ["{handover: none, num_blocks: 2}", {"handover": "none", "num_blocks": 2}]
)
def test_options_as_the_command_line_or_a_file_gives_them(options):
    with pytest.raises(ValueError, match="unknown handover 'none'"):  # YAML's none is null
        Settings(models=("context_lstm",), options=options)
    made = Settings(models=("context_lstm",), options="{handover: null, num_blocks: 2}")
    assert made.variant == "handover=none, num_blocks=2"
    net = made.build("context_lstm", input_size=8, num_classes=3)
    assert len(net.blocks) == 2
    assert net.handover is None


def test_options_that_are_none():
    with pytest.raises(ValueError, match="give names and values"):
        Settings(options=[1])
    with pytest.raises(ValueError, match="are not YAML"):
        Settings(options="{")


@pytest.mark.parametrize("name", list(models.READINGS))
def test_every_reading_builds_a_model_of_its_own(name):
    made = Settings(models=("context_lstm",), options=models.READINGS[name])
    assert made.variant == ("" if name == "default" else name)
    net = made.build("context_lstm", input_size=8, num_classes=3)
    default = Settings().build("context_lstm", input_size=8, num_classes=3)
    same = str(net) == str(default) and (net.handover, net.readout) == (default.handover, default.readout)
    assert same == (name == "default")


def test_drift_has_no_use_for_a_head_that_is_not_trained():
    with pytest.raises(ValueError, match="choose another model, or imagenet or adapted"):
        Settings(batch_norm="drift")
    assert Settings(batch_norm="drift", models=("mean_linear",)).batch_norm == "drift"


def test_the_strong_baseline_is_fine_tuned_on_the_first_official_split(tmp_path):
    made = Settings(**read_config("ucf101_finetune") | {"root": str(tmp_path)})
    assert made.on_frames
    assert (made.backbone, made.finetune, made.augment) == ("resnet50", True, "crop-flip")
    assert (made.protocols, {job.fold for job in made.jobs()}) == (("official",), {1})
    assert set(made.models) == {"mean_linear", "context_lstm"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"finetune": True}, "looks at the features once and finetune makes them anew"),
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
        Settings(**given)


def test_the_training_and_the_backbone_get_what_was_asked_for():
    how = {"backbone_learning_rate": 3e-5, "precision": "bf16", "backbone_precision": "bf16"}
    made = Settings(models="mean_linear", finetune="true", size=32, **how)
    assert (made.training.backbone_learning_rate, made.training.precision) == (3e-5, "bf16")
    net = made.load_backbone()
    assert (net.precision, net.frozen) == ("bf16", True), "frozen until it is trained"
    assert Settings(batch_norm="drift", augment="crop", models="mean_linear").on_frames
    assert not Settings().on_frames


def test_a_record_names_the_younger_settings_only_where_they_count():
    """So a run of the same work has the same name as before there were these settings."""
    plain = Settings().run("mean_linear", "paper", "0" * 64)
    assert not {*settings.LATER, "images"} & set(plain)
    asked = Settings(models="mean_linear", finetune=True, augment="crop", precision="tf32", images=8)
    added = asked.run("mean_linear", "paper", "0" * 64)
    assert added == plain | {"finetune": True, "augment": "crop", "precision": "tf32"}


def test_configs_name_no_place_of_a_machine():
    for name in CONFIGS:
        assert not set(read_config(name)) & set(settings.PLACES)
        assert "/" not in Path(settings.CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").replace(
            "results/", ""
        )
