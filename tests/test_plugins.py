"""Plug-ins as the library sees them; tests/experiments/test_plugins.py has them by flags."""

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import pytest

import cnn_jax
from cnn_jax import plugins, registry
from cnn_jax.losses import LOSSES
from cnn_jax.models import MODELS
from cnn_jax.plugins import loading
from cnn_jax.plugins.registrations import added_names

LOSS = """
from cnn_jax import losses
losses.LOSSES.register({name!r}, lambda logits, target, weight: losses.weighted_mean(
    -(logits * target).sum(-1), weight))
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A directory of plug-ins, in which everything is as before after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, loaded = added_names(), dict(loading._LOADED)
    yield tmp_path
    for table in registry.tables():
        for name in list(table):
            if (table.what, name) in added_names() - before:
                table.forget(name)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    loading._LOADED.clear()
    loading._LOADED.update(loaded)
    importlib.invalidate_caches()


def write(place, name, text):
    path = place / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()
    return path


def test_a_module_of_the_current_directory_is_loaded_once(place):
    path = write(place, "hinge_of_mine", LOSS.format(name="hinge"))
    plugin = plugins.load("hinge_of_mine")
    assert plugin.registered == {"loss": ("hinge",)}
    assert Path(plugin.file) == path
    assert len(plugin.digest) == 16
    assert LOSSES.origin("hinge") == "hinge_of_mine"
    path.write_text("raise RuntimeError('imported again')")
    assert plugins.load("hinge_of_mine") is plugin
    assert plugin in plugins.loaded()
    assert json.loads(json.dumps(plugins.record()))["hinge_of_mine"] == {
        "registered": {"loss": ["hinge"]},
        "plugin": "hinge_of_mine",
        "digest": plugin.digest,
        "version": "",
    }


def test_a_package_may_register_in_its_modules(place):
    write(place, "pack_of_mine.__init__", "from pack_of_mine import a, b")
    write(place, "pack_of_mine.a", LOSS.format(name="a_loss"))
    write(place, "pack_of_mine.b", LOSS.format(name="b_loss"))
    assert plugins.load("pack_of_mine").registered == {"loss": ("a_loss", "b_loss")}
    assert plugins.load("pack_of_mine.a").registered == {"loss": ("a_loss",)}


def test_what_was_imported_before_is_the_plugins_all_the_same(place):
    write(place, "early_of_mine", LOSS.format(name="early"))
    sys.path.insert(0, str(place))
    importlib.import_module("early_of_mine")
    assert plugins.record() == {"early_of_mine": {"registered": {"loss": ["early"]}}}
    assert plugins.load("early_of_mine").registered == {"loss": ("early",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_"),
        ("x = 1\nraise RuntimeError('a\\nb')", r"mine.py, line 2\): RuntimeError: a b"),
        ("def f(:", "invalid syntax"),
        ("import sys; sys.exit(3)", "it ended the program with status 3"),
        (LOSS.format(name="dice"), "'dice' is registered twice: by cnn_jax.losses.named and by "),
        (LOSS.format(name="new") * 2, "'new' is registered twice: by mine and by mine"),
        (LOSS.format(name="a+b"), "'a\\+b' cannot be the name of a loss: it must be one word"),
        (
            "from cnn_jax import metrics\nmetrics.METRICS.register('new', len)",
            r"line 2\): ValueError: The metric 'new' is builtin_function_or_method; it must be",
        ),
        (
            "from cnn_jax.run import TASKS, Recipe\nTASKS.register('new', Recipe)",
            r"The task 'new' is the class ClassificationRecipe; it must be a TaskRun of a recipe",
        ),
    ],
)
def test_a_plugin_that_fails_says_where_and_leaves_nothing(place, text, message):
    path = write(place, "mine", text)
    with pytest.raises(plugins.PluginError, match=message) as caught:
        plugins.load("mine")
    assert str(caught.value).startswith("The plug-in 'mine' fails")
    assert "\n" not in str(caught.value)
    assert "new" not in LOSSES
    path.write_text(LOSS.format(name="new") + "# mended, and longer than before\n" * 20)
    importlib.invalidate_caches()
    assert plugins.load("mine").registered == {"loss": ("new",)}


def test_a_package_that_fails_half_way_can_be_mended(place):
    write(place, "half.__init__", "from half import a\nraise RuntimeError('half')")
    write(place, "half.a", LOSS.format(name="half"))
    with pytest.raises(plugins.PluginError, match=r"__init__.py, line 2\): RuntimeError: half"):
        plugins.load("half")
    write(place, "half.__init__", "from half import a")
    assert plugins.load("half").registered == {"loss": ("half",)}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_plugin", "no module 'no_such_plugin' in the current directory"),
        ("no_such.plugin", "no module 'no_such' in the current directory"),
        ("plug/mine.py", "give the name of a module, 'mine', and start in its directory"),
        ("mine.py", "give the name of a module, 'mine', and start in its directory"),
        ("a b", "'a b' is no name of a module"),
    ],
)
def test_what_is_no_plugin(name, message):
    with pytest.raises(plugins.PluginError, match=message):
        plugins.load(name)


def test_one_that_registers_nothing_is_suspicious(place, caplog):
    write(place, "empty_of_mine", "")
    with caplog.at_level(logging.WARNING):
        plugins.load("empty_of_mine")
    assert "The plug-in empty_of_mine" in caplog.text
    assert "registers nothing" in caplog.text


def test_names_in_one_text_or_several():
    assert plugins.split("a, b,,a") == ("a", "b")
    assert plugins.split(["a,b", "c"]) == ("a", "b", "c")
    assert plugins.split("") == ()


def distribution(place, dist, entries):
    """An installed package, as pip leaves it: a dist-info folder on the path."""
    info = place / f"{dist}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.5\n")
    lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{lines}\n")
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()


def test_an_entry_point_is_listed_without_being_imported_and_loaded_by_name(place):
    site = place / "site"
    write(
        site,
        "their_package.nets",
        "def add():\n" + LOSS.format(name="theirs").replace("\n", "\n    "),
    )
    distribution(site, "their_dist", {"their-nets": "their_package.nets:add"})
    (entry,) = plugins.installed()
    assert (entry.name, entry.dist.name, entry.dist.version) == ("their-nets", "their_dist", "1.5")
    assert "their_package" not in sys.modules
    plugin = plugins.load("their-nets")
    assert plugin.registered == {"loss": ("theirs",)}
    assert plugin.version == "their_dist 1.5"
    assert plugins.record()["their_package.nets"]["plugin"] == "their-nets"
    with pytest.raises(plugins.PluginError, match="installed packages offer their-nets"):
        plugins.load("no_such_plugin")


def test_a_name_that_means_two_things_is_refused(place):
    write(place / "one", "one_nets", LOSS.format(name="one"))
    distribution(place / "one", "one", {"nets_of": "one_nets"})
    write(place, "nets_of", LOSS.format(name="local"))
    with pytest.raises(plugins.PluginError, match=r"'nets_of' is a plug-in of one 1.5 and also a"):
        plugins.load("nets_of")
    (place / "nets_of.py").unlink()
    (place / "two").mkdir()
    distribution(place / "two", "two", {"nets_of": "two_nets"})
    with pytest.raises(plugins.PluginError, match=r"several plug-ins 'nets_of': of .*one 1.5"):
        plugins.load("nets_of")


def test_a_run_that_needs_a_plugin_names_it(place):
    with pytest.raises(plugins.PluginError) as caught:
        plugins.check_loaded("mine_a,mine_b", what="The run in runs/1")
    assert str(caught.value) == (
        "The run in runs/1 was trained with the plug-in mine_a, mine_b, which is not loaded "
        "unasked: give plugin=mine_a,mine_b."
    )
    recorded = {
        "nets": {"registered": {"model": ["a"]}, "plugin": "their-nets"},
        "lib": {"registered": {"model": ["b"]}},
        "__main__": {"registered": {"model": ["c"], "loss": ["a"]}},
    }
    assert plugins.why_unknown(recorded, "model", "a").endswith("give plugin=their-nets")
    assert plugins.why_unknown(recorded, "model", "b").endswith("give plugin=lib")
    assert "script or notebook" in plugins.why_unknown(recorded, "model", "c")
    assert plugins.why_unknown(recorded, "model", "d") == ""


def test_a_model_in_a_notebook(place):
    """What is registered without a plug-in is known by the module that did it."""

    class Mine(nn.Module):
        num_classes: int | None

    cnn_jax.models.register(Mine, {"mine_here": cnn_jax.models.row()})
    assert MODELS.origin("mine_here") == __name__
    with pytest.raises(ValueError, match="has no field num_classes, the width of its logits"):
        cnn_jax.models.register(nn.Dense, {"mine_too": cnn_jax.models.row()})
    with pytest.raises(ValueError, match="is no Flax module; wanted a class"):
        cnn_jax.models.register(lambda x: x, {"mine_too": cnn_jax.models.row()})
    with pytest.raises(ValueError, match="There is no task 'regression'"):
        cnn_jax.models.register(Mine, {"mine_too": cnn_jax.models.row()}, task="regression")


def test_a_plugin_finds_its_neighbours_where_the_current_directory_is_not_on_the_path(place):
    write(place, "with_neighbour", "import neighbour\n" + LOSS.format(name="near"))
    write(place, "neighbour", "")
    root = Path(cnn_jax.__file__).parent.parent
    code = (
        f"import sys; sys.path = [p for p in sys.path if p not in ('', {str(place)!r})]; "
        f"sys.path.append({str(root)!r}); from cnn_jax import plugins; "
        "print(plugins.load('with_neighbour').registered)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'loss': ('near',)}"
