"""Names: the structures that the model knows, searched and ticked, and where they are wanted."""

import qt
from slicer.i18n import tr as _

from PromptSegLib.panel.name_prompts import name_prompts
from PromptSegLib.structures.names import all_structures, find_structure, search
from PromptSegWidgets.section import Section

_SWATCH_PX = 12


class NamesSection(Section):
    def connect(self):
        self._shown = None
        self.ui.searchEdit.connect("textChanged(QString)", self.onSearch)
        self.ui.namesList.connect("itemChanged(QListWidgetItem*)", self.onTicked)

    def actions(self):
        return {"name": self.onName}

    def show(self):
        capabilities = self.logic.models.capabilities(self.parameters.model)
        takesNames = capabilities is not None and capabilities.takes_names
        self.ui.namesFrame.setVisible(takesNames)
        if not takesNames or capabilities is self._shown:
            return
        self._shown = capabilities
        where = self.ui.whereComboBox
        where.clear()
        where.addItem(_("In the whole volume"), "")
        if "box3d+" in capabilities.prompts:
            where.addItem(_("In a box, drawn next"), "box3d")
        if "point+" in capabilities.prompts:
            where.addItem(_("Under the next click"), "point")
        hasText = "text" in capabilities.prompts
        self.ui.searchEdit.placeholderText = _("Search, or type any words") if hasText else _("Search by name")
        self._fill(capabilities.classes or tuple(all_structures()))

    def _fill(self, names):
        namesList = self.ui.namesList
        namesList.blockSignals(True)
        namesList.clear()
        for name in names:
            item = qt.QListWidgetItem(name)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Unchecked)
            structure = find_structure(name)
            if structure is not None:
                swatch = qt.QPixmap(_SWATCH_PX, _SWATCH_PX)
                swatch.fill(qt.QColor(*(round(255 * part) for part in structure.colour)))
                item.setIcon(qt.QIcon(swatch))
            namesList.addItem(item)
        namesList.blockSignals(False)
        self.ui.searchEdit.clear()
        self.onTicked()

    def _items(self):
        return [self.ui.namesList.item(row) for row in range(self.ui.namesList.count)]

    def ticked(self):
        """Return the names that are ticked, hidden by the search or not."""
        return [item.text() for item in self._items() if item.checkState() == qt.Qt.Checked]

    def asked(self, capabilities):
        """Return what is ticked, or else what is typed, as prompts."""
        typed = [name.strip() for name in self.ui.searchEdit.text.split(",") if name.strip()]
        return name_prompts(capabilities, self.ticked() or typed)

    def onSearch(self, text):
        """Show the names that the last of the words between commas may mean, and those that are ticked."""
        items = self._items()
        found = set(search(text.rpartition(",")[2], [item.text() for item in items]))
        for item in items:
            item.setHidden(item.text() not in found and item.checkState() != qt.Qt.Checked)

    def onTicked(self):
        count = len(self.ticked())
        self.ui.nameButton.text = _("Segment {count}").format(count=count) if count else _("Segment")

    def onName(self):
        """Ask for what is ticked, or else for what is typed, at once or at the place that comes next."""
        session = self.panel.openSession()
        if session is None:
            return
        asked = self.asked(session.capabilities)
        where = self.ui.whereComboBox.itemData(self.ui.whereComboBox.currentIndex)
        if where:
            self.logic.tools.ask(where, session, lambda place: session.add_classes(asked, place))
        else:
            session.add_classes(asked)
