"""Settings: keys, what is overwritten, weights on disk, timings."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.mrml.display import editor_node, overwrite_mode, overwrite_modes
from PromptSegLib.panel.shortcuts import Shortcuts
from PromptSegLib.panel.texts import timings_text
from PromptSegWidgets.prompts_section import TOOL_BUTTONS
from PromptSegWidgets.section import Section
from PromptSegWidgets.table import setUpTable

_KEYS_SETTING = "PromptSeg/shortcuts"
_OWN_PROCESS_SETTING = "PromptSeg/ownProcess"
_TIMINGS_KEPT = 200


class SettingsSection(Section):
    def __init__(self, panel):
        self.shortcuts = Shortcuts.from_json(slicer.util.settingsValue(_KEYS_SETTING, ""))
        self._keys = []
        super().__init__(panel)

    def connect(self):
        ui = self.ui
        for title in (_("Nothing: segments may overlap"), _("Visible segments"), _("All segments")):
            ui.overwriteComboBox.addItem(title)
        ui.overwriteComboBox.connect(
            "activated(int)", lambda row: editor_node(slicer.mrmlScene).SetOverwriteMode(overwrite_modes()[row])
        )
        ui.ownProcessCheckBox.checked = slicer.util.settingsValue(
            _OWN_PROCESS_SETTING, False, converter=slicer.util.toBool
        )
        self.logic.setOwnProcess(ui.ownProcessCheckBox.checked)
        ui.ownProcessCheckBox.connect("toggled(bool)", self.onOwnProcess)
        table = ui.shortcutsTable
        setUpTable(table, [_("Action"), _("Key")])
        table.connect("cellChanged(int,int)", self.onKeyChanged)
        ui.timingsText.setMaximumBlockCount(_TIMINGS_KEPT)
        self.showKeys()

    def actions(self):
        return {"resetKeys": self.onResetKeys, "clearCache": self.onClearCache}

    def show(self):
        self.ui.overwriteComboBox.setCurrentIndex(overwrite_modes().index(overwrite_mode(slicer.mrmlScene)))

    def showCache(self):
        self.ui.cacheLabel.text = self.logic.models.cache_text()

    def log(self, answer):
        """Note how long a prediction took, by stage."""
        self.ui.timingsText.appendPlainText(timings_text(answer))

    def onOwnProcess(self, isOn):
        qt.QSettings().setValue(_OWN_PROCESS_SETTING, isOn)
        self.logic.setOwnProcess(isOn)
        self.panel.scheduleUpdate()

    def onClearCache(self):
        if slicer.util.confirmYesNoDisplay(_("Remove all weights and encoded slices from this computer?")):
            self.logic.models.clear_cache()
            self.panel.model.showWeights()

    # Keys

    def showKeys(self):
        table = self.ui.shortcutsTable
        table.blockSignals(True)
        table.setRowCount(len(self.shortcuts.items()))
        for row, (action, key) in enumerate(self.shortcuts.items()):
            name = qt.QTableWidgetItem(action)
            name.setFlags(qt.Qt.ItemIsEnabled)
            table.setItem(row, 0, name)
            table.setItem(row, 1, qt.QTableWidgetItem(key))
        table.blockSignals(False)

    def onKeyChanged(self, row, column):
        table = self.ui.shortcutsTable
        with self.panel.reporting():
            self.shortcuts.bind(table.item(row, 0).text(), qt.QKeySequence(table.item(row, 1).text()).toString())
            self._keysChanged()
        self.showKeys()

    def onResetKeys(self):
        self.shortcuts.reset()
        self._keysChanged()
        self.showKeys()

    def _keysChanged(self):
        qt.QSettings().setValue(_KEYS_SETTING, self.shortcuts.to_json())
        if self._keys:
            self.bindKeys()

    def bindKeys(self):
        """Listen to the keys, in the main window and while the panel is open only."""
        self.releaseKeys()
        for action, key in self.shortcuts.items():
            if key:
                shortcut = qt.QShortcut(slicer.util.mainWindow() or self.panel.parent)
                shortcut.setKey(qt.QKeySequence(key))
                button = getattr(self.ui, TOOL_BUTTONS.get(action, f"{action}Button"))
                shortcut.connect("activated()", lambda button=button: button.click())
                self._keys.append(shortcut)

    def releaseKeys(self):
        for shortcut in self._keys:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._keys = []
