"""The parameters and the controls that show them, following each other; and what outlives an import."""

import slicer
import vtk


class ParameterBinding:
    """Binds parameters to the controls of `ui` that name them, both ways, until `release`.

    parameters: an object of a class that Slicer's parameterNodeWrapper made.
    onChanged: called with the node and the event when a parameter changes.

    `connectGui` lets the node call a function that holds the parameters, and before Slicer 5.12 `disconnectGui` does
    not end that. When Python collects the parameters while the node lives on, the node's next change ends Slicer:
    so whatever is added here is taken back here.
    """

    def __init__(self, parameters, ui, onChanged):
        self._parameters = parameters
        self._observerTags = []
        parameters.AddObserver = self._addObserver
        try:
            self._guiTag = parameters.connectGui(ui)
        finally:
            del parameters.AddObserver
        self._addObserver(vtk.vtkCommand.ModifiedEvent, onChanged)

    def _addObserver(self, event, function, priority=0.0):
        tag = self._parameters.parameterNode.AddObserver(event, function, priority)
        self._observerTags.append(tag)
        return tag

    def release(self):
        """Let the parameters and the controls follow each other no more."""
        self._parameters.disconnectGui(self._guiTag)
        for tag in self._observerTags:
            self._parameters.parameterNode.RemoveObserver(tag)


class KeptParameters:
    """What a parameter node holds: an import overwrites it with what the scene's own panel was set to.

    roles: of the node's references.
    """

    def __init__(self, node, roles):
        self._values = {name: node.GetParameter(name) for name in node.GetParameterNames()}
        self._nodes = {role: node.GetNodeReference(role) for role in roles}

    def restore(self, node):
        """Set the node as it was, unless the import brought a volume that is chosen."""
        if node.GetNodeReference("volume") is not None:
            return
        for name, value in self._values.items():
            node.SetParameter(name, value)
        for role, chosen in self._nodes.items():
            isThere = slicer.mrmlScene.IsNodePresent(chosen)
            node.SetNodeReferenceID(role, chosen.GetID() if isThere else None)
