"""SAM, SAM-Med2D and SAM-UNet give the numbers of their official implementations, from the image to the mask."""

from __future__ import annotations

import pytest
import torch
from key_made_weights import state_dict_from_keys
from references import ELSEWHERE, FOLDERS, Reference, needs_all_references
from tiny_networks import TINY_MED2D, TINY_SAM

from PromptSegLib.predictors.sam.antialias import resized_antialiased
from PromptSegLib.predictors.sam.config import SamConfig
from PromptSegLib.predictors.sam.network import Sam, sam_med2d, sam_vit_b
from PromptSegLib.predictors.sam.transforms import LongestSideFrame, StretchedFrame
from PromptSegLib.predictors.sam_unet.network import SamUNet

MED2D_POINTS = torch.tensor([[[150, 70], [20, 30], [200.5, 90.25]]])
MED2D_LABELS = torch.tensor([[1, 0, 1]])
MED2D_BOX = torch.tensor([[100.0, 30, 220, 110]])

pytestmark = pytest.mark.usefixtures("inference")


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


def prompts(reference: Reference, case: str, frame: LongestSideFrame) -> dict[str, torch.Tensor]:
    """The prompts of one case, in pixels of the network's input."""
    found = {}
    for name in ("points", "point_coords"):
        if f"{case}_{name}" in reference:
            found["points"] = frame.points(reference.tensor(f"{case}_{name}"))[None]
            found["labels"] = reference.tensor(f"{case}_point_labels")[None]
    if f"{case}_box" in reference:
        found["boxes"] = frame.boxes(reference.tensor(f"{case}_box"))[None]
    return found


def assert_sam_meets(reference: Reference, network: Sam, cases: tuple[str, ...], channels: slice) -> None:
    """First three masks, then the best of them fed back."""
    image = reference.image()
    frame = LongestSideFrame(image.shape[:2], network.config.image_size)
    embedding = network.encode(frame.image(image))
    reference.assert_met("embedding", embedding[:, channels])
    for case in cases:
        given = prompts(reference, case, frame)
        low_res, iou = network.decode(embedding, **given)
        reference.assert_met(f"{case}_multi_lowres", low_res[0])
        reference.assert_met(f"{case}_multi_iou", iou[0])
        reference.assert_met(f"{case}_multi_logits", frame.logits(low_res)[0])
        best = low_res[:, iou.argmax(dim=1)]
        low_res, iou = network.decode(embedding, **given, mask=best, multimask=False)
        reference.assert_met(f"{case}_refined_lowres", low_res[0])
        reference.assert_met(f"{case}_refined_iou", iou[0])
        reference.assert_mask_met(f"{case}_refined_mask", frame.logits(low_res))
    assert reference.unused == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_sam_answers_as_the_official_one(folder):
    network = sam_vit_b(**TINY_SAM).eval()
    network.load_state_dict(state_dict_from_keys(folder / "sam_tiny_keys.json"))
    reference = Reference(folder, "sam_tiny")
    assert_sam_meets(reference, network, ("point1", "points3", "box", "box_point"), slice(None))


@needs_all_references
def test_sam_vit_b_answers_as_the_official_one():
    with torch.device("meta"):
        network = sam_vit_b().eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "sam_vit_b_keys.json"), assign=True)
    assert_sam_meets(Reference(ELSEWHERE, "sam_full_vit_b"), network, ("box_point",), slice(None, None, 16))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_sam_med2d_answers_as_the_official_one(folder):
    network = sam_med2d(**TINY_MED2D).eval()
    network.load_state_dict(state_dict_from_keys(folder / "sam_med2d_tiny_keys.json"))
    reference = Reference(folder, "sam_med2d_tiny")
    image = reference.image()
    frame = StretchedFrame(image.shape[:2])
    embedding = network.encode(frame.image(image))
    reference.assert_met("embedding", embedding)
    points, boxes = frame.points(MED2D_POINTS), frame.boxes(MED2D_BOX)
    cases = {
        "point1": {"points": points[:, :1], "labels": MED2D_LABELS[:, :1]},
        "points3": {"points": points, "labels": MED2D_LABELS},
        "box": {"boxes": boxes},
        "box_point": {"points": points[:, :1], "labels": MED2D_LABELS[:, :1], "boxes": boxes},
    }
    for case, given in cases.items():
        three, three_iou = network.decode(embedding, **given)
        best = three_iou.argmax(dim=1)
        chosen = three[:, best], three_iou[:, best]
        refined = network.decode(embedding, **given, mask=three[:, best], multimask=False)
        for name, (low_res, iou) in {case: chosen, f"{case}_refined": refined}.items():
            reference.assert_met(f"{name}_lowres", low_res[0])
            reference.assert_met(f"{name}_iou", iou[0])
            reference.assert_met(f"{name}_logits", frame.logits(low_res)[0])
    assert reference.unused == set()


def assert_sam_unet_meets(reference: Reference, network: SamUNet, cases: tuple[str, ...]) -> None:
    image = reference.image()
    frame = LongestSideFrame(image.shape[:2], network.config.image_size)
    assert (resized_antialiased(image, frame.resized_hw) == reference["image_resized"]).all()
    encoding = network.encode(frame.image(image))
    reference.assert_met("multi_scale", encoding.features[:, ::8, ::2, ::2])
    fed_back = {"refine": reference.tensor("box_lowres")}
    for case in cases:
        low_res = network.decode(encoding, **prompts(reference, case, frame), mask=fed_back.get(case))
        reference.assert_met(f"{case}_lowres", low_res)
        reference.assert_met(f"{case}_logits", frame.logits(low_res))
        reference.assert_mask_met(f"{case}_mask", frame.logits(low_res))
    assert reference.unused == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_small_sam_unet_answers_as_the_official_one(folder):
    network = SamUNet(34, SamConfig(image_size=256, width=96, heads=3)).eval()
    network.load_state_dict(state_dict_from_keys(folder / "sam_unet_tiny_keys.json"))
    assert_sam_unet_meets(Reference(folder, "sam_unet_tiny"), network, ("points", "box", "box_point", "refine"))


@needs_all_references
def test_sam_unet_with_resnet_50_answers_as_the_official_one():
    with torch.device("meta"):
        network = SamUNet(50).eval()
    network.load_state_dict(state_dict_from_keys(ELSEWHERE / "sam_unet_res50_keys.json"), assign=True)
    assert_sam_unet_meets(Reference(ELSEWHERE, "sam_unet_full"), network, ("box",))
