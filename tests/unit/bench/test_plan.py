"""The committed plan fits the launchers, and best points fit the plan."""

import json
from pathlib import Path

import pytest
from bench.harness import grid, servers
from bench.harness.errors import BadInput
from bench.harness.launch import Place
from bench.predictor import plan as plans

from moorage.api.predictor import PredictorSettings

POINTS = [
    (entrant, point)
    for entrant in plans.read().entrants
    if entrant.peer != "torchserve"  # whose launcher runs a program of TorchServe's own environment
    for point in entrant.points
]


@pytest.mark.parametrize(("entrant", "point"), POINTS, ids=[f"{one.name}-{n}" for n, (one, _) in enumerate(POINTS)])
def test_every_point_of_the_grid_is_one_that_its_launcher_understands(
    entrant: plans.Entrant, point: grid.Point, tmp_path: Path
) -> None:
    place = Place(point, tuple(range(20000, 20006)), tmp_path, Path("/python"), "images", Path("/model"))
    launch = servers.launcher(entrant.peer).launch(place)
    assert launch.first.body(b"file")
    if entrant.is_ours:
        options = launch.argv[launch.argv.index("moorage_predictor") + 1 :]
        assert PredictorSettings.parse(options, {}).model_dir == "/model"


def test_a_grid_is_every_combination_and_what_is_added() -> None:
    entry = {"grid": {"workers": [1, 2], "size": [8]}, "also": [{"workers": 3}]}
    assert grid.points(entry) == ({"workers": 1, "size": 8}, {"workers": 2, "size": 8}, {"workers": 3})


def test_best_points_are_found_again(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    grid.save_best({"a": {"workers": 2}}, file)
    grid.save_best({"b": {"workers": 1}}, file)
    assert set(json.loads(file.read_text())) == {"a", "b"}
    grids = {"a": [{"workers": 1}, {"workers": 2}], "c": [{"workers": 4}]}
    assert grid.committed_best(grids, file) == {"a": {"workers": 2}, "c": {"workers": 4}}


def test_a_best_point_that_is_not_in_todays_grid_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    grid.save_best({"a": {"workers": 2}}, file)
    with pytest.raises(BadInput, match=r"best\.json has no point of today's grid for a"):
        grid.committed_best({"a": [{"workers": 1}, {"workers": 3}]}, file)
