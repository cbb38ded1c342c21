// @ts-check
/** What the game's page shows: the cards of the models, the answers, what a correction did, and the drawings of before. */

import { h, say, svg } from "../lib/dom.js";
import { byPlace, colour, kindOf, short } from "../lib/models.js";
import { Card } from "./cards.js";
import { canvas, digits, page, paper } from "./elements.js";
import { agreement, cardState, listed } from "./guessers.js";
import { lines, summary } from "./receipts.js";
import { expected, favourite, reply, tally } from "./rounds.js";
import { path } from "./strokes.js";

/**
 * @typedef {import("./pad.js").Pad} Pad
 * @typedef {import("./rounds.js").Round} Round
 * @typedef {import("./state.js").State} State
 */

const SPEAK_AFTER_MS = 600;
const PAST = 24;

export class View {
  /** @type {Map<string, Card>} */ #cards = new Map();
  /** @type {number | undefined} */ #speakTimer;
  #state;
  #pad;

  /** @param {State} state @param {Pad} pad */
  constructor(state, pad) {
    this.#state = state;
    this.#pad = pad;
  }

  /** Those who guess are others, or another one is shown first: the one card changes its place, the rest keep their order. */
  showModels() {
    const shown = [...this.#state.models.values()].filter(({ part }) => part === undefined || part === "shown").map(({ model }) => model).sort(byPlace);
    const own = shown.find((model) => kindOf(model) === "personal");
    if (own === undefined) page.others.append(page.own);
    for (const [model, card] of this.#cards) {
      if (shown.includes(model)) continue;
      card.element.remove();
      this.#cards.delete(model);
    }
    for (const model of shown) {
      if (!this.#cards.has(model)) {
        const card = new Card(model);
        card.count(tally(this.#state.rounds, model));
        this.#cards.set(model, card);
      }
      if (model === own) /** @type {Card} */ (this.#cards.get(model)).hold(page.own);
      this.showCard(model);
    }
    const first = this.#state.lead.of(shown);
    this.#place(page.lead, shown.filter((model) => model === first));
    this.#place(page.cards, shown.filter((model) => model !== first));
    this.showAnswers();
  }

  /** Put cards in their place, those that are there already are left alone. @param {HTMLElement} where @param {string[]} names */
  #place(where, names) {
    names.forEach((model, i) => {
      const { element } = /** @type {Card} */ (this.#cards.get(model));
      if (where.children[i] !== element) where.insertBefore(element, where.children[i] ?? null);
    });
  }

  /** @param {string} model */
  showCard(model) {
    const card = this.#cards.get(model);
    const known = this.#state.models.get(model);
    if (!card || !known) return;
    const guess = this.#state.current ? this.#state.current.guesses.get(model) : this.#state.answered.get(model)?.guess;
    card.name(known);
    card.show(cardState(known, guess, this.#state.current?.missed.get(model), this.#state.current !== null, this.named), guess);
    card.judge(this.#state.current?.label ?? null, this.#state.current ? guess : undefined);
  }

  showCards() {
    for (const model of this.#cards.keys()) this.showCard(model);
  }

  /** A model's short name. @param {string} model */
  named = (model) => short(this.#state.models.get(model), model);

  /** @param {string} model */
  hasCard(model) {
    return this.#cards.has(model);
  }

  showPaper() {
    paper.dataset.state = this.#pad.empty ? "empty" : this.#state.current?.label === null || !this.#state.current ? "drawing" : "answered";
  }

  showAnswers() {
    const ready = !this.#pad.empty;
    const label = this.#state.current?.label ?? null;
    const likely = this.#state.current ? expected(this.#state.current) : null;
    const text = !this.#state.current ? "Done" : label !== null ? `It is a ${label}` : likely === null || !this.#state.current ? "…" : reply(likely, favourite(this.#state.current.guesses.values()));
    say(/** @type {Element} */ (page.confirm.firstChild), text);
    page.confirm.disabled = !ready || (this.#state.current !== null && (label !== null || likely === null));
    for (const [digit, { button, votes }] of digits.entries()) {
      button.disabled = !ready;
      button.setAttribute("aria-pressed", String(label === digit));
      const voters = [...(this.#state.current?.guesses.values() ?? [])].filter((guess) => guess.label === digit && kindOf(guess.model) !== "blend");
      votes.replaceChildren(...voters.map(({ model }) => model).sort(byPlace).map((model) => h("i", { ...colour(model) })));
    }
    const seen = this.#state.current ? favourite(this.#state.current.guesses.values()) : null;
    page.check.hidden = !this.#state.current?.check || label !== null || seen === null;
    if (!page.check.hidden) {
      say(page.checkText, `Was ${seen} right? If not, press the digit that it is.`);
      say(page.checkYes, `Yes, a ${seen}`);
    }
    const agreed = this.#state.current ? agreement([...this.#state.current.guesses.values()]) : null;
    const picked = this.#state.models.size > 0 && [...this.#state.models.values()].every((model) => model.lead === false);
    const told = [agreed ? `${agreed.n} of ${agreed.of} see a ${agreed.digit}` : "", picked ? "shown first: the model that your answers favour" : ""];
    say(page.agreement, told.filter(Boolean).join(" · "));
    const focused = document.activeElement;
    if (focused instanceof HTMLButtonElement && focused.disabled) canvas.focus({ preventScroll: true });
  }

  showStatus() {
    if (!this.#state.joined && !this.#state.outbox.empty) say(page.status, "Not sent yet: it will be sent when the game is back");
    else if (!this.#state.current) say(page.status, "");
    else say(page.status, this.#state.current.saved ? "Saved" : this.#state.outbox.empty ? "Not saved" : "Sending …");
  }

  showReceipt() {
    const one = this.#state.current;
    page.receipt.hidden = !one || one.label === null;
    if (!one || one.label === null) return;
    const { label, receipt } = one;
    say(page.receiptTitle, `What your answer, ${label}, did`);
    if (!receipt) {
      page.receiptLines.replaceChildren(h("p", { class: "quiet" }, "The models are being told …"));
      return;
    }
    const told = lines(receipt, this.named).map((line) => {
      const before = h("i", { class: "before" });
      const after = h("i", { class: "after" });
      const change = h("div", { class: "change", "aria-hidden": "true" }, after, before);
      change.style.setProperty("--before", String(line.before));
      change.style.setProperty("--after", String(line.after));
      const note = h("p", { class: "note quiet small" }, line.note);
      const kind = line.learned ? "line learned" : "line";
      return h("div", { class: kind, ...colour(line.model), "data-model": line.model }, h("p", {}, line.text), change, note);
    });
    const whole = receipt.outcome === "learned" ? [] : [h("p", {}, summary(receipt))];
    page.receiptLines.replaceChildren(...whole, ...told);
  }

  showPast() {
    for (const [model, card] of this.#cards) card.count(tally(this.#state.rounds, model));
    const labelled = this.#state.rounds.filter(({ label }) => label !== null);
    page.pastSection.hidden = labelled.length === 0;
    page.past.replaceChildren(...labelled.slice(-PAST).reverse().map((one) => this.#pastDrawing(one)));
  }

  /** @param {Round} one */
  #pastDrawing({ strokes, label, guesses }) {
    const all = [...guesses.values()].sort((a, b) => byPlace(a.model, b.model));
    const marks = all.map((guess) => h("i", { ...colour(guess.model), "data-right": guess.label === label, title: `${this.named(guess.model)}: ${guess.label}` }));
    const told = all.map((guess) => `${this.named(guess.model)} said ${guess.label}`).join(", ");
    const picture = svg("svg", { viewBox: "0 0 60 60", role: "img", "aria-label": `A ${label}; ${told}` });
    picture.append(svg("path", { d: path(strokes, 60, 8) }));
    const right = all.filter((guess) => guess.label === label).length;
    return h("li", {}, picture, h("div", { class: "marks", "aria-hidden": "true" }, ...marks), h("span", { class: "quiet", "aria-hidden": "true" }, `${right} of ${all.length}`));
  }

  /** Tell screen readers once, when the models have answered: what the one that is shown first says, and how many agree.
   * @param {Round} one
   */
  speakSoon(one) {
    clearTimeout(this.#speakTimer);
    this.#speakTimer = setTimeout(() => {
      const first = this.#state.lead.of([...this.#cards.keys()].sort(byPlace));
      const guess = first ? one.guesses.get(first) : undefined;
      const others = [...one.guesses.values()].filter(({ model }) => model !== first && kindOf(model) !== "blend");
      const agree = others.filter(({ label }) => label === guess?.label).length;
      const absent = [...one.missed.keys()].sort(byPlace).map(this.named);
      say(page.spoken, [
        guess ? `${this.named(guess.model)}: ${guess.label}, ${Math.round(guess.confidence * 100)} per cent` : "",
        guess && others.length ? `${agree} of ${others.length} others agree` : "",
        absent.length ? `no answer from ${listed(absent)}` : "",
      ].filter(Boolean).join("; "));
    }, SPEAK_AFTER_MS);
  }

  /** The finished drawing is no longer the one on the pad. */
  leave() {
    clearTimeout(this.#speakTimer);
    page.receipt.hidden = true;
    this.showStatus();
  }
}
