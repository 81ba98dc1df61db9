"""What a recipe with pretrained weights chooses, where it is given no learning rate."""

import copy
import dataclasses
import pickle

import pytest
from absl import flags

from cnn_jax import run
from cnn_jax.run import fine_tuning, resuming, settings
from cnn_jax.run.network import create_model
from cnn_jax.run.trials import starting
from experiments import recipe as recipes
from experiments.flag_names import in_flags

QUIET = run.Program(quiet=True)
OURS = fine_tuning.CLASSIFICATION
PLAIN = {"optimizer": "sgd", "learning_rate": 0.1, "backbone_factor": 1.0, "bn_momentum": 0.0}
# of networks whose statistics follow quickly by themselves
WHOLE = {name: value for name, value in OURS.whole.items() if name != "bn_momentum"}


def chosen_by(recipe):
    return {name: getattr(recipe, name) for name in PLAIN}


@pytest.mark.parametrize("kind", [run.Recipe, run.MultilabelRecipe])
def test_a_recipe_with_weights_and_no_learning_rate_chooses_for_fine_tuning(kind):
    recipe = kind(pretrained="net.pth")
    assert chosen_by(recipe) == {**PLAIN, **WHOLE}
    assert chosen_by(kind()) == PLAIN
    assert fine_tuning.note(kind()) == ""
    line = fine_tuning.note(recipe)
    assert "\n" not in line
    for name, value in WHOLE.items():
        assert f"`{name}={value}`" in line


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"pretrained": "net.pth"}, {"learning_rate": 0.3, "seed": 1}),
        ({"pretrained": "net.pth"}, {"optimizer": "sgd"}),
        ({"pretrained": "net.pth"}, {"freeze": True, "seed": 1}),
        ({"pretrained": "net.pth", "learning_rate": 0.1}, {"optimizer": "adamw"}),
        ({"pretrained": "net.pth"}, {"pretrained": ""}),
        ({}, {"pretrained": "net.pth"}),
        ({"learning_rate": 0.03}, {"pretrained": "net.pth"}),
    ],
)
def test_a_run_of_a_sweep_chooses_what_it_would_choose_alone(given, changes, tmp_path):
    start = starting.Start(tmp_path, run.Recipe(**given), None, None, "")
    own, where = start.trial("own", changes).recipe, str(tmp_path / "own")
    assert own == run.Recipe(**{**given, **changes, "workdir": where})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"learning_rate": 0.1}, PLAIN),
        ({"learning_rate": 0.03, "freeze": True}, {**PLAIN, "learning_rate": 0.03}),
        ({"learning_rates": (0.1, 0.2)}, PLAIN),
        ({"learning_rates": ()}, {**PLAIN, **WHOLE}),
        ({"freeze": True}, {**PLAIN, **OURS.probe}),
        ({"backbone_factor": 0.5}, {**PLAIN, **WHOLE, "backbone_factor": 0.5}),
        ({"layer_decay": 0.8}, {**PLAIN, **WHOLE}),
        ({"optimizer": "sgd"}, {**PLAIN, "learning_rate": OURS.rates["sgd"]}),
        ({"optimizer": "muon"}, {**PLAIN, "optimizer": "muon", "learning_rate": 0.01}),
        ({"optimizer": "muon", "freeze": True}, {**PLAIN, "optimizer": "muon"}),
        ({"optimizer": WHOLE["optimizer"]}, {**PLAIN, **WHOLE}),
        ({"pretrained": "", "freeze": True}, PLAIN),
    ],
)
def test_what_is_given_stays_as_it_is(given, wanted):
    recipe = run.Recipe(**{"pretrained": "net.pth", **given})
    assert chosen_by(recipe) == wanted
    # by flags as from code, and from the file that a run writes
    values = flags.FlagValues()
    recipes.define_flags(run.Recipe, values)
    words = {"pretrained": "net.pth", **given}
    words = {n: ",".join(map(str, v)) if isinstance(v, tuple) else v for n, v in words.items()}
    values(["", *(f"--{name}={value}" for name, value in words.items())])
    assert recipes.from_flags(run.Recipe, values) == recipe
    written = settings.parse_flagfile(settings.to_flagfile(recipe))
    assert settings.from_flagfile(run.Recipe, written) == recipe
    for name, value in wanted.items():
        assert written[name] == str(value)


