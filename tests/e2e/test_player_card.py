"""The player's card in real Chromium, on the real API: what is remembered, a file, a reset, a code for another device."""

import json
import re

from playwright.sync_api import Locator, expect

from api.play.messages import CODE_LENGTH, ROOM_LETTERS
from tests.e2e.conftest import ONE, PHONE, SEVEN, Visit, Visits
from tests.e2e.stage import Stage, eventually


def taught(game: Visit, stage: Stage, label: str = "7") -> None:
    """Draw a seven and say what it is."""
    before = len(stage.corrections)
    game.page.keyboard.press("Escape")
    game.draw(SEVEN)
    expect(game.guess("yours")).to_have_text(str(stage.says["yours"]))
    game.page.keyboard.press(label)
    expect(game.page.locator('#receipt .line[data-model="yours"]')).to_be_visible()
    eventually(lambda: len(stage.corrections) == before + 1, "a correction")


def opened(game: Visit) -> Locator:
    """Open the card."""
    game.page.locator("#own").click()
    card = game.page.get_by_role("dialog", name="Your own model")
    expect(card).to_be_visible()
    return card


def code_on(card: Locator) -> str:
    """Ask for a code, and read it."""
    card.get_by_role("button", name="Show a code").click()
    letters = re.compile(f"[{ROOM_LETTERS}]{{5}} [{ROOM_LETTERS}]{{5}}")
    expect(card.locator("#carry-code code")).to_have_text(letters)
    return card.locator("#carry-code code").inner_text()


