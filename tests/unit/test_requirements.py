"""What a requirements file may name, what uv is told of this machine, and which folders of packages stay."""

import asyncio
import os
import shutil
import sys
from pathlib import Path, PurePosixPath

import pytest

from deploy.local.sagemaker import containers
from deploy.local.sagemaker.containers import Image
from deploy.local.sagemaker.requirement_lines import LineRefused, named
from deploy.local.sagemaker.requirements import Requirements, RequirementsFailed, passed_on
from tests.contract.sagemaker_data import wheel

NAME, WHEEL = wheel("halves", "def half(number):\n    return number / 2\n")


def code(folder: Path, text: str, **more: str) -> Path:
    """A folder of code with a requirements file, a wheel and other files."""
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text(text)
    (folder / NAME).write_bytes(WHEEL)
    for name, other in more.items():
        (folder / f"{name}.txt").write_text(other)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "numpy ${AWS_SECRET_ACCESS_KEY}",
        "numpy==${TOKEN}",
        "-e .",
        "--index-url https://example.invalid/simple",
        "-i https://example.invalid/simple",
        "--extra-index-url=https://example.invalid/simple",
        "numpy --index-url https://example.invalid/simple",
        "numpy ; python_version > '3' -e .",
        "numpy \\\n --find-links /root",
        "--find-links /root",
        "--no-binary :all:",
        "file:///root/thing-1.0-py3-none-any.whl",
        "thing @ file:///root/thing-1.0-py3-none-any.whl",
        "thing @ git+https://example.invalid/thing",
        "git+ssh://example.invalid/thing",
        "https://example.invalid/thing-1.0-py3-none-any.whl",
        "/root/thing-1.0-py3-none-any.whl",
        "./absent-1.0-py3-none-any.whl",
        "../code/halves-1.0-py3-none-any.whl",
        "./thing",
        "thing.tar.gz",
        "-r /etc/passwd",
        "-r ../requirements.txt",
        "-r absent.txt",
        "-c link.txt",
        "-r evil.txt",
        "# \\\n-e .",
        "numpy\x0b-e .",
        "\\\n-e .",
    ],
)
def test_a_line_that_reaches_for_more_than_packages_is_refused_without_its_words(line: str, tmp_path: Path) -> None:
    folder = code(tmp_path / "code", f"\n{line}\n", evil="-e .\n")
    (folder / "link.txt").symlink_to("/etc/hostname")

    with pytest.raises(LineRefused, match=r"line \d of (requirements|evil).txt") as refused:
        named(folder, "requirements.txt")

    assert not any(word in str(refused.value) for word in ("$", "example.invalid", "/root", "TOKEN"))


def test_what_people_write_into_requirements_files_is_taken(tmp_path: Path) -> None:
    text = f"""\ufeff# what the script needs
    numpy
    scikit-learn == 1.5.*, !=1.5.1   # not that one
    torch[cuda,extra]>=2.0 ; python_version >= "3.9" and sys_platform == 'linux'
    requests (>=2.8.1, <3)
    six==1.16.0 \\
        --hash=sha256:{"a" * 64} \\
        --hash=sha256:{"b" * 64}
    ./{NAME}
    -r more.txt
    --constraint=most.txt
    """
    folder = code(tmp_path / "code", text, more=f"-r requirements.txt\n{NAME}\n", most="numpy<3\n")

    files, wheels = named(folder, "requirements.txt")

    assert files == {
        PurePosixPath("requirements.txt"): "numpy\nscikit-learn == 1.5.*, !=1.5.1\n"
        "torch[cuda,extra]>=2.0 ; python_version >= \"3.9\" and sys_platform == 'linux'\n"
        f"requests (>=2.8.1, <3)\nsix==1.16.0 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}\n./{NAME}\n"
        "-r more.txt\n--constraint=most.txt\n",
        PurePosixPath("more.txt"): f"-r requirements.txt\n{NAME}\n",
        PurePosixPath("most.txt"): "numpy<3\n",
    }
    assert wheels == [PurePosixPath(NAME)] * 2


