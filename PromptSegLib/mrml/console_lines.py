"""What was done in the panel, as lines for the Python console that do the same."""

from __future__ import annotations

from PromptSegLib.mrml.scene_session import SceneSession
from PromptSegLib.predictors.registry import recipe_of
from PromptSegLib.prompts import MaskPrompt, Prompt
from PromptSegLib.volume import SINGLE_CHANNEL


def console_lines(session: SceneSession) -> str:
    """Return Python lines that give the prompts of the selected segment to an empty one, in a new session."""
    prompts = [prompt for prompt in session.prompts() if not isinstance(prompt, MaskPrompt)]
    kinds = sorted({type(prompt).__name__ for prompt in prompts})
    name = session.segmentation_node.GetSegmentation().GetSegment(session.target).GetName()
    lines = ["import slicer", "from PromptSegLib.mrml.scene_session import SceneSession"]
    lines += [f"from PromptSegLib.prompts import {', '.join(kinds)}"] if kinds else []
    lines += ["from PromptSegLib.predictors.registry import Recipe"] if _predictor_options(session) else []
    lines += ["from PromptSegLib.view import Window"] if session.window else []
    lines += [
        "",
        *_volume_lines(session),
        f"session = SceneSession(volume, {', '.join(_options(session))})",
        f"session.add_target({name!r})",
        *(_line(prompt) for prompt in prompts),
    ]
    lines += ["session.predict()", "session.wait()"] if prompts else []
    return "\n".join(lines) + "\n"


def _predictor_options(session: SceneSession) -> dict[str, object]:
    """Return what the predictor was made with, without its key: that is for nobody's clipboard."""
    recipe = recipe_of(session.predictor)
    return {} if recipe is None else {name: said for name, said in recipe.options.items() if name != "api_key"}


def _options(session: SceneSession) -> list[str]:
    name, predictor_options = session.capabilities.name, _predictor_options(session)
    predictor = f"Recipe({name!r}, {session.device!r}, {predictor_options!r})" if predictor_options else repr(name)
    options = [f"predictor={predictor}", "auto=False"]
    if session.device != "auto":
        options.append(f"device={session.device!r}")
    if session.window is not None:
        options.append(f"window={session.window!r}")
    return options


def _volume_lines(session: SceneSession) -> list[str]:
    nodes = {name: f"slicer.mrmlScene.GetNodeByID({n.GetID()!r})" for name, n in session.volume_nodes.items()}
    if list(nodes) == [SINGLE_CHANNEL]:
        return [f"volume = {nodes[SINGLE_CHANNEL]}"]
    return ["volume = {", *(f"    {name!r}: {node}," for name, node in nodes.items()), "}"]


def _line(prompt: Prompt) -> str:
    return f"session.add({prompt!r})"
