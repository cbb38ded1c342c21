// @ts-check
/** The player's card: what their own model remembers, a file of it, a reset, a code for another device, and how to leave for good. */

import { copyable } from "../lib/copy.js";
import { h, say, svg, the } from "../lib/dom.js";
import { colour, shared } from "../lib/models.js";
import { uuid } from "../lib/uuid.js";
import { page } from "./elements.js";
import { PENDING, halves, headline, kept, reach, sentence, spelled, timeLeft, warning, words } from "./player_card_text.js";

/**
 * @typedef {import("../lib/protocol.js").MemoryCard} MemoryCard
 * @typedef {import("../lib/protocol.js").MemoryFile} MemoryFile
 * @typedef {import("../lib/protocol.js").SeatCode} SeatCode
 *
 * @typedef {object} Told What the rest of the page does for the card.
 * @property {(frame: object) => boolean} send Whether it went out.
 * @property {(reset: string) => boolean} reset Sends it until it is done; whether it went out at once.
 * @property {(code: string) => void} carry Goes on as the player of a code.
 */

/** After so long without an answer the card says so, in ms. */
const PATIENCE_MS = 6000;
const NO_ANSWER = "No answer yet: your own model may be away at the moment.";
const AWAY = "The game is away at the moment; try again when it is back.";

const dialog = the("player-card", HTMLDialogElement);
const code = the("carry-code", HTMLElement);
const exporting = the("own-export", HTMLButtonElement);
const forget = the("forget", HTMLButtonElement);
const forgetSure = the("forget-sure", HTMLElement);
const input = the("carry-input", HTMLInputElement);
const interval = the("own-interval", HTMLElement);
const lessons = the("own-lessons", HTMLElement);
const lift = the("own-lift", HTMLElement);
const liftName = the("own-lift-name", HTMLElement);
const reset = the("own-reset", HTMLButtonElement);
const sure = the("own-sure", HTMLElement);
const sureText = the("own-sure-text", HTMLElement);
const told = the("player-card-told", HTMLElement);
const text = the("own-words", HTMLElement);

export class PlayerCard {
  /** The newest one. @type {MemoryCard | null} */ #card = null;
  /** By what is asked for. @type {Map<"card" | "memory" | "code" | "reset", number>} */ #waiting = new Map();
  /** The reset that is on its way. @type {string | null} */ #reset = null;
  /** @type {number | undefined} */ #clock;
  #told;

