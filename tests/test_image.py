"""The container image, built from docker/Dockerfile without an engine, and used as docker/compose.yaml uses it.

`make image-test` runs this. It needs root, buildah and debootstrap (Debian packages), and the package index.
"""

import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # where Debian's programs look
MAX_BYTES = 1_500_000_000  # 1.23 GB when this was written, 0.27 of it Debian
pytestmark = [pytest.mark.slow, pytest.mark.image, pytest.mark.timeout(1200)]


class Image:
    """The image as a folder; its programs run in it with the image's user and variables."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root, self.config = root, config

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run without capabilities, on a root file system that is read-only but for /tmp and the output."""
        script = f"""
            set -e
            mount --make-rprivate /
            mount --bind "$ROOT" "$ROOT"
            cd "$ROOT"
            mount --bind srv/kmstream/out srv/kmstream/out
            mount -o remount,bind,ro .
            mount -t tmpfs -o mode=1777,noexec,nosuid,nodev tmpfs tmp
            mount -t proc proc proc
            mount --bind /dev dev
            mount -t tmpfs -o mode=1777 tmpfs dev/shm
            unset ROOT
            exec chroot . setpriv --reuid {self.config["User"]} --regid 1000 --clear-groups --no-new-privs \
              --bounding-set=-all --inh-caps=-all sh -c 'cd {self.config["WorkingDir"]}; exec "$@"' sh "$@"
        """
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *command],
            env=dict(pair.split("=", 1) for pair in self.config["Env"]) | {"ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def make_base(buildah: Callable[..., str]) -> None:
    """Make Debian with python3 and its venv module, from its packages."""
    container = buildah("from", "scratch")
    packages = "python3,python3-venv,ca-certificates"
    folder = buildah("mount", container)
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", folder]
    subprocess.run(command, capture_output=True, check=True)
    buildah("umount", container)
    buildah("commit", "--rm", container, "localhost/base:made-here")


def write_pip_config(file: Path) -> None:
    """Write which index this machine's pip asks, as pip in the build is to be told."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = dict(re.findall(r"^(?:global|:env:)\.([a-z-]+)='(.*)'$", told, re.MULTILINE))
    config = ConfigParser(interpolation=None)
    config["global"] = {key: options[key] for key in ("index-url", "trusted-host", "proxy") if key in options}
    config["global"]["cert"] = AUTHORITIES
    with file.open("w") as opened:
        config.write(opened)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if missing := [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]:
        pytest.skip(f"needs {' and '.join(missing)}: Debian packages of these names")
    work = tmp_path_factory.mktemp("image")

    def buildah(*arguments: str) -> str:
        storage = ["--root", str(work / "root"), "--runroot", str(work / "run")]
        env = os.environ | {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(work)}
        done = subprocess.run(
            ["buildah", *storage, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout.strip()

    try:
        make_base(buildah)
        write_pip_config(work / "pip.conf")
        paths = ssl.get_default_verify_paths()
        buildah(
            "bud",
            "--format=docker",  # which has health checks
            "--build-arg=BASE=localhost/base:made-here",
            f"--volume={paths.cafile or AUTHORITIES}:{AUTHORITIES}:ro",
            f"--volume={work / 'pip.conf'}:/etc/pip.conf:ro",
            "--ignorefile=.dockerignore",
            "--file=docker/Dockerfile",
            "--tag=localhost/kmstream:local",
            ".",
        )
        about = json.loads(buildah("inspect", "--type=image", "localhost/kmstream:local"))
        container = buildah("from", "localhost/kmstream:local")
        yield Image(Path(buildah("mount", container)), about["Docker"]["config"])
    finally:
        for mount in find_mounts(work):
            subprocess.run(["umount", mount], check=True)
        shutil.rmtree(work)


def find_mounts(folder: Path) -> list[str]:
    """Give what is mounted below a folder, the last one first."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [target for target in reversed(mounted) if Path(target).is_relative_to(folder)]


def test_image_tells_what_it_is_and_whether_it_is_well(image):
    assert image.config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert re.fullmatch(r"kmstream \d+\.\d+\.\d+\n", image.answer(*command))
    assert "refresh" in image.answer(*image.config["Cmd"])


def test_demo_lives_through_its_year_on_a_read_only_root(image):
    assert "Names that changed: 0 of " in image.answer("kmstream", "demo", "--folder", "/tmp/demo")


def test_worker_can_import_every_flow_and_run_prefect(image):
    entrypoints = [one["entrypoint"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]
    code = "import sys; from prefect.flows import load_flow_from_entrypoint as load; print(*map(load, sys.argv[1:]))"
    assert image.answer("python", "-c", code, *entrypoints).count("Flow object") == len(entrypoints)
    assert re.search(r"^Version: +3\.8\.", image.answer("prefect", "version"), re.MULTILINE)


def test_user_without_rights_could_write_nothing_but_the_output_even_on_a_writable_root(image):
    command = ["find", ".", "-xdev", "!", "-type", "l", "(", "-perm", "-o+w", "-o", "-user", "1000", ")"]
    found = subprocess.run(command, cwd=image.root, capture_output=True, text=True, check=True).stdout.split()
    shared = {"./tmp", "./var/tmp", "./run/lock"}
    assert {path for path in found if not path.startswith("./dev/")} - shared == {"./srv/kmstream/out"}
    assert image.answer("id", "-u") == "1000\n"


def test_image_has_neither_compiler_nor_installer(image):
    for program in ("cc", "gcc", "g++", "c++", "ld", "make", "pip", "pip3"):
        assert image.run("sh", "-c", f"command -v {shlex.quote(program)}").returncode != 0, program


def test_image_is_not_larger_than_the_readme_says(image):
    told = subprocess.run(["du", "-sb", str(image.root)], capture_output=True, text=True, check=True).stdout
    assert int(told.split()[0]) < MAX_BYTES