def test_the_card_says_what_a_players_own_model_has_learned_and_how_it_compares(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    card = opened(game)
    expect(card.locator("#own-words")).to_have_text(
        "Your model answers as everybody’s, River, until you tell the models what you drew."
    )
    expect(card.get_by_role("button", name="Download")).to_be_disabled()
    game.page.keyboard.press("7")  # nothing is said to a game behind the card
    game.page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(game.page.locator('article[data-model="yours"] #own')).to_be_focused()

    taught(game, stage)
    stage.says["yours"] = 7
    taught(game, stage)
    card = opened(game)
    expect(card.locator("#own-words")).to_contain_text(
        "On your 2 labelled drawings yours was right one more time than everybody’s model, River. That is 50 points better, but"
    )
    expect(card.locator("#own-lift")).to_have_text("50")
    assert [correction.label for correction in stage.corrections] == [7, 7]


def test_what_is_remembered_is_downloaded_and_forgotten_once_the_player_is_sure(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    taught(game, stage)
    card = opened(game)
    expect(card.locator("#own-lessons")).to_have_text("1")
    with game.page.expect_download() as downloading:
        card.get_by_role("button", name="Download").click()
    file = downloading.value
    assert re.fullmatch(r"gamenight-memory-1-\d{4}-\d\d-\d\d\.json", file.suggested_filename)
    [drawing] = json.loads(file.path().read_bytes())["drawings"]
    assert (drawing["label"], drawing["drawing_id"], len(drawing["raster"])) == (7, str(stage.drawings[0].drawing_id), 28)

    card.get_by_role("button", name="Reset it").click()
    expect(card.locator("#own-sure")).to_contain_text("What everybody’s model has learned from you stays.")
    card.get_by_role("button", name="Keep it").click()
    expect(card.locator("#own-sure")).to_be_hidden()
    assert stage.memory.resets == {}

    card.get_by_role("button", name="Reset it").click()
    card.get_by_role("button", name="Reset my model").click()
    expect(card.locator("#player-card-told")).to_have_text("Done: your model has forgotten what you had drawn.")
    expect(card.locator("#own-lessons")).to_have_text("0")
    card.get_by_role("button", name="Close").click()
    game.page.keyboard.press("Escape")
    expect(game.page.locator('article[data-model="yours"] .note')).to_have_text("as River, until your first answer")


def test_a_reset_that_is_still_on_its_way_is_never_told_as_failed_and_is_done_when_the_game_is_back(
    stage: Stage, visit: Visits
) -> None:
    game = visit(stage.url, expected="WebSocket connection to")
    taught(game, stage)
    card = opened(game)
    expect(card.locator("#own-lessons")).to_have_text("1")
    stage.vanish()
    game.page.locator('#connection[data-state="waiting"]').wait_for()

    card.get_by_role("button", name="Reset it").click()
    card.get_by_role("button", name="Reset my model").click()
    told = card.locator("#player-card-told")
    later = "while this page stays open it is done as soon as the game can, and forgets what you have drawn by then."
    expect(told).to_have_text(f"The game is away at the moment. Your reset is still on its way: {later}")
    card.get_by_role("button", name="Show a code").click()
    expect(told).to_contain_text(later)
    card.get_by_role("button", name="Close").click()
    opened(game)
    expect(told).to_contain_text(later)
    assert stage.memory.resets == {}

    stage.serve()
    expect(told).to_have_text("Done: your model has forgotten what you had drawn.")
    expect(card.locator("#own-lessons")).to_have_text("0")
    card.get_by_role("button", name="Show a code").click()
    expect(told).not_to_contain_text("reset")


def test_a_code_carries_a_player_to_another_device_once(stage: Stage, visit: Visits) -> None:
    first = visit(stage.url)
    taught(first, stage)
    card = opened(first)
    code = code_on(card)
    expect(card.locator("#carry-code")).to_contain_text(re.compile(r"good once, for (10 min 0|9 min \d\d?) s"))

    phone = visit(stage.url, **PHONE)
    phone.draw(ONE)  # as somebody else, of whom nothing is to be left
    expect(phone.guess("river")).to_have_text("1")
    phone.page.get_by_role("button", name="Enter your code").tap()
    there = phone.page.get_by_role("dialog")
    expect(there.locator("#carry-input")).to_be_focused()
    phone.page.keyboard.type(code.lower())
    phone.page.keyboard.press("Enter")
    expect(there.locator("#player-card-told")).to_have_text("Done: this device plays on as you. Close the card and draw.")
    expect(there.locator("#own-lessons")).to_have_text("1")
    there.get_by_role("button", name="Close").tap()
    expect(phone.page.locator("#newcomer")).to_be_hidden()
    expect(phone.page.locator("#confirm")).to_be_disabled()
    phone.page.locator("#pad").scroll_into_view_if_needed()
    phone.draw(ONE)
    eventually(lambda: len(stage.drawings) == 3, "a drawing on the phone")
    home, guest, away = (drawing.player_id for drawing in stage.drawings)
    assert home == away != guest

    late = visit(stage.url)
    late.page.get_by_role("button", name="Enter your code").click()
    late.page.keyboard.type(code)
    late.page.keyboard.press("Enter")
    expect(late.page.locator("#player-card-told")).to_have_text(
        "This code was used already: it is good for one device; ask for a new one on the device on which you play."
    )


def test_a_player_who_is_sure_is_forgotten_and_told_so_or_told_why_not(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    taught(game, stage)
    seat = game.page.evaluate("localStorage.getItem('gamenight.seat')")
    stage.forgets_nobody = "river is frozen with what it had learned"
    card = opened(game)
    card.get_by_role("button", name="Forget me …").click()
    expect(card.locator("#forget-sure")).to_contain_text("Nobody can bring them back.")
    card.get_by_role("button", name="Stay").click()
    expect(card.locator("#forget-sure")).to_be_hidden()
    card.get_by_role("button", name="Forget me …").click()
    card.get_by_role("button", name="Forget me for good").click()
    expect(card.locator("#player-card-told")).to_have_text(
        re.compile("This game cannot forget you yet: tell whoever runs it that request [0-9a-f-]{36} was refused")
    )
    assert game.page.evaluate("localStorage.getItem('gamenight.seat')") == seat

    stage.forgets_nobody = ""
    card.get_by_role("button", name="Forget me …").click()
    card.get_by_role("button", name="Forget me for good").click()
    expect(game.page.locator("#toasts")).to_contain_text("You are forgotten: nobody can play as you any more")
    game.page.locator('#connection[data-state="live"]').wait_for()
    assert game.page.evaluate("localStorage.getItem('gamenight.seat')") not in (seat, None)
    expect(game.page.locator("#past li")).to_have_count(0)


def test_a_wrong_code_is_refused_in_plain_words_and_leaves_the_player_who_they_were(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    taught(game, stage)
    seat = game.page.evaluate("localStorage.getItem('gamenight.seat')")
    card = opened(game)
    told = card.locator("#player-card-told")
    field = card.get_by_label("Have a code from another device?")
    field.fill("BCD")
    field.press("Enter")
    expect(told).to_have_text("A code has ten letters; this one has 3.")
    field.fill(ROOM_LETTERS[:CODE_LENGTH])
    field.press("Enter")
    expect(told).to_contain_text("No seat waits for this code: it may be mistyped, too old, or replaced by a newer one")
    expect(card.locator("#own-lessons")).to_have_text("1")
    game.page.keyboard.press("Escape")
    game.page.locator('#connection[data-state="live"]').wait_for()
    game.draw(ONE)
    eventually(lambda: len(stage.drawings) == 2, "another drawing")
    assert len({drawing.player_id for drawing in stage.drawings}) == 1
    assert game.page.evaluate("localStorage.getItem('gamenight.seat').split('.')[0]") == seat.split(".")[0]


def test_the_card_is_reached_where_the_players_own_model_is_not_shown(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    stage.policy("everyone", yours="off")
    expect(game.page.locator('article[data-model="yours"]')).to_have_count(0)
    expect(opened(game).locator("#own-lessons")).to_have_text("0")


def test_the_card_fits_a_phone_and_everything_on_it_is_reached_by_tab(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url, **PHONE)
    taught(game, stage)
    card = opened(game)
    expect(card.locator("#own-lessons")).to_have_text("1")
    code_on(card)
    card.get_by_role("button", name="Reset it").click()
    assert game.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert game.page.evaluate("(card => card.scrollWidth <= card.clientWidth)(document.querySelector('dialog'))")
    reached = set()
    for _ in range(14):
        game.page.keyboard.press("Tab")
        reached.add(game.page.evaluate("document.activeElement.id"))
    assert {
        "player-card-close",
        "own-export",
        "own-reset",
        "own-reset-yes",
        "own-reset-no",
        "carry-ask",
        "carry-input",
    } <= reached
    assert "pad" not in reached
