"""The parameters and the controls that show them, following each other."""

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
