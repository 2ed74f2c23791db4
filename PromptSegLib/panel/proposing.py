"""Proposals for a list, made by a process of its own that gives way to what else runs."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from PromptSegLib.cancel import CancelToken, Progress
from PromptSegLib.errors import ConsentError, PredictionError
from PromptSegLib.execution.background import Work
from PromptSegLib.execution.process.handle import environment_with_package
from PromptSegLib.predictors.registry import Recipe
from PromptSegLib.predictors.server_access import CONSENT_EXPECTED, KEY_VARIABLE

_NICENESS = 10
_POLL_S = 0.2
_GRACE_S = 10.0
_BELOW_NORMAL = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def proposing(
    path: Path,
    recipe: Recipe,
    classes: Sequence[str] = (),
    texts: Sequence[str] = (),
    python: str | None = None,
) -> Work:
    """Return the work of `promptseg propose` on the list at `path`, with the model and on the server of `recipe`.

    The key of a server goes by the environment of that process: command lines are shown to everybody on the computer.

    classes, texts: structures, for a model that finds them by name. python: the interpreter, this one by default. The
    work tells of its progress after each case, and returns how many were proposed and which failed, as
    `{"proposed": 3, "taken": 0, "failed": ["b: …"]}`. When it is cancelled, what is done stays. It raises ConsentError
    where the user has not agreed to send images to the server, and PredictionError for all else that ends it.
    """
    options = recipe.options
    words = ["propose", str(path), f"--model={recipe.name}", f"--device={recipe.device}", "--json"]
    words += [f"--server={options['server']}"] if options.get("server") else []
    words += ["--send-image"] if options.get("consent") else []
    words += [f"--classes={name}" for name in classes]
    words += [f"--text={name}" for name in texts]
    added = {"PYTHONIOENCODING": "utf-8", KEY_VARIABLE: str(options.get("api_key", ""))}
    command = [python or sys.executable, "-P", "-m", "PromptSegLib", *words]

    def work(progress: Progress, cancel: CancelToken) -> dict[str, Any]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment_with_package(added),
            creationflags=_BELOW_NORMAL | _NO_WINDOW,
        )
        try:
            if sys.platform != "win32":
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
            return _followed(process, progress, cancel)
        finally:
            _end(process)

    return work


def _followed(process: subprocess.Popen[str], progress: Progress, cancel: CancelToken) -> dict[str, Any]:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    said: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    threads = [
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True),
        threading.Thread(target=lambda pipe=process.stderr: said.extend(pipe), daemon=True),
    ]
    for thread in threads:
        thread.start()
    proposed = taken = 0
    failed: list[str] = []
    progress(0.0, "starting the model")
    while True:
        cancel.check()
        try:
            line = lines.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if line is None:
            break
        report = json.loads(line)
        proposed += report["status"] == "proposed"
        taken += report["status"] == "taken"
        if report["status"] == "failed":
            failed.append(f"{report['case']}: {report['error']}")
        progress(report["number"] / report["of"], pace_text(report))
    status = process.wait()
    threads[1].join(_GRACE_S)
    if status not in (0, 3):
        last = said[-1].strip().removeprefix("promptseg: ") if said else f"exit status {status}"
        if last.startswith(CONSENT_EXPECTED):
            raise ConsentError(last)
        raise PredictionError(f"expected proposals, got none: {last}")
    return {"proposed": proposed, "taken": taken, "failed": failed}


def pace_text(report: dict[str, Any]) -> str:
    """Return how far a run is, how fast, and how long the rest takes."""
    text = f"{report['number']} of {report['of']}, {report['per_minute']:.2g} a minute"
    left_s = report["left_s"]
    if not left_s:
        return text
    return f"{text}, {left_s / 60:.0f} min left" if left_s >= 90 else f"{text}, {left_s:.0f} s left"


def _read(pipe: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in pipe:
        lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[str]) -> None:
    """Let the process end: it is asked to, so that it takes away what it began."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
