"""The roster: which models there are, and what is said of each."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import BLEND, ONLINE_MODELS, PERSONAL_MODEL
from contracts.roster import RosterError, is_batch, roster
from contracts.settings import Settings
from tests.roster import BATCH_MODELS, IMAGES, MODELS, ROSTER

ROOT = Path(__file__).parents[2]
TWO = {"title": "A model", "about": "It guesses."}


def told(**facts: Any) -> bytes:
    return json.dumps(TWO | facts).encode()


def test_the_product_comes_with_these_models_in_this_order():
    assert MODELS == ("everyone", "xgboost", "tensorflow", "mxnet", "kmeans", "river", "yours")
    assert BATCH_MODELS == ("xgboost", "tensorflow", "mxnet", "kmeans")
    kinds = {model: ROSTER[model].kind for model in MODELS}
    assert kinds == {BLEND: "blend", **dict.fromkeys(BATCH_MODELS, "batch"), "river": "online", PERSONAL_MODEL: "personal"}
    assert [model for model in MODELS if is_batch(model)] == list(BATCH_MODELS)
    assert [model for model in MODELS if ROSTER[model].kind == "online"] == list(ONLINE_MODELS)


def test_every_model_has_a_title_and_a_colour_of_its_own_and_the_blend_has_that_of_ink():
    titles = {model: ROSTER[model].title for model in BATCH_MODELS}
    assert titles == {"xgboost": "XGBoost", "tensorflow": "TensorFlow CNN", "mxnet": "MXNet CNN", "kmeans": "K-Means"}
    hues = [ROSTER[model].hue for model in MODELS if model != BLEND]
    assert len(set(hues)) == len(hues)
    assert None not in hues
    assert ROSTER[BLEND].hue is None


def test_what_an_image_asks_for_is_what_its_rebuild_and_its_gate_get():
    assert ROSTER["tensorflow"].hyperparameters.keys() == {"epochs"}
    assert ROSTER["xgboost"].hyperparameters == {"rounds": "75", "copies": "9"}
    assert {model: ROSTER[model].least_mnist for model in BATCH_MODELS if ROSTER[model].least_mnist} == {"kmeans": 0.97}


def test_one_more_image_is_one_more_model_and_changes_nothing_of_the_others():
    files = {name: (folder / "image.json").read_bytes() for name, folder in Settings().image_folders().items()}
    more = roster({**files, "nearest-mean": told()})

    assert more.names == ("everyone", "xgboost", "tensorflow", "mxnet", "kmeans", "nearest-mean", "river", "yours")
    assert {model: more[model] for model in MODELS} == {model: ROSTER[model] for model in MODELS}
    apart = [min((more["nearest-mean"].hue - ROSTER[model].hue) % 360, 360) for model in MODELS if model != BLEND]
    assert all(25 < distance < 335 for distance in apart), "a colour that is told from all others"


@given(st.lists(st.none() | st.integers(0, 359), max_size=12))
def test_models_without_a_colour_get_one_that_nobody_has(hues):
    found = roster({f"model-{place}": told(hue=hue) for place, hue in enumerate(hues)})

    dealt = [found[f"model-{place}"].hue for place, hue in enumerate(hues) if hue is None]
    others = {found[model].hue for model in found.names if model not in {f"model-{p}" for p, h in enumerate(hues) if h is None}}
    assert len(set(dealt)) == len(dealt)
    assert not set(dealt) & others


def test_a_model_that_only_the_log_knows_comes_last_under_its_own_name():
    assert "departed" not in ROSTER
    assert ROSTER.ordered(["departed", "yours", "abacus", "everyone"]) == ["everyone", "yours", "abacus", "departed"]
    entry = ROSTER.entry("departed")
    assert (entry.title, entry.kind) == ("departed", "batch")
    assert entry == ROSTER.entry("departed")


@pytest.mark.parametrize(
    ("name", "facts", "why"),
    [
        ("river", {}, "an image cannot be called river"),
        ("bandit", {}, "an image cannot be called bandit"),
        ("Nearest Mean", {}, "image Nearest Mean: the folder's name 'Nearest Mean': String should match"),
        ("new", {"title": ""}, "image new: title: String should have at least 1 character"),
        ("new", {"hue": 400}, "image new: hue: Input should be less than 360"),
        ("new", {"colour": "red"}, "image new: colour: Extra inputs are not permitted"),
        ("new", {"least_mnist": 98}, "image new: least_mnist: Input should be less than or equal to 1"),
    ],
)
def test_an_image_that_cannot_be_a_model_is_refused_and_told_why(name, facts, why):
    with pytest.raises(RosterError, match=f"^{why}"):
        roster({name: told(**facts)})


def test_an_image_json_that_is_none_is_refused_with_its_name():
    with pytest.raises(RosterError, match=r"^image new: .*: Invalid JSON"):
        roster({"new": b"{"})


def test_images_are_looked_for_in_every_folder_that_is_named(tmp_path):
    for folder in ("one/abacus", "two/beads"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "image.json").write_bytes(told())
    (tmp_path / "one" / "contract").mkdir()
    settings = Settings(images=f"{tmp_path}/one:trainers/images:{tmp_path}/two")

    assert settings.image_folders()["beads"] == tmp_path / "two" / "beads"
    assert settings.image_folders()["xgboost"] == ROOT / "trainers" / "images" / "xgboost"
    assert settings.roster().batch == (*BATCH_MODELS, "abacus", "beads")
    with pytest.raises(RosterError, match="two images are called abacus"):
        Settings(images=f"{tmp_path}/one:{tmp_path}/one").roster()
    with pytest.raises(RosterError, match=r"no folder .*/three: set GAMENIGHT_IMAGES"):
        Settings(images=f"{tmp_path}/three").roster()


EXAMPLES = {"api/ops/commands.py", "api/apps/predict_docs.py"}
"""Where a batch model stands as an example of a request."""
ONCE = "contracts/events.py"
"""Where the models that are built in are named."""


@pytest.mark.parametrize(
    ("models", "where"),
    [(BATCH_MODELS, EXAMPLES), ((BLEND, *ONLINE_MODELS, PERSONAL_MODEL), {ONCE, "api/apps/predict_docs.py"})],
    ids=["batch", "built in"],
)
def test_no_program_names_a_model(models, where):
    """What does would have to be changed for one more."""
    named = re.compile("|".join(f"[\"']{model}[\"']" for model in models))
    programs = [
        path.relative_to(ROOT)
        for folder in ("contracts", "producers", "streams", "api", "trainers", "deploy", "web")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".js", ".css", ".html"} and ".test." not in path.name
    ]
    assert len(programs) > 100

    naming = {str(path) for path in programs if named.search((ROOT / path).read_text())}
    assert {path for path in naming if not path.startswith("trainers/images/")} == where


def test_no_page_names_a_model():
    """The browser takes names, titles, kinds, places and colours from the server, those of the built-in models too."""
    titles = {ROSTER[model].title.partition(",")[0] for model in MODELS}
    named = re.compile("|".join([*(f"[\"'`]{model}[\"'`]" for model in MODELS), *(rf"\b{title}\b" for title in titles)]))
    pages = [
        path
        for path in (ROOT / "web").rglob("*")
        if path.suffix in {".js", ".css", ".html"} and ".test." not in path.name and "vendor" not in path.parts
    ]
    assert len(pages) > 40

    found = {str(path.relative_to(ROOT)): named.findall(path.read_text()) for path in pages}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_containers_have_what_the_images_say_of_themselves_and_name_none_of_them():
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()

    assert "COPY --from=roster /opt/gamenight/trainers/images trainers/images" in dockerfile
    assert not any(model in dockerfile for model in BATCH_MODELS)


@pytest.mark.parametrize("algorithm", BATCH_MODELS)
def test_an_image_says_which_hyperparameters_its_training_takes(algorithm: str) -> None:
    source = (IMAGES[algorithm] / "train.py").read_text()
    [known] = [one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.ClassDef) and one.name == "Hyperparameters"]
    fields = [one.target.id for one in known.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    assert list(ROSTER.entry(algorithm).takes) == fields
