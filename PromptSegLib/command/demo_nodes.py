"""The demonstration as a scene: volume, prompts and segment, saved for Slicer and drawn as its views would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.files import save_mrb
from PromptSegLib.mrml.headless.picture import scene_picture
from PromptSegLib.mrml.headless.png import write_png
from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.mrml.volumes import add_volume_node

if TYPE_CHECKING:
    from PromptSegLib.command.demo_scene import Outcome


def write_scene(outcome: Outcome, scene_path: Path, picture_path: Path) -> None:
    """Put what the demonstration came to into a scene; a session in Slicer on the same nodes goes on from there."""
    with start_scene() as host:
        node = add_volume_node(host.scene, outcome.scene.volume, outcome.scene.window)
        session = SceneSession(node, auto=False)
        for prompt in outcome.prompts:
            session.add(prompt)
        session.set_mask(outcome.segment.mask_kji)
        segment = session.segmentation_node.GetSegmentation().GetSegment(session.target)
        segment.SetName(outcome.segment.name)
        center_world = node_to_world(outcome.prompts[0].positions_ras(), node)[0]
        picture = scene_picture(host, node, session.segmentation_node, point_ras=center_world)
        session.close()
        save_mrb(host.scene, scene_path)
    write_png(picture_path, picture)
