"""Training improves the network, is the same for the same seed, and goes on after a kill as if nothing had been."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from PromptSegLib.cli import main
from PromptSegLib.errors import WeightsError
from PromptSegLib.predictors.default.prompt_features import FEATURES
from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.training.inflation import inflated
from PromptSegLib.training.ranks import run_ranks
from PromptSegLib.training.recipe import RECIPES, Phase, Recipe, RecipeError, recipe_for
from PromptSegLib.training.slots import Maps
from PromptSegLib.training.trainer import STATE, Trainer, interaction_loss
from PromptSegLib.weights.shipped import read_shipped, write_shipped

TINY = Recipe(
    dims=2,
    widths=(8, 16),
    phases=(Phase(0.5, 32, 4), Phase(1.0, 48, 3)),
    steps=8,
    chunk_size=4,
    first_chunks=1,
    steps_per_chunk=3,
    warmup=2,
)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return tmp_path_factory.mktemp("pools")


def weights(trainer):
    return torch.cat([value.flatten() for value in trainer.average.state_dict().values()])


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(stop, pools, tmp_path):
    whole = Trainer(TINY, tmp_path / "whole", pools=pools)
    whole.run(evaluate_every=None)
    Trainer(TINY, tmp_path / "parts", pools=pools).run(until=stop, evaluate_every=None)
    rest = Trainer(TINY, tmp_path / "parts", pools=pools)
    assert rest.step == stop
    rest.run(evaluate_every=None)
    assert torch.equal(weights(rest), weights(whole))
    assert read_shipped(tmp_path / "parts" / "prompt_unet_2d.npz")[0]["steps"] == TINY.steps


def test_another_seed_trains_another_network(pools, tmp_path):
    runs = [Trainer(replace(TINY, seed=seed), tmp_path / str(seed), pools=pools) for seed in (0, 1)]
    for run in runs:
        run.run(until=2, evaluate_every=None)
    assert not torch.equal(weights(runs[0]), weights(runs[1]))


def test_a_folder_with_another_run_is_refused(pools, tmp_path):
    Trainer(TINY, tmp_path, pools=pools).run(until=1, evaluate_every=None)
    assert (tmp_path / STATE).is_file()
    with pytest.raises(RecipeError, match="other settings: widths"):
        Trainer(replace(TINY, widths=(8, 8)), tmp_path, pools=pools)
    assert Trainer(replace(TINY, steps=20), tmp_path, pools=pools).step == 1


def test_a_short_run_improves_the_dice_on_held_out_images(pools, tmp_path):
    recipe = replace(
        TINY,
        widths=(16, 32, 48, 64),
        phases=(Phase(1.0, 64, 8),),
        steps=220,
        chunk_size=32,
        first_chunks=3,
        steps_per_chunk=1000,
        warmup=20,
        learning_rate=3e-3,
        average=0.98,
    )
    trainer = Trainer(recipe, tmp_path, pools=pools)
    before = trainer.evaluate(count=32)
    trainer.run(evaluate_every=None)
    after = trainer.evaluate(count=32)
    print(before, after)
    assert after["click 1"] > 0.35
    assert after["click 10"] > before["click 10"] + 0.15
    assert after["click 10"] > after["click 1"]
    assert after["box"] > before["box"] + 0.25
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines() if "loss" in line]
    assert losses[-1] < losses[0]


def train_tiny(folder, number):
    Trainer(TINY, folder, pools=folder / "pools").run(until=3, evaluate_every=None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_train_one_network_on_twice_the_batch(tmp_path):
    run_ranks(2, f"file://{tmp_path}/meeting", partial(train_tiny, tmp_path))
    first, second = (torch.load(tmp_path / name, weights_only=True) for name in (STATE, "state-1.pt"))
    assert all(torch.equal(value, second["network"][key]) for key, value in first["network"].items())
    assert not torch.equal(first["slots"]["image"], second["slots"]["image"])
    alone = Trainer(TINY, tmp_path / "alone", pools=tmp_path / "pools")
    alone.run(until=3, evaluate_every=None)
    assert not torch.equal(alone.network.state_dict()["head.weight"], first["network"]["head.weight"])


def test_more_gpus_than_there_are_are_refused(tmp_path, capsys):
    command = ["train-default", "--dims", "2", "-o", str(tmp_path), "--device", "cpu", "--gpus", "99"]
    assert main(command) == 2
    assert "or fewer, got 99" in capsys.readouterr().err


def test_what_prompts_say_costs_most_where_it_is_not_obeyed():
    zeros = torch.zeros(1, 1, 8, 8)
    truth = zeros.clone()
    truth[..., 2:6, 2:6] = 1
    click = zeros.clone()
    click[..., 3, 3] = 1
    answer = 6 * (2 * truth - 1)
    deaf, blind = answer.clone(), answer.clone()
    deaf[..., 3, 3] = -6
    blind[..., 4, 4] = -6
    maps = Maps(zeros, click, zeros, zeros, zeros, truth)
    assert interaction_loss(answer, maps) < interaction_loss(blind, maps) < interaction_loss(deaf, maps)


def test_an_inflated_network_answers_on_a_stack_of_slices_as_on_one():
    torch.manual_seed(0)
    flat, solid = PromptUNet(2, (8, 16, 16)).eval(), PromptUNet(3, (8, 16, 16)).eval()
    solid.load_state_dict(inflated(flat.state_dict(), solid.state_dict()))
    features = torch.randn(1, FEATURES, 32, 32)
    stack = features[:, :, None].expand(-1, -1, 32, -1, -1)
    with torch.inference_mode():
        wanted, answer = flat(features), solid(stack)[:, :, 16]
    assert torch.corrcoef(torch.stack([wanted.flatten(), answer.flatten()]))[0, 1] > 0.95


def test_inflation_keeps_what_the_2d_network_lacks():
    solid = PromptUNet(3, (8, 16)).state_dict()
    taken = inflated(PromptUNet(2, (8, 8)).state_dict(), solid)
    assert taken.keys() == solid.keys()
    assert torch.equal(taken["encoder.1.first.weight"], solid["encoder.1.first.weight"])
    assert not torch.equal(taken["head.weight"], solid["head.weight"])


def test_what_is_to_be_finished_has_to_be_named(tmp_path, capsys):
    assert main(["train-default", "--dims", "2", "-o", str(tmp_path), "--device", "cpu", "--finish"]) == 2
    assert "expected --start WEIGHTS with --finish" in capsys.readouterr().err


@pytest.mark.parametrize("finish", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_recipes_fit_their_networks(dims, finish):
    recipe = recipe_for(dims, steps=100, seed=3, finish=finish)
    with torch.device("meta"):
        multiple = PromptUNet(dims, recipe.widths).multiple
    assert all(phase.size % multiple == 0 for phase in recipe.phases)
    assert recipe.phase(0) is recipe.phases[0]
    assert recipe.phase(99) is recipe.phases[-1]
    assert (recipe.steps, recipe.seed, recipe.dims) == (100, 3, dims)
    with pytest.raises(RecipeError, match="got 4"):
        recipe_for(4)


def test_the_command_trains_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RECIPES, 2, TINY)
    monkeypatch.setattr(Trainer, "evaluate", lambda *_: {"click 1": 0.5})
    command = ["train-default", "--dims", "2", "-o", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, "--steps", "2"]) == 0
    assert "the weights after 2 steps" in capsys.readouterr().out
    assert main([*command, "--steps", "2"]) == 0
    assert "its 2 steps are done" in capsys.readouterr().err
    assert main([*command, "--steps", "4"]) == 0
    assert "step      4 of 4" in capsys.readouterr().out


def test_the_command_begins_with_given_weights_and_refuses_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(RECIPES, 2, TINY)
    monkeypatch.setattr(Trainer, "evaluate", lambda *_: {"click 1": 0.5})
    given = {key: value.numpy() for key, value in PromptUNet(2, (8, 8)).state_dict().items()}
    write_shipped(tmp_path / "other.npz", {"dims": 2, "widths": [8, 8], "sizes": [32]}, given)
    command = ["train-default", "--dims", "2", "-o", str(tmp_path / "run"), "--device", "cpu", "--start"]
    assert main([*command, str(tmp_path / "other.npz")]) == 2
    assert "do not fit the network" in capsys.readouterr().err
    with pytest.raises(WeightsError):
        read_shipped(tmp_path / "none.npz")
    assert main([*command, str(tmp_path / "none.npz")]) == 2


@pytest.mark.parametrize("dims", [2, 3])
def test_samples_are_drawn(dims, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "samples.png"
    assert main(["train-default", "--dims", str(dims), "--device", "cpu", "--samples", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
