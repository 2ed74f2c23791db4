"""Worklist: proposals for all cases that are to do, made by a process of its own while the user works on."""

import shutil

import qt
from slicer.i18n import tr as _

from PromptSegLib.errors import Cancelled
from PromptSegLib.execution.background import Background
from PromptSegLib.panel.proposing import proposing
from PromptSegLib.prompts import TextPrompt
from PromptSegLib.worklist.case import CaseState
from PromptSegWidgets.section import Section

_LOOK_MS = 300


class ProposalsSection(Section):
    def connect(self):
        # Its thread but waits for lines: it gets time enough while the event loop idles.
        self._background = Background(lambda isNeeded: None)
        self._timer = qt.QTimer()
        self._timer.interval = _LOOK_MS
        self._timer.connect("timeout()", self._background.drain)

    def actions(self):
        return {"proposeAll": self.onPropose, "stopProposing": self._background.cancel}

    @property
    def isRunning(self):
        return self._background.busy

    def onPropose(self):
        parameters, worklist = self.parameters, self.panel.worklist.worklist
        classes, texts = self._names()
        work = proposing(
            worklist.path if worklist.path.is_file() else worklist.path.parent,
            self.logic.servers.recipe(parameters.model, parameters.device),
            classes,
            texts,
            shutil.which("PythonSlicer"),  # in Slicer, sys.executable may be Slicer itself
        )
        self.ui.proposingLabel.text = _("Starting…")
        self._background.start(work, self._onProgress, self._onDone)
        self._timer.start()

    def _names(self):
        """Return the structures that are ticked or typed: classes, and words."""
        capabilities = self.logic.models.capabilities(self.parameters.model)
        if capabilities is None or not capabilities.takes_names:
            return (), ()
        asked = self.panel.names.asked(capabilities)
        classes = [one.name for one in asked if not isinstance(one, TextPrompt)]
        return classes, [one.text for one in asked if isinstance(one, TextPrompt)]

    def _onProgress(self, fraction, what):
        self.ui.proposingLabel.text = what
        self._takeIn()

    def _onDone(self, result, error):
        self._timer.stop()
        if error is None:
            failed = result["failed"]
            text = _("{count} proposed").format(count=result["proposed"])
            self.ui.proposingLabel.text = f"{text}; {_('failed')}: {len(failed)}" if failed else text
            if failed:
                self.panel.setStatus(failed[0], isError=True)
        else:
            self.ui.proposingLabel.text = _("Stopped") if isinstance(error, Cancelled) else _("Failed")
            self.panel.showError(error)
        self._takeIn()

    def _takeIn(self):
        """Show what was recorded; a case that is open and that nobody has begun gets its proposal."""
        worklist, case = self.panel.worklist, self.panel.worklist.openCaseNow
        with self.panel.reporting():
            before = worklist.worklist.current if case else None
            if worklist.worklist is None or not worklist.worklist.refresh():
                return
            now = worklist.worklist.current
            isNew = now.state is CaseState.PROPOSED and before and now.change != before.change
            if case and isNew and not case.is_changed and self.session is None:
                worklist.openCase(now)
        self.panel.scheduleUpdate()

    def close(self):
        """Stop, and hear no more of it."""
        self._timer.stop()
        self._background.close()
