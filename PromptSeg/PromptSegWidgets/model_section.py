"""Model: which one answers, where it runs, and its weights."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.devices import devices_here
from PromptSegWidgets.section import Section


class ModelSection(Section):
    def connect(self):
        for name in self.logic.models.names():
            self.ui.modelComboBox.addItem("", name)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        for device in devices_here():
            self.ui.deviceComboBox.addItem(_("Automatic") if device == "auto" else device, device)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceChosen)
        self.showWeights()

    def actions(self):
        return {
            "getWeights": self.onGetWeights,
            "importWeights": lambda: self.importWeights(qt.QFileDialog.getOpenFileName(None, _("Weights file"))),
            "importFolder": lambda: self.importWeights(qt.QFileDialog.getExistingDirectory(None, _("Weights folder"))),
            "removeWeights": self.onRemoveWeights,
        }

    def show(self):
        ui, models, name = self.ui, self.logic.models, self.parameters.model
        self._choose(ui.modelComboBox, name, name)
        self._choose(ui.deviceComboBox, self.parameters.device, self.parameters.device)
        ui.modelLabel.text = models.text(name)
        terms = models.terms(name)
        ui.termsLabel.text = terms
        ui.termsLabel.setVisible(bool(terms))
        answer = self.session.prediction if self.session else None
        used = answer.device if answer else ""
        ui.deviceLabel.text = _("Last used: {device}").format(device=used) if used else _("Not used yet")

    @staticmethod
    def _choose(comboBox, data, title):
        """Choose the entry of `data`, added when a scene names what is not here."""
        if comboBox.findData(data) < 0:
            comboBox.addItem(title, data)
        index = comboBox.findData(data)
        if index != comboBox.currentIndex:
            comboBox.setCurrentIndex(index)

    def showWeights(self):
        """Say of each model in the list whether its weights are here, and in its tool tip what it takes."""
        for index in range(self.ui.modelComboBox.count):
            name = self.ui.modelComboBox.itemData(index)
            self.ui.modelComboBox.setItemText(index, self.logic.models.entry(name))
            self.ui.modelComboBox.setItemData(index, self.logic.models.text(name), qt.Qt.ToolTipRole)

    def onModelChosen(self, index):
        self._changed("model", self.ui.modelComboBox.itemData(index))

    def onDeviceChosen(self, index):
        self._changed("device", self.ui.deviceComboBox.itemData(index))

    def _changed(self, parameter, value):
        if self.panel.isShowing or self.parameters is None or value == getattr(self.parameters, parameter):
            return
        self.panel.setStatus("")
        with self.panel.reporting():
            if self.session is not None:
                self.session.cancel()
            setattr(self.parameters, parameter, value)
        self.panel.scheduleUpdate()

    # Weights

    def _accepts(self):
        """Ask what has to be asked before weights are fetched or taken."""
        questions = self.logic.models.questions(self.parameters.model)
        return all(slicer.util.confirmYesNoDisplay(question.text) for question in questions)

    def onGetWeights(self):
        if self._accepts():
            work = self.logic.models.fetching(self.parameters.model)
            self.logic.background.start(work, self.panel.onProgress, self.onWeightsDone)

    def importWeights(self, path):
        if path and self._accepts():
            work = self.logic.models.importing(self.parameters.model, path)
            self.logic.background.start(work, self.panel.onProgress, self.onWeightsDone)

    def onRemoveWeights(self):
        self.logic.models.remove_weights(self.parameters.model)
        self.showWeights()

    def onWeightsDone(self, result, error):
        self.panel.setStatus("" if error else _("The weights are here."))
        if error is not None:
            self.panel.showError(error)
        self.showWeights()
        self.panel.scheduleUpdate()
