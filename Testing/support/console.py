"""The command line, called in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass

from PromptSegLib.cli import main
from PromptSegLib.predictors import registry


@dataclass
class Outcome:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Console:
    """Runs commands; "ball" and "pet-ct" are among the models, see fakes.BallPredictor and HotInBodyPredictor."""

    def __init__(self, monkeypatch, capsys):
        self._capsys = capsys
        monkeypatch.setitem(registry.BUILT_IN, "ball", "fakes:BallPredictor")
        monkeypatch.setitem(registry.BUILT_IN, "pet-ct", "fakes:HotInBodyPredictor")

    def __call__(self, *words):
        self._capsys.readouterr()
        status = main([str(word) for word in words])
        return Outcome(status, *self._capsys.readouterr())

    def refuses(self, *words):
        """Run a command that is expected to fail on bad input, and return its only line on standard error."""
        outcome = self(*words)
        assert outcome.status == 2
        assert outcome.out == ""
        assert outcome.err.startswith("promptseg: ")
        assert outcome.err.count("\n") == 1
        return outcome.err
