"""Which controls can be used now; the tool tips of the rest say what is missing."""

import slicer
from slicer.i18n import tr as _

from PromptSegLib.panel.availability import Situation, hint, reasons
from PromptSegLib.panel.own_models import is_own
from PromptSegWidgets.prompts_section import TOOL_BUTTONS


class Enabling:
    """Enables and disables the controls of a panel. panel: as of `Section`."""

    def __init__(self, panel):
        self.panel = panel
        self._toolTips = {}

    def show(self):
        ui, tools = self.panel.ui, self.panel.logic.tools
        situation = self._situation()
        found = reasons(situation)
        if found.get(tools.tool):
            tools.drop()
        for control, reason in found.items():
            button = getattr(ui, TOOL_BUTTONS.get(control, f"{control}Button"))
            toolTip = self._toolTips.setdefault(control, button.toolTip)
            button.enabled = not reason
            button.toolTip = f"{toolTip}\n{_(reason)}" if reason else toolTip
        for control in (ui.searchEdit, ui.namesList, ui.whereComboBox):
            control.enabled = ui.nameButton.enabled
        for control in (ui.directionComboBox, ui.reachSpinBox):
            control.enabled = ui.propagateButton.enabled
        for tool, name in TOOL_BUTTONS.items():
            getattr(ui, name).checked = tools.tool == tool
        ui.progressBar.enabled = self.panel.logic.isBusy
        ui.hintLabel.text = _(hint(situation, tools.tool))

    def _channelProblem(self):
        missing = self.panel.input.missingChannels()
        return _("Choose a volume for {channels} under Input.").format(channels=", ".join(missing)) if missing else ""

    def _situation(self):
        parameters, logic = self.panel.parameters, self.panel.logic
        session, models, model = logic.session, logic.models, parameters.model
        prompts = session.prompts() if session else ()
        segmentation = parameters.segmentation
        return Situation(
            capabilities=models.capabilities(model),
            problem=models.problem(model) or self._channelProblem(),
            has_volume=parameters.volume is not None and parameters.volume.GetImageData() is not None,
            has_session=session is not None,
            has_prompts=bool(prompts),
            has_name=any(prompt.kind in ("class", "text") for prompt in prompts),
            has_mask=bool(session and session.target in session.targets and not session.is_empty),
            has_certainty=bool(session and session.certainty() is not None),
            has_segments=bool(segmentation and segmentation.GetSegmentation().GetNumberOfSegments()),
            has_dicom_export="DICOMSegmentationPlugin" in getattr(slicer.modules, "dicomPlugins", {}),
            can_undo=bool(session and session.can_undo),
            can_redo=bool(session and session.can_redo),
            is_busy=logic.isBusy,
            runs_at_once=parameters.runAtOnce,
            is_prompt_selected=self.panel.ui.promptsTable.currentRow() >= 0,
            weights=models.weights_state(model),
            is_fetching=logic.background.busy,
            worklist=self.panel.worklist.situation(),
            is_own=is_own(model),
            has_measurements=self.panel.measure.hasRows,
            shows_diameters=self.panel.ui.diametersButton.checked,
            has_earlier=self.panel.followUp.earlier is not None,
            has_waiting=self.panel.followUp.isWaiting,
        )
