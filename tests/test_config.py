"""Configurations: layering, dotted keys, and one clear line for whatever is wrong."""

import os
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from cce_ray.config import REGISTRIES, RunConfig, assignments_of, flatten, known_keys, load_config
from cce_ray.config.nested import assign_all, follow_required_model
from cce_ray.methods import METHODS


def config(*overrides: str, text: str = "") -> RunConfig:
    values = yaml.safe_load(text) or {}
    assign_all(values, assignments_of(overrides))
    follow_required_model(values)
    return RunConfig.from_dict(values)


def test_set_overrides_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optimizer: {epochs: 7, learning_rate: 1e-2}\n")
    loaded, notes = load_config(path, ["optimizer.epochs=9"])
    assert (loaded.name, loaded.optimizer.epochs, loaded.optimizer.learning_rate) == ("mine", 9, 0.01)
    assert loaded.optimizer.batch_size == RunConfig().optimizer.batch_size
    assert notes == []


def test_a_resolved_configuration_reads_back_as_itself(tmp_path: Path) -> None:
    resolved = config("data=mnist", "model=vgg4", "method.fairness_weight=3").resolved()
    path = tmp_path / "config.yaml"
    path.write_text(resolved.to_yaml())
    assert load_config(path)[0] == resolved


def test_resolving_fills_in_augmentation_and_threads() -> None:
    resolved = config("data=digits").resolved()
    assert resolved.runtime.threads >= 1
    assert all(value is not None for value in resolved.augmentation.model_dump().values())
    assert resolved.augmentation.flip == 0


@pytest.mark.parametrize("section", sorted(REGISTRIES))
def test_every_registered_name_can_be_chosen_by_its_short_form(section: str) -> None:
    for name, kind in REGISTRIES[section].items():
        assert kind.model_fields["name"].default == name
        extra = ["data.path=x"] if section == "data" and "path" in kind.model_fields else []
        if section == "method" and METHODS[name].needs_known_labels:
            extra.append("supervision.ratio=0.1")
        assert getattr(config(f"{section}={name}", *extra), section).name == name


def test_switching_the_method_drops_the_keys_of_the_old_one_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("method: {name: cce_plus, fairness_weight: 5}\nmodel: {name: mlp}\n")
    loaded, notes = load_config(path, ["method=kmeans"])
    assert loaded.method.name == "kmeans"
    assert loaded.model.name == "centroids"
    assert any("method.fairness_weight" in note for note in notes)


def test_a_name_is_switched_before_its_other_keys_are_set() -> None:
    loaded = config("method.restarts=3", "method=kmeans")
    assert loaded.method.restarts == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.learningrate=1", ["optimizer.learningrate", "optimizer.learning_rate"]),
        ("method.learning_rate=1", ["method.learning_rate", "optimizer.learning_rate"]),
        ("optimiser.epochs=1", ["optimiser", "did you mean optimizer?"]),
        ("data.split=none", ["data.split: input should be 'same' or 'official', or", "'none'"]),
        ("model.hidden=[3]", ["model.hidden", "mlp", "not of linear"]),
        ("method=cceplus", ["method", "cce_plus"]),
        ("data=minst", ["data", "mnist"]),
        ("optimizer.epochs=many", ["optimizer.epochs", "many"]),
        ("optimizer.epochs=0", ["optimizer.epochs", "0"]),
        ("method.fairness_weight=0", ["method.fairness_weight", "greater than 0"]),
        ("method.fairness_weight=-1", ["method.fairness_weight", "-1"]),
        ("method.fairness_weight=.nan", ["method.fairness_weight", "nan"]),
        ("data.num_clusters=1", ["data.num_clusters", "1"]),
        ("optimizer.batch_size=1", ["optimizer.batch_size", "2"]),
        ("pseudo_labels.scope=epoch", ["pseudo_labels.scope", "batch"]),
        ("pseudo_labels.prior=estimated", ["pseudo_labels.prior", "'uniform' or 'estimate'", "'estimated'"]),
        (
            "pseudo_labels.prior=[0.5, 0.6]",
            ["pseudo_labels.prior: the", "sum to 1.1", "[0.5, 0.6]"],
        ),
        ("pseudo_labels.prior_slack=-0.1", ["pseudo_labels.prior_slack", "-0.1"]),
        ("pseudo_labels.prior_slack=.nan", ["pseudo_labels.prior_slack", "nan"]),
        (
            "pseudo_labels.prior_floor=0.1",
            ["pseudo_labels.prior_floor: only an", "prior=estimate"],
        ),
        ("pseudo_labels.prior_floor=1", ["pseudo_labels.prior_floor", "less than 1"]),
        ("pseudo_labels.prior_rate=0", ["pseudo_labels.prior_rate", "greater than 0"]),
        ("name=a/b", ["name", "a/b"]),
        ("optimizer.momentum=0.9", ["optimizer.momentum", "adam", "optimizer.name=sgd"]),
        ("optimizer=3", ["optimizer", "3"]),
        ("data=3", ["data"]),
        ("nonsense", ["nonsense", "key=value"]),
        ("=3", ["key=value"]),
        ("optimizer.epochs.x=3", ["optimizer.epochs"]),
    ],
)
def test_a_mistake_is_one_line_naming_the_key_and_the_remedy(override: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"[=:]") as caught:
        load_config(None, [override])
    message = str(caught.value)
    assert not isinstance(caught.value, ValidationError)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    "text", ["a: [", "- 1\n- 2", "just words", "\x00", "a: 2024-02-31", "data: {limit: 5}\ndata: {limit: 6}"]
)
def test_a_file_that_is_no_run_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.yaml") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_section_without_entries_is_one_of_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optimizer:\n  # epochs: 3\ndata:\n")
    assert load_config(path)[0] == RunConfig(name="run")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        RunConfig().optimizer.epochs = 3


