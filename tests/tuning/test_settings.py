"""Search space files: what they say, and what is wrong with them, in one line before anything starts."""

from pathlib import Path

import pytest
import yaml

from cce_ray.tuning import Search, load_search
from cce_ray.tuning.search_settings import builtin_spaces


def write(folder: Path, **values: object) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"run": "digits", **values}))
    return str(path)


LAMBDA = {"method.fairness_weight": {"low": 1, "high": 100, "log": True}}


@pytest.mark.parametrize("space", sorted(path.stem for path in builtin_spaces().glob("*.yaml")))
def test_every_built_in_space_is_sound(space: str, tmp_path: Path) -> None:
    overrides = [f"data.path={tmp_path / 'x.npy'}"] if space == "features" else []
    search = load_search(space, overrides)
    assert search.start
    for sample in search.start:
        assert set(sample) <= set(search.settings.space)
        search.config(sample)


def test_a_sample_becomes_a_configuration(tmp_path: Path) -> None:
    search = load_search(
        write(tmp_path, space=LAMBDA, set={"optimizer.epochs": 9}), ["optimizer.batch_size=200"]
    )
    config = search.config({"method.fairness_weight": 7.5})
    assert config.method.fairness_weight == 7.5
    assert (config.optimizer.epochs, config.optimizer.batch_size) == (9, 200)
    assert config.name == "mine"


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, ["space", "no setting"]),
        ({"method.fairnes_weight": {"low": 1, "high": 2}}, ["method.fairnes_weight", "fairness_weight"]),
        ({"method.fairness_weight": {"low": 3, "high": 2}}, ["method.fairness_weight", "low 3", "high 2"]),
        ({"method.fairness_weight": {"low": 0, "high": 2, "log": True}}, ["fairness_weight", "logarithm"]),
        ({"method.fairness_weight": {"low": 0, "high": 2}}, ["method.fairness_weight", "0", "not allowed"]),
        ({"method.fairness_weight": {"low": 1}}, ["method.fairness_weight", "high"]),
        ({"method.fairness_weight": {"low": 1, "high": 2, "choices": [1]}}, ["fairness_weight", "choices"]),
        ({"method.fairness_weight": {"lo": 1, "high": 2}}, ["fairness_weight.lo", "unknown"]),
        ({"optimizer.batch_size": {"low": 10.5, "high": 20}}, ["optimizer.batch_size", "whole"]),
        ({"optimizer.name": {"low": 1, "high": 2}}, ["optimizer.name", "choices"]),
        ({"optimizer.name": {"choices": ["adam", "adagrad"]}}, ["optimizer.name", "adagrad"]),
        ({"data.limit": {"low": 10, "high": 20}}, ["data.limit", "set"]),
        ({"runtime.seed": {"low": 1, "high": 20}}, ["runtime.seed", "set"]),
        ({"method": {"choices": ["cce"]}, **LAMBDA, "x": {"choices": [1]}}, ["x"]),
        (
            {"optimizer.momentum": {"low": 0, "high": 0.9, "when": {"optimizer.name": "sgd"}}},
            ["optimizer.momentum", "when", "optimizer.name", "not searched"],
        ),
    ],
)
def test_mistakes_are_one_line_that_names_the_setting(
    space: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^.*$") as problem:
        load_search(write(tmp_path, space=space))
    assert "\n" not in str(problem.value)
    for word in words:
        assert word in str(problem.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": "acuracy"}, ["objective", "acuracy", "accuracy"]),
        ({"start": [{"method.fairness_weight": 500}]}, ["start", "500"]),
        ({"start": [{"optimizer.epochs": 5}]}, ["start", "optimizer.epochs"]),
        ({"set": {"optimizer.epoch": 3}}, ["optimizer.epoch"]),
        ({"trials": 0}, ["trials", "0"]),
        ({"run": "nothing"}, ["nothing", "digits"]),
    ],
)
def test_mistakes_elsewhere_in_the_file_too(
    change: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as problem:
        load_search(write(tmp_path, **{"space": LAMBDA, **change}))
    for word in words:
        assert word in str(problem.value)


class Low:
    """Draws the lowest value, or the first choice not yet refused."""

    def __init__(self, **choices: object) -> None:
        self.choices = choices

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return low

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return low

    def suggest_categorical(self, name: str, choices: list[object]) -> object:
        return self.choices.get(name.replace(".", "_"), choices[0])


def conditional(tmp_path: Path) -> Search:
    # The condition stands before what it depends on: the order in the file does not matter.
    return load_search(
        write(
            tmp_path,
            space={
                "optimizer.momentum": {"low": 0.1, "high": 0.9, "when": {"optimizer.name": "sgd"}},
                "optimizer.name": {"choices": ["adam", "sgd"]},
                "pseudo_labels.max_iterations": {"low": 5, "high": 50},
            },
        )
    )


def test_a_conditional_setting_is_searched_only_where_it_is_read(tmp_path: Path) -> None:
    search = conditional(tmp_path)
    assert search.draw(Low()) == {"optimizer.name": "adam", "pseudo_labels.max_iterations": 5}
    sample = search.draw(Low(optimizer_name="sgd"))
    assert sample["optimizer.momentum"] == 0.1
    assert search.config(sample).optimizer.momentum == 0.1
    assert isinstance(sample["pseudo_labels.max_iterations"], int)


def test_judged_epochs_are_those_of_successive_halving(tmp_path: Path) -> None:
    scheduler = {"grace_epochs": 4, "reduction_factor": 3}
    search = load_search(write(tmp_path, space=LAMBDA, scheduler=scheduler, set={"optimizer.epochs": 40}))
    assert search.judged_epochs == [4, 12, 36, 40]
    search = load_search(write(tmp_path, space=LAMBDA, scheduler={"name": "none"}))
    assert search.judged_epochs == [search.base.optimizer.epochs]
