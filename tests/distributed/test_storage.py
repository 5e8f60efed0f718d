"""Where the workers' checkpoints lie: paths and URIs, claimed by one run."""

from pathlib import Path

import pytest

from cce_ray.config import RunConfig, load_config
from cce_ray.distributed.storage import RunStorage


def config(*overrides: str) -> RunConfig:
    return load_config(None, ["data=digits", "runtime.threads=1", *overrides])[0].resolved()


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_place_belongs_to_the_run_that_claimed_it(tmp_path: Path, scheme: str) -> None:
    storage = RunStorage(f"{scheme}{tmp_path}", "digits-seed_0")
    storage.check_writable()
    storage.claim(config(), resume=False)
    with pytest.raises(ValueError, match="already holds a run digits-seed_0; continue it with --resume"):
        storage.check_free(config(), resume=False)
    storage.claim(config("runtime.workers=3"), resume=True)  # elastic: the number may differ
    with pytest.raises(ValueError, match=r"^optimizer\.epochs: 3, but the run in .*digits-seed_0 has 10"):
        storage.check_free(config("optimizer.epochs=3"), resume=True)
    storage.remove()
    assert list(tmp_path.iterdir()) == []
    storage.check_free(config(), resume=False)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/proc/nowhere", "/proc/nowhere cannot be used"),
        ("nothing://bucket", "Unrecognized filesystem type"),
        ("relative/path", "relative/path cannot be used"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line(place: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^runtime\.storage: ") as caught:
        RunStorage(place, "run").check_writable()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_settings_of_workers_need_workers() -> None:
    for override in ("runtime.storage=/tmp/x", "runtime.gpus_per_worker=1"):
        with pytest.raises(ValueError, match=r"only Ray's workers read it; set runtime\.workers"):
            config(override)
    with pytest.raises(ValueError, match=r"^runtime\.storage: 'a/b' is relative"):
        config("runtime.workers=1", "runtime.storage=a/b")
    with pytest.raises(ValueError, match=r"^runtime\.min_workers: 2 is more than the 1"):
        config("runtime.workers=1", "runtime.min_workers=2")
    with pytest.raises(ValueError, match=r"^pseudo_labels\.backend: ray, but the run has no workers"):
        config("pseudo_labels.backend=ray")
    with pytest.raises(ValueError, match=r"^runtime\.workers: method kmeans is fitted by one process"):
        config("runtime.workers=2", "method=kmeans")
    with pytest.raises(ValueError, match=r"^pseudo_labels\.scope: dataset is solved by EM for method"):
        config("runtime.workers=2", "pseudo_labels.scope=dataset", "method=shannon")
