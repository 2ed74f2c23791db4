"""STU-Net (arXiv:2304.06716): the 104 structures of TotalSegmentator's first version in CT, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PromptSegLib.predictors.base import Capabilities
from PromptSegLib.predictors.names.name_predictor import PROMPTS
from PromptSegLib.predictors.names.plan import Plan, ZScore
from PromptSegLib.predictors.names.predictor import ClassPredictor
from PromptSegLib.structures.names import find_structure

if TYPE_CHECKING:
    from torch import nn

    from PromptSegLib.predictors.stu_net.network import Size

_SIDES = ("left", "right")
_OF_BOTH_SIDES = [
    "adrenal_gland",
    "autochthon",
    "clavicula",
    "femur",
    "gluteus_maximus",
    "gluteus_medius",
    "gluteus_minimus",
    "heart_atrium",
    "heart_ventricle",
    "hip",
    "humerus",
    "iliac_artery",
    "iliac_vena",
    "iliopsoas",
    "kidney",
    "lung_lower_lobe",
    "lung_upper_lobe",
    "scapula",
]
_OTHERS = [
    "aorta",
    "brain",
    "colon",
    "duodenum",
    "esophagus",
    "face",
    "gallbladder",
    "heart_myocardium",
    "inferior_vena_cava",
    "liver",
    "lung_middle_lobe_right",
    "pancreas",
    "portal_vein_and_splenic_vein",
    "pulmonary_artery",
    "sacrum",
    "small_bowel",
    "spleen",
    "stomach",
    "trachea",
    "urinary_bladder",
]

TOTALSEGMENTATOR_NAMES = tuple(
    sorted(
        [f"{name}_{side}" for name in _OF_BOTH_SIDES for side in _SIDES]
        + [f"rib_{side}_{number}" for side in _SIDES for number in range(1, 13)]
        + [
            f"vertebrae_{part}{number}"
            for part, last in (("C", 7), ("T", 12), ("L", 5))
            for number in range(1, last + 1)
        ]
        + _OTHERS
    )
)
"""What the published networks' output channels 1, 2, … mean: in the order of the alphabet, not TotalSegmentator's."""


def _english(name: str) -> str:
    structure = find_structure(name)
    assert structure is not None
    return structure.name


PLAN = Plan(
    channels=("ct",),
    normalisations=(ZScore(),),  # so the published plan says, also for CT
    spacing_kji_mm=(1.5, 1.5, 1.5),
    tile=(128, 128, 128),
    classes=tuple(_english(name) for name in TOTALSEGMENTATOR_NAMES),
)


def _capabilities(letter: str, size: str, summary: str) -> Capabilities:
    return Capabilities.published(
        f"stu-net-{letter}",
        title=f"STU-Net {size}",
        summary=summary,
        dimensions=frozenset({3}),
        prompts=PROMPTS,
        classes=PLAN.classes,
        channels_of=dict.fromkeys(PLAN.classes, PLAN.channels),
        devices=("cuda", "mps", "cpu"),
    )


class StuNet(ClassPredictor):
    """Base of the sizes."""

    plans = (PLAN,)
    size: ClassVar[Size]

    def build(self) -> nn.Module:
        from PromptSegLib.predictors.stu_net.network import STUNet

        return STUNet.of_size(self.size)


class StuNetS(StuNet):
    capabilities = _capabilities("s", "small", "104 structures in CT by their names; 15 M parameters, the fastest")
    size = "small"


class StuNetB(StuNet):
    capabilities = _capabilities("b", "base", "104 structures in CT by their names; 58 M parameters, a GPU is advised")
    size = "base"


class StuNetL(StuNet):
    capabilities = _capabilities("l", "large", "104 structures in CT by their names; 440 M parameters, for a GPU")
    size = "large"


class StuNetH(StuNet):
    capabilities = _capabilities("h", "huge", "104 structures in CT by their names; 1457 M parameters, for a large GPU")
    size = "huge"
