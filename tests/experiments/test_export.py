"""The command that exports, as a user sees it."""

import json

import pytest
from absl import flags

from experiments import export


@pytest.fixture
def parsed(monkeypatch):
    """Flags of the command's own, as after parsing."""
    own = flags.FlagValues()
    export.define(own)
    own.mark_as_parsed()
    monkeypatch.setattr(export, "FLAGS", own)
    return own


def test_networks_of_a_pattern(parsed, tmp_path, capsys):
    parsed.model, parsed.format, parsed.output = ["lenet5*"], "safetensors", str(tmp_path)
    assert export.main() == 0
    said = capsys.readouterr().out
    assert said.count("largest difference 0") == 2
    assert "the weights are random" in said
    names = {file.name for file in tmp_path.iterdir()}
    assert {"lenet5.safetensors", "lenet5_1998.safetensors.json"} <= names
    assert json.loads((tmp_path / "lenet5.safetensors.json").read_text())["model"] == "lenet5"
    assert export.main() == 1  # nothing is replaced
    assert capsys.readouterr().out.count("exists: give another name") == 2
    (tmp_path / "lenet5.safetensors").unlink()
    parsed.skip_existing = True
    assert export.main() == 1  # one is there, and of the other its description alone
    said = capsys.readouterr().out
    assert f"lenet5_1998: {tmp_path / 'lenet5_1998.safetensors'} is there" in said
    assert "lenet5.safetensors.json exists: give another name" in said
    (tmp_path / "lenet5.safetensors.json").unlink()
    assert export.main() == 0
    assert "lenet5: " in capsys.readouterr().out
    parsed.model, parsed.output = ["lenet5"], str(tmp_path / "lenet5.safetensors")
    capsys.readouterr()
    assert export.main() == 0  # of one network too
    assert "lenet5.safetensors is there" in capsys.readouterr().out
    parsed.run, parsed.model = "runs/gone", []
    assert export.main() == 0
    parsed.run, parsed.model, parsed.output = "", ["lenet5*"], str(tmp_path)
    parsed.skip_existing = False
    parsed.overwrite = True
    assert export.main() == 0


def test_errors(parsed, tmp_path):
    with pytest.raises(ValueError, match="Give a run, --run=DIRECTORY, or a network"):
        export.main()
    parsed.model = ["lenet5"]
    with pytest.raises(ValueError, match="Give a --format, onnx, stablehlo"):
        export.main()
    parsed.model, parsed.output = ["lenet5*"], str(tmp_path)
    with pytest.raises(ValueError, match="names 2 networks: give a --format for all"):
        export.main()
    parsed.model, parsed.format = ["lenet6"], "safetensors"
    with pytest.raises(ValueError, match="no model 'lenet6': the nearest names are lenet5"):
        export.main()
    parsed.model, parsed.run = [], str(tmp_path)
    with pytest.raises(ValueError, match="no run directory"):
        export.main()
