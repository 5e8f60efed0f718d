"""The files of Ray's cluster launcher and what a job takes along, checked without a cluster or a network."""

import os
import re
import shutil
import signal
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.autoscaler._private.util import prepare_config, validate_config
from waiting import wait_until

ROOT = Path(__file__).parents[1]
FILES = ["cluster.yaml", "cluster.local.yaml"]
STORAGE = "/mnt/cce"
COMMANDS = (
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


@pytest.fixture(params=FILES)
def written(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A file as it was written."""
    return yaml.safe_load((ROOT / request.param).read_text(encoding="utf-8"))


@pytest.fixture
def config(written: dict[str, Any]) -> dict[str, Any]:
    """A file as `ray up` reads it: with Ray's defaults, and checked against its schema."""
    prepared = prepare_config(written)
    validate_config(prepared)
    return prepared


def commands(config: dict[str, Any], *keys: str) -> list[str]:
    return [command for key in keys or COMMANDS for command in config[key]]


def started(config: dict[str, Any], key: str) -> str:
    """The one command of the list that starts Ray."""
    (command,) = [command for command in config[key] if "ray start" in command]
    return command


def test_every_command_is_ours_and_valid_shell(written: dict[str, Any], config: dict[str, Any]) -> None:
    """Left out, Ray's own commands would install a nightly Ray and show the dashboard to the world."""
    assert set(COMMANDS) - set(written) <= {"worker_setup_commands"}
    for command in commands(config):
        subprocess.run(["bash", "-n", "-c", command], check=True)
        assert "nightly" not in command and ".dev0" not in command and "0.0.0.0" not in command


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_nodes_install_this_package_and_one_ray_within_its_bounds(config: dict[str, Any], kind: str) -> None:
    (install,) = [command for command in config[f"{kind}_setup_commands"] if "-e ~/cce_ray" in command]
    (text,) = re.findall(r'"(ray\[[^"]*)"', install)
    pinned = Requirement(text)
    (bound,) = pinned.specifier
    assert bound.operator == "=="
    assert Version(bound.version) >= Version("2.52"), "token authentication came with 2.52"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {one.name: one for one in map(Requirement, project["dependencies"])}["ray"]
    assert wanted.specifier.contains(bound.version)
    assert pinned.extras == wanted.extras


def test_mounted_files_are_all_that_the_installation_needs(config: dict[str, Any]) -> None:
    mounts = config["file_mounts"]
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    for remote, local in mounts.items():
        assert remote == f"~/cce_ray/{local}"
        assert (ROOT / local).exists(), "relative to the repository, where `ray up` is run"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"cce_ray", "pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    needed |= {path.partition("/")[0] for path in included}
    assert needed <= set(mounts.values())


@pytest.mark.parametrize("key", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_ray_starts_with_its_token_and_all_threads(config: dict[str, Any], key: str) -> None:
    command = started(config, key)
    before = command.partition("ray start")[0]
    assert "export RAY_AUTH_MODE=token;" in before
    assert "unset OMP_NUM_THREADS;" in before, "the launcher sets it to 1, and workers inherit it"
    assert not any("RAY_AUTH_MODE=disabled" in command for command in commands(config))


def test_dashboard_and_mlflow_listen_on_the_head_alone(config: dict[str, Any]) -> None:
    assert "--dashboard-host=127.0.0.1" in started(config, "head_start_ray_commands")
    (server,) = [
        command
        for command in config["head_start_ray_commands"]
        if "mlflow server" in " ".join(command.split())
    ]
    assert "--host 127.0.0.1" in server
    assert "--workers 1" in server, "several processes on one SQLite file, on a network file system"


def test_what_must_outlive_the_head_lies_on_the_shared_storage(config: dict[str, Any]) -> None:
    text = "\n".join(commands(config, "head_setup_commands", "head_start_ray_commands"))
    assert f"sqlite:///{STORAGE}/mlflow/mlflow.db" in text
    assert f"--artifacts-destination {STORAGE}/mlflow/artifacts" in text
    assert f"CCE_DATA={STORAGE}/data" in text
    for key in ("head_setup_commands", "worker_setup_commands"):
        assert any(STORAGE in command and "CCE_DATA" not in command for command in config[key]), (
            "mounted, or checked to be there"
        )


def test_starting_mlflow_gives_the_terminal_back_and_failing_is_told(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """With stand-ins for curl and mlflow: the launcher's ssh waits for whoever holds its output."""
    start, wait = [command for command in config["head_start_ray_commands"] if "5000" in command]
    programs = tmp_path / "bin"
    programs.mkdir()
    server = f"#!/bin/sh\necho no such store\necho $$ >> {tmp_path}/started\nexec sleep infinity\n"
    for name, text in {"curl": "#!/bin/sh\nexit 7\n", "mlflow": server}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def run(command: str, seconds: int = 3600) -> "subprocess.CompletedProcess[str]":
        command = command.replace(STORAGE, f"{tmp_path}/storage").replace("timeout 180", f"timeout {seconds}")
        return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)

    assert run(start).returncode == 0
    wait_until(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
    failed = run(wait, seconds=1)
    (server_id,) = (tmp_path / "started").read_text().split()
    os.kill(int(server_id), signal.SIGKILL)
    assert failed.returncode != 0 and "no such store" in failed.stdout
    (programs / "curl").write_text("#!/bin/sh\nexit 0\n")
    assert run(start).returncode == 0 and run(wait).returncode == 0
    assert (tmp_path / "started").read_text().split() == [server_id], "a server that answers is left alone"


def test_on_aws_workers_come_and_go_behind_a_closed_door() -> None:
    config = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8")))
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == 0 and head["max_workers"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    assert 0 < config["max_workers"] <= sum(node["max_workers"] for node in types.values())
    assert types["gpu"]["resources"]["GPU"] > 0
    for node in types.values():
        assert node["min_workers"] == 0 and node["max_workers"] > 0 and node["resources"]["CPU"] > 0
        assert node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    for node in [head, *types.values()]:
        # Without groups of ours Ray makes one that lets ssh in from everywhere.
        assert node["node_config"]["SecurityGroupIds"]
        assert node["node_config"]["ImageId"].startswith("ami-"), "Ray's default is Ubuntu 18.04"
    assert "security_group" not in config["provider"]


def test_on_premises_every_named_machine_is_a_worker() -> None:
    written = yaml.safe_load((ROOT / "cluster.local.yaml").read_text(encoding="utf-8"))
    assert written["provider"]["type"] == "local" and written["provider"]["head_ip"]
    assert "available_node_types" not in written
    assert prepare_config(written)["max_workers"] == len(written["provider"]["worker_ips"]) > 0


@pytest.mark.parametrize("include_gitignore", [False, True])
def test_a_job_takes_the_code_along_and_nothing_else(tmp_path: Path, include_gitignore: bool) -> None:
    """Ray's own packer, on a folder that has been worked in."""
    kept = [
        "cce_ray/__init__.py",
        "cce_ray/data/sources/mnist.py",
        "cce_ray/training/checkpoints.py",
        "cce_ray/report/templates/report.html.j2",
        "jobs/sweep.py",
        "jobs/runs/digits.yaml",
        "search_spaces/digits.yaml",
        "pyproject.toml",
        "my_run.yaml",
    ]
    left_out = [
        ".git/config",
        ".venv/bin/python",
        ".uv/bin/uv",
        ".mypy_cache/3.11/cce_ray.json",
        "cce_ray/__pycache__/config.cpython-311.pyc",
        "cce_output/digits/model.pt",
        "cce_output/digits/mlflow.db",
        "mlflow.db",
        "mlruns/0/meta.yaml",
        "mlartifacts/1/report.html",
        "checkpoints/last.ckpt",
        "data/MNIST/raw/train-images-idx3-ubyte",
        "embeddings.npy",
        "features/part.npz",
        "features/part-0.parquet",
        "model.pt",
        "docs/report.png",
    ]
    folder = tmp_path / "work"
    for name in kept + left_out:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    for name in (".rayignore", ".gitignore"):
        (folder / name).write_text((ROOT / name).read_text(encoding="utf-8"))
    package = tmp_path / "package.zip"
    create_package(str(folder), package, include_gitignore, excludes=get_runtime_env_default_excludes())
    packed = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    assert packed == {*kept, ".rayignore", ".gitignore"}


def test_no_code_of_the_package_is_left_out(tmp_path: Path) -> None:
    folder, package = tmp_path / "work", tmp_path / "package.zip"
    shutil.copytree(ROOT / "cce_ray", folder / "cce_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".rayignore", folder)
    create_package(str(folder), package, include_gitignore=False)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