@pytest.mark.parametrize(
    ("given", "momentum", "taken"),
    [
        ({"model": "efficientnet_lite0"}, 0.9, 0.9),  # 0.99 by itself
        ({"model": "mnasnet1_0"}, 0.9, 0.9),  # 0.9997
        ({"model": "mobilenet_v3_small", "optimizer": "sgd"}, 0.9, 0.9),
        ({"model": "efficientnet_b0"}, 0.0, 0.9),  # has it
        ({"model": "mnasnet1_0", "bn_momentum": 0.95}, 0.95, 0.95),
        ({"model": "mnasnet1_0", "model_options": "bn_momentum=0.95"}, 0.0, 0.95),
        ({"model": "mnasnet1_0", "learning_rate": 0.1}, 0.0, 0.9997),
        ({"model": "mnasnet1_0", "freeze": True}, 0.0, 0.9997),  # has no new statistics
        ({"model": "mnasnet1_0", "pretrained": ""}, 0.0, 0.9997),
    ],
)
def test_statistics_that_follow_slowly_follow_faster(given, momentum, taken):
    recipe = run.Recipe(**{"pretrained": "net.pth", **given})
    assert recipe.bn_momentum == momentum
    assert create_model(recipe.model, recipe, num_classes=3).bn_momentum == taken


def test_a_network_without_such_statistics_says_so():
    with pytest.raises(ValueError, match="resnet18 has no field bn_momentum"):
        create_model("resnet18", run.Recipe(bn_momentum=0.9), num_classes=3)


@pytest.mark.parametrize("kind", [run.SegmentationRecipe, run.DetectionRecipe])
def test_other_tasks_take_a_tenth_of_their_own_rate(kind):
    recipe = kind(pretrained="net.pth")
    assert (recipe.optimizer, recipe.learning_rate) == ("muon", 0.002)
    assert "`learning_rate=0.002`" in fine_tuning.note(recipe)
    assert kind().learning_rate == kind(pretrained="a", learning_rate=0.02).learning_rate == 0.02


def test_detection_on_a_pretrained_backbone_keeps_its_rate():
    assert run.DetectionRecipe(pretrained_backbone="net.pth").learning_rate == 0.02


def test_a_recipe_of_a_plug_in_may_say_its_own():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    @run.with_defaults(learning_rate=0.04)
    class Mine(run.TrainingRecipe):
        pass

    class Other(Mine):
        fine_tuning_defaults = fine_tuning.Defaults(
            {"optimizer": "lion", "learning_rate": 1e-5}, {}
        )

    assert Mine(pretrained="a").learning_rate == 0.004
    assert chosen_by(Other(pretrained="a")) == {
        **PLAIN, "optimizer": "lion", "learning_rate": 1e-5
    }  # fmt: skip


def test_a_recipe_is_changed_and_copied_with_what_it_chose():
    recipe = run.Recipe(pretrained="net.pth")
    for same in (
        copy.copy(recipe),
        pickle.loads(pickle.dumps(recipe)),
        dataclasses.replace(recipe),
    ):
        assert same == recipe
        assert fine_tuning.note(same) == fine_tuning.note(recipe)
    other = dataclasses.replace(recipe, learning_rate=0.05)
    assert chosen_by(other) == {**PLAIN, **WHOLE, "learning_rate": 0.05}
    assert fine_tuning.note(other) == other.fine_tuning == ""  # the rate was given now
    assert fine_tuning.note(dataclasses.replace(recipe, pretrained="")) == ""


def test_the_record_is_not_for_users():
    for wrong in ("epochs=3", "learning_rate", "nonsense"):
        with pytest.raises(ValueError, match="is not chosen by `pretrained`") as caught:
            run.Recipe(pretrained="a", fine_tuning=wrong)
        assert "\n" not in str(caught.value)


