"""The training loop: resumable after a kill, and the same on one machine for the same seed."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from PromptSegLib.predictors.default.prompt_unet import PromptUNet
from PromptSegLib.training.draws import Draws
from PromptSegLib.training.held_out import HeldOut
from PromptSegLib.training.pool import Pool
from PromptSegLib.training.ranks import average_gradients, rank, wait_for_all
from PromptSegLib.training.recipe import Recipe, RecipeError
from PromptSegLib.training.slots import Maps, Slots
from PromptSegLib.weights.shipped import write_shipped

STATE = "state.pt"
"""Name of the checkpoint in a run's folder; beside it log.jsonl and the weights so far, as they are shipped."""

_FOCAL_WEIGHT, _CLICK_WEIGHT = 3.0, 0.1
_LOG_EVERY, _SAVE_EVERY = 50, 500
_MAY_DIFFER = {"steps", "decay", "learning_rate", "phases", "most_chunks"}

Report = Callable[[dict[str, Any]], None]


class Trainer:
    """One run in one folder: made anew, or taken up where the folder's checkpoint ends.

    Args:
        recipe: what to train. Of a run that is taken up, steps, decay, rate, phases and most_chunks may differ.
        folder: for checkpoint, log and weights.
        pools: where synthetic images are kept; by default in the folder.
        start: weights to begin with, by key.
        slots: the batch of users, by default one that looks at targets from near and far.
        makers: processes that make synthetic images ahead, on the CPU; without any they are made on the device.
        report: called with every line of the log.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        pools: Path | None = None,
        device: torch.device | str = "cpu",
        start: dict[str, Tensor] | None = None,
        slots: type[Slots] = Slots,
        makers: int = 0,
        report: Report = lambda _: None,
    ) -> None:
        self.recipe, self._folder, self._report = recipe, folder, report
        self.device = torch.device(device)
        folder.mkdir(parents=True, exist_ok=True)
        self._pools = pools or folder
        most = recipe.chunks(recipe.steps)
        self._pool = Pool(
            self._pools, recipe.dims, recipe.seed, recipe.chunk_size, self.device, makers=makers, most=most
        )
        torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = True  # the fastest that repeats itself
        torch.manual_seed(recipe.seed)
        self.network = PromptUNet(recipe.dims, recipe.widths).to(self.device)
        if start is not None:
            self.network.load_state_dict(start)
        self._format = torch.channels_last if recipe.dims == 2 else torch.channels_last_3d
        self.network.to(memory_format=self._format)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
        )
        self._draws = Draws(recipe.seed, recipe.dims, 1 + rank(), device=self.device)
        self._new_slots = slots
        self._slots: Slots | None = None
        self.step, self._spent_s = 0, 0.0
        self._losses: list[float] = []
        self._resume()

    def run(self, *, until: int | None = None, evaluate_every: int | None = 1000) -> None:
        """Train up to the recipe's last step, or to step `until`; checkpoints on the way and at the end.

        evaluate_every: steps between evaluations on held-out images; None for none at all.
        """
        last = self.recipe.steps if until is None else min(until, self.recipe.steps)
        began, spent = time.process_time(), self._spent_s
        while self.step < last:
            self._train_step()
            self._spent_s = spent + time.process_time() - began
            if self.step % _LOG_EVERY == 0:
                mean = sum(self._losses) / len(self._losses)
                self._losses.clear()
                self._log({"loss": round(mean, 4), "rate": round(self._rate(self.step), 6)})
            if self.step % _SAVE_EVERY == 0 or self.step == last:
                self._save()
            if evaluate_every and (self.step % evaluate_every == 0 or self.step == self.recipe.steps):
                self._log({kind: round(dice, 4) for kind, dice in self.evaluate().items()})

    def evaluate(self, count: int | None = None) -> dict[str, float]:
        """Mean Dice of the averaged weights on held-out synthetic images, by kind of prompt."""
        dims = self.recipe.dims
        count = count or (96 if dims == 2 else 32)
        size = 128 if dims == 2 else 48
        held_out = HeldOut(self._pools, dims, count=count, size=size, device=self.device)
        with self._autocast():
            return held_out.evaluate(self.average)

    def export(self, path: Path) -> None:
        """Write the averaged weights as they are shipped."""
        arrays = {key: value.cpu().numpy() for key, value in self.average.state_dict().items()}
        sizes = [phase.size for phase in self.recipe.phases]
        configuration = {"dims": self.recipe.dims, "widths": self.recipe.widths, "sizes": sizes, "steps": self.step}
        write_shipped(path, configuration, arrays)

    def _train_step(self) -> None:
        """One gradient step, and one interaction of every slot."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self.step)
        slots = self._current_slots()
        maps = slots.maps()
        with self._autocast():
            logits = self.network.logits(maps.image, maps.positive, maps.negative, maps.box, maps.previous)
        loss = interaction_loss(logits, maps)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        past = min(self.recipe.average, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1.0 - past)
            slots.interact(torch.sigmoid(logits))
        self._losses.append(float(loss.detach()))
        self.step += 1

    def _current_slots(self) -> Slots:
        """The slots of the phase, filled anew where a phase begins."""
        self._pool.prepare(self.recipe.chunks(self.step))
        phase = self.recipe.phase(self.step)
        if self._slots is None or self._slots.size != phase.size or self._slots.count != phase.count:
            self._slots = self._new_slots(self._pool, phase.count, phase.size, self._draws)
            self._slots.fill()
        return self._slots

    def _rate(self, step: int) -> float:
        """Learning rate: a short rise, a plateau, a cosine at the end."""
        recipe = self.recipe
        left = (recipe.steps - step) / max(1.0, recipe.decay * recipe.steps)
        falling = 0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * min(1.0, left)))
        return recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup) * falling

    def _autocast(self) -> torch.autocast:
        has_bfloat16 = self.device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=has_bfloat16)  # else 12 times as slow

    def _log(self, entry: dict[str, Any]) -> None:
        entry = {"step": self.step, "cpu_minutes": round(self._spent_s / 60, 2), **entry}
        if rank() > 0:
            return
        with (self._folder / "log.jsonl").open("a") as stream:
            stream.write(json.dumps(entry) + "\n")
        self._report(entry)

    def _save(self) -> None:
        """Write everything that the next step depends on, by way of another name."""
        slots = self._current_slots()
        content = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "spent_s": self._spent_s,
            "losses": self._losses,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "draws": self._draws.generator.get_state(),
            "slots": slots.state,
            "slots_size": slots.size,
        }
        part = self._state_path.with_suffix(".part")
        torch.save(content, part)
        wait_for_all()  # so that all processes' checkpoints are of one step
        part.replace(self._state_path)
        if rank() == 0:
            self.export(self._folder / f"prompt_unet_{self.recipe.dims}d.npz")

    @property
    def _state_path(self) -> Path:
        """This process's checkpoint."""
        return self._folder / (STATE if rank() == 0 else f"state-{rank()}.pt")

    def _resume(self) -> None:
        if not self._state_path.is_file():
            return
        content = torch.load(self._state_path, map_location=self.device, weights_only=True)
        saved = content["recipe"]
        differing = [key for key, value in asdict(self.recipe).items() if saved.get(key) != value]
        if set(differing) - _MAY_DIFFER:
            raise RecipeError(f"{self._folder} holds a run with other settings: {', '.join(sorted(differing))}")
        self.step, self._spent_s, self._losses = content["step"], content["spent_s"], content["losses"]
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._draws.generator.set_state(content["draws"].cpu())
        self._pool.prepare(self.recipe.chunks(self.step))
        state = content["slots"]
        self._slots = self._new_slots(self._pool, len(state["age"]), content["slots_size"], self._draws)
        self._slots.state = state


def interaction_loss(logits: Tensor, maps: Maps) -> Tensor:
    """Dice loss, focal loss, and the cross entropy at the prompts, which have to be obeyed."""
    truth = maps.truth
    axes = list(range(1, truth.dim()))
    probability = torch.sigmoid(logits)
    overlap = (2 * (probability * truth).sum(axes) + 1) / (probability.sum(axes) + truth.sum(axes) + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = ((1.0 - torch.exp(-entropy)) * entropy).mean()
    prompted = torch.maximum(maps.positive, maps.negative)
    obeyed = (prompted * entropy).sum(axes) / (prompted.sum(axes) + 1e-3)
    return (1.0 - overlap).mean() + _FOCAL_WEIGHT * focal + _CLICK_WEIGHT * obeyed.mean()
