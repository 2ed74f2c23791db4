"""Listeners and observers that remember what they were told."""

from __future__ import annotations

import time

from PromptSegLib.session.observer import SessionObserver


class RecordingListener:
    """Remembers the predictions and the end of a job."""

    def __init__(self):
        self.job = None
        self.progress = []
        self.predictions = []
        self.ends = []

    def on_start(self, job):
        self.job = job

    def on_progress(self, fraction, what):
        assert not self.ends
        self.progress.append((fraction, what))

    def on_prediction(self, prediction):
        assert not self.ends
        self.predictions.append(prediction)

    def on_end(self, error):
        self.ends.append(error)

    def wait(self, executor, timeout_s=20.0):
        """Drain `executor` until the job has ended, and return what it ended with."""
        wait_until(lambda: self.ends, timeout_s, drain=executor.drain)
        assert len(self.ends) == 1
        return self.ends[0]


class RecordingObserver(SessionObserver):
    """Remembers what a session told."""

    def __init__(self):
        self.busy = []
        self.errors = []
        self.prompts = []
        self.boxes = []
        self.progresses = []

    def prompts_changed(self, target):
        self.prompts.append(target)

    def masks_changed(self, boxes):
        self.boxes.append(dict(boxes))

    def busy_changed(self, busy):
        self.busy.append(busy)

    def progress(self, fraction, what):
        self.progresses.append((fraction, what))

    def failed(self, error):
        self.errors.append(error)


def wait_until(condition, timeout_s=20.0, drain=lambda timeout_s: time.sleep(timeout_s)):
    """Wait until `condition()` holds; fail when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        drain(timeout_s=0.01)
