"""Makes everything that the local services need besides .venv, under `.tools`: jars, class archives, environments.

``python -m deploy.local.install`` installs what the locks in requirements/ name and refuses any file with another digest;
a second run finds its stamps and does nothing. An image that this machine cannot run is left out, and a file beside its
place says why. ``--training IMAGE`` makes what an image needs only for training: not before the first job, since it can be
big. ``--lock`` resolves the jars anew and writes their locks.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.roster import RosterError, facts
from contracts.settings import Settings
from deploy.local.jars import InstallFailed, Say, download, install_jars, lock_file, write_locks

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRACT: Final = ROOT / "trainers" / "images" / "contract"
"""The code that all images share, on the PYTHONPATH of each."""
HERE: Final = f"{sys.platform}-{platform.machine()}"
"""The platform of this machine, as image.json names platforms: linux-x86_64, darwin-arm64."""
_REASON: Final = 600  # characters of an error's text, which becomes a FailureReason


def make_environment(folder: Path, requirements: Path, say: Say, python: str = sys.executable) -> None:
    """Make a virtual environment with exactly the pinned packages of a file, verified by their hashes.

    Args:
        folder: Where the environment goes; anything that is there is removed first.
        requirements: The lock.
        say: Called with the progress.
        python: Path or version of the interpreter; a version is looked for on this machine.
    """
    uv = Path(sys.executable).with_name("uv")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    say("environment")
    _run([str(uv), "venv", "--quiet", "--no-python-downloads", "--python", python, str(folder)])
    say("packages")
    install = [str(uv), "pip", "install", "--quiet", "--require-hashes", "--python", str(folder / "bin/python")]
    # The packages are compiled once, here: an image's processes start often, and write no bytecode themselves.
    _run([*install, "--compile-bytecode", "-r", str(requirements)])


def link_libraries(folder: Path, libraries: Mapping[str, str]) -> None:
    """Link shared libraries that some packages of an environment bring to the usual names by which another package loads them.

    A bare machine has neither libgomp nor libquadmath, and no package brings them under the names that other packages ask for.

    Args:
        folder: The environment.
        libraries: By the name to be made, a pattern of the file that is there; both below its site-packages.

    Raises:
        InstallFailed: If a file is not there, or several are.
    """
    for name, pattern in libraries.items():
        [packages] = folder.glob("lib/python*/site-packages")
        found = sorted(packages.glob(pattern))
        if len(found) != 1:
            raise InstallFailed(f"{pattern} is {len(found)} files in {packages}: one was to be {name}")
        link = packages / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(found[0], link.parent))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise InstallFailed(f"{' '.join(command)} failed:\n{reason}")


@dataclass(frozen=True, slots=True)
class Step:
    """A step that makes something under `.tools`; a digest of what it is made from decides whether it is up to date."""

    name: str
    sources: tuple[Path, ...]
    made: Path
    make: Callable[[Say], None]
    needed: bool = True
    """Whether nothing works without this step; if not, `unavailable` may say why the result is not there."""

    def digest(self) -> str:
        """Return a digest of all that the result is made from, including the Python and the folder."""
        parts = [sys.version.encode(), str(self.made.absolute()).encode(), *(path.read_bytes() for path in self.sources)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def stamp(self) -> Path:
        """Return the file with the digest of what the result was made from."""
        return self.made.with_name(f"{self.made.name}.stamp")

    def is_done(self) -> bool:
        """Say whether the result is installed, and made from what is there now."""
        stamp = self.stamp()
        return self.made.exists() and stamp.is_file() and stamp.read_text() == self.digest()

    def unavailable(self) -> Path:
        """Return the file that says, in a line, why the step failed and what to do."""
        return self.made.with_name(f"{self.made.name}.unavailable")

    def run(self, say: Say) -> None:
        """Run the step, and write the stamp last, so that an interrupted step is run again. A second process waits meanwhile.

        Raises:
            InstallFailed: If the step fails.
        """
        self.made.parent.mkdir(parents=True, exist_ok=True)
        with self.made.with_name(f"{self.made.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_done():
                return
            self.stamp().unlink(missing_ok=True)
            try:
                self.make(say)
            except InstallFailed as failed:
                if not self.needed:
                    self.unavailable().write_text(f"{_line(failed)}\n")
                raise
            self.unavailable().unlink(missing_ok=True)
            self.stamp().write_text(self.digest())


def _line(failed: InstallFailed) -> str:
    return " ".join(str(failed).split())[:_REASON]


def steps(tools: Path, images: Iterable[Path], here: str = HERE) -> list[Step]:
    """Return all steps for a folder of tools and the images in these folders, on the platform ``here``."""
    from deploy.local import java

    def jars(name: str) -> Step:
        lock, folder = lock_file(name), tools / "jars" / name

        def make(say: Say) -> None:
            install_jars(lock.read_text(), folder, download, say)
            if name == "kafka":
                from deploy.local.archive import make_archive

                say("class archive")
                make_archive(folder)

        return Step(f"{name} jars", (lock, Path(java.__file__)), folder, make)

    server, lock = tools / "s3", ROOT / "requirements" / "s3.txt"
    return [
        jars("kafka"),
        jars("dynamodb"),
        Step("S3 server", (lock,), server, lambda say: make_environment(server, lock, say)),
        *(_image_step(tools, image, "", here) for image in images),
    ]


def training_step(tools: Path, image: Path, here: str = HERE) -> Step | None:
    """Return the step that installs what an image needs for training only; None if it trains with its serving environment."""
    return _image_step(tools, image, "-train", here) if (image / "requirements-train.txt").is_file() else None


def _image_step(tools: Path, image: Path, kind: str, here: str) -> Step:
    lock = image / f"requirements{kind}.txt"
    folder = tools / "images" / f"{image.name}{kind}"

    def make(say: Say) -> None:
        told = facts(image.name, (image / "image.json").read_bytes())
        if told.platforms and here not in told.platforms:
            raise InstallFailed(
                f"{told.title} runs on {' and '.join(told.platforms)}, and this machine is {here}:"
                f" the game goes on without it; run it on such a machine, or on SageMaker, to have it"
            )
        wanted = told.python
        fits = wanted is None or f"{sys.version_info.major}.{sys.version_info.minor}" == wanted
        try:
            make_environment(folder, lock, say, sys.executable if fits else str(wanted))
            link_libraries(folder, told.libraries)
        except InstallFailed as failed:
            hint = "" if fits else f" It needs Python {wanted}: install that beside this one (`make mxnet-python`)."
            raise InstallFailed(
                f"{told.title} could not be installed:{hint} `make setup` tries again. The cause: {failed}"
            ) from failed

    return Step(f"{image.name} {'training' if kind else 'image'}", (lock,), folder, make, needed=False)


def install(tools: Path, images: Iterable[Path], images_alone: bool = False) -> None:
    """Run the steps that are not done, several at a time, and show their progress.

    Args:
        tools: Where everything goes.
        images: The folders of the images.
        images_alone: Make the images' environments, and nothing else.

    Raises:
        InstallFailed: If something that is needed could not be made.
    """
    waiting = [
        step for step in steps(tools, images) if not step.is_done() and (step.made.parent.name == "images" or not images_alone)
    ]
    if not waiting:
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.fields[name]:<16}"), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress, ThreadPoolExecutor(3) as pool:

        def run(step: Step) -> None:
            task = progress.add_task("waiting", name=step.name, total=None)
            try:
                step.run(lambda text: progress.update(task, description=text))
            except BaseException as failed:
                progress.update(task, description="[red]failed")
                if step.needed or not isinstance(failed, InstallFailed):
                    raise
                progress.console.print(f"left out: {_line(failed)}", markup=False)
                return
            progress.update(task, description="[green]done", total=1, completed=1)

        for future in [pool.submit(run, step) for step in waiting]:
            future.result()


def main() -> None:
    """Install, or with ``--lock`` resolve the jars anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lock", action="store_true", help="resolve the jars anew and write their locks")
    parser.add_argument("--images", action="store_true", help="make the images' environments, and nothing else")
    parser.add_argument("--training", metavar="IMAGE", help="make what this image needs for training, and nothing else")
    parser.add_argument("--tools", type=Path, default=Path(".tools"), help="where everything goes")
    arguments = parser.parse_args()
    try:
        if arguments.lock:
            write_locks(print)
        elif arguments.training:
            images = Settings().image_folders()
            if arguments.training not in images:
                sys.exit(f"no image {arguments.training!r}: there is {', '.join(images)}")
            if step := training_step(arguments.tools, images[arguments.training]):
                step.run(print)
        else:
            install(arguments.tools, Settings().image_folders().values(), images_alone=arguments.images)
    except (InstallFailed, RosterError) as failed:
        sys.exit(f"{failed}")


if __name__ == "__main__":
    main()