def test_kmeans_refuses_an_augmentation_weight() -> None:
    with pytest.raises(ValueError, match=r"method\.augmentation_weight"):
        config("method=kmeans", "method.augmentation_weight=1")


@pytest.mark.parametrize(
    ("method", "able"),
    [
        ("cce_plus", "em or em_accelerated or exact or pgd"),
        ("cce", "exact or pgd"),
        ("shannon", "mirror"),
    ],
)
def test_a_solver_that_cannot_solve_for_the_method_is_refused(method: str, able: str) -> None:
    wrong = "em" if method != "cce_plus" else "mirror"
    with pytest.raises(ValueError, match=rf"pseudo_labels\.solver: '{wrong}'.*auto or {able}$"):
        config(f"method={method}", f"pseudo_labels.solver={wrong}")
    for solver in able.split(" or "):
        config(f"method={method}", f"pseudo_labels.solver={solver}")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.num_clusters=3", "pseudo_labels.prior=[0.5, 0.5]"], "prior: 2 probabilities for 3 clusters"),
        (
            ["method=cce", "pseudo_labels.prior=[1, 0]"],
            "prior: 0 for cluster 1 makes the loss",
        ),
        (["method=kmeans", "pseudo_labels.prior=estimate"], "prior: method kmeans does not read it"),
        (["method=kmeans", "pseudo_labels.prior_slack=0.1"], "prior_slack: method kmeans does not read it"),
        (
            ["pseudo_labels.solver=exact", "pseudo_labels.prior_slack=0.1"],
            "prior_slack: 0.1 is more",
        ),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(overrides: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=rf"^pseudo_labels\.{told}") as caught:
        config(*overrides)
    assert "\n" not in str(caught.value)


def test_a_model_that_the_method_cannot_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.name.*centroids"):
        RunConfig.model_validate(
            {"method": {"name": "kmeans"}, "model": {"name": "linear"}, "data": {"name": "digits"}}
        )


def test_every_knob_is_documented() -> None:
    kinds = [kind for registry in REGISTRIES.values() for kind in registry.values()]
    kinds += [
        RunConfig.model_fields[name].annotation
        for name in ("optimizer", "runtime", "pseudo_labels", "augmentation", "tracking")
    ]
    missing = [
        f"{kind.__name__}.{name}"
        for kind in [*kinds, RunConfig]
        for name, field in kind.model_fields.items()
        if not field.description and name != "name"
    ]
    assert missing == []


def test_dotted_keys_are_the_same_everywhere() -> None:
    known = known_keys(RunConfig.model_fields)
    assert set(flatten(config("data=digits").to_dict())) <= known | {
        key for key in flatten(config("data=digits").to_dict()) if key.startswith("data.") or "." not in key
    }
    assert {"method.fairness_weight", "optimizer.learning_rate", "runtime.seed"} <= known


def test_methods_are_named_after_their_files() -> None:
    for name, kind in METHODS.items():
        assert kind.__module__ == f"cce_ray.methods.{name}"


def test_every_key_of_a_resolved_run_is_described() -> None:
    settings = config("data=mnist", "model=vgg4")
    meanings = settings.describe()
    assert set(flatten(settings.resolved().to_dict())) == set(meanings)
    assert all(meanings.values())
    assert "uniform" in meanings["method.fairness_weight"] or "KL" in meanings["method.fairness_weight"]


