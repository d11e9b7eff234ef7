"""The files of a run directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lapsr_cli.errors import TrainingError
from lapsr_cli.train import checkpoint, curve
from lapsr_cli.train.recipe import Recipe
from lapsr_cli.train.run_dir import RunDirectory
from tests.train.examples import TINY, recipe_of
from tests.train.test_checkpoint import some_checkpoint
from tests.train.test_curve import RECORDS, loss_record, scores_record


def test_a_partial_line_of_metrics_is_skipped(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    assert run_dir.records() == []
    records = [loss_record(1), scores_record(2, "Set5"), loss_record(3)]
    for record in records:
        run_dir.append_record(record)
    as_read = [json.loads(json.dumps(record)) for record in records]
    assert run_dir.records() == as_read
    whole = run_dir.metrics.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for missing in range(2, last):
        run_dir.metrics.write_bytes(whole[:-missing])
        assert run_dir.records() == as_read[:2]
    run_dir.metrics.write_bytes(whole[:-1])  # only the newline is missing
    assert run_dir.records() == as_read


def test_later_records_are_dropped_and_new_ones_start_on_a_line_of_their_own(
    tmp_path: Path,
) -> None:
    run_dir = RunDirectory(tmp_path)
    run_dir.drop_records_after(0, 0)  # there is no file yet
    assert run_dir.records() == []
    for iteration in (10, 20, 30, 40):
        run_dir.append_record(loss_record(iteration))
    with run_dir.metrics.open("a") as file:
        file.write('{"iteration": 15, "lo')
    run_dir.drop_records_after(20, 20)
    run_dir.append_record(loss_record(25))
    assert [record["iteration"] for record in run_dir.records()] == [10, 20, 25]
    assert run_dir.records()[1] == loss_record(20)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert len(run_dir.metrics.read_text().splitlines()) == 3


def test_only_the_record_of_a_validation_that_is_repeated_is_dropped(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    for iteration in (10, 20, 30):
        run_dir.append_record(loss_record(iteration))
        run_dir.append_record(scores_record(iteration, "Set5"))
    run_dir.drop_records_after(20, 10)  # stopped at 20, before its validation was complete
    kept = [(record["iteration"], "scores" in record) for record in run_dir.records()]
    assert kept == [(10, False), (10, True), (20, False)]


def test_the_curve_of_a_folder_is_that_of_its_metrics(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path / "a run")
    run_dir.path.mkdir()
    for record in RECORDS["both"]:
        run_dir.append_record(record)
    run_dir.curve.write_text("of the validation before")
    run_dir.draw_curve()
    as_read = [json.loads(json.dumps(record)) for record in RECORDS["both"]]
    assert run_dir.curve.read_bytes() == curve.draw(as_read, title="a run")
    assert {path.name for path in run_dir.path.iterdir()} == {"metrics.jsonl", "curve.svg"}


def test_the_config_is_restored_and_a_damaged_one_is_refused_by_name(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    recipe = Recipe(seed=3)
    content = {
        "preset": "modern",
        "recipe": recipe.to_json(),
        "data": ("a", "b"),
        "val": (),
        "sessions": [],
    }
    with pytest.raises(TrainingError, match=r"config\.json"):
        run_dir.read_config()
    run_dir.write_config(content)
    back = run_dir.read_config()
    assert Recipe.from_json(back["recipe"]) == recipe
    assert (back["data"], back["val"]) == (("a", "b"), ())
    text = run_dir.config.read_text()
    for damaged in (
        text[: len(text) // 2],
        "",
        "[]",
        *(text.replace(f'"{key}"', '"another"') for key in content),
        text.replace('"batch_size": 16', '"batch_size": 0'),
        text.replace('"batch_size": 16', '"batch_size": "16"'),
        text.replace('"batch_size"', '"batch"'),
    ):
        assert damaged != text
        run_dir.config.write_text(damaged)
        with pytest.raises(TrainingError) as error:
            run_dir.read_config()
        assert str(run_dir.config) in str(error.value)


def test_a_folder_contains_a_run_once_there_is_a_checkpoint(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    run_dir.write_config({"recipe": {}})
    assert not run_dir.has_checkpoint
    checkpoint.write(some_checkpoint(recipe_of(TINY[0]))[0], run_dir.last)
    assert run_dir.has_checkpoint
