"""Prompts: the tools, and the list of what the selected segment was prompted by."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.mrml.transforms import node_to_world
from PromptSegLib.mrml.view_geometry import jump_slices
from PromptSegLib.panel.availability import TOOL_FEATURES
from PromptSegLib.panel.texts import middle_ras, prompt_row
from PromptSegWidgets.section import Section
from PromptSegWidgets.table import setUpTable

TOOL_BUTTONS = {tool: tool.replace("+", "Plus").replace("-", "Minus") + "Button" for tool in TOOL_FEATURES}
"""Names of the tools' buttons."""


class PromptsSection(Section):
    def connect(self):
        for tool, name in TOOL_BUTTONS.items():
            getattr(self.ui, name).connect("clicked(bool)", lambda checked, tool=tool: self.onTool(tool, checked))
        table = self.ui.promptsTable
        setUpTable(table, [_("Prompt"), _("Sign"), _("Slice"), _("RAS (mm)")], (76, 40, 68))
        table.connect("cellEntered(int,int)", self.onPromptHovered)
        table.connect("viewportEntered()", lambda: self.onPromptHovered(-1, 0))
        table.connect("cellClicked(int,int)", self.onPromptClicked)
        table.connect("currentCellChanged(int,int,int,int)", lambda: self.panel.scheduleUpdate())
        key = qt.QShortcut(qt.QKeySequence(qt.Qt.Key_Delete), table)
        key.setContext(qt.Qt.WidgetShortcut)
        key.connect("activated()", lambda: self.ui.deletePromptButton.click())

    def actions(self):
        return {
            "run": lambda: self.session.predict(self.logic.tools.view_now()),
            "cancel": self.logic.cancel,
            "undo": lambda: self.session.undo(),
            "redo": lambda: self.session.redo(),
            "reset": lambda: self.session.reset(),
            "deletePrompt": self.onDeletePrompt,
        }

    def show(self):
        session, table = self.session, self.ui.promptsTable
        prompts = session.prompts() if session else ()
        row = table.currentRow()
        table.setRowCount(len(prompts))
        for index, prompt in enumerate(prompts):
            for column, text in enumerate(prompt_row(prompt, session.image.grid)):
                table.setItem(index, column, qt.QTableWidgetItem(text))
        if row >= len(prompts):
            table.setCurrentCell(-1, -1)

    def onTool(self, tool, checked):
        self.panel.setStatus("")
        session = self.panel.openSession() if checked else None
        if session is None:
            self.logic.tools.drop()
        else:
            with self.panel.reporting():
                self.logic.tools.take(tool, session)
        self.panel.scheduleUpdate()

    # The list

    def _promptAt(self, row):
        prompts = self.session.prompts() if self.session else ()
        return prompts[row] if 0 <= row < len(prompts) else None

    def onPromptHovered(self, row, column):
        if self.session is not None:
            self.session.highlight(self._promptAt(row))

    def onPromptClicked(self, row, column):
        middle = middle_ras(self._promptAt(row)) if self._promptAt(row) else None
        if middle is not None and self.parameters.autoJump:
            jump_slices(slicer.mrmlScene, node_to_world([middle], self.parameters.volume)[0])

    def onDeletePrompt(self):
        self.session.remove(self._promptAt(self.ui.promptsTable.currentRow()))
        self.ui.promptsTable.setCurrentCell(-1, -1)
