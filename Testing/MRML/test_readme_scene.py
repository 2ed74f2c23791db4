"""What the README says of Slicer's console is run as it stands there."""

import re
from pathlib import Path

from PromptSegLib.evaluation.metrics import dice
from PromptSegLib.evaluation.phantom import make_abdomen
from PromptSegLib.mrml.boot import start_scene
from PromptSegLib.mrml.volumes import add_volume_node

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_ten_lines_go_from_a_volume_node_to_corrected_segments():
    (code,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    phantom = make_abdomen()
    with start_scene() as standalone:
        volume_node = add_volume_node(standalone.scene, phantom.volume)
        points = standalone.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
        points.AddControlPointWorld(phantom.clicks["spleen"].position_ras)
        namespace = {"volumeNode": volume_node, "pointListNode": points}
        exec(compile(code, "README.md", "exec"), namespace)
        session = namespace["session"]
        liver, lesion = session.targets
        assert dice(session.mask(liver), phantom.mask("liver")) > 0.8
        assert session.mask(lesion).any()
        session.close()
