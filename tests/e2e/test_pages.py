"""The pages in real Chromium, on the real API, with models that say what the test tells them to."""

import json
import re

import pytest
from playwright.sync_api import WebSocketRoute, expect

from contracts.events import TrainingAdvanced
from tests.e2e.conftest import ONE, PHONE, SEVEN, Visit, Visits
from tests.e2e.stage import NOT_HERE, Stage, eventually

NBSP = "\u00a0"


def cards(game: Visit, where: str) -> list[str]:
    """The models whose cards stand in a place, in order."""
    return [str(card.get_attribute("data-model")) for card in game.page.locator(f"{where} article").all()]


def test_a_drawing_is_guessed_corrected_by_a_key_and_the_receipt_says_who_learned(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(SEVEN)
    expect(game.guess("river")).to_have_text("1")
    expect(game.guess("xgboost")).to_have_text("1")
    expect(game.page.locator("#status")).to_have_text("Saved")

    game.page.keyboard.press("7")

    river = game.page.locator('#receipt .line[data-model="river"]')
    expect(river).to_contain_text(f"River learned it: 1{NBSP}% → 81{NBSP}%")
    expect(river).to_contain_text("mnist1+41 → +42")
    expect(game.page.locator("#receipt-title")).to_have_text("What your answer, 7, did")
    yours = game.page.locator('#receipt .line[data-model="yours"]')
    expect(yours).to_contain_text(f"Yours learned it: 1{NBSP}% → 97{NBSP}%")
    expect(yours).to_contain_text("knows 1 of your drawings")
    expect(game.page.locator('#receipt .line[data-model="xgboost"]')).to_contain_text(f"XGBoost gave it 1{NBSP}%")
    expect(game.page.locator('article[data-model="river"]')).to_contain_text("0 of 1 right")
    expect(game.page.locator("#past li")).to_have_count(1)
    [correction] = stage.corrections
    assert (correction.drawing_id, correction.label) == (stage.drawings[0].drawing_id, 7)
    assert stage.drawings[0].device == "mouse"


def test_guesses_are_shown_while_the_pen_is_still_down(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    box = game.page.locator("#pad").bounding_box()
    assert box is not None
    game.page.mouse.move(box["x"] + 100, box["y"] + 100)
    game.page.mouse.down()
    for step in range(10):
        game.page.mouse.move(box["x"] + 100 + 20 * step, box["y"] + 100 + 9 * step)

    expect(game.page.locator('article[data-model="river"][data-state="preview"] .digit')).to_have_text("1")
    assert stage.drawings == []
    assert stage.previews >= 1


def test_enter_finishes_and_then_confirms_what_was_asked(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    asked = int(game.page.locator("#prompt b").inner_text())
    game.draw(SEVEN)
    game.page.keyboard.press("Enter")
    expect(game.guess("river")).to_have_text("1")
    game.page.keyboard.press("Enter")

    correction = eventually(lambda: stage.corrections, "a correction")[0]
    assert (stage.drawings[0].asked, correction.label) == (asked, asked)
    assert stage.drawings[0].gold
    expect(game.page.locator("#prompt b")).not_to_have_text(str(asked))


def test_drawing_freely_asks_for_nothing_and_is_remembered(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.page.get_by_text("Draw freely").click()
    expect(game.page.locator("#prompt")).to_have_text("Draw any digit")
    game.page.reload()
    expect(game.page.locator("#prompt")).to_have_text("Draw any digit")
    game.draw(ONE)
    expect(game.page.locator("#confirm")).to_contain_text("Yes, it is a 1")
    assert stage.drawings[0].asked is None


def test_who_says_nothing_is_asked_for_another_digit_all_the_same(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    asked = game.page.locator("#prompt b").inner_text()
    game.draw(SEVEN)
    expect(game.guess("river")).to_have_text("1")

    expect(game.page.locator("#prompt b")).not_to_have_text(asked)
    following = int(game.page.locator("#prompt b").inner_text())
    expect(game.page.locator("#check")).to_be_hidden()
    game.draw(ONE)
    eventually(lambda: len(stage.drawings) == 2, "another drawing")
    assert [(drawn.asked, drawn.gold, drawn.picked) for drawn in stage.drawings] == [
        (int(asked), True, 1),
        (following, True, 1),
    ]


def test_chance_asks_whether_the_guess_was_right_where_nobody_asked_for_the_digit(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.page.get_by_text("Draw freely").click()
    check = game.page.locator("#check")
    expect(check).to_be_hidden()
    game.draw(ONE)
    expect(check).to_contain_text("Was 1 right? If not, press the digit that it is.")
    check.get_by_text("Not now").click()
    expect(check).to_be_hidden()
    assert stage.corrections == []

    game.draw(ONE)
    check.get_by_text("Yes, a 1").click()
    expect(check).to_be_hidden()
    correction = eventually(lambda: stage.corrections, "a correction")[0]
    assert (correction.drawing_id, correction.label) == (stage.drawings[1].drawing_id, 1)
    assert [(drawn.gold, drawn.picked) for drawn in stage.drawings] == [(False, 1), (False, 1)]

    game.draw(SEVEN)
    expect(check).to_be_visible()
    game.page.keyboard.press("7")
    expect(check).to_be_hidden()


def test_another_question_is_the_servers_too_and_a_digit_that_was_chosen_is_not_gold(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    asked = game.page.locator("#prompt b").inner_text()
    game.page.locator("#another").click()
    expect(game.page.locator("#prompt b")).not_to_have_text(asked)
    following = int(game.page.locator("#prompt b").inner_text())
    game.draw(SEVEN)
    drawn = eventually(lambda: stage.drawings, "a drawing")[0]
    assert (drawn.asked, drawn.gold) == (following, False)


def test_a_finger_draws_as_a_mouse_does(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url, **PHONE)
    box = game.page.locator("#pad").bounding_box()
    assert box is not None
    touch = game.page.context.new_cdp_session(game.page)
    for step in range(12):
        at = {"x": box["x"] + box["width"] * (0.3 + 0.03 * step), "y": box["y"] + box["height"] * (0.2 + 0.05 * step)}
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": [at]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    expect(game.guess("river")).to_have_text("1")
    game.page.locator("#digits button", has_text="4").tap()
    expect(game.page.locator("#receipt .line")).to_have_count(3)
    assert len(stage.drawings[0].strokes[0]) == 12
    assert stage.drawings[0].device == "touch"
    assert game.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_alone_plays(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.page.locator("#pad").focus()
    for key in ["ArrowUp"] * 10 + ["Space"] + ["ArrowDown"] * 15 + ["Space", "Enter"]:
        game.page.keyboard.press(key)

    expect(game.guess("river")).to_have_text("1")
    expect(game.page.locator("#spoken")).to_have_text("Everyone: 1, 91 per cent; 5 of 5 others agree")
    game.page.keyboard.press("1")
    expect(game.page.locator('article[data-model="river"]')).to_contain_text("1 of 1 right")
    [[*stroke]] = stage.drawings[0].strokes
    assert stage.drawings[0].device is None
    assert stroke[0][0] == stroke[-1][0]
    assert stroke[-1][1] > stroke[0][1]


def test_what_was_drawn_and_said_while_the_game_was_away_arrives_once_when_it_is_back(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url, expected="WebSocket connection to")
    stage.vanish()
    expect(game.page.locator('#connection[data-state="waiting"]')).to_be_visible()
    game.draw(SEVEN)
    game.page.keyboard.press("7")
    expect(game.page.locator("#status")).to_contain_text("Not sent yet")

    stage.serve()

    expect(game.page.locator("#receipt .line")).to_have_count(3)
    expect(game.page.locator("#status")).to_have_text("Saved")
    assert len(stage.drawings) == 1
    assert [correction.label for correction in stage.corrections] == [7]


def test_a_player_keeps_their_seat_through_a_reload(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")
    game.page.reload()
    game.page.locator('#connection[data-state="live"]').wait_for()
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")

    first, second = stage.drawings
    assert first.player_id == second.player_id
    assert first.drawing_id != second.drawing_id


def test_a_seat_that_the_server_does_not_know_is_replaced(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.page.evaluate("localStorage.setItem('gamenight.seat', 'of another server')")
    game.page.reload()

    expect(game.page.locator('#connection[data-state="live"]')).to_be_visible()
    assert game.page.evaluate("localStorage.getItem('gamenight.seat')") != "of another server"


def test_another_correction_replaces_the_first_and_it_can_be_taken_back(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")
    game.page.keyboard.press("7")
    expect(game.page.locator('article[data-model="river"]')).to_contain_text("0 of 1 right")
    game.page.keyboard.press("1")
    expect(game.page.locator('article[data-model="river"]')).to_contain_text("1 of 1 right")
    eventually(lambda: len(stage.corrections) == 2, "both corrections")

    game.page.get_by_role("button", name="Take it back").click()

    expect(game.page.locator('article[data-model="river"]')).to_contain_text("no verdict yet")
    expect(game.page.locator("#receipt")).to_be_hidden()


def test_a_stroke_that_comes_late_still_belongs_to_the_drawing(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(SEVEN)
    game.page.keyboard.press("Enter")
    game.draw([(0.35, 0.5), (0.65, 0.5)])
    eventually(lambda: len(stage.drawings) == 2, "both drawings")

    assert [len(drawing.strokes) for drawing in stage.drawings] == [1, 2]
    assert stage.drawings[0].drawing_id != stage.drawings[1].drawing_id


def test_a_wild_scribble_is_made_to_fit(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.page.evaluate(
        """() => {
          const pad = document.getElementById("pad"), box = pad.getBoundingClientRect();
          const told = (type, x, y) => pad.dispatchEvent(new PointerEvent(type,
            { pointerId: 1, button: 0, clientX: box.left + x, clientY: box.top + y, bubbles: true, isPrimary: true }));
          pad.setPointerCapture = () => {};
          let seed = 7;
          const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647 * 400;
          for (let stroke = 0; stroke < 70; stroke += 1) {
            told("pointerdown", random(), random());
            for (let point = 0; point < 90; point += 1) told("pointermove", random(), random());
            told("pointerup", random(), random());
          }
        }"""
    )
    game.page.keyboard.press("Enter")

    expect(game.guess("river")).to_have_text("1")
    [drawing] = stage.drawings
    assert len(drawing.strokes) == 64
    assert sum(map(len, drawing.strokes)) <= 4096
    expect(game.page.locator(".toast")).to_have_count(0)


def test_a_slip_of_the_pen_is_no_drawing(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw([(0.5, 0.5), (0.51, 0.5)])
    expect(game.page.locator("#status")).to_contain_text("Too small")
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")
    assert [len(drawing.strokes) for drawing in stage.drawings] == [1]


def test_a_new_version_is_told_and_answers_the_next_drawing(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.guess("xgboost")).to_have_text("1")
    stage.promote("2", note="ada: looks good")

    expect(game.page.locator(".toast")).to_contain_text("XGBoost 2 now answers")
    assert "ada" not in game.page.locator(".toast").inner_text()
    game.page.keyboard.press("1")
    game.draw(ONE)
    expect(game.guess("xgboost")).to_have_text("1")
    expect(game.page.locator('article[data-model="xgboost"] .version')).to_have_text("2")


def test_a_frame_of_an_unknown_type_throws_and_the_game_goes_on(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url, expected="does not know: surprise")
    thrown: list[str] = []
    game.page.on("pageerror", lambda error: thrown.append(str(error)))

    def extended(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda text: [socket.send(json.dumps({"type": "surprise"})), socket.send(text)])

    game.page.route_web_socket("**/ws/play", extended)
    game.page.reload()
    game.page.locator('#connection[data-state="live"]').wait_for()
    game.draw(ONE)

    expect(game.guess("river")).to_have_text("1")
    assert any("surprise" in error for error in thrown)


def test_a_drawing_that_is_refused_is_told_once_and_not_sent_again(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)

    def spoiled(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda text: server.send(str(text).replace('"type":"draw"', '"type":"draw","colour":"red"')))

    game.page.route_web_socket("**/ws/play", spoiled)
    game.page.reload()
    game.page.locator('#connection[data-state="live"]').wait_for()
    game.draw(ONE)

    expect(game.page.locator(".toast")).to_contain_text("unknown field 'colour'")
    expect(game.page.locator("#status")).to_have_text("Not saved")
    expect(game.page.locator(".toast")).to_have_count(1)
    assert stage.drawings == []


def test_names_are_text_whatever_is_in_them(stage: Stage, visit: Visits) -> None:
    first = visit(stage.url)
    room = first.page.locator("#room")
    expect(room).to_have_text(re.compile("[A-Z]{4}"))
    second = visit(f"{stage.url}/?room={room.inner_text()}")
    second.page.locator("#name").fill("<img src=x onerror=throw>")
    second.page.locator("#name").press("Tab")

    expect(room).to_contain_text("<img src=x onerror=throw>")
    assert first.page.locator("#room img").count() == 0


def test_the_dashboard_moves_without_a_reload(stage: Stage, visit: Visits) -> None:
    stage.score("river", 7, [7, 1])
    watch = visit(f"{stage.url}/watch")
    tile = watch.page.locator('.tile[data-model="river"]')
    expect(tile).to_contain_text(f"50.0{NBSP}%")
    expect(tile).to_contain_text(f"9.5{NBSP}% to 90.5{NBSP}%")

    stage.score("river", 7, [7] * 9 + [1])

    expect(tile).to_contain_text(f"90.0{NBSP}%")
    expect(watch.page.locator("#digits tbody tr", has_text="River").locator("td").nth(7)).to_contain_text(f"90{NBSP}%")
    expect(watch.page.locator("#versions")).to_contain_text("mnist1")
    watch.page.get_by_role("radio", name="River").check()
    expect(watch.page.locator("#confusion tbody tr").nth(7).locator("td").nth(1)).to_have_text("1")
    expect(watch.page.locator("#chart .line")).to_have_count(1)


def test_a_rebuild_is_followed_step_by_step_with_its_log(stage: Stage, visit: Visits) -> None:
    watch = visit(f"{stage.url}/watch")
    expect(watch.page.locator("#training")).to_contain_text("Nothing is being rebuilt")
    for step, fraction, log in (("training", 0.4, ["[0] merror 0.12"]), ("gate", 0.9, ["[1] merror 0.08"])):
        stage.publish(
            TrainingAdvanced(
                model="xgboost",
                version="2",
                command_id="6f1b2c8e-6a0d-5c57-9d0e-2f6c1a5e7b11",
                step=step,
                fraction=fraction,
                log=log,
            )
        )
    job = watch.page.locator('.job[data-model="xgboost"]')
    expect(job.locator('[data-state="now"]')).to_have_text("gate")
    expect(job.locator(".log")).to_have_text("[0] merror 0.12\n[1] merror 0.08")
    stage.promote("2", note="passed: 99.0 % on MNIST")
    expect(watch.page.locator("#changes")).to_contain_text("XGBoost 2 now answers: passed: 99.0 % on MNIST")


def test_the_dashboard_comes_back_with_the_game(stage: Stage, visit: Visits) -> None:
    watch = visit(f"{stage.url}/watch", expected="WebSocket connection to")
    stage.vanish()
    expect(watch.page.locator('#connection[data-state="waiting"]')).to_be_visible()
    stage.score("river", 7, [7])
    stage.serve()
    expect(watch.page.locator('.tile[data-model="river"]')).to_contain_text("1 of 1")


def test_seven_guess_and_the_one_that_leads_is_large_and_first(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    for model in ("everyone", "xgboost", "tensorflow", "kmeans", "river", "yours"):
        expect(game.guess(model)).to_have_text("1")
    assert cards(game, "#lead") == ["everyone"]
    assert cards(game, "#cards") == ["xgboost", "tensorflow", "mxnet", "kmeans", "river", "yours"]
    expect(game.page.locator("#agreement")).to_have_text("5 of 5 see a 1")
    lead, other = (game.page.locator(f'article[data-model="{model}"]').bounding_box() for model in ("everyone", "river"))
    assert lead is not None
    assert other is not None
    assert lead["width"] > 2 * other["width"]


def test_whom_the_policy_or_a_bandit_puts_first_is_first_from_the_next_finished_drawing(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    stage.policy("river")
    expect(game.page.locator('#lead article[data-model="river"]')).to_be_visible()
    stage.policy("bandit")
    stage.lead = "kmeans"
    game.draw(ONE)
    expect(game.page.locator('#lead article[data-model="kmeans"][data-state="final"]')).to_be_visible()
    assert cards(game, "#cards") == ["everyone", "xgboost", "tensorflow", "mxnet", "river", "yours"]


def test_no_card_moves_while_guesses_stream_in(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.guess("yours")).to_have_text("1")
    game.page.keyboard.press("Escape")
    places = """[...document.querySelectorAll("article.guess")].map((card) => {
      const { x, y, width, height } = card.getBoundingClientRect();
      return [card.dataset.model, x, y, width, height].join(" ");
    })"""
    before = game.page.evaluate(places)
    stage.lead = "river"  # of previews, nobody moves for them
    box = game.page.locator("#pad").bounding_box()
    assert box is not None
    game.page.mouse.move(box["x"] + 100, box["y"] + 100)
    game.page.mouse.down()
    game.page.mouse.move(box["x"] + 300, box["y"] + 300, steps=10)
    for model in ("xgboost", "river", "yours"):
        expect(game.page.locator(f'article[data-model="{model}"][data-state="preview"] .digit')).to_have_text("1")
    assert game.page.evaluate(places) == before
    assert game.page.evaluate("scrollX + scrollY") == 0


def test_who_rests_says_why_and_comes_back(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    stage.misses["kmeans"] = (True, "3 failures in a row")
    stage.misses["tensorflow"] = (False, "no answer within 250 ms")
    game.draw(ONE)
    kmeans, tensorflow = (game.page.locator(f'article[data-model="{model}"]') for model in ("kmeans", "tensorflow"))
    expect(kmeans).to_have_attribute("data-state", "resting")
    expect(kmeans.locator(".note")).to_have_text("3 failures in a row")
    expect(tensorflow).to_have_attribute("data-state", "late")
    expect(tensorflow.locator(".note")).to_have_text("no answer within 250 ms")
    expect(game.page.locator('article[data-model="everyone"] .note')).to_have_text(
        "without K-Means (resting) and TensorFlow CNN (late)"
    )
    expect(game.page.locator("#spoken")).to_contain_text("no answer from TensorFlow CNN and K-Means")

    stage.misses.clear()
    game.page.keyboard.press("Escape")
    expect(kmeans).to_have_attribute("data-state", "empty")
    game.draw(ONE)
    expect(game.guess("kmeans")).to_have_text("1")
    expect(game.page.locator('article[data-model="everyone"] .note')).to_have_text("all models, together")


def test_who_cannot_be_here_says_why(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")
    mxnet = game.page.locator('article[data-model="mxnet"]')
    expect(mxnet).to_have_attribute("data-state", "unavailable")
    expect(mxnet.locator(".note")).to_have_text(NOT_HERE)

    stage.says["mxnet"] = 1
    stage.promote("base1", model="mxnet")
    game.page.keyboard.press("Escape")
    game.draw(ONE)
    expect(game.guess("mxnet")).to_have_text("1")


def test_every_page_says_in_plain_words_what_is_missing_and_nothing_while_all_is_well(stage: Stage, visit: Visits) -> None:
    stage.learns = False
    for path in ("/", "/watch", "/library", "/endpoints", "/costs"):
        banner = visit(stage.url + path).page.locator("p.health")
        expect(banner).to_have_text(
            "MXNet CNN does not guess at the moment."
            " The models do not learn at the moment: your corrections are saved, and will be learned later."
        )
        expect(banner).to_have_attribute("data-status", "degraded")

    stage.learns, stage.says["mxnet"] = True, 1
    stage.promote("base1", model="mxnet")
    expect(banner).to_be_hidden(timeout=15_000)


def test_a_canary_and_a_stand_in_are_marked(stage: Stage, visit: Visits) -> None:
    stage.told = {
        "xgboost": {"role": "canary", "version": "4"},
        "tensorflow": {"fallback": "version 3 failed its first calls", "version": "2"},
    }
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.page.locator('article[data-model="xgboost"] .badge')).to_have_text("early")
    expect(game.page.locator('article[data-model="xgboost"] .note')).to_have_text("you see version 4 early")
    expect(game.page.locator('article[data-model="tensorflow"] .note')).to_have_text(
        "version 2 stands in: version 3 failed its first calls"
    )


def test_players_own_model_tells_how_many_of_their_drawings_it_knows(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    note = game.page.locator('article[data-model="yours"] .note')
    game.draw(ONE)
    expect(game.guess("yours")).to_have_text("1")
    expect(note).to_have_text("as River, until your first answer")
    game.page.keyboard.press("7")
    expect(game.page.locator('#receipt .line[data-model="yours"]')).to_contain_text("knows 1 of your drawings")
    game.draw(ONE)
    expect(note).to_have_text("knows 1 drawing of yours")


def test_no_player_sees_a_shadow(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    expect(game.page.locator('article[data-model="tensorflow"]')).to_be_visible()
    stage.policy("everyone", tensorflow="shadow", kmeans="off")
    expect(game.page.locator('article[data-model="tensorflow"]')).to_have_count(0)
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")
    assert cards(game, "#cards") == ["xgboost", "mxnet", "river", "yours"]
    game.page.reload()
    expect(game.page.locator('article[data-model="river"]')).to_be_visible()
    assert cards(game, "#cards") == ["xgboost", "mxnet", "river", "yours"]


def test_the_library_shows_what_every_version_is_and_how_it_does(stage: Stage, visit: Visits) -> None:
    for version, approved in (("1", True), ("2", True), ("3", True), ("4", False)):
        stage.train(version, approved=approved)
    stage.promote("2", previous="1")
    stage.candidate("3", "canary", 0.1, watched=True)
    stage.candidate("4", "shadow", place=1)
    stage.endpoint("2", "1", "3", "4")
    stage.score("xgboost", 7, [7] * 9 + [1])
    stage.score("xgboost", 7, [7] * 4 + [1], version="3", shadow=True)
    library = visit(f"{stage.url}/library")

    versions = library.page.locator('.versions[data-model="xgboost"]')
    statuses = [versions.locator(f'.version[data-version="{version}"]').get_attribute("data-status") for version in "1234"]
    assert statuses == ["previous", "champion", "canary", "shadow"]
    beside = versions.locator(".candidates tbody tr")
    expect(beside).to_have_count(2)
    expect(beside.first).to_contain_text(f"canary 10{NBSP}%, watched")
    expect(beside.first).to_contain_text("an hour")
    expect(beside.last).to_contain_text("shadow")
    expect(versions.locator('.version[data-version="3"] summary')).to_contain_text(f"canary 10{NBSP}%")
    expect(versions.locator('.version[data-version="2"] [data-what="live"]')).to_contain_text(f"90.0{NBSP}%")
    expect(versions.locator('.version[data-version="2"] [data-what="live"]')).to_contain_text("n = 10")
    expect(versions.locator('.version[data-version="3"] [data-what="as shadow"]')).to_contain_text(f"80.0{NBSP}%")
    expect(library.page.locator('.versions[data-model="everyone"] .standing')).to_have_text("champion")
    expect(library.page.locator('.versions[data-model="mxnet"]')).to_contain_text(NOT_HERE)

    library.page.keyboard.press("Tab")
    versions.locator('.version[data-version="2"] summary').focus()
    library.page.keyboard.press("Enter")
    provenance = versions.locator('.version[data-version="2"] .provenance')
    expect(provenance).to_contain_text("model-package/gamenight-xgboost/2")
    expect(provenance).to_contain_text(f"MNIST accuracy 99.1{NBSP}%")
    expect(provenance).to_contain_text("seed 7")

    stage.candidate("3", "shadow")
    stage.policy("river")
    expect(versions.locator('.version[data-version="3"]')).to_have_attribute("data-status", "shadow")
    expect(library.page.locator('.versions[data-model="river"] .standing')).to_have_text("champion")
    expect(provenance).to_be_visible()  # what was opened stays open, and what was reached stays reached
    assert library.page.evaluate("document.activeElement.parentElement.dataset.version") == "2"


def test_the_endpoints_show_who_answers_at_what_price_and_who_is_not_here(stage: Stage, visit: Visits) -> None:
    stage.promote("2", previous="1")
    stage.candidate("3", "canary", 0.1)
    stage.endpoint("2", "1", "3")
    page = visit(f"{stage.url}/endpoints").page

    xgboost = page.locator('.endpoint[data-model="xgboost"]')
    expect(xgboost.locator(".status")).to_have_text("InService")
    expect(xgboost).to_contain_text("$0.345 an hour, $251.85 a month")
    expect(page.locator("#price")).to_contain_text("Here it runs on your machine")
    cells = [row.locator("th, td").all_inner_texts()[:5] for row in xgboost.locator("tbody tr").all()]
    assert cells == [
        ["v2", "2", "champion", "1", f"90{NBSP}%"],
        ["v1", "1", "previous", "0", f"0{NBSP}%"],
        ["v3", "3", "canary", "0", f"10{NBSP}%"],
    ]
    expect(xgboost.locator(".shares span")).to_have_text([f"2 · 90{NBSP}%", f"3 · 10{NBSP}%"])
    mxnet = page.locator('.endpoint[data-model="mxnet"]')
    expect(mxnet.locator(".status")).to_have_text("Unavailable")
    expect(mxnet).to_contain_text(NOT_HERE)

    stage.endpoint("2", "1", status="Updating")
    expect(xgboost.locator(".status")).to_have_text("Updating")
    expect(xgboost.locator("tbody tr")).to_have_count(2)


def test_a_name_that_is_too_long_to_type_is_copied_by_a_button(stage: Stage, visit: Visits) -> None:
    stage.endpoint("base1")
    console = visit(f"{stage.url}/endpoints", permissions=["clipboard-read", "clipboard-write"])
    console.page.get_by_role("button", name="Copy the ARN of gamenight-xgboost").click()
    expect(console.page.locator('.endpoint[data-model="xgboost"] .copy')).to_have_text("Copied")
    assert console.page.evaluate("navigator.clipboard.readText()").endswith(":endpoint/gamenight-xgboost")


def test_what_is_copied_says_so_though_its_card_is_drawn_anew_meanwhile(stage: Stage, visit: Visits) -> None:
    stage.endpoint("base1")
    page = visit(f"{stage.url}/endpoints").page
    button = page.get_by_role("button", name="Copy the ARN of gamenight-xgboost")
    expect(button).to_be_visible()
    page.evaluate("void (navigator.clipboard.writeText = () => new Promise((done) => (window.copied = done)))")
    page.evaluate(  # the moment in which it says so ends when the test says
        "() => { const later = setTimeout;"
        " window.setTimeout = (end, ms, ...given) => (ms === 1500 ? void (window.over = end) : later(end, ms, ...given)); }"
    )

    def drawn_anew(*versions: str) -> None:
        page.evaluate("document.querySelector('.endpoint[data-model=xgboost]').classList.add('old')")
        stage.endpoint(*versions)
        expect(page.locator(".endpoint.old")).to_have_count(0)

    button.click()
    drawn_anew("2", "base1")  # before the text is copied
    page.evaluate("window.copied()")
    expect(button).to_have_text("Copied")
    drawn_anew("base1")  # while that is said
    expect(button).to_have_text("Copied")
    page.evaluate("window.over()")
    expect(button).to_have_text("Copy")


def test_the_watch_page_marks_shadows_and_who_is_not_here(stage: Stage, visit: Visits) -> None:
    stage.score("xgboost", 7, [7, 7, 1])
    stage.score("xgboost", 7, [7, 7, 7], version="4", shadow=True)
    watch = visit(f"{stage.url}/watch")
    expect(watch.page.locator('#versions tr[data-version="4/shadow"]')).to_contain_text("shadow")
    expect(watch.page.locator('.tile[data-model="xgboost"]')).to_contain_text("2 of 3")
    expect(watch.page.locator(".tile")).to_have_count(7)
    expect(watch.page.locator('.tile[data-model="mxnet"] .badge')).to_have_text("unavailable")
    expect(watch.page.locator('.tile[data-model="mxnet"]')).to_contain_text(NOT_HERE)


@pytest.mark.parametrize("path", ["/", "/watch", "/library", "/endpoints", "/costs"])
def test_a_page_fits_a_phone_and_leads_to_the_others(stage: Stage, visit: Visits, path: str) -> None:
    stage.train("2")
    stage.train("3", approved=False)
    stage.endpoint("2", "base1")
    stage.score("river", 7, [7, 7, 1])
    phone = visit(f"{stage.url}{path}", **PHONE)
    expect(phone.page.locator(".card").first).to_be_visible()
    if path == "/costs":
        expect(phone.page.locator("[data-version]")).to_have_count(2)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["viewport"]["width"]
    assert phone.page.locator("nav a").all_inner_texts() == ["Play", "Watch", "Library", "Endpoints", "Costs"]
    expect(phone.page.locator("nav [aria-current]")).to_have_attribute("href", path)
    for link in phone.page.locator("nav a").all():
        expect(link).to_be_in_viewport(ratio=1)
        box = link.bounding_box()
        assert box is not None
        there = [box["x"] + box["width"] - 6, box["y"] + box["height"] / 2]
        on_top = "(link, [x, y]) => link.contains(document.elementFromPoint(x, y))"
        assert link.evaluate(on_top, there), "something lies on it"


def test_a_list_of_prices_that_cannot_be_read_is_told_on_the_page_of_costs_and_forgotten_once_it_can(
    stage: Stage, visit: Visits
) -> None:
    """It said to be offline."""
    costs = visit(f"{stage.url}/costs", expected="503")
    expect(costs.page.locator("#connection")).to_have_text("Live")
    why = "GAMENIGHT_PRICES: /x cannot be read"
    costs.page.route("**/api/costs", lambda route: route.fulfill(status=503, json={"detail": why}))
    expect(costs.page.locator("#stale")).to_have_text(why, timeout=15_000)
    expect(costs.page.locator("#connection")).to_have_text("Not answered, trying again")
    costs.page.unroute("**/api/costs")
    expect(costs.page.locator("#stale")).not_to_have_text(why, timeout=15_000)


def test_dark_mode_forced_colours_and_still_motion_are_honoured(stage: Stage, visit: Visits) -> None:
    light = visit(stage.url)
    dark = visit(stage.url, color_scheme="dark", reduced_motion="reduce")
    forced = visit(stage.url, forced_colors="active")
    background = "getComputedStyle(document.body).backgroundColor"
    assert light.page.evaluate(background) != dark.page.evaluate(background)
    moves = "getComputedStyle(document.querySelector('#free'), '::before').transitionDuration"
    assert (light.page.evaluate(moves), dark.page.evaluate(moves)) == ("0.14s", "0s")
    forced.draw(ONE)
    expect(forced.guess("river")).to_have_text("1")


def test_everything_that_can_be_pressed_is_reached_by_tab(stage: Stage, visit: Visits) -> None:
    game = visit(stage.url)
    game.draw(ONE)
    expect(game.guess("river")).to_have_text("1")
    reached = set()
    for _ in range(30):
        game.page.keyboard.press("Tab")
        reached.add(game.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"name", "another", "free", "pad", "clear", "confirm", "own", *"0123456789"} <= reached


def test_every_route_is_on_the_page_of_the_http_api_and_can_be_tried(stage: Stage, visit: Visits) -> None:
    docs = visit(f"{stage.url}/docs", live=False)
    document = json.loads(docs.page.request.get(f"{stage.url}/openapi.json").body())

    docs.page.locator(".opblock").first.wait_for()
    shown = {str(block.get_attribute("data-path")) for block in docs.page.locator(".opblock-summary-path").all()}
    assert shown == set(document["paths"])
    docs.page.locator("#operations-queries-healthz_healthz_get button").first.click()
    docs.page.get_by_role("button", name="Try it out").click()
    docs.page.get_by_role("button", name="Execute").click()
    expect(docs.page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text(re.compile("200|503"))
