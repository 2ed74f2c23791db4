"""Which one? The models for the image and the prompt in hand, by what one gives, the best first; the rest folded."""

import qt
from slicer.i18n import tr as _

from PromptSegLib.errors import PromptSegError
from PromptSegLib.mrml.volumes import dicom_modality, volume_from_node
from PromptSegLib.panel.advice import best
from PromptSegLib.panel.availability import prompt_in_hand
from PromptSegLib.panel.image_kind import ImageKind
from PromptSegLib.panel.texts import shortened
from PromptSegWidgets.section import Section

_TITLE_LENGTH = 36  # characters on the button, which makes the whole panel as wide as it is


class WhichSection(Section):
    def connect(self):
        self._seen = None  # what the advice was last made for
        self._groups = []
        self._kind = (None, None)  # of the volume last looked at, and what it was known by
        self._unfolded = set()
        adviceList = self.ui.adviceList
        adviceList.wordWrap = True
        adviceList.spacing = 2
        adviceList.horizontalScrollBarPolicy = qt.Qt.ScrollBarAlwaysOff
        adviceList.verticalScrollMode = qt.QAbstractItemView.ScrollPerPixel
        adviceList.setVisible(False)
        adviceList.connect("itemClicked(QListWidgetItem*)", self.onClicked)
        self.ui.modelCollapsibleButton.connect("contentsCollapsed(bool)", lambda: self.panel.scheduleUpdate())

    def actions(self):
        return {"which": self.onWhich}

    def onWhich(self):
        self.ui.adviceList.setVisible(self.ui.whichButton.checked)

    def show(self):
        if self.ui.modelCollapsibleButton.collapsed:
            return
        kind = self._kindOfVolume()
        prompt = prompt_in_hand(self.logic.tools.tool)
        seen = (kind, prompt, self.parameters.device, self.logic.models.revision)
        if seen == self._seen:
            return
        self._seen = seen
        self._groups = [] if kind is None else self.logic.models.advice(kind, prompt, self.parameters.device)
        advised = best(self._groups, prompt)
        title = _("Which one? Advised: {title}").format(title=advised.title) if advised else _("Which one?")
        self.ui.whichButton.text = shortened(title, _TITLE_LENGTH)
        self._fill()

    def _kindOfVolume(self):
        """Return what kind of image the chosen volume is, looked at once; None without one."""
        node = self.parameters.volume
        image = node.GetImageData() if node is not None else None
        if image is None:
            return None
        name = self.panel.input.channels[0] if self.panel.input.channels else "image"
        known = (node.GetID(), image.GetMTime(), dicom_modality(node), name)
        if known != self._kind[0]:
            try:
                kind = ImageKind.of(volume_from_node(node), name=name, dicom_modality=known[2])
            except PromptSegError:  # no image: the session says so when one is opened
                kind = None
            self._kind = (known, kind)
        return self._kind[1]

    def _fill(self):
        """Show each group's advised model with its reason, and of the others how many there are."""
        self.ui.adviceList.clear()
        for group in self._groups:
            self._add(group.title, isBold=True)
            if group.advised is None:
                self._add(_("None suits this image."))
            for advice in filter(None, (group.advised, group.better)):
                head = _("Better, once it is here: ") if advice is group.better else "★ "
                self._add(f"{head}{advice.line}", advice.name)
            if group.others:
                isUnfolded = group.key in self._unfolded
                count = len(group.others)
                text = _("Fewer") if isUnfolded else _("{count} others…").format(count=count)
                self._add(text, fold=group.key)
                for advice in group.others if isUnfolded else ():
                    self._add(advice.line, advice.name, isFaint=not advice.suits)

    def _add(self, text, model="", fold="", isBold=False, isFaint=False):
        item = qt.QListWidgetItem(text)
        item.setData(qt.Qt.UserRole, model)
        item.setData(qt.Qt.UserRole + 1, fold)
        if model:
            item.setToolTip(self.logic.models.text(model))
        if isBold:
            font = self.ui.adviceList.font
            font.setBold(True)
            item.setFont(font)
        if isFaint:
            item.setForeground(qt.QBrush(self.ui.adviceList.palette.color(qt.QPalette.Disabled, qt.QPalette.Text)))
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable if model or fold else qt.Qt.ItemIsEnabled)
        self.ui.adviceList.addItem(item)

    def onClicked(self, item):
        """Choose the model that was clicked, or show or hide the rest of its group."""
        model, fold = item.data(qt.Qt.UserRole), item.data(qt.Qt.UserRole + 1)
        if model:
            self.ui.modelComboBox.setCurrentIndex(self.ui.modelComboBox.findData(model))
        elif fold:
            self._unfolded ^= {fold}
            row = self.ui.adviceList.row(item)
            qt.QTimer.singleShot(0, lambda: self._refill(row))  # the item that was clicked is gone then

    def _refill(self, row):
        self._fill()
        self.ui.adviceList.scrollToItem(self.ui.adviceList.item(row), qt.QAbstractItemView.PositionAtTop)
