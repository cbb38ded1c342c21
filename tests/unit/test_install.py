"""What is installed is what the locks name, and nothing else."""

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local import install
from deploy.local.install import HERE, ROOT, Step, link_libraries, steps, training_step
from deploy.local.jars import InstallFailed, Jar, Say, install_jars, read_lock
from deploy.local.sagemaker.containers import ImageNotInstalled, Images
from deploy.local.sagemaker.errors import AwsError
from tests.contract import sagemaker_cases
from tests.roster import IMAGES

GOOD = b"the jar"
LOCK = f"# made by a test\norg.example:part:1.0:jar: {hashlib.sha256(GOOD).hexdigest()}\n"


def quiet(_: str) -> None:
    """Says nothing."""


def bringing(content: bytes, brought: list[str]) -> object:
    def fetch(jar: Jar, scratch: Path) -> Path:
        brought.append(jar.filename)
        path = scratch / jar.filename
        path.write_bytes(content)
        return path

    return fetch


def test_a_lock_names_each_file_with_its_digest() -> None:
    jars = read_lock("# heading\norg.example:native:1.0:so: ab\norg.example:part:2.0:jar:linux cd\n")

    assert [jar.filename for jar in jars] == ["native-1.0.so", "part-2.0-linux.jar"]
    assert [jar.sha256 for jar in jars] == ["ab", "cd"]


def test_a_download_with_another_digest_is_refused_and_does_not_stay(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"part-1\.0\.jar was refused: its sha256 is"):
        install_jars(LOCK, tmp_path / "jars", bringing(b"another jar", []), quiet)  # type: ignore[arg-type]

    assert list((tmp_path / "jars").iterdir()) == []


def test_what_is_there_and_intact_is_not_brought_again(tmp_path: Path) -> None:
    brought: list[str] = []
    for _ in range(2):
        install_jars(LOCK, tmp_path / "jars", bringing(GOOD, brought), quiet)  # type: ignore[arg-type]

    assert brought == ["part-1.0.jar"]


def test_what_was_changed_is_brought_again_and_strangers_go(tmp_path: Path) -> None:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "part-1.0.jar").write_bytes(b"half of it")
    (folder / "part-0.9.jar").write_bytes(b"old")

    install_jars(LOCK, folder, bringing(GOOD, []), quiet)  # type: ignore[arg-type]

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"part-1.0.jar": GOOD}


def test_a_step_is_done_until_its_source_changes_and_not_when_it_was_interrupted(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.write_text("1")

    def make(_: Say) -> None:
        made.mkdir(exist_ok=True)

    def fail(_: Say) -> None:
        made.mkdir(exist_ok=True)
        raise InstallFailed("interrupted")

    step = Step("thing", (source,), made, make)
    assert not step.is_done()
    step.run(quiet)
    assert step.is_done()
    source.write_text("2")
    assert not step.is_done()
    with pytest.raises(InstallFailed):
        Step("thing", (source,), made, fail).run(quiet)
    assert not step.is_done()


def test_every_image_that_serves_and_every_local_service_has_a_step() -> None:
    made = {step.made.name: step.needed for step in steps(Path(".tools"), IMAGES.values())}

    assert {name for name, needed in made.items() if needed} == {"kafka", "dynamodb", "s3"}
    assert {name for name, needed in made.items() if not needed} == {"xgboost", "tensorflow", "mxnet", "kmeans"}


def only(name: str, tools: Path, here: str, images: Iterable[Path] = IMAGES.values()) -> Step:
    [step] = [step for step in steps(tools, images, here) if step.made.name == name]
    return step


def test_an_image_for_other_machines_is_left_out_and_its_endpoint_says_why(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed):
        only("mxnet", tmp_path, "darwin-arm64").run(quiet)

    told = (tmp_path / "images" / "mxnet.unavailable").read_text()
    assert told.startswith("MXNet CNN runs on linux-x86_64, and this machine is darwin-arm64: the game goes on without it")
    assert told.count("\n") == 1
    images = Images("local/gamenight-", tmp_path, IMAGES)
    with pytest.raises(AwsError, match=r"mxnet:1 is not installed: MXNet CNN runs on linux-x86_64"):
        images.find("local/gamenight-mxnet:1")
    assert images.name("local/gamenight-mxnet:1") == "mxnet", "a model of it can be made; its endpoint will tell"


def test_an_image_that_wants_a_python_that_is_not_here_is_left_out_and_says_which(
    tmp_path: Path,
) -> None:
    old = tmp_path / "images" / "old"
    old.mkdir(parents=True)
    (old / "serve.py").touch()
    (old / "requirements.txt").touch()
    (old / "image.json").write_text('{"title": "Old network", "about": "It is old.", "python": "3.5"}')

    with pytest.raises(InstallFailed):
        only("old", tmp_path / "tools", HERE, [old]).run(quiet)

    told = (tmp_path / "tools" / "images" / "old.unavailable").read_text()
    assert told.startswith(
        "Old network could not be installed: It needs Python 3.5: install that beside this one (`make mxnet-"
    )
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("python", "outcome"),
    [
        (None, pytest.fail.Exception),
        (f"{sys.version_info.major}.{sys.version_info.minor}", pytest.fail.Exception),
        ("3.99", pytest.skip.Exception),
    ],
    ids=["any", "this one", "one that is not here"],
)
def test_an_image_that_is_not_here_fails_its_tests_unless_the_machine_has_no_python_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str | None, outcome: type[BaseException]
) -> None:
    (tmp_path / "images" / "net").mkdir(parents=True)
    (tmp_path / "images" / "net" / "image.json").write_text(json.dumps({"platforms": [], "python": python}))
    (tmp_path / "images" / "net.unavailable").write_text("it needs another Python\n")
    monkeypatch.setattr(sagemaker_cases, "IMAGES", {"net": tmp_path / "images" / "net"})

    with pytest.raises(outcome, match="it needs another Python"):
        sagemaker_cases.must_be_here(tmp_path, "net")


