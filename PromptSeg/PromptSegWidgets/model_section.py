"""Model: which one answers, where it runs, and its weights."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.panel.servers import Servers
from PromptSegLib.panel.texts import shortened
from PromptSegLib.predictors.devices import devices_here
from PromptSegWidgets.section import Section

_SERVER_SETTING = "PromptSeg/server/{model}"
_TITLE_LENGTH = 36  # characters in the title of the section, which makes the whole panel as wide as it is


class ModelSection(Section):
    def connect(self):
        for name in self.logic.models.names():
            self.ui.modelComboBox.addItem("", name)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        for device in devices_here():
            self.ui.deviceComboBox.addItem(_("Automatic") if device == "auto" else device, device)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceChosen)
        self.logic.servers = Servers(lambda model: slicer.util.settingsValue(_SERVER_SETTING.format(model=model), ""))
        self._server = None  # as it was last shown or typed: model, address, key
        for edit in (self.ui.serverEdit, self.ui.serverKeyEdit):
            edit.connect("editingFinished()", self.onServer)
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
        title = _("Model: {title}").format(title=models.entry(name))
        ui.modelCollapsibleButton.text = shortened(title, _TITLE_LENGTH)
        ui.modelCollapsibleButton.toolTip = title
        ui.modelLabel.text = models.text(name)
        terms = models.terms(name)
        ui.termsLabel.text = terms
        ui.termsLabel.setVisible(bool(terms))
        capabilities = models.capabilities(name)
        ui.serverFrame.setVisible(capabilities is not None and "server" in capabilities.devices)
        if self._server is None or self._server[0] != name:
            self._server = (name, *self.logic.servers.chosen(name))
            _model, ui.serverEdit.text, ui.serverKeyEdit.text = self._server
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
        self.logic.models.revision += 1
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

    # A server

    def onServer(self):
        """Ask another server from now on; its key is for this run of Slicer only."""
        if self.parameters is None:
            return
        model = self.parameters.model
        server = (model, self.ui.serverEdit.text, self.ui.serverKeyEdit.text)
        if server == self._server:
            return
        self._server = server
        with self.panel.reporting():
            self.logic.servers.choose(*server)
            qt.QSettings().setValue(_SERVER_SETTING.format(model=model), server[1])
            self.logic.closeSession()  # nothing more for the server before, whether or not this one is agreed to
        self.panel.scheduleUpdate()

    def askForConsent(self, question):
        """Ask whether the image may be sent to the server; the prompt is then to be placed again."""
        if slicer.util.confirmYesNoDisplay(f"{question}\n\n{_('Send images to this server?')}"):
            self.logic.servers.agree(self.parameters.model)
            self.panel.setStatus(_("Agreed: place the prompt again."))
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