def test_uv_is_told_where_packages_are_and_no_secret() -> None:
    told = passed_on(
        {
            "UV_CACHE_DIR": "/cache",
            "SSL_CERT_FILE": "/ca.pem",
            "UV_DEFAULT_INDEX": "https://user:secret@index.invalid/simple",
            "UV_INDEX_URL": "https://user:se/cret@index.invalid/simple",
            "https_proxy": "user:secret@proxy.invalid:8080",
            "HTTP_PROXY": "http://proxy.invalid:8080",
            "ALL_PROXY": "http://proxy.invalid:8080?key=secret",
            "UV_INDEX_MINE_PASSWORD": "secret",
            "UV_PUBLISH_TOKEN": "secret",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
    )

    assert told == {
        "UV_CACHE_DIR": "/cache",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_DEFAULT_INDEX": "https://index.invalid/simple",
        "https_proxy": "proxy.invalid:8080",
        "HTTP_PROXY": "http://proxy.invalid:8080",
    }


async def test_a_file_in_a_folder_of_the_code_is_understood_as_uv_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("", "it is not what is tested here"))
    folder = code(tmp_path / "code", "-e .")
    (folder / "deep").mkdir()
    (folder / "deep" / "needs.txt").write_text(f"./{NAME}\n-c most.txt\n")
    (folder / "deep" / "most.txt").write_text("halves<2\n")

    image = Image("any:1", tmp_path, Path(sys.executable))
    made = await Requirements(tmp_path).made(image, folder, print, "deep/needs.txt")

    assert made.packages
    assert (made.packages / "halves.py").is_file()


async def test_the_packages_that_were_used_least_recently_make_room_and_none_that_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "confinement", lambda *_: ("", "it is not what is tested here"))
    image = Image("any:1", tmp_path, Path(sys.executable))
    a, b, c, d = (code(tmp_path / name, f"./{NAME} # for {name}\n") for name in "abcd")
    (tmp_path / "home").mkdir()
    said: list[str] = []
    wanting = Requirements(tmp_path / "home")
    alike = await asyncio.gather(*(wanting.made(image, one, said.append) for one in (a, a)))  # at once, as two jobs may
    assert [(line, alike[0]) for line in said] == [("installing requirements.txt: once for these packages", alike[1])]
    one_s = sum(file.stat().st_size for file in (alike[0].packages or a).rglob("*") if file.is_file())
    (tmp_path / "home" / "packages" / "killed.part").mkdir()

    kept = Requirements(tmp_path / "home", most_bytes=2 * one_s + one_s // 2)
    assert kept.found(image, a) == alike[0]
    made_b = await kept.made(image, b, said.append)
    os.utime((alike[0].packages or a), ns=(0, 0))  # it is the oldest, but in use
    shutil.rmtree(b)  # the job has ended
    made_c = await kept.made(image, c, said.append)

    there = sorted((tmp_path / "home" / "packages").iterdir())
    assert there == sorted(one.packages for one in (alike[0], made_c) if one.packages)
    assert made_b.packages not in there
    with pytest.raises(RequirementsFailed, match=r"this machine keeps \d+ of all packages, and \d+ are in use"):
        await kept.made(image, d, said.append)
    assert sorted((tmp_path / "home" / "packages").iterdir()) == there
    kept.found(image, a)
    for folder in (a, c):
        shutil.rmtree(folder)
    os.utime(made_c.packages or c, ns=(0, 0))
    made_d = await kept.made(image, d, said.append)
    left = [one.packages for one in (alike[0], made_d) if one.packages]
    assert sorted((tmp_path / "home" / "packages").iterdir()) == sorted(left), "the one that was used last has not gone"


async def test_a_line_that_is_refused_is_the_reason_and_uv_does_not_begin(tmp_path: Path) -> None:
    image = Image("any:1", tmp_path, tmp_path / "no python")

    with pytest.raises(RequirementsFailed) as failed:
        await Requirements(tmp_path).made(image, code(tmp_path / "code", "-e ${HOME}"), print)

    assert str(failed.value).startswith(
        "ClientError: requirements.txt could not be installed: line 1 of requirements.txt: it may"
    )
    assert list((tmp_path / "packages").glob("*")) == []
