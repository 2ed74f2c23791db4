"""Examples worked out by hand from the text of RECIST 1.1 (European Journal of Cancer 45, 228, 2009)."""

import pytest

from PromptSegLib.measurement.recist import Candidate, choose_targets, overall_response, target_response


@pytest.mark.parametrize(
    ("baseline", "nadir", "now", "category"),
    [
        (100, 100, 70, "PR"),  # a decrease of 30 % exactly
        (100, 100, 70.1, "SD"),
        (100, 100, 120, "PD"),  # 20 % and more than 5 mm
        (100, 100, 119.9, "SD"),
        (20, 20, 24.5, "SD"),  # 22 %, but less than 5 mm
        (20, 20, 25, "PD"),
        (100, 50, 60, "PD"),  # 20 % over the nadir, though 40 % below the baseline
        (100, 50, 59.9, "PR"),
        (100, 20, 24.9, "PR"),  # 24 % over the nadir, by less than 5 mm
        (100, 95, 113, "SD"),
        (50, 0, 6, "PD"),  # back after it was gone
        (50, 0, 4, "PR"),
    ],
)
def test_the_sum_is_compared_to_the_baseline_and_to_the_smallest_before(baseline, nadir, now, category):
    response = target_response(baseline, nadir, now, is_complete=False)
    assert response.category == category
    assert response.rule


def test_all_gone_is_a_complete_response_though_normal_lymph_nodes_leave_a_sum():
    assert target_response(60, 8, 18, is_complete=True).category == "CR"


@pytest.mark.parametrize(
    ("target", "others_gone", "has_new", "category"),
    [  # table 1 of the criteria
        ("CR", True, False, "CR"),
        ("CR", False, False, "PR"),
        ("PR", False, False, "PR"),
        ("SD", False, False, "SD"),
        ("PD", True, False, "PD"),
        ("CR", True, True, "PD"),
        ("SD", True, True, "PD"),
        (None, True, False, "CR"),  # table 2
        (None, False, False, "non-CR/non-PD"),
        (None, True, True, "PD"),
    ],
)
def test_targets_other_lesions_and_new_ones_together(target, others_gone, has_new, category):
    sums = {"CR": (50, 50, 0, True), "PR": (50, 50, 30, False), "SD": (50, 50, 50, False), "PD": (50, 50, 90, False)}
    response = target_response(*sums[target]) if target else None
    assert overall_response(response, has_new, others_gone).category == category


def test_both_reasons_are_named_when_targets_grew_and_there_are_new_ones():
    rule = overall_response(target_response(50, 50, 90, False), True, True).rule
    assert rule == "new lesions; sum 90.0 mm, +40.0 mm, +80 % from the smallest before: at least 20 % and 5 mm"


def test_five_targets_at_most_and_two_of_an_organ_the_largest_first():
    lesions = [Candidate(organ, size, size / 2) for organ, size in zip("aaabbbccd", range(30, 12, -2), strict=True)]
    assert choose_targets(lesions) == [0, 1, 3, 4, 6]


@pytest.mark.parametrize(
    ("candidate", "slice_mm", "is_target"),
    [
        (Candidate("lung", 10, 4), 1, True),
        (Candidate("lung", 9.9, 9), 1, False),
        (Candidate("lung", 13, 9), 5, True),
        (Candidate("lung", 13, 9), 7, False),  # twice the thickness of slices
        (Candidate("neck", 40, 14.9, is_node=True), 1, False),
        (Candidate("neck", 20, 15, is_node=True), 1, True),
    ],
)
def test_what_is_measurable(candidate, slice_mm, is_target):
    assert choose_targets([candidate], slice_mm) == [0] * is_target


def test_of_a_lymph_node_the_short_axis_counts():
    assert Candidate("neck", 30, 17, is_node=True).diameter_mm == 17
