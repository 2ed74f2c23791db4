"""The user's own models: added from a file or a folder, renamed, exported, removed."""

import qt
import slicer
from slicer.i18n import tr as _

from PromptSegLib.errors import ConsentError
from PromptSegLib.panel.own_models import adding, is_own, model_path
from PromptSegLib.predictors.registry import own_models, predictor_names
from PromptSegWidgets.section import Section

_FILES = "*.zip plans.json plans.pkl metadata.json torchscript.json"


class OwnModelsSection(Section):
    def actions(self):
        return {
            "addModel": self.onAdd,
            "renameModel": self.onRename,
            "exportModel": self.onExport,
            "removeModel": self.onRemove,
        }

    def connect(self):
        self._shown = None

    def show(self):
        name = self.parameters.model
        if name != self._shown:
            self._shown = name
            self.ui.ownNameEdit.text = name if is_own(name) else ""

    def onAdd(self):
        path = qt.QFileDialog.getOpenFileName(
            None, _("A zip, or in its folder plans.json, plans.pkl, metadata.json"), "", f"{_('Models')} ({_FILES})"
        )
        if path:
            self._add(path)

    def _add(self, path, agreed=False):
        def done(result, error):
            if isinstance(error, ConsentError) and not agreed:
                text = f"{error}\n\n{_('Code can do anything that you can. Do you trust where this model is from?')}"
                if slicer.util.confirmYesNoDisplay(text):
                    self._add(path, True)
            elif error is not None:
                self.panel.showError(error)
            else:
                self._list(result)
                self.panel.setStatus(_("{name} is added.").format(name=result))
            self.panel.scheduleUpdate()

        self.logic.background.start(adding(model_path(path), agreed), self.panel.onProgress, done)

    def onRename(self):
        old, new = self.parameters.model, self.ui.ownNameEdit.text.strip()
        with self.panel.reporting():
            own_models().rename(old, new, predictor_names())
            self._list(new)
            self._unlist(old)

    def onExport(self):
        name = self.parameters.model
        path = qt.QFileDialog.getSaveFileName(None, _("Export the model"), f"{name}.zip", "Zip (*.zip)")
        if path:
            with self.panel.reporting():
                own_models().export(name, path)
                self.panel.setStatus(_("{name} is exported.").format(name=name))

    def onRemove(self):
        name = self.parameters.model
        if slicer.util.confirmYesNoDisplay(_("Remove {name} and its copy of the weights?").format(name=name)):
            with self.panel.reporting():
                self._list("default")
                own_models().remove(name)
                self._unlist(name)

    def _list(self, name):
        """Choose a model, put into the list where it is new."""
        models = self.ui.modelComboBox
        if models.findData(name) < 0:
            models.addItem("", name)
        self.panel.model.showWeights()
        models.setCurrentIndex(models.findData(name))

    def _unlist(self, name):
        index = self.ui.modelComboBox.findData(name)
        if index >= 0:
            self.ui.modelComboBox.removeItem(index)
