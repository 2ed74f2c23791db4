"""MONAI bundles: what MONAI itself makes of them is what a session answers, and nothing in them is run unasked."""

from __future__ import annotations

import json

import bundles
import nnunet_folders
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from PromptSegLib.errors import ConsentError, PredictionError, WeightsError
from PromptSegLib.io import read_volume
from PromptSegLib.predictors.bundle.folder import read_bundle
from PromptSegLib.predictors.bundle.interpreter import Interpreter, NotUnderstoodError
from PromptSegLib.predictors.own_models import OwnModels
from PromptSegLib.session.session import Session

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's, of its own arguments


def by_monai(root, path):
    """Return the labels : (k, j, i) that MONAI's workflow answers for a file."""
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "inference.json"),
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(root),
        datalist=[str(path)],
        device="$torch.device('cpu')",
        handlers=[],
        evaluator={"_target_": "dict"},
    )
    workflow.initialize()
    parsed = workflow.parser.get_parsed_content
    network = parsed("network").eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt"))
    data = parsed("dataset")[0]
    with torch.no_grad():
        data["pred"] = parsed("inferer")(data["image"][None], network)[0]
    return np.asarray(parsed("postprocessing")(data)["pred"])[0].transpose(2, 1, 0)


@pytest.mark.parametrize("kind", ["unet", "dynunet"])
def test_a_bundle_answers_as_by_monais_workflow(kind, tmp_path):
    root = bundles.write_bundle(tmp_path, kind)
    [path] = nnunet_folders.write_images(tmp_path, "plain", 1)
    session = Session(read_volume(path), root, device="cpu")
    keys = session.add_classes(["left kidney", "spleen"])
    labels = by_monai(root, path)
    assert set(np.unique(labels)) > {0}
    assert all(np.array_equal(session.mask(key), labels == n) for n, key in enumerate(keys, start=1))


@pytest.mark.parametrize("kind", ["unet++", "swin", "hybrid"])
def test_published_architectures_without_weights_of_their_own_come_in_as_bundles(kind, tmp_path):
    model = OwnModels(tmp_path / "models").add(bundles.write_bundle(tmp_path, kind))
    assert model.capabilities.classes == ("left kidney", "spleen")
    assert not model.agreed


