"""UniSeg (arXiv:2304.03493): organs, vertebrae and tumours in CT, MR and PET/CT, by their names or by task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.names.name_predictor import PROMPTS
from PromptSegLib.predictors.names.plan import ClipToUnit, Plan, ZScore
from PromptSegLib.predictors.names.predictor import ClassPredictor
from PromptSegLib.predictors.uniseg.tasks import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor, nn


def _plan(number: int, task: Task) -> Plan:
    normalisations = tuple(ClipToUnit() if channel == "ct" else ZScore() for channel in task.channels)
    return Plan(task.channels, normalisations, task.spacing_kji_mm, (64, 192, 192), task.classes, number)


class UniSegPredictor(ClassPredictor):
    """Each structure belongs to one task; structures of several tasks take a run for each task."""

    capabilities = Capabilities.published(
        "uniseg",
        title="UniSeg",
        summary="11 tasks by name: organs and their tumours in CT, prostate and brain tumours in MR, tumours in PET/CT",
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        classes=tuple(name for task in TASKS for name in task.classes),
        tasks={task.name: task.classes for task in TASKS},
        channels_of={name: task.channels for task in TASKS for name in task.classes},
        devices=("cuda", "mps", "cpu"),
    )
    plans = tuple(_plan(number, task) for number, task in enumerate(TASKS))

    def build(self) -> nn.Module:
        from PromptSegLib.predictors.uniseg.network import UniSeg

        return UniSeg()

    def logits(self, plan: Plan, network: nn.Module, tile: Tensor) -> Tensor:
        answer: Tensor = network(tile, plan.task)
        return answer
