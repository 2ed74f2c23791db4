"""How much memory a piece of work takes at most."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak_memory() -> None:
    """Forget how much this process has taken; where the system cannot, the peak stays that since its start."""
    if _RESET.exists():
        try:
            _RESET.write_text("5", encoding="ascii")
        except OSError:  # such as in a sandbox
            return


def peak_memory_mib() -> float | None:
    """Return the most memory that this process took, in MiB: its resident set. None where nothing tells."""
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
