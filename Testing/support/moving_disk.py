"""A disk that moves from frame to frame, and prompts on it: what SAM 2 and SAM 3 are held against others with."""

import numpy as np

POINT = ([(50, 40)], [1])
POINTS = ([(50, 40), (10, 15), (70.5, 55.25)], [1, 0, 1])
BOX = (30, 20, 85, 70)
CASES = {"point1": (POINT, None), "points3": (POINTS, None), "box": (None, BOX), "box_point": (POINT, BOX)}
ROWS, COLUMNS = np.mgrid[:90, :120]


def disk(t):
    """Return the structure on frame `t`, (h, w): it moves to the right and down."""
    return (ROWS - 40 - t) ** 2 + (COLUMNS - 50 - 1.5 * t) ** 2 < 15**2


def frame(t):
    """Return an RGB image (h, w, 3)."""
    grey = 60 + 30 * np.sin(COLUMNS / 9 + t / 5) + 20 * np.cos(ROWS / 7)
    grey[disk(t)] = 200
    return np.stack([grey, grey * 0.8, 255 - grey], axis=-1).round().clip(0, 255).astype(np.uint8)
