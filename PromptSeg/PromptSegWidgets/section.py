"""What the sections of the panel have in common."""


class Section:
    """A part of the panel: connects its controls, says what its buttons do, and shows what is.

    panel: the module's widget, with `ui`, `logic` and `parameters`.
    """

    def __init__(self, panel):
        self.panel = panel
        self.ui = panel.ui
        self.connect()

    @property
    def logic(self):
        return self.panel.logic

    @property
    def parameters(self):
        return self.panel.parameters

    @property
    def session(self):
        """The session at work on the chosen nodes, None before there is one."""
        return self.panel.logic.session

    def connect(self):
        """Prepare the controls and connect those that are no plain buttons."""

    def actions(self):
        """Return what each button does that does one thing, by the button's name."""
        return {}

    def show(self):
        """Show everything as it is now; there are parameters."""
