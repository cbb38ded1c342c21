// @ts-check
/** What each model says, as a card: its guess, a bar for each digit, who it is, how it stands, how it has done in this visit. */

import { h, say } from "../lib/dom.js";
import { duration, percent } from "../lib/format.js";
import { colour, short } from "../lib/models.js";
import { shownVersion } from "./guessers.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("./guessers.js").CardState} CardState
 * @typedef {import("./rounds.js").Tally} Tally
 */

/** A model's card. Its elements are built once, so that guesses many times a second move nothing but bars. */
export class Card {
  #digit = h("output", { class: "digit", "aria-live": "off" }, "?");
  #confidence = h("span", { class: "confidence" });
  #level = h("div", { class: "level", "aria-hidden": "true" }, h("i"));
  #title = h("h3");
  #version = h("span", { class: "version quiet small" });
  #latency = h("span", { class: "latency quiet small" });
  #mark = h("span", { class: "badge" });
  #note = h("p", { class: "note small" });
  #verdict = h("span");
  #verdictWord = h("span", { class: "word" });
  #count = h("span");
  #right = h("span", { class: "word" }, " right");
  #more = h("span", { class: "more" });
  #tally = h("p", { class: "tally small" }, h("b", {}, this.#verdict, this.#verdictWord), this.#count, this.#right, this.#more);
  /** Whether an answer is to be seen. */
  #showing = false;
  #bars = Array.from({ length: 10 }, (_, digit) => bar(digit));
  #header = h("header", {}, this.#title, this.#version, this.#mark);
  element;

  /** @param {string} model */
  constructor(model) {
    const bars = h("div", { class: "bars", "aria-hidden": "true" }, ...this.#bars.map(({ column }) => column));
    this.element = h(
      "article",
      { class: "card guess", ...colour(model), "data-model": model, "data-state": "empty" },
      this.#header,
      h("div", { class: "answer" }, this.#digit, this.#confidence, this.#latency, this.#level),
      bars,
      this.#tally,
      this.#note,
    );
  }

  /** @param {Model} model */
  name(model) {
    say(this.#title, short(model, model.model));
    this.#title.title = model.title;
    this.#by(model.model, model.version);
  }

  /** @param {string} model @param {string | null} version */
  #by(model, version) {
    say(this.#version, shownVersion(model, version));
    this.#version.title = version === null ? "" : `version ${version}`;
  }

  /** Keep a button in the card, beside its name. @param {HTMLElement} button */
  hold(button) {
    if (button.parentElement !== this.#header) this.#header.append(button);
  }

  /** How it stands to the drawing on the pad, and its guess if it has one.
   * @param {CardState} state
   * @param {Guess | undefined} guess
   */
  show({ state, mark, note }, guess) {
    this.element.dataset.state = state;
    say(this.#mark, mark);
    this.#mark.hidden = mark === "";
    say(this.#note, note);
    this.#note.title = note;
    const answered = guess && (state === "final" || state === "preview");
    if (state === "waiting" && this.#showing) return; // what it said of a part stays, dimmed, until it has seen the whole
    this.#showing = Boolean(answered);
    say(this.#digit, answered ? String(guess.label) : state === "waiting" ? "…" : state === "empty" ? "?" : "–");
    say(this.#confidence, answered ? percent(guess.confidence) : "");
    this.#level.style.setProperty("--share", answered ? guess.confidence.toFixed(4) : "0");
    say(this.#latency, answered && guess.hops.total !== undefined ? duration(guess.hops.total) : "");
    if (answered) this.#by(guess.model, guess.version);
    this.#bars.forEach(({ column, number }, digit) => {
      const p = answered ? guess.probabilities[digit] : 0;
      column.style.setProperty("--share", p.toFixed(4));
      column.classList.toggle("best", Boolean(answered) && digit === guess?.label);
      say(number, p >= 0.005 ? String(Math.round(p * 100)) : "");
    });
  }

  /** Whether its guess was right, once the player has said what it is.
   * @param {number | null} label
   * @param {Guess | undefined} guess
   */
  judge(label, guess) {
    const verdict = label === null || !guess ? "" : guess.label === label ? "right" : "wrong";
    this.element.dataset.verdict = verdict;
    say(this.#verdict, { right: "✓", wrong: "✗", "": "" }[verdict]);
    say(this.#verdictWord, verdict && ` ${verdict}`);
    this.#bars.forEach(({ column }, digit) => column.classList.toggle("meant", digit === label));
  }

  /** @param {Tally} tally */
  count({ n, right, streak }) {
    say(this.#count, n === 0 ? "no verdict yet" : `${right} of ${n}`);
    this.#right.hidden = n === 0;
    this.#tally.dataset.n = String(n);
    say(this.#more, n === 0 ? "" : `, ${percent(right / n)}${streak > 1 ? ` · ${streak} in a row` : ""}`);
  }
}

/** @param {number} digit */
function bar(digit) {
  const number = h("span", { class: "number" });
  const column = h("div", { class: "bar" }, number, h("div", { class: "track" }, h("div", { class: "fill" })), h("span", { class: "which" }, String(digit)));
  return { column, number };
}
