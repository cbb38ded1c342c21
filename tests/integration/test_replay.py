"""A replay on a real broker: the same states beside running folds and after kill -9, and each fault by fold and partition."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.replay import FOLDS, ReplayRefused, replay
from deploy.replay_report import PartReplayed, ReplayReport
from streams.ledger import Ledger
from streams.ledger_view import look
from tests.conftest import ROOT
from tests.integration.test_audit_faults import DRAWINGS, Game, broker, eventually, game  # noqa: F401

pytestmark = pytest.mark.timeout(400)
PARTS = 6 * 4 + 1


def replayed(game: Game, folds: tuple[str, ...] = FOLDS, *, kept: bool = False) -> ReplayReport:  # noqa: F811
    return replay(game.settings, folds, kept, lambda *_: None, 2)


def of(report: ReplayReport, fold: str) -> list[PartReplayed]:
    return [part for part in report.parts if part.fold == fold]


def test_all_states_are_those_of_the_log_while_the_folds_run_and_when_they_are_killed(game: Game) -> None:  # noqa: F811
    game.start("none")
    game.play("first")
    eventually(game.learned, "not learned")
    game.reset("first")
    game.repeat()

    beside = replayed(game)
    game.kill()
    game.play("second")
    game.start("none")
    eventually(game.learned, "not learned after kill -9")
    game.kill()
    after = replayed(game, kept=True)
    anew = replayed(game)

    for report in (beside, after, anew):
        assert report.status == 0, report.faults()
        assert len(report.parts) == PARTS
        assert all(part.cells for part in of(report, "online"))
    assert [part.fresh for part in after.parts] == [part.fresh for part in anew.parts]
    assert [part.fresh for part in beside.parts] != [part.fresh for part in anew.parts]
    more, whole = ({fold: sum(part.records for part in of(report, fold)) for fold in FOLDS} for report in (after, anew))
    assert all(0 < more[fold] < whole[fold] for fold in FOLDS), "the kept states were taken up"
    assert after.resumed == list(FOLDS)
    assert anew.resumed == []
    assert sum(part.cells for part in of(anew, "scorer")) >= 2 * 3 * DRAWINGS


@pytest.mark.parametrize(
    ("fault", "fold"),
    [  # the audit, whose folds and comparison these are, is shown the others
        ("no deduplication in drift", "drift"),
        ("lessons summed twice", "online"),
    ],
)
def test_a_fold_that_goes_wrong_is_named_with_what_differs(game: Game, fault: str, fold: str) -> None:  # noqa: F811
    game.start(fault)
    game.play("first")
    eventually(game.learned, "not learned")
    game.reset("first")
    game.repeat()
    eventually(lambda: replayed(game, (fold,)).status == 1, "no difference is found")

    report = replayed(game)

    wrong = [part for part in report.parts if part.verdict == "differs"]
    assert {part.fold for part in wrong} == {fold}, report.faults()
    assert all(part.differing and part.what for part in wrong)
    assert report.status == 1
    assert [said for said in report.faults() if said.startswith(fold)]


def test_a_cell_that_was_changed_on_disk_is_named(game: Game) -> None:  # noqa: F811
    game.start("none")
    game.play("first")
    eventually(game.learned, "not learned")
    game.kill()
    paths = (game.settings.home / "state" / "learner").glob("*.sqlite")
    path = next(path for path in paths if any(key.startswith("taught/") for key in look(path).cells))
    changed = Ledger(path)
    key, value = next((key, value) for key, value in changed.cells() if key.startswith("taught/"))
    with changed.step():
        changed.put(key, value[:-1] + bytes([value[-1] ^ 1]))
    changed.close()

    report = replayed(game)

    [wrong] = [part for part in report.parts if part.verdict == "differs"]
    assert (wrong.fold, wrong.partition, wrong.what) == ("learner", int(path.stem), [f"{key} differs"])


def test_a_damaged_ledger_is_named_and_all_others_are_compared(game: Game) -> None:  # noqa: F811
    game.start("none")
    game.play("first")
    eventually(game.learned, "not learned")
    game.kill()
    path = game.settings.home / "state" / "scorer" / "1.sqlite"
    path.write_bytes(b"no database" * 1000)
    path.with_name(path.name + "-wal").unlink(missing_ok=True)  # it would mend it

    report = replayed(game)

    [wrong] = [part for part in report.parts if part.verdict != "same"]
    assert (wrong.fold, wrong.partition, wrong.verdict, report.status) == ("scorer", 1, "not compared", 2)
    assert "damaged ledger" in wrong.why


def test_without_the_ledgers_the_online_model_alone_is_compared_and_the_rest_says_so(game: Game, tmp_path: Path) -> None:  # noqa: F811
    game.start("none")
    game.play("first")
    eventually(game.learned, "not learned")

    report = replay(game.settings.model_copy(update={"home": tmp_path / "elsewhere"}), FOLDS, False, lambda *_: None)

    assert report.status == 2
    assert [part.fold for part in report.parts if part.verdict == "same"] == ["online"]
    assert all("there is no ledger" in part.why for part in report.parts if part.verdict == "not compared")


def test_a_replay_that_was_killed_goes_on_and_two_at_once_are_refused(game: Game) -> None:  # noqa: F811
    game.start("none")
    game.play("first")
    eventually(game.learned, "not learned")
    game.kill()
    command = [sys.executable, "-m", "deploy.cli", "replay", "--json"]
    environment = os.environ | game.settings.environment() | {"PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    eventually(lambda: any((game.settings.home / "replay").glob("*/*.sqlite")), "it does not begin")
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(ReplayRefused, match="another replay is at work"):
        replayed(game)
    first.send_signal(signal.SIGKILL)
    first.wait()

    time.sleep(0.1)
    report = replayed(game)

    assert report.status == 0, report.faults()
    assert report.resumed, "what was folded before the kill is not folded again"
    clean = subprocess.run(command, env=environment, capture_output=True, cwd=ROOT, timeout=120)
    assert clean.returncode == 0, clean.stderr
    assert ReplayReport.model_validate_json(clean.stdout).status == 0
