"""docker-compose.yml stands for the same product as `gamenight up`; `make compose-test` runs it where there is an engine."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from contracts.settings import AWS_SECRETS, GAME_SECRETS, KAFKA_SECRETS, SECRETS, Settings, variable
from deploy.local import kafka
from deploy.local.components import components
from deploy.local.install import training_step
from deploy.local.keys import with_secrets
from deploy.local.provision import SECRETS_OF, write_secrets
from tests.containers.__main__ import LASTING, OWN, WRITING, audited
from tests.roster import IMAGES

ROOT: Final = Path(__file__).resolve().parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
DOCKERFILE: Final = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
OURS: Final = {name: service for name, service in SERVICES.items() if service.get("command", [""])[0] == "python"}
_PARTS: Final = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, flags=re.M)[1:]
STAGES: Final = dict(zip(_PARTS[1::3], zip(_PARTS[::3], _PARTS[2::3], strict=True), strict=True))
"""Each stage of the Dockerfile: what it begins from, and its lines."""
NEVER_IMPORTED: Final = {
    ("sagemaker-packages", "deploy.local.install"): "deploy.local.archive",  # `--images` makes no class archives
    ("serving", "deploy.cli"): "trainers",  # for `up`, and compose starts everything; for `dataset verify`, in the trainer
    ("serving", "deploy.local.provision"): "trainers.tables",  # `--deal` makes no table; the trainer's image does
}
"""By stage and program, what it imports later, and only for what it is not asked there."""
ENDING: Final = {"secrets", "provision", "gamenight"}
"""Services that do something and end."""
BESIDE: Final = {"prometheus", "grafana"}
"""Services that look at the game: they are started by a profile, and it plays without them."""
KAFKA: Final = SERVICES["kafka"]["environment"]
SETTINGS: Final = {variable(name, field.validation_alias) for name, field in Settings.model_fields.items()}


def parts() -> dict[str, tuple[str, ...]]:
    """What `up` starts, and the secrets that each is given."""
    return {part.name: part.secrets for part in components(Settings(home=Path("unused"), tools=ROOT / ".tools"))}


def test_every_part_of_up_is_a_service_and_the_test_of_the_containers_kills_all_that_last() -> None:
    assert parts().keys() <= SERVICES.keys()
    assert set(LASTING) == SERVICES.keys() - ENDING - BESIDE
    assert {service["image"] for name, service in SERVICES.items() if "build" in service} == set(OWN)


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_given_settings_that_exist_and_a_module_that_exists(name: str) -> None:
    service = OURS[name]

    assert service["environment"].keys() <= SETTINGS
    assert service["command"][1] == "-m"
    assert importlib.util.find_spec(service["command"][2]) is not None


def test_services_meet_at_the_addresses_that_they_open() -> None:
    defaults, given = Settings(), OURS["api"]["environment"]

    outside = {"pod", "grafana"}
    assert {service["network_mode"] for name, service in SERVICES.items() if name not in outside} == {"service:pod"}
    assert given["KAFKA_BOOTSTRAP_SERVERS"] in SERVICES["kafka"]["environment"]["KAFKA_LISTENERS"]
    assert given["AWS_ENDPOINT_URL_S3"] == f"http://127.0.0.1:{defaults.s3_port}"
    assert f"-port {given['AWS_ENDPOINT_URL_DYNAMODB'].rsplit(':', 1)[1]} " in SERVICES["dynamodb"]["command"]
    assert SERVICES["pod"]["ports"] == [f"127.0.0.1:${{GAMENIGHT_PORT:-{defaults.port}}}:{defaults.port}"]
    for name, port in (("api", defaults.port), ("sagemaker", defaults.sagemaker_port), ("s3", defaults.s3_port)):
        assert SERVICES[name]["healthcheck"]["test"][:3] == ["CMD", "healthy", str(port)]


def test_who_needs_the_broker_waits_for_it_and_does_not_fail_until_the_engine_has_lost_patience() -> None:
    needing = {part.name for part in components(Settings(home=Path("unused"), tools=ROOT / ".tools")) if "kafka" in part.needs}

    assert needing == {name for name, service in SERVICES.items() if service.get("entrypoint") == ["awaiting", "9092"]}
    assert "awaiting" in DOCKERFILE


def test_the_broker_in_its_container_is_set_as_the_one_that_up_starts() -> None:
    given = {name.removeprefix("KAFKA_").lower().replace("_", "."): str(value) for name, value in KAFKA.items()}
    here = kafka.properties(Path("/var/lib/kafka/data"), Settings().kafka_port, Settings().kafka_controller_port)

    assert given == here


def test_every_service_that_lasts_is_looked_after_and_none_can_do_more_than_it_must() -> None:
    for name in (*LASTING, *BESIDE):
        service = SERVICES[name]
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
        assert service["init"] is True, f"{name} would not end with its process"
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name not in WRITING), name


def test_in_a_container_no_model_server_or_job_runs_that_could_read_the_secrets_beside_it() -> None:
    assert Settings().allow_unconfined, "what other services have"
    assert SERVICES["sagemaker"]["environment"]["GAMENIGHT_ALLOW_UNCONFINED"] == "false"


def test_each_service_mounts_the_secrets_that_up_gives_it_and_a_volume_that_no_other_writes_to() -> None:
    volumes: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, *_, mode = f"{volume}:rw".split(":")[:3]
            if mode != "ro" and name not in (*ENDING, "pod"):
                volumes.setdefault(source, set()).add(name)
    mounted = {
        name: {volume.split(":")[0] for volume in service.get("volumes", []) if "/data/secrets" in volume}
        for name, service in SERVICES.items()
    }

    assert all(len(writers) == 1 for writers in volumes.values()), volumes
    for name, secrets in parts().items():
        given = set(secrets) - set(KAFKA_SECRETS)
        assert mounted[name] == {kind for kind, dealt in SECRETS_OF.items() if given and set(dealt) == given}, name
        assert not given or mounted[name], f"{name} finds its secrets in no folder"


def test_the_secrets_are_dealt_to_those_who_need_them_and_again_the_same(tmp_path: Path) -> None:
    settings = with_secrets(Settings(home=tmp_path / "home"))
    for kind in SECRETS_OF:
        (tmp_path / kind).mkdir()

    for _ in range(2):
        write_secrets(settings, tmp_path)

    assert {path.name for path in (tmp_path / "aws").iterdir()} == set(AWS_SECRETS) & set(SECRETS), "those that are made"
    assert {path.name for path in (tmp_path / "game").iterdir()} == set(GAME_SECRETS)
    assert (tmp_path / "game" / "seat_secret").read_text() == settings.seat_secret
    assert (tmp_path / "game" / "seat_secret").stat().st_mode & 0o777 == 0o600


def test_the_folders_that_secrets_are_dealt_into_belong_to_who_deals_them_and_are_all_mounted() -> None:
    """A volume that is mounted where no folder is belongs to root, and the user of the containers cannot write there."""
    mounted = {volume.split(":")[1] for volume in SERVICES["secrets"]["volumes"]} - {"/data/secrets"}

    assert mounted == {f"/deal/{kind}" for kind in SECRETS_OF}
    assert mounted <= set(re.findall(r"/deal/[\w-]+", DOCKERFILE))


def copied(stage: str) -> set[Path]:
    """The files of the repository that lie in a stage, as they lie here."""
    if stage not in STAGES:
        return set()
    parent, text = STAGES[stage]
    files = copied(parent)
    for line in re.findall(r"^COPY (.+)$", text, re.M):
        *options, target = line.split()
        sources = [ROOT / source for source in options if not source.startswith("--")]
        if origins := [option.removeprefix("--from=") for option in options if option.startswith("--from=")]:
            [origin] = origins
            files |= {path for path in copied(origin) if path.is_relative_to(ROOT / target)}
        elif not target.startswith("/"):
            for source in sources:
                assert source.exists(), f"{stage} copies {source.relative_to(ROOT)}, which is not there"
                at = ROOT / target / source.name if source.is_file() and target.endswith(("/", ".")) else ROOT / target
                assert at == source, f"{stage} copies {source.relative_to(ROOT)} to another place"
                files |= set(source.rglob("*")) if source.is_dir() else {source}
    return files


def files_of(module: str) -> list[Path]:
    """The files that Python runs to import a module; none if it is not ours."""
    parts = module.split(".")
    places = [ROOT.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    found = [next((f for f in (at / "__init__.py", at.with_suffix(".py")) if f.is_file()), None) for at in places]
    return [file for file in found if file is not None] if found[0] is not None else []


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, at once or later; not those that only a type checker imports."""
    nodes: list[ast.AST] = [ast.parse(file.read_text())]
    for node in nodes:
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                continue
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(str(module), names, 0):
                yield from (module, *(f"{module}.{name.name}" for name in names))
        nodes.extend(ast.iter_child_nodes(node))


