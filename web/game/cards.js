// @ts-check
/** What each model says, as a card: its guess, a bar for each digit, who it is, how it has done in this visit. */

import { h, say } from "../lib/dom.js";
import { duration, percent } from "../lib/format.js";
import { hue, short } from "../lib/models.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("./rounds.js").Tally} Tally
 */

export class Card {
  #digit = h("output", { class: "digit" }, "?");
  #confidence = h("span", { class: "confidence" });
  #title = h("h3");
  #version = h("span", { class: "version quiet small" });
  #latency = h("span", { class: "latency quiet small" });
  #tally = h("p", { class: "tally small" });
  /** The version that would answer now. */
  #answering = "";
  #bars = Array.from({ length: 10 }, (_, digit) => bar(digit));
  element;

  /** @param {string} model */
  constructor(model) {
    const bars = h("div", { class: "bars", "aria-hidden": "true" }, ...this.#bars.map(({ column }) => column));
    this.element = h(
      "article",
      { class: "card guess", "data-hue": hue(model), "data-model": model, "data-state": "empty" },
      h("header", {}, this.#title, this.#version, this.#latency),
      h("div", { class: "answer" }, this.#digit, this.#confidence),
      bars,
      this.#tally,
    );
  }

  /** @param {Model} model */
  name(model) {
    say(this.#title, short(model, model.model));
    this.#title.title = model.title;
    this.#answering = model.version;
    if (this.element.dataset.state === "empty") this.#by(model.version, null);
  }

  /** Whose answer is shown. @param {string} version @param {string | null | undefined} fallback */
  #by(version, fallback) {
    say(this.#version, version);
    this.#version.title = fallback ? `version ${version}: ${fallback}` : `version ${version}`;
  }

  /** @param {Guess} guess @param {boolean} final Whether it is on the finished drawing. */
  show(guess, final) {
    this.element.dataset.state = final ? "final" : "preview";
    say(this.#digit, String(guess.label));
    say(this.#confidence, percent(guess.confidence));
    say(this.#latency, guess.hops.total === undefined ? "" : duration(guess.hops.total));
    this.#by(guess.version, guess.fallback);
    guess.probabilities.forEach((p, digit) => {
      const { column, number } = this.#bars[digit];
      column.style.setProperty("--share", p.toFixed(4));
      column.classList.toggle("best", digit === guess.label);
      say(number, p >= 0.005 ? String(Math.round(p * 100)) : "");
    });
  }

  /** The drawing is gone, or was finished and is being asked about. */
  wait() {
    if (this.element.dataset.state !== "empty") this.element.dataset.state = "preview";
  }

  clear() {
    this.element.dataset.state = "empty";
    say(this.#digit, "?");
    say(this.#confidence, "");
    say(this.#latency, "");
    this.#by(this.#answering, null);
    for (const { column, number } of this.#bars) {
      column.style.setProperty("--share", "0");
      column.classList.remove("best");
      say(number, "");
    }
    this.judge(null, null);
  }

  /** Whether its guess was right, once the player has said what it is.
   * @param {number | null} label
   * @param {Guess | undefined | null} guess
   */
  judge(label, guess) {
    this.element.dataset.verdict = label === null || !guess ? "" : guess.label === label ? "right" : "wrong";
    this.#bars.forEach(({ column }, digit) => column.classList.toggle("meant", digit === label));
  }

  /** @param {Tally} tally */
  count({ n, right, streak }) {
    const row = streak > 1 ? ` · ${streak} in a row` : "";
    say(this.#tally, n === 0 ? "no verdict yet" : `${right} of ${n} right, ${percent(right / n)}${row}`);
  }
}

/** @param {number} digit */
function bar(digit) {
  const number = h("span", { class: "number" });
  const column = h("div", { class: "bar" }, number, h("div", { class: "track" }, h("div", { class: "fill" })), String(digit));
  return { column, number };
}
