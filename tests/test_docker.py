"""What the files of docker/ promise, and the programs that they call. tests/test_image.py builds the image."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "kmstream:local"}
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
BIN = Path(sys.executable).parent


def read_instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1].strip()) for line in text.splitlines() if line.strip()]


INSTRUCTIONS = read_instructions()
FINAL = INSTRUCTIONS[max(i for i, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]
IMAGE_ENV = dict(pair.split("=", 1) for word, rest in FINAL if word == "ENV" for pair in shlex.split(rest))
COPIED = [
    source
    for word, rest in INSTRUCTIONS
    if word == "COPY" and not rest.startswith("--from")
    for source in rest.split()[:-1]
]


# -- Dockerfile ----------------------------------------------------------------------------------------------------


def test_every_stage_starts_from_the_one_base_which_has_a_tag():
    assert INSTRUCTIONS[0][0] == "ARG"
    assert re.fullmatch(r"BASE=\w+:3\.\d+-\S+", INSTRUCTIONS[0][1])
    assert {rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"} == {"${BASE}"}


def test_image_installs_only_what_the_lock_has_the_hash_of():
    installs = re.findall(r"(?:pip|apt|apt-get) [^&]*\binstall[^&]*", " & ".join(rest for _, rest in INSTRUCTIONS))
    from_lock, package = installs
    assert {"--require-hashes", "--no-deps", "--only-binary", "--no-cache-dir"} <= set(from_lock.split())
    assert {"--no-deps", "--no-build-isolation", "--no-cache-dir"} <= set(package.split())


def test_image_runs_as_a_user_without_rights():
    assert [rest for word, rest in FINAL if word == "USER"] == ["1000"]
    after = [word for word, _ in FINAL[FINAL.index(("USER", "1000")) :]]
    assert set(after) <= {"USER", "HEALTHCHECK", "CMD"}


def test_image_reports_to_nobody():
    assert IMAGE_ENV["DO_NOT_TRACK"] == "1"
    assert IMAGE_ENV["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_build_context_is_what_the_image_copies_and_no_more():
    first, *rules = [rule for rule in (ROOT / ".dockerignore").read_text().split("\n") if rule and rule[0] != "#"]
    assert first == "*"
    assert sorted(rule[1:] for rule in rules if rule[0] == "!") == sorted(COPIED)
    for source in COPIED:
        assert (ROOT / source).exists(), source


# -- compose.yaml --------------------------------------------------------------------------------------------------


def check_schema(file: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_keeps_to_the_specification():
    done = check_schema(DOCKER / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_a_word_that_compose_does_not_know_is_found(tmp_path):
    (tmp_path / "compose.yaml").write_text((DOCKER / "compose.yaml").read_text().replace("cap_drop:", "cap_drops:"))
    assert "cap_drops" in check_schema(tmp_path / "compose.yaml").stdout


def test_docker_client_reads_compose():
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client")
    command = ["docker", "compose", "--file", "-", "--profile", "dask", "config", "--quiet"]
    content = COMPOSE
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        # The client alone has the parser for `docker stack`, which knows all but these words.
        command = ["docker", "stack", "config", "--compose-file", "-"]
        services = {
            name: {key: value for key, value in service.items() if key not in {"depends_on", "profiles", "shm_size"}}
            for name, service in SERVICES.items()
        }
        content = {"version": "3.13"} | {key: COMPOSE[key] for key in ("networks", "volumes", "secrets")}
        content["services"] = services
    done = subprocess.run(
        command, input=yaml.safe_dump(content), cwd=DOCKER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_no_privileges_and_can_write_nowhere_else(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user", "1000") not in {"root", "0"}
    forbidden = {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode", "group_add"}
    assert not forbidden & set(service)
    assert "docker.sock" not in json.dumps(service)


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_bounded_and_watched(name):
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert service["restart"] in {"unless-stopped", "on-failure:3"}
    assert re.fullmatch(r"[a-z]+:(?!latest)\S+", service["image"])
    if name != "deploy":  # which ends
        assert service["healthcheck"]["test"][0] == "CMD"


def test_ports_are_published_to_this_host_alone():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)


def test_database_is_reached_by_the_server_alone():
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert [name for name, service in SERVICES.items() if "database" in service.get("networks", [])] == [
        "postgres",
        "server",
    ]


def test_secrets_are_files_that_git_and_the_image_leave_out():
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    assert set(files) == {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for file in files.values():
        assert f"/docker/{Path(file).parent}/" in ignored
        assert not any(fnmatch(f"docker/{file}", f"{source}*") for source in COPIED)
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN|KEY", variable) or value.startswith("/run/secrets/")


def test_output_is_read_where_it_is_only_shown_and_data_are_read_only_everywhere():
    mounts = [(name, mount) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
    written = {(name, mount["target"]) for name, mount in mounts if not mount.get("read_only")}
    assert written == {
        ("postgres", "/var/lib/postgresql/data"),
        ("worker", "/srv/kmstream/out"),
        ("dask-worker", "/srv/kmstream/out"),
    }


def test_deployments_find_their_configuration_and_flows_beside_them():
    assert ("WORKDIR", "/srv/kmstream") in FINAL
    targets = {Path(mount["target"]) for mount in SERVICES["worker"]["volumes"]}
    for deployment in DEPLOYMENTS:
        assert Path("/srv/kmstream", deployment["parameters"]["config_path"]) in targets
        assert deployment["entrypoint"].split("/")[0] in COPIED


def test_worker_and_deploy_speak_of_the_pool_of_the_deployments():
    (pool,) = {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS}
    command = SERVICES["worker"]["command"]
    assert command[command.index("--pool") + 1] == pool
    assert f"work-pool create {pool} --type process" in (DOCKER / "deploy.sh").read_text()


@pytest.mark.slow
def test_every_variable_of_prefect_is_a_setting_of_it():
    from prefect import settings

    names = set(IMAGE_ENV).union(*(service.get("environment", {}) for service in OURS.values()))
    names |= set(re.findall(r"export (\w+)", json.dumps(SERVICES)))
    of_prefect = {name for name in names if name.startswith("PREFECT_")}
    assert len(of_prefect) > 8
    assert {name for name in of_prefect if not hasattr(settings, name)} == set()


def commands() -> Iterator[list[str]]:
    """Every program that compose.yaml starts of ours: out of a shell's script the one it ends as."""
    for service in OURS.values():
        command = service["command"]
        if command[0] == "sh":
            command = re.findall(r"^\s*exec (.*)$", command[-1], re.MULTILINE)
            command = command[0].split() if command else ["prefect", "deploy", "--all"]
        yield command


@pytest.mark.slow
@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_program_of_a_service_has_the_options_it_is_given(command):
    assert command[0] in metadata.entry_points(group="console_scripts").names
    words = [word for word in command if re.fullmatch(r"[a-z]+", word)]
    depth = 3 if command[:2] in (["prefect", "server"], ["prefect", "worker"]) else 2
    called = [str(BIN / command[0]), *words[1:depth], "--help"]
    told = subprocess.run(
        called, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    ).stdout
    for option in (word.split("=")[0] for word in command if word.startswith("--")):
        assert re.search(rf"{option}\b", told), option
