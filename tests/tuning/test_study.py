"""Which search a folder belongs to."""

from pathlib import Path

import pytest
import yaml

from cce_ray.tuning import load_search
from cce_ray.tuning.study import SEARCH_FILE, Study, open_study


def test_a_search_of_an_earlier_version_goes_on_with_the_defaults_of_new_settings(tmp_path: Path) -> None:
    search = load_search(
        "features", {"data.path": "x.npy", "data.num_clusters": 3, "output_dir": str(tmp_path)}
    )
    Study(search, tmp_path, 5).save()
    stored = yaml.safe_load((tmp_path / SEARCH_FILE).read_text(encoding="utf-8"))
    for key in ("labels", "columns", "id_key"):  # an earlier version did not have them
        del stored["run"]["data"][key]
    (tmp_path / SEARCH_FILE).write_text(yaml.safe_dump(stored), encoding="utf-8")
    assert open_study(search, tmp_path, resume=True).trials == max(5, search.settings.trials)
    stored["run"]["data"]["labels"] = "none"
    (tmp_path / SEARCH_FILE).write_text(yaml.safe_dump(stored), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^data\.labels: 'auto', but the search in .* has 'none'"):
        open_study(search, tmp_path, resume=True)
