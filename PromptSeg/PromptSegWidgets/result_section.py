"""Result: how segments are shown, cleaned up, carried to other slices and handed on."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.imaging import cleanup
from PromptSegLib.mrml.console_lines import console_lines
from PromptSegLib.mrml.display import is_shown_in_3d, show_in_3d
from PromptSegLib.mrml.export import export_labelmap, put_beside, save_labelmap
from PromptSegLib.panel.texts import answer_text, timings_text
from PromptSegLib.span import Span
from PromptSegWidgets.section import Section

_DIRECTIONS = ("both", "forward", "backward")
_SHOWN_MS = 1500  # what the newest prompt changed


class ResultSection(Section):
    def connect(self):
        self._seen = None  # the newest answer whose change was shown
        ui = self.ui
        for title in (_("Both ways"), _("Forward"), _("Backward")):
            ui.directionComboBox.addItem(title)
        ui.reachSpinBox.specialValueText = _("to its end")
        ui.show3DButton.connect("clicked(bool)", lambda on: show_in_3d(self.parameters.segmentation, on))
        ui.outlineCheckBox.connect("clicked(bool)", lambda on: self._display().SetVisibility2DFill(not on))
        ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)

    def actions(self):
        return {
            "certainty": lambda: self.session.show_certainty(not self.session.shows_certainty),
            "propagate": self.onPropagate,
            "island": lambda: self.logic.cleanUp(cleanup.keep_largest_island),
            "holes": lambda: self.logic.cleanUp(cleanup.fill_holes),
            "smooth": lambda: self.logic.cleanUp(self._smoothed),
            "exportLabelmap": lambda: export_labelmap(self.parameters.segmentation, self.parameters.volume),
            "exportFile": self.onExportFile,
            "exportDicom": self.onExportDicom,
            "copyPython": self.onCopyPython,
            "segmentEditor": self.onSegmentEditor,
        }

    def show(self):
        ui, display = self.ui, self._display()
        answer = self.session.prediction if self.session else None
        self._showChange(answer)
        ui.resultLabel.text = answer_text(answer) if answer else _("No prediction yet.")
        stages = f"\n{timings_text(answer)}" if answer else ""
        ui.resultLabel.toolTip = _("What the newest answer came to, where, and in which time") + stages
        ui.certaintyButton.checked = self.session is not None and self.session.shows_certainty
        for control in (ui.outlineCheckBox, ui.opacitySlider):
            control.enabled = display is not None
        if display is not None:
            ui.outlineCheckBox.checked = not display.GetVisibility2DFill()
            ui.opacitySlider.value = display.GetOpacity()
            ui.show3DButton.checked = is_shown_in_3d(self.parameters.segmentation)

    def _showChange(self, answer):
        """Show what a new answer changed in a segment that came from elsewhere, for a moment."""
        if answer is self._seen:
            return
        self._seen = answer
        if answer is not None and answer.change is not None and not self.session.busy:
            self.session.show_change()
            qt.QTimer.singleShot(_SHOWN_MS, lambda: self._hideChange(answer))

    def _hideChange(self, answer):
        if answer is self._seen and self.session is not None:
            self.session.show_change(False)

    def _display(self):
        """Return the display node of the chosen segmentation, or None."""
        segmentation = self.parameters.segmentation if self.parameters else None
        return segmentation.GetDisplayNode() if segmentation else None

    def onOpacity(self, value):
        if not self.panel.isShowing and self._display() is not None:
            self._display().SetOpacity(value)

    def _smoothed(self, mask_kji):
        spacing_mm = self.session.image.grid.spacing_kji_mm
        return cleanup.smooth(mask_kji, spacing_mm, max(spacing_mm))

    def onPropagate(self):
        direction, slices = _DIRECTIONS[self.ui.directionComboBox.currentIndex], self.ui.reachSpinBox.value
        self.session.propagate(Span(direction=direction, slices=slices or None), self.logic.tools.view_now())

    def onExportFile(self):
        path = qt.QFileDialog.getSaveFileName(None, _("Save segments"), "segments.nii.gz")
        if path:
            save_labelmap(self.parameters.segmentation, self.parameters.volume, path)
            self.panel.setStatus(_("Saved {path}.").format(path=path))

    def onExportDicom(self):
        """Open Slicer's own DICOM export, at the segmentation, beside its volume as its exporter wants it."""
        slicer.modules.dicom.widgetRepresentation()  # opens the database that it looks the image up in
        item = put_beside(self.parameters.segmentation, self.parameters.volume)
        dialog = slicer.qSlicerDICOMExportDialog(None)
        dialog.setMRMLScene(slicer.mrmlScene)
        dialog.execDialog(item)

    def onCopyPython(self):
        qt.QApplication.clipboard().setText(console_lines(self.session))
        self.panel.setStatus(_("The lines are on the clipboard: paste them into the Python console."))

    def onSegmentEditor(self):
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(self.parameters.segmentation)
        editor.setSourceVolumeNode(self.parameters.volume)
        if self.session is not None:
            editor.setCurrentSegmentID(self.session.target)
