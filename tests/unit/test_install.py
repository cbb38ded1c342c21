"""What is installed is what the locks name, and nothing else."""

import hashlib
from pathlib import Path

import pytest

from deploy.local.install import ROOT, InstallFailed, Jar, Say, Step, install_jars, read_lock, steps

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
    assert {step.made.name for step in steps(Path(".tools"))} >= {"kafka", "dynamodb", "s3", "xgboost"}


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_locks_of_jars_carry_digests_and_no_address(lock: Path) -> None:
    text = lock.read_text()

    assert "://" not in text
    assert all(len(jar.sha256) == 64 for jar in read_lock(text))
