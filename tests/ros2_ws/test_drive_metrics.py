"""What a record is worth: known records, known numbers. Needs no ROS."""

import numpy as np
import pytest

from nav_offrl.drive_metrics import (
    compare_actions,
    latency,
    measure_replay,
    measure_simulated,
    summarise_simulated,
)


def simulated(truth: list[list[float]], arrived: bool = True) -> dict:
    return {
        "start": [0.0, 0.0, 0.0],
        "goal": [3.0, 0.0, 0.0],
        "success_radius": 1.0,
        "geodesic_distance": 3.2,
        "arrived": arrived,
        "error_code": 0,
        "error_msg": "",
        "navigation_time": 4.0,
        "goal_time": 0.0,
        "truth": truth,
        "touches": [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0], [3.0, 0.0]],
        "feedback": [],
        "navigator_commands": [],
        "gate_commands": [],
    }


def along(*places: tuple[float, float]) -> list[list[float]]:
    return [[float(i), x, y, 0.0, 0.5] for i, (x, y) in enumerate(places)]


def test_success_is_where_the_robot_stands_not_what_it_says() -> None:
    there = measure_simulated(simulated(along((0, 0), (1, 0), (2.5, 0)), arrived=False))
    passed_by = measure_simulated(simulated(along((0, 0), (3, 0), (6, 0)), arrived=True))
    assert (there["success"], passed_by["success"]) == (True, False)
    assert there["final_distance_m"] == pytest.approx(0.5)
    assert there["path_length_m"] == pytest.approx(2.5)
    assert passed_by["closest_distance_m"] == pytest.approx(0.0)
    assert passed_by["final_distance_m"] == pytest.approx(3.0)
    assert there["collision_share"] == pytest.approx(0.25)
    summary = summarise_simulated([there, passed_by])
    assert (summary["successes"], summary["false_arrivals"]) == (1, 1)


def test_latency_is_from_the_stamp_to_the_first_arrival_of_that_very_command() -> None:
    record = {
        "goal_time": 9.95,
        # arrival, image stamp, v, omega, predicted steps
        "feedback": [
            [9.96, 9.8, 0.5, 0.1, 9.0],
            [10.05, 10.0, 0.5, 0.1, 9.0],
            [10.25, 10.2, 0.5, 0.2, 8.0],
        ],
        "navigator_commands": [
            [9.9, 0.5, 0.1],  # the same command, but before the image
            [10.001, 0.5, 0.1],  # the same command, sent again before the image was seen
            [10.03, 0.5, 0.1],
            [10.08, 0.5, 0.1],
            [10.21, 0.5, 0.2],
        ],
        "gate_commands": [[10.04, 0.5, 0.1]],
    }
    measured = latency(record, "navigator_commands")
    assert measured["matched"] == measured["images"] == 2
    assert measured["p50_ms"] == pytest.approx(20.0, abs=0.01)
    gate = latency(record, "gate_commands")
    assert (gate["matched"], gate["images"]) == (1, 2)
    nothing = latency({"goal_time": 0.0, "feedback": [], "gate_commands": []}, "gate_commands")
    assert nothing["p50_ms"] is None


def test_commands_are_compared_with_the_action_of_the_same_image() -> None:
    record = {
        "episode": "one",
        "first": 0,
        "last": 2,
        "steps": 3,
        "arrived": False,
        "navigation_time": 1.0,
        "goal_time": 0.0,
        "feedback": [[0, 10.0, 0.5, 0.1, 9.0], [0, 10.4000001, 0.5, -0.3, 9.0]],
        "recorded": [[0, 10.0, 0.4, 0.2], [0, 10.2, 9.0, 9.0], [0, 10.4, 0.2, -0.2]],
        "navigator_commands": [],
    }
    measured = measure_replay(record)
    assert (measured["compared"], measured["steps"]) == (2, 3)
    linear, angular = measured["imitation"].values()
    assert linear["mean_absolute_error"] == pytest.approx(0.2)
    assert linear["zero_error"] == pytest.approx(0.3)
    assert linear["mean_error"] == pytest.approx(0.1)
    assert angular["mean_absolute_error"] == pytest.approx(0.1)


def test_correlation_is_told_only_where_there_is_one() -> None:
    actions = np.array([[0.1, 0.5], [0.2, 0.0], [0.3, -0.5], [0.4, 0.2]])
    copied = compare_actions(actions, actions)
    assert copied["linear_m_s"]["correlation"] == pytest.approx(1.0)
    constant = compare_actions(np.full((4, 2), 0.3), actions)
    assert constant["linear_m_s"]["correlation"] is None
    nothing = compare_actions(np.empty((0, 2)), np.empty((0, 2)))
    assert nothing["linear_m_s"]["mean_absolute_error"] is None