def closure(program: str, without: str | None) -> set[Path]:
    """The files of ours that are run if everything that a program imports is, but for one module."""
    files: set[Path] = set()
    modules = [program, f"{program}.__main__"]
    for module in modules:
        if without is None or not f"{module}.".startswith(f"{without}."):
            new = set(files_of(module)) - files
            files |= new
            modules += [name for file in sorted(new) for name in imported(file)]
    return files


def programs() -> set[tuple[str, str]]:
    """What is run in each stage: while it is built, by its services, and by the command that people are given."""
    built = {service["image"]: service["build"]["target"] for service in SERVICES.values() if "build" in service}
    run = {(stage, module) for stage, (_, text) in STAGES.items() for module in re.findall(r"python -m (\S+)", text)}
    for service in SERVICES.values():
        if (stage := built.get(service["image"])) is not None:
            said = [*service.get("entrypoint", []), *service.get("command", [])]
            script = ROOT / "deploy" / "docker" / said[0]
            lines = " ".join(said) + "\n" + (script.read_text() if script.is_file() else "")
            run |= {(stage, module) for module in re.findall(r"python -m (\S+)", lines)}
    return {(stage, module) for stage, module in run if files_of(module)}


def test_each_stage_of_an_image_has_what_its_programs_import() -> None:
    run = programs()
    assert {("sagemaker-packages", "deploy.local.install"), ("serving", "deploy.cli"), ("trainer", "trainers")} <= run
    assert run >= NEVER_IMPORTED.keys()
    missing = {
        f"{stage}: python -m {program}": closure(program, NEVER_IMPORTED.get((stage, program))) - copied(stage)
        for stage, program in run
    }
    assert {name: sorted(str(file.relative_to(ROOT)) for file in files) for name, files in missing.items() if files} == {}