QUICK = {
    "model": "mlp", "steps": 2, "batch_size": 32, "augment": "", "figures": False, "devices": 1,
    "cpu_convolutions": False, "compilation_cache": "", "train_split": "train[:64]",
    "test_split": "test[:50]", "evaluate_every_epochs": 0.0, "survey": "off",
}  # fmt: skip


def said_by(capsys, recipe, where):
    run.train(recipe, workdir=where, program=run.Program())
    return " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run to begin from."""
    recipe = run.Recipe(**QUICK, learning_rate=0.05)
    return run.train(recipe, workdir=tmp_path_factory.mktemp("base") / "run", program=QUIET).place


def test_runs_say_it_keep_it_and_go_on(base, tmp_path, capsys, monkeypatch):
    def tuned(**changes):
        return run.Recipe(**QUICK, pretrained=base, **changes)

    # a new run says what it chose, once, and its file has plain numbers
    where = tmp_path / "new"
    assert said_by(capsys, tuned(), where).count("Chosen for fine-tuning") == 1
    flagfile = where / "recipe.flags"
    written = resuming.read_recipe(flagfile)
    assert {name: written[name] for name in WHOLE} == {
        name: str(value) for name, value in WHOLE.items()
    }
    # a version that chooses otherwise goes on with what the run chose, however often
    other = OURS._replace(whole={"optimizer": "adam", "learning_rate": 7e-4, "weight_decay": 0.05})
    with monkeypatch.context() as patched:
        patched.setattr(run.Recipe, "fine_tuning_defaults", other)
        assert tuned().learning_rate == 7e-4
        for _ in range(2):
            said = said_by(capsys, tuned(), where)
            assert "Resuming at step 2 of 2." in said
            assert "as the run in" in said
            now = resuming.read_recipe(flagfile)
            assert {**now, "fine_tuning": ""} == {**written, "fine_tuning": ""}
    # what was chosen then and is given now is another experiment
    with pytest.raises(ValueError, match=r"holds another experiment: .*`learning_rate` was"):
        run.train(tuned(learning_rate=0.05), workdir=where, program=QUIET)


def test_a_directory_of_an_older_version_goes_on_with_its_rate(base, tmp_path, capsys):
    where, now = tmp_path / "run", run.Recipe(**QUICK, pretrained=base)
    given = run.Recipe(**QUICK, pretrained=base, learning_rate=0.1)
    assert "Chosen for fine-tuning" not in said_by(capsys, given, where)
    with pytest.raises(ValueError, match=r"`learning_rate` was 0.1 and is now"):
        run.train(now, workdir=where, program=QUIET)  # it was given, and is not
    flagfile = where / "recipe.flags"
    lines = flagfile.read_text().splitlines()
    lines = [line for line in lines if not line.startswith("--fine_tuning")]
    lines[0] = lines[0].replace(f"{len(lines)} of them", f"{len(lines) - 1} of them")
    older = "\n".join(lines) + "\n"
    flagfile.write_text(older.replace("--learning_rate=0.1\n", "--learning_rate=0.03\n"))
    with pytest.raises(ValueError, match=r"`learning_rate` was 0.03 and is now"):
        run.train(now, workdir=where, program=QUIET)
    flagfile.write_text(older)  # 0.1 is what every run had that was given none
    for _ in range(2):
        said = said_by(capsys, now, where)
        assert "Resuming at step 2 of 2." in said
        assert "`learning_rate=0.1`" in said
        assert resuming.read_recipe(flagfile)["optimizer"] == "sgd"


def test_a_command_says_it_in_flags():
    values = flags.FlagValues()
    recipes.define_flags(run.Recipe, values)
    values(["", "--pretrained=net.pth"])
    line = in_flags(fine_tuning.note(recipes.from_flags(run.Recipe, values)), values)
    assert "as --pretrained was given without --learning_rate: --optimizer=" in line
    assert "chooses settings for fine-tuning" in values["pretrained"].help
