// @ts-check
/** What the server's frames change: the state, and what is shown of it. */

import { say } from "../lib/dom.js";
import { know, short } from "../lib/models.js";
import { forget, remember } from "../lib/store.js";
import { page } from "./elements.js";
import { merged } from "./receipts.js";
import { toast } from "./toasts.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").PlayFrame} PlayFrame
 * @typedef {import("../lib/protocol.js").Receipt} Receipt
 * @typedef {import("./pad.js").Pad} Pad
 * @typedef {import("./player_card.js").PlayerCard} PlayerCard
 * @typedef {import("./state.js").State} State
 * @typedef {import("./view.js").View} View
 */

/** Errors that pass: the frame stays in the outbox. */
const PASSING = new Set(["unavailable", "too_fast", "busy", "not_joined"]);

export class Receiver {
  #state;
  #view;
  #pad;
  #card;
  #told;

  /**
   * @param {State} state
   * @param {View} view
   * @param {Pad} pad
   * @param {PlayerCard} card
   * @param {{joined: () => void, refused: (error: string) => void, question: (digit: number) => void, check: (drawing: string) => void}} told
   *   `joined` is told when this player has joined, `refused` why not, `question` what to draw next, `check` that chance has
   *   picked a drawing.
   */
  constructor(state, view, pad, card, told) {
    this.#state = state;
    this.#view = view;
    this.#pad = pad;
    this.#card = card;
    this.#told = told;
  }

  /** @param {PlayFrame} frame */
  receive(frame) {
    switch (frame.type) {
      case "joined":
        this.#state.joined = true;
        remember("seat", frame.seat);
        this.#state.lead.obey(frame.models);
        this.#state.models.clear();
        know(frame.models);
        for (const model of frame.models) {
          this.#state.models.set(model.model, model);
          if (model.kind === "personal") this.#card.wear(model.model);
        }
        this.#view.showModels();
        page.connection.dataset.state = "live";
        say(page.connection, "Live");
        this.#told.joined();
        this.#view.showStatus();
        return;
      case "saved":
        this.#kept(frame.drawing_id);
        return;
      case "question":
        this.#told.question(frame.digit);
        return;
      case "check":
        this.#told.check(frame.drawing_id);
        return;
      case "guess":
        this.#guessed(frame);
        return;
      case "missed":
        this.#missed(frame);
        return;
      case "receipt":
        this.#received(frame);
        return;
      case "card":
        this.#remembered(frame);
        return;
      case "memory":
        this.#card.save(frame);
        return;
      case "code":
        this.#card.offer(frame);
        return;
      case "model":
        this.#changed(frame);
        return;
      case "room":
        say(page.room, frame.players.length > 1 ? `${frame.room}: ${frame.players.join(", ")}` : frame.room);
        return;
      case "forgotten":
        for (const key of ["seat", "name"]) forget(key);
        remember("gone", "yes"); // the page says so when it is back
        location.reload();
        return;
      case "error":
        this.#failed(frame);
        return;
      default:
        throw new Error(`the server sent a frame that this page does not know: ${/** @type {any} */ (frame).type}`);
    }
  }

  /** @param {string} drawing */
  #kept(drawing) {
    this.#state.outbox.settle(drawing);
    for (const one of this.#state.rounds) one.saved ||= one.id === drawing;
    this.#view.showStatus();
  }

  /** @param {Guess} guess */
  #guessed(guess) {
    const one = this.#state.rounds.find(({ id }) => id === guess.drawing_id);
    const number = this.#state.previews.get(guess.drawing_id);
    if (!one && (number === undefined || this.#state.current || this.#pad.empty || number < (this.#state.answered.get(guess.model)?.number ?? 0))) return;
    const known = this.#state.models.get(guess.model);
    const { model } = guess;
    const version = known && (guess.fallback || guess.role === "canary") ? known.version : guess.version;
    this.#state.models.set(model, { title: model, ...known, model, version });
    if (one) {
      one.guesses.set(model, guess);
      one.missed.delete(model);
    } else {
      this.#state.answered.set(model, { number: /** @type {number} */ (number), guess });
    }
    const here = one === this.#state.current || !one;
    if ((here && this.#state.lead.hear(guess)) || !this.#view.hasCard(model)) this.#view.showModels();
    else if (here) this.#view.showCard(model);
    if (!one) return;
    if (one === this.#state.current) {
      this.#view.showAnswers();
      this.#view.speakSoon(one);
    }
    if (one.label !== null) this.#view.showPast();
  }

  /** @param {import("../lib/protocol.js").Missed} missed */
  #missed(missed) {
    const one = this.#state.rounds.find(({ id }) => id === missed.drawing_id);
    if (!one || one.guesses.has(missed.model)) return;
    one.missed.set(missed.model, missed);
    if (one !== this.#state.current) return;
    this.#view.showCard(missed.model);
    this.#view.showAnswers();
    this.#view.speakSoon(one);
  }

  /** @param {Receipt} receipt */
  #received(receipt) {
    this.#state.outbox.settle(receipt.correction_id);
    if (receipt.outcome === "superseded" || receipt.outcome === "refused") this.#state.outbox.settle(`withdraw ${receipt.correction_id}`);
    for (const [model, { version_after: version }] of Object.entries(receipt.models)) {
      const known = this.#state.models.get(model);
      if (known?.kind === "online" || known?.kind === "personal") this.#state.models.set(model, { ...known, version });
    }
    const one = this.#state.rounds.find(({ correction }) => correction === receipt.correction_id);
    if (!one || one.label === null) return;
    one.receipt = merged(one.receipt, receipt);
    if (one === this.#state.current) this.#view.showReceipt();
  }

  /** @param {import("../lib/protocol.js").MemoryCard} card */
  #remembered(card) {
    this.#state.outbox.settle(card.request_id);
    for (const [name, model] of this.#state.models) {
      if (model.kind === "personal") this.#state.models.set(name, { ...model, version: card.version });
    }
    this.#view.showCards();
    this.#card.heard(card);
  }

  /** @param {import("../lib/protocol.js").ModelChanged} change */
  #changed({ type, event, note, ...model }) {
    know([model]);
    const known = this.#state.models.get(model.model);
    const name = short({ ...known, ...model }, model.model);
    const version = event === "published" ? (known?.version ?? null) : (model.version ?? known?.version ?? null);
    this.#state.models.set(model.model, { ...known, ...model, version });
    if (event === "policy" && model.lead) this.#state.lead.obey([model]);
    this.#view.showModels();
    if (model.part && model.part !== "shown") return;
    if (event === "published") toast(`${name} ${model.version} was trained${note ? `: ${note}` : ""}`, model.model);
    if (event === "promoted") toast(`${name} ${model.version} now answers`, model.model);
    if (event === "rolled-back") toast(`${name} is back at version ${model.version}`, model.model);
  }

  /** @param {import("../lib/protocol.js").Failure} failure */
  #failed({ code, message, drawing_id: drawing }) {
    if (!this.#state.joined) this.#told.refused(code);
    if (drawing && this.#state.previews.has(drawing)) return;
    if (drawing && !PASSING.has(code)) this.#state.outbox.drop(drawing);
    const untold = drawing ? message : this.#card.failed(message);
    if (untold !== null) toast(untold, null);
    this.#view.showStatus();
  }
}
