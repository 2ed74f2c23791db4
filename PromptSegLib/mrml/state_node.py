"""What a session leaves in the scene, so that a reopened one goes on where it stopped.

One hidden text node holds all prompts as JSON, and refers to the volume, the segmentation and the markups that show
the prompts. It is found again by what it refers to, not by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from PromptSegLib.errors import PromptError
from PromptSegLib.io.prompts import prompt_to_record, prompts_from_json, prompts_to_json
from PromptSegLib.mrml.channel_nodes import ChannelNodes
from PromptSegLib.prompts import Prompt
from PromptSegLib.volume import SINGLE_CHANNEL

_MARK = "PromptSeg.Session"
_VOLUME = "PromptSeg.Volume"
_SEGMENTATION = "PromptSeg.Segmentation"
_SHAPES = "PromptSeg.Shapes"
_UNREADABLE = "PromptSeg.Unreadable"
_CHANNEL = "PromptSeg.Channel."
"""How the role of a volume that is a channel begins; the channel's name follows."""


class StateNode:
    """The saved state of the session of one volume and one segmentation."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._of: tuple[Any, Any] = (self.volume_node, self.segmentation_node)
        self._written: tuple[object, ...] = ()
        self._texts: dict[str, _Text] = {}

    @classmethod
    def of(cls, volume_node: Any, segmentation_node: Any) -> StateNode:
        """Return the state of the session of these two nodes, a new one when there never was any."""
        for state in cls.find_all(volume_node.GetScene()):
            if state.volume_node is volume_node and state.segmentation_node is segmentation_node:
                return state
        return cls(_added(volume_node, segmentation_node))

    @property
    def node(self) -> Any:
        """The text node. Where somebody removed it, another one that refers to what it referred to."""
        if self._node.GetScene() is None and all(node is not None and node.GetScene() for node in self._of):
            lost, self._node, self._written = self._node, _added(*self._of), ()
            for role in _roles_of(lost):
                for index in range(lost.GetNumberOfNodeReferences(role)):
                    self._node.SetNthNodeReferenceID(role, index, lost.GetNthNodeReferenceID(role, index))
        return self._node

    @classmethod
    def find_all(cls, scene: Any) -> list[StateNode]:
        """Return all states in `scene` whose volume and segmentation are there."""
        count = scene.GetNumberOfNodesByClass("vtkMRMLTextNode")
        nodes = [scene.GetNthNodeByClass(index, "vtkMRMLTextNode") for index in range(count)]
        states = [cls(node) for node in nodes if node.GetAttribute(_MARK)]
        return [state for state in states if state.volume_node and state.segmentation_node]

    @classmethod
    def remove_orphans(cls, scene: Any) -> None:
        """Remove what is left of sessions whose volume or segmentation was removed from `scene`."""
        count = scene.GetNumberOfNodesByClass("vtkMRMLTextNode")
        nodes = [scene.GetNthNodeByClass(index, "vtkMRMLTextNode") for index in range(count)]
        for state in [cls(node) for node in nodes if node.GetAttribute(_MARK)]:
            if state.volume_node is None or state.segmentation_node is None:
                state.remove()

    def remove(self) -> None:
        """Remove the state and its helper nodes from the scene."""
        for role in _roles_of(self._node):
            is_user_s = role in (_VOLUME, _SEGMENTATION) or role.startswith(_CHANNEL)
            count = 0 if is_user_s else self._node.GetNumberOfNodeReferences(role)
            for node in [self._node.GetNthNodeReference(role, n) for n in range(count)]:
                if node is not None and (node.GetHideFromEditors() or role == _UNREADABLE):
                    remove_node(node)
        remove_node(self._node)

    @property
    def volume_node(self) -> Any:
        return self._node.GetNodeReference(_VOLUME)

    @property
    def segmentation_node(self) -> Any:
        return self._node.GetNodeReference(_SEGMENTATION)

    def channels_of(self, given: ChannelNodes) -> ChannelNodes:
        """Return the channels to go on with: those `given`, or those saved where the volume alone was given."""
        if list(given.nodes) != [SINGLE_CHANNEL]:
            return given
        saved = {
            role.removeprefix(_CHANNEL): node
            for role in _roles_of(self.node)
            if role.startswith(_CHANNEL) and (node := self.node.GetNodeReference(role)) is not None
        }
        in_order = sorted(saved.items(), key=lambda item: item[1] is not given.reference)
        return ChannelNodes(dict(in_order)) if in_order and in_order[0][1] is given.reference else given

    def write_channels(self, channels: ChannelNodes) -> None:
        """Keep which volumes are the channels, and under which names."""
        for role in _roles_of(self.node):
            if role.startswith(_CHANNEL):
                self.node.RemoveNodeReferenceIDs(role)
        if list(channels.nodes) != [SINGLE_CHANNEL]:
            for name, node in channels.nodes.items():
                self.node.SetNodeReferenceID(_CHANNEL + name, node.GetID())

    def helper(self, role: str, class_name: str, name: str) -> Any:
        """Return the helper node that is referred to as `role`, made when there is none."""
        node = self.node.GetNodeReference(role)
        if node is None:
            node = hidden_node(self.node.GetScene(), class_name, name)
            self.node.SetNodeReferenceID(role, node.GetID())
        return node

    def add_shape_node(self, class_name: str) -> Any:
        """Add a markups node that shows a prompt of the session other than a point."""
        node = hidden_node(self.node.GetScene(), class_name, "PromptSeg shape")
        self.node.AddNodeReferenceID(_SHAPES, node.GetID())
        return node

    def remove_shape_nodes(self) -> None:
        """Remove the nodes of `add_shape_node` that a session before this one left."""
        state = self.node
        nodes = [state.GetNthNodeReference(_SHAPES, n) for n in range(state.GetNumberOfNodeReferences(_SHAPES))]
        state.RemoveNodeReferenceIDs(_SHAPES)
        for node in filter(None, nodes):
            remove_node(node)

    def write(self, prompts: Mapping[str, tuple[Prompt, ...]], selected: str) -> None:
        """Keep the prompts of all segments, by segment ID, and which segment is selected."""
        node = self.node
        given = {key: value for key, value in prompts.items() if value}
        now = (selected, *given.keys(), *map(id, given.values()))
        if now == self._written:
            return
        self._texts = {key: self._texts.get(key, _Text()).of(key, value) for key, value in given.items()}
        targets = ", ".join(text.text for text in self._texts.values())
        text = f'{prompts_to_json({}).removesuffix("]}")}{targets}], "selected": {json.dumps(selected)}}}'
        if node.GetText() != text:
            node.SetText(text)
        self._written = now

    def read(self) -> tuple[dict[str, tuple[Prompt, ...]], str]:
        """Return what `write` kept.

        Raises:
            PromptError: it was damaged since, or written by a newer version; a node of its own then keeps it.
        """
        text = self.node.GetText()
        if not text:
            return {}, ""
        try:
            return prompts_from_json(text), str(json.loads(text).get("selected", ""))
        except PromptError as error:
            kept = self.node.GetScene().AddNewNodeByClass("vtkMRMLTextNode", "PromptSeg prompts that cannot be read")
            kept.SetText(text)
            self.node.AddNodeReferenceID(_UNREADABLE, kept.GetID())
            self.node.SetText("")
            raise PromptError(
                f"expected prompts that were saved with the scene, got some that cannot be read, kept as they are in "
                f"{kept.GetName()!r}: {error}"
            ) from error


class _Text:
    """The prompts of one segment as JSON; those that stay are not written anew: a click on many costs its own text."""

    def __init__(self) -> None:
        self.text = ""
        self._prompts: tuple[Prompt, ...] = ()
        self._records: dict[int, str] = {}

    def of(self, name: str, prompts: tuple[Prompt, ...]) -> _Text:
        """Return the text of `prompts`, or this one where it is theirs."""
        if prompts is self._prompts:
            return self
        other = _Text()
        other._prompts = prompts  # keeps them alive, and so their ids theirs
        other._records = {id(p): self._records.get(id(p)) or _record(p) for p in prompts}
        records = ", ".join(other._records[id(prompt)] for prompt in prompts)
        other.text = f'{{"name": {json.dumps(name)}, "prompts": [{records}]}}'
        return other


def _record(prompt: Prompt) -> str:
    return json.dumps(prompt_to_record(prompt), allow_nan=False)


def _added(volume_node: Any, segmentation_node: Any) -> Any:
    node = hidden_node(volume_node.GetScene(), "vtkMRMLTextNode", f"PromptSeg {segmentation_node.GetName()}")
    node.SetAttribute(_MARK, "1")
    node.SetNodeReferenceID(_VOLUME, volume_node.GetID())
    node.SetNodeReferenceID(_SEGMENTATION, segmentation_node.GetID())
    return node


def _roles_of(node: Any) -> list[str]:
    roles: list[str] = []
    node.GetNodeReferenceRoles(roles)
    return roles


def remove_node(node: Any) -> None:
    """Remove a node of ours from its scene, with its display and what it was saved by: MRML leaves these behind."""
    scene = node.GetScene()
    if scene is not None:
        scene.RemoveNode(node)
        remove_leftovers(node, scene)


def remove_leftovers(node: Any, scene: Any) -> None:
    """Remove the display and storage nodes of a node that was removed from `scene`."""
    for role in ("display", "storage"):
        for index in range(node.GetNumberOfNodeReferences(role)):
            left = scene.GetNodeByID(node.GetNthNodeReferenceID(role, index))
            if left is not None:
                scene.RemoveNode(left)


def hidden_node(scene: Any, class_name: str, name: str) -> Any:
    """Add a node that is saved with the scene and that no editor lists."""
    node = scene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetHideFromEditors(True)
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    place_id = selection.GetActivePlaceNodeID() if selection else None
    place_class = selection.GetActivePlaceNodeClassName() if selection else None
    added = scene.AddNode(node)
    # A new markups node becomes the one that the user's next click goes to; here nobody asked for that.
    if selection and selection.GetActivePlaceNodeID() != place_id:
        selection.SetReferenceActivePlaceNodeID(place_id)
        selection.SetReferenceActivePlaceNodeClassName(place_class)
    return added