def test_no_image_runs_as_root() -> None:
    users = {name: re.findall(r"^USER (\S+)", text, re.M) for name, (_, text) in STAGES.items()}

    for name, service in SERVICES.items():
        if "build" in service:
            target = service["build"]["target"]
            assert (users[target] or users["serving"])[-1] == "player", name


def test_the_containers_user_may_make_every_environment_that_training_needs() -> None:
    trained = [step for image in IMAGES.values() if (step := training_step(Path(".tools"), image)) is not None]

    assert [step.name for step in trained] == ["tensorflow training"]
    assert {step.made.parent for step in trained} == {Path(".tools/images")}
    assert "COPY --from=sagemaker-packages --chown=player /opt/gamenight/.tools .tools" in DOCKERFILE


def test_the_test_of_the_containers_claims_no_more_than_its_audit_has_compared() -> None:
    """Nobody but the workers mounts the ledgers."""
    assert not {"router:", "learning:"} & {volume[: volume.index(":") + 1] for volume in SERVICES["gamenight"]["volumes"]}
    assert "the workers' ledgers were not compared" in audited({"ledgers": None})
    assert "8 ledgers are as the log says" in audited({"ledgers": 8})


def test_who_looks_at_the_game_is_started_by_its_profile_reads_what_is_here_and_is_reached_from_this_machine_alone() -> None:
    prometheus, grafana = SERVICES["prometheus"], SERVICES["grafana"]
    folders = [volume.split(":")[0] for name in BESIDE for volume in SERVICES[name]["volumes"] if volume.startswith("./")]

    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["metrics"]} == BESIDE
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert grafana["ports"] == ["127.0.0.1:${GAMENIGHT_GRAFANA_PORT:-3000}:3000"]
    assert "ports" not in prometheus
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    [listens] = [option for option in prometheus["command"] if "listen-address" in option]
    assert source["url"] == f"http://pod:{listens.rpartition(':')[2]}"
    assert not {volume.split(":")[0] for name in BESIDE for volume in SERVICES[name]["volumes"]} & {"aws", "game", "secrets"}