def test_a_library_that_a_package_brings_is_found_by_another_under_its_usual_name(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "net").mkdir(parents=True)
    (packages / "tree.libs").mkdir()
    (packages / "tree.libs" / "libgomp-870c.so.1.0.0").write_bytes(b"code")

    for _ in range(2):
        link_libraries(tmp_path, {"net/libgomp.so.1": "tree.libs/libgomp-*"})

    assert (packages / "net" / "libgomp.so.1").read_bytes() == b"code"
    assert not (packages / "net" / "libgomp.so.1").readlink().is_absolute(), "the environment may be copied elsewhere"
    with pytest.raises(InstallFailed, match=r"libquadmath-\* is 0 files in .*: one was to be net/libquadmath\.so\.0"):
        link_libraries(tmp_path, {"net/libquadmath.so.0": "tree.libs/libquadmath-*"})


def test_what_can_be_left_out_fails_alone_and_what_is_needed_fails_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(_: Say) -> None:
        (tmp_path / "good").mkdir(exist_ok=True)

    def fail(_: Say) -> None:
        raise InstallFailed("no wheel for\nthis machine")

    image = Step("bad image", (), tmp_path / "bad", fail, needed=False)
    monkeypatch.setattr(install, "steps", lambda *_: [image, Step("good", (), tmp_path / "good", make)])
    install.install(tmp_path, ())
    assert "left out: no wheel for this machine" in capsys.readouterr().out
    assert image.unavailable().read_text() == "no wheel for this machine\n"
    assert Step("good", (), tmp_path / "good", make).is_done()

    monkeypatch.setattr(install, "steps", lambda *_: [Step("broker", (), tmp_path / "broker", fail)])
    with pytest.raises(InstallFailed):
        install.install(tmp_path, ())
    assert not (tmp_path / "broker.unavailable").exists()


def test_an_image_that_could_not_be_installed_is_tried_again_and_then_there(tmp_path: Path) -> None:
    made = tmp_path / "image"
    made.with_name("image.unavailable").write_text("no network\n")

    Step("image", (), made, lambda _: made.mkdir(), needed=False).run(quiet)

    assert not made.with_name("image.unavailable").exists()


def test_two_who_make_the_same_at_once_make_it_once(tmp_path: Path) -> None:
    times: list[int] = []

    def make(_: Say) -> None:
        times.append(1)
        (tmp_path / "made").mkdir()

    step = Step("thing", (), tmp_path / "made", make)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(step.run, quiet) for _ in range(4)]:
            done.result()

    assert times == [1]


def test_only_an_image_that_says_so_has_a_training_environment_of_its_own(tmp_path: Path) -> None:
    step = training_step(tmp_path, IMAGES["tensorflow"])
    assert step is not None
    assert step.made == tmp_path / "images" / "tensorflow-train"
    assert training_step(tmp_path, IMAGES["xgboost"]) is None


async def test_jobs_that_begin_at_once_make_the_training_environment_once_and_hear_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Images("local/gamenight-", tmp_path, IMAGES)
    (tmp_path / "images" / "tensorflow" / "bin").mkdir(parents=True)
    (tmp_path / "images" / "tensorflow" / "bin" / "python").touch()
    image = images.find("local/gamenight-tensorflow:1")
    asked: list[tuple[object, ...]] = []

    async def start(*command: object, **_: object) -> "Ended":
        asked.append(command)
        return Ended()

    class Ended:
        returncode = 1

        async def communicate(self) -> tuple[None, bytes]:
            return None, b"TensorFlow CNN could not be installed: no network"

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    heard: list[str] = []
    ended = await asyncio.gather(*(images.for_training(image, heard.append) for _ in range(2)), return_exceptions=True)

    assert len(asked) == 1
    assert asked[0][-2:] == ("--training", "tensorflow")
    assert heard[0].startswith("making the training environment of tensorflow")
    for failed in ended:
        assert isinstance(failed, ImageNotInstalled)
        assert str(failed).endswith("TensorFlow CNN could not be installed: no network")


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_locks_of_jars_carry_digests_and_no_address(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert all(len(jar.sha256) == 64 for jar in read_lock(text))


def test_the_lock_of_what_checks_the_types_of_the_pages_carries_digests_and_no_address() -> None:
    text = (ROOT / "tests" / "web" / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}

    assert "://" not in text
    assert "node_modules/typescript" in packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_lock_resolves_the_images_of_every_folder_that_the_settings_name(tmp_path: Path):
    own = tmp_path / "own" / "forest"
    own.mkdir(parents=True)
    (own / "requirements.in").write_text("numpy\n")

    def resolved(images: str) -> list[str]:
        run = subprocess.run(
            ["make", "--dry-run", "lock"],
            cwd=ROOT,
            env={**os.environ, "GAMENIGHT_IMAGES": images},
            capture_output=True,
            text=True,
            check=True,
        )
        [files] = re.findall(r"^for file in (.+?); do", run.stdout, re.MULTILINE)
        return files.split()

    ours = resolved("")
    assert "trainers/images/xgboost/requirements.in" in ours
    assert resolved(f"trainers/images:{own.parent}") == resolved(str(own.parent))
    assert set(resolved(str(own.parent))) - set(ours) == {str(own / "requirements.in")}