  /** @param {Told} handlers */
  constructor(handlers) {
    this.#told = handlers;
    page.own.addEventListener("click", () => this.#open());
    page.come.addEventListener("click", () => {
      this.#open();
      input.focus();
    });
    the("player-card-close", HTMLButtonElement).addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    exporting.addEventListener("click", () => this.#ask("memory", { type: "card", whole: true }));
    reset.addEventListener("click", () => this.#ponder(sure.hidden));
    the("own-reset-no", HTMLButtonElement).addEventListener("click", () => this.#ponder(false));
    the("own-reset-yes", HTMLButtonElement).addEventListener("click", () => this.#forget());
    forget.addEventListener("click", () => this.#leave(forgetSure.hidden));
    the("forget-no", HTMLButtonElement).addEventListener("click", () => this.#leave(false));
    the("forget-yes", HTMLButtonElement).addEventListener("click", () => {
      this.#leave(false);
      forget.focus();
      if (this.#told.send({ type: "forget" })) this.#say("You are being forgotten …");
      else this.#fail(AWAY);
    });
    the("carry-ask", HTMLButtonElement).addEventListener("click", () => this.#ask("code", { type: "carry" }));
    the("carry-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter();
    });
  }

  /** Whether it is in front of the game. */
  get open() {
    return dialog.open;
  }

  #open() {
    if (dialog.open) return;
    this.#ponder(false);
    this.#leave(false);
    this.#say(this.#reset ? PENDING : "");
    this.#show();
    dialog.showModal();
    this.#ask("card", { type: "card" });
  }

  /** The page has joined, at first or again. @param {boolean} byCode Whether as the player of a code. */
  joined(byCode) {
    if (byCode) {
      this.#card = this.#reset = null;
      this.#settle("reset");
      this.#expire();
      input.value = "";
      this.#show();
    }
    if (!dialog.open) return;
    this.#ask("card", { type: "card" });
    if (byCode) this.#say("Done: this device plays on as you. Close the card and draw.");
  }

  /** What is remembered, asked for or not. @param {MemoryCard} card */
  heard(card) {
    this.#settle("card");
    this.#card = card;
    if (card.request_id === this.#reset) {
      this.#reset = null;
      this.#settle("reset");
      this.#say("Done: your model has forgotten what you had drawn.");
    }
    this.#show();
  }

  /** A file of what is remembered. @param {MemoryFile} file */
  save(file) {
    this.#settle("memory");
    const { name, text: whole } = kept(file);
    const address = URL.createObjectURL(new Blob([whole], { type: "application/json" }));
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), PATIENCE_MS);
    this.#say(`Saved as ${name}.`);
  }

  /** A code for another device. @param {SeatCode} frame */
  offer({ code: letters, valid_s: s }) {
    this.#settle("code");
    this.#expire();
    const until = performance.now() + s * 1000;
    const left = h("span", { class: "quiet small" });
    const shown = copyable(letters, halves(letters), "the code");
    code.replaceChildren(shown, left);
    code.hidden = false;
    const tick = () => {
      const ms = until - performance.now();
      say(left, timeLeft(ms));
      if (ms > 0) return;
      clearInterval(this.#clock);
      shown.remove();
    };
    this.#clock = setInterval(tick, 1000);
    tick();
    this.#say(`Enter it on your other device: ${[...letters].join(" ")}.`, true);
  }

  /** The server, or the page, could not do what was asked.
   * @param {string} message
   * @returns {string | null} What else is to say so; null: the card does.
   */
  failed(message) {
    if (!dialog.open) return this.#honest(message);
    for (const what of [...this.#waiting.keys()]) this.#settle(what);
    this.#fail(sentence(message));
    return null;
  }

  /** @param {"card" | "memory" | "code"} what @param {object} frame */
  #ask(what, frame) {
    this.#settle(what);
    if (what !== "card") this.#say("");
    if (!this.#told.send(frame)) {
      this.#fail(AWAY);
      return;
    }
    this.#waiting.set(what, setTimeout(() => this.#fail(NO_ANSWER), PATIENCE_MS));
  }

  /** @param {"card" | "memory" | "code" | "reset"} what */
  #settle(what) {
    clearTimeout(this.#waiting.get(what));
    this.#waiting.delete(what);
  }

  /** Ask whether the player is sure, or not any more. @param {boolean} asking */
  #ponder(asking) {
    say(sureText, warning(shared()));
    sure.hidden = !asking;
    reset.setAttribute("aria-expanded", String(asking));
    if (asking) sure.scrollIntoView({ block: "nearest" });
  }

  /** Ask whether the player is sure to leave, or not any more. @param {boolean} asking */
  #leave(asking) {
    forgetSure.hidden = !asking;
    forget.setAttribute("aria-expanded", String(asking));
    if (asking) forgetSure.scrollIntoView({ block: "nearest" });
  }

  #forget() {
    this.#ponder(false);
    reset.focus();
    this.#settle("reset");
    this.#reset = uuid();
    if (!this.#told.reset(this.#reset)) {
      this.#fail("The game is away at the moment.");
      return;
    }
    this.#say("Your model is forgetting …");
    this.#waiting.set("reset", setTimeout(() => this.#fail(NO_ANSWER), PATIENCE_MS));
  }

  #enter() {
    const { code: letters, why } = spelled(input.value);
    if (why) {
      this.#fail(why);
      input.focus();
      return;
    }
    this.#say("Looking at the code …");
    this.#told.carry(letters);
  }

  /** No code is shown any more. */
  #expire() {
    clearInterval(this.#clock);
    code.hidden = true;
    code.replaceChildren();
  }

  #show() {
    const card = this.#card;
    say(lessons, card ? String(card.lessons) : "–");
    const { value, of } = headline(card?.lift ?? null);
    say(lift, value);
    say(liftName, of);
    say(text, card ? words(card, shared()).join(" ") : "Asking your model …");
    interval.replaceChildren(...(card && card.lift !== null && card.low !== null && card.high !== null ? [liftBar(card.lift, card.low, card.high)] : []));
    exporting.disabled = reset.disabled = card?.lessons === 0;
    if (card?.lessons === 0) this.#ponder(false);
  }

  /** @param {string} message @param {boolean} [spokenOnly] Whether what it says is to be seen elsewhere. */
  #say(message, spokenOnly = false) {
    say(told, message);
    told.dataset.state = spokenOnly ? "spoken" : "said";
  }

  /** @param {string} message */
  #fail(message) {
    say(told, this.#honest(message));
    told.dataset.state = "failed";
    told.scrollIntoView({ block: "nearest" });
  }

  /** A failure, and that a reset is not undone by it: the page goes on to send it. @param {string} message */
  #honest(message) {
    return this.#reset ? `${sentence(message)} ${PENDING}` : message;
  }

  /** Give the card the colour of the player's own model. @param {string} model */
  wear(model) {
    for (const [name, value] of Object.entries(colour(model))) {
      if (name.startsWith("--")) dialog.style.setProperty(name, String(value));
      else dialog.setAttribute(name, String(value));
    }
  }
}

/** The lift with its interval, on an axis whose middle is nought. @param {number} lift @param {number} low @param {number} high */
function liftBar(lift, low, high) {
  const side = reach(low, high);
  /** @param {number} value */
  const x = (value) => `${(50 + (value / side) * 48).toFixed(2)}%`;
  const edge = Math.round(side * 100);
  return h(
    "div",
    { class: "lift-bar", "aria-hidden": "true" },
    svg(
      "svg",
      { class: "interval-bar" },
      svg("line", { class: "axis", x1: x(-side), x2: x(side), y1: 8, y2: 8 }),
      svg("line", { class: "nought", x1: x(0), x2: x(0), y1: 0, y2: 16 }),
      svg("line", { class: "interval", x1: x(low), x2: x(high), y1: 8, y2: 8 }),
      svg("circle", { cx: x(lift), cy: 8, r: 5 }),
    ),
    h("p", { class: "quiet small" }, h("span", {}, `${edge} worse`), h("span", {}, "equal"), h("span", {}, `${edge} better`)),
  );
}