def add_lambda(config):
    config["preprocessing"]["transforms"].append({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x + 0"})


def test_code_runs_only_once_the_user_agreed(tmp_path):
    root = bundles.write_bundle(tmp_path, "dynunet", add_lambda)
    [path] = nnunet_folders.write_images(tmp_path, "plain", 1)
    mine = OwnModels(tmp_path / "models")
    with pytest.raises(ConsentError, match="Lambdad"):
        mine.add(root)
    with pytest.raises(ConsentError, match="Lambdad"):
        Session(read_volume(path), root)
    assert mine.names() == ()
    model = mine.add(root, agreed=True)
    assert model.agreed
    session = Session(read_volume(path), model.make(device="cpu"))
    [key] = session.add_classes(["spleen"])
    assert np.array_equal(session.mask(key), by_monai(root, path) == 2)


@pytest.mark.parametrize(
    "text",
    [
        "$__import__('os').system('touch x')",
        "$open('x', 'w')",
        "$().__class__.__bases__[0].__subclasses__()",
        "$(lambda: 1)()",
        "$[x for x in (1, 2)]",
        "$torch.load('x')",
        "$torch.hub.load('x', 'y')",
        "$getattr(torch, 'load')",
        "$@device.__class__",
        "$monai.networks.nets.UNet",
        "$'a'.format(1)",
        "$import os",
        "%configs/other.json::x",
    ],
)
def test_expressions_that_would_have_to_be_run_are_refused_with_the_expression(text):
    with pytest.raises(NotUnderstoodError) as error:
        Interpreter({"x": text}, {"device": "cpu"}).resolve("x")
    assert text[1:12].split("'")[0][:5] in str(error.value)


@pytest.mark.parametrize("text", ["$'a' * 10**9", "$'a' * 999999999", "$@x", "$1 / 0", "$@missing", "$[0][7]"])
def test_expressions_without_a_value_are_refused(text):
    with pytest.raises(WeightsError):
        Interpreter({"x": text}, {}).resolve("x")


def test_plain_expressions_have_their_values():
    entries = {"root": "/b", "path": "$@root + '/models'", "sizes": [1, "$@n * 2"], "n": 3, "last": "@sizes::1"}
    own = Interpreter(entries, {})
    assert own.resolve("path") == "/b/models"
    assert own.resolve("last") == 6
    assert own.resolve("sizes#0") == 1


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.Popen", "monai.apps.download_url", "builtins.eval", "torch.load"]
)
def test_classes_that_are_not_known_are_refused(target):
    with pytest.raises(NotUnderstoodError):
        Interpreter({"x": {"_target_": target}}, {}).resolve("x")


def network(**arguments):
    return lambda config: config["network_def"].update(arguments)


def doubled(name):
    """Entries of which each holds the next one twice."""
    chain = {f"{name}{n}": f"$[@{name}{n + 1}, @{name}{n + 1}]" for n in range(40)}
    return {**chain, f"{name}40": "x"}


def nested(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return value


FILLS_THE_MEMORY = {
    "a million channels": (network(channels=[10**6] * 3), "size of its weights"),
    "a billion outputs": (network(out_channels=10**9), "size of its weights"),
    "a kernel of a metre": (network(kernel_size=[999] * 3), "size of its weights"),
    "ten million layers": (network(num_res_units=10**7), "size of its weights"),
    "an activation of all memory": (network(act=["prelu", {"num_parameters": 10**10}]), "size of its weights"),
    "a tile of all memory": (
        lambda config: config["inferer"].update(roi_size=[4000] * 3, cache_roi_weight_map=True), "voxels",
    ),
    "a list written out": (
        lambda config: config.update(network_def="$str([[0] * 1000000] * 1000000)"), "too long",
    ),
    "lists compared": (
        lambda config: config.update(doubled("a") | doubled("b") | {"network_def": "$@a0 == @b0"}), "too long",
    ),
    "lists in lists": (lambda config: config.update(network_def=nested(850)), "recursion"),
    "transforms that are a number": (
        lambda config: config["preprocessing"].update(transforms=3), "makes no network",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", list(FILLS_THE_MEMORY))
def test_what_would_fill_the_memory_is_refused_before_it_does(how, tmp_path):
    change, told = FILLS_THE_MEMORY[how]
    root = bundles.write_bundle(tmp_path, "unet", change)
    with pytest.raises(WeightsError, match=told):
        OwnModels(tmp_path / "models").add(root)
    assert not list((tmp_path / "models").iterdir())


def test_merges_that_multiply_are_not_followed(tmp_path):
    root = bundles.write_bundle(tmp_path)
    (root / "configs" / "inference.json").unlink()
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    (root / "configs" / "inference.yaml").write_text("\n".join(lines))
    with pytest.raises(WeightsError, match="without merges"):
        OwnModels(tmp_path / "models").add(root)


@pytest.mark.parametrize("value", ["[1", "!!bool x", '!!int ""', "!!timestamp x", "*nobody", "? [1]"])
def test_damaged_yaml_is_told_in_one_line(value, tmp_path):
    root = bundles.write_bundle(tmp_path)
    (root / "configs" / "inference.json").unlink()
    (root / "configs" / "inference.yaml").write_text(f"network_def: {value}")
    with pytest.raises(WeightsError, match=r"inference\.yaml"):
        read_bundle(root)


@pytest.mark.parametrize("outputs", [{"-1": "liver"}, {"1" + "0" * 100: "liver"}, {"1": "\x1b"}, {"1": ""}])
def test_outputs_that_no_network_has_are_refused(outputs, tmp_path):
    root = bundles.write_bundle(tmp_path)
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = outputs
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(WeightsError, match="channel_def"):
        read_bundle(root)


def test_a_bundle_of_a_cache_whose_files_are_links_is_taken(tmp_path):
    root = bundles.write_bundle(tmp_path / "made")
    for path in [path for path in root.rglob("*") if path.is_file()]:
        blob = tmp_path / f"blob-{path.name}"
        path.rename(blob)
        path.symlink_to(blob)
    (tmp_path / "private").write_text("a secret")
    (root / "docs").symlink_to(tmp_path / "private")
    model = OwnModels(tmp_path / "models").add(root)
    assert {path.name for path in model.folder.rglob("*") if path.is_file()} == {
        "model.json", "model.pt", "metadata.json", "inference.json",
    }  # fmt: skip


def test_what_fails_at_work_is_said_in_one_line(tmp_path):
    root = bundles.write_bundle(tmp_path, change=lambda config: config["inferer"].update(overlap=5))
    [path] = nnunet_folders.write_images(tmp_path, "plain", 1)
    with pytest.raises(PredictionError, match="the bundle fails at predicting: ValueError"):
        Session(read_volume(path), root, device="cpu").add_classes(["spleen"])
