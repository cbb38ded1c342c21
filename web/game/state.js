// @ts-check
/** What the game's page knows: the models, the drawings of this visit, and what is on its way. */

import { Lead } from "./guessers.js";
import { Outbox } from "./outbox.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("./rounds.js").Round} Round
 */

export class State {
  /** By name. @type {Map<string, Model>} */
  models = new Map();
  /** Finished drawings, in the order drawn. @type {Round[]} */
  rounds = [];
  /** The finished drawing that is on the pad; null: it is not finished. @type {Round | null} */
  current = null;
  /** The digit that the player is asked to draw, as the page shows it; null: any. @type {number | null} */
  asked = null;
  /** The digit that the server asks for; null: it has not said yet. @type {number | null} */
  next = null;
  /** Whether the server's next question is to be shown at once. */
  due = true;
  joined = false;
  /** What the server has not answered for. */
  outbox = new Outbox();
  /** Which model is shown first. */
  lead = new Lead();
  /** Previews on their way, by id: the number tells which is newer. @type {Map<string, number>} */
  previews = new Map();
  /** The newest preview that a model has answered, and its answer. @type {Map<string, {number: number, guess: Guess}>} */
  answered = new Map();

  /** Another player is here: nothing of the one before is left. */
  begin() {
    this.rounds.length = 0;
    this.current = null;
    this.outbox.clear();
    this.previews.clear();
    this.answered.clear();
  }
}
