"""How the panel hears of what happens in the session."""

from PromptSegLib.session.observer import SessionObserver


class PanelObserver(SessionObserver):
    """Tells the panel what happens in the session."""

    def __init__(self, panel):
        self._panel = panel

    def prompts_changed(self, target):
        self._panel.review.takePrompts(target)
        self._panel.scheduleUpdate()

    def masks_changed(self, boxes):
        self._panel.measure.takeChange(boxes)
        self._panel.scheduleUpdate()

    def answer_changed(self, target):
        self._panel.scheduleUpdate()

    def busy_changed(self, busy):
        self._panel.onBusyChanged(busy)

    def progress(self, fraction, what):
        self._panel.onProgress(fraction, what)

    def failed(self, error):
        self._panel.showError(error)
