"""Time that somebody works, without the pauses."""

from PromptSegLib.panel.stopwatch import LONGEST_LOOK_S, Stopwatch


def test_what_lies_between_signs_counts_and_a_pause_does_so_for_a_look():
    times = iter([0, 5, 10, 10 + 3600, 10 + 3600 + 2, 10 + 3600 + 4])
    watch = Stopwatch(lambda: next(times))
    for _ in range(3):
        watch.touch()
    assert watch.take() == 5 + 5 + LONGEST_LOOK_S + 2
    assert watch.take() == 2