@pytest.mark.parametrize(
    "unable", ["method=cce", "pseudo_labels.solver=exact", "pseudo_labels.gap_tolerance=0.1"]
)
def test_the_gpu_backend_is_refused_for_what_it_cannot_do(unable: str) -> None:
    with pytest.raises(ValueError, match=r"^pseudo_labels\.backend: gpu does EM for method cce_plus"):
        load_config(None, ["pseudo_labels.backend=gpu", unable])


@pytest.mark.parametrize(
    "text",
    [
        "o/run #7",
        "2024",
        "1e3",
        "on",
        "no",
        "~",
        "5:30",
        "2024-01-01",
        "a: b",
        "[x]",
        "{x}",
        "*x",
        "&x",
        "'x'",
        "!x",
        "0x10",
        " x ",
        "x:",
        "- x",
        "null ",
        "%d",
        "`x`",
        "|",
        "=x",
    ],
)
@pytest.mark.parametrize("key", ["output_dir", "tracking.uri", "data.key", "tracking.experiment"])
def test_paths_uris_and_names_arrive_as_typed(key: str, text: str) -> None:
    path = ["data=arrays", "data.path=x.npy"]
    loaded, _ = load_config(None, [*path, f"{key}={text}"])
    assert flatten(loaded.to_dict())[key] == text
    again = yaml.safe_load(loaded.to_yaml())
    assert flatten(again)[key] == text, "the run's record says the same"


def test_paths_of_data_arrive_as_typed(tmp_path: Path) -> None:
    for name in ("run #7", "2024", "on", "null", "a: b"):
        loaded, _ = load_config(None, ["data=arrays", f"data.path={tmp_path}/{name}"])
        assert loaded.data.path == tmp_path / name  # type: ignore[union-attr]
    loaded, _ = load_config(
        None, ["data=arrays", "data.path=x.npy", f"supervision.labels_path={tmp_path}/y #1.csv"]
    )
    assert loaded.supervision.labels_path == tmp_path / "y #1.csv"


def test_a_setting_that_may_be_empty_is_emptied() -> None:
    for value in ("", "null"):
        loaded, _ = load_config(None, ["data=arrays", "data.path=x.npy", f"data.key={value}"])
        assert loaded.data.key is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "names"),
    [("[f0, on]", ("f0", "on")), ("a,2024", ("a", "2024")), ('["a,b", "c"]', ("a,b", "c")), ("x", ("x",))],
)
def test_lists_of_names_arrive_as_typed(text: str, names: tuple[str, ...]) -> None:
    loaded, _ = load_config(None, ["data=arrays", "data.path=x.parquet", f"data.columns={text}"])
    assert loaded.data.columns == names  # type: ignore[union-attr]


def test_other_values_are_read_as_yaml() -> None:
    loaded, _ = load_config(
        None, ["pseudo_labels.prior=[0.5, 0.5]", "data.split=0.25", "data.download=yes", "data=mnist"]
    )
    assert loaded.pseudo_labels.prior == (0.5, 0.5) and loaded.data.split == 0.25
    assert loaded.data.download is True  # type: ignore[union-attr]


def test_a_path_that_no_record_can_hold_is_refused(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.npy")
    for key in ("data.path", "output_dir"):
        with pytest.raises(ValueError, match=rf"^{key}: .* is not UTF-8 text; rename it") as caught:
            load_config(None, ["data=arrays", "data.path=x.npy", f"{key}={path}"])
        str(caught.value).encode()


def test_a_configuration_is_changed_as_a_whole() -> None:
    run = config("data=digits", "method.fairness_weight=3")
    changed = run.with_({"runtime.seed": 4, "optimizer": {"epochs": 2}})
    assert (changed.runtime.seed, changed.optimizer.epochs, changed.method.fairness_weight) == (4, 2, 3)
    assert run.runtime.seed == 0
    assert run.with_({}) == run
    with pytest.raises(ValueError, match=r"^runtime\.sed: unknown key; did you mean runtime\.seed\?$"):
        run.with_({"runtime.sed": 4})
    with pytest.raises(ValueError, match=r"^method\.fairness_weight: .*got -1"):
        run.with_({"method.fairness_weight": -1})
    # The keys that a switched method does not have go, and a whole that does not fit is refused.
    assert run.with_({"method": "mi"}).method.name == "mi"
    with pytest.raises(ValueError, match="works with model centroids only"):
        run.with_({"method": "kmeans"})
