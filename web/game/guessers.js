// @ts-check
/** What there is to say of a guesser at this moment: has it answered, does it rest, whose version is it. Pure. */

import { plural } from "../lib/format.js";
import { kindOf, shared } from "../lib/models.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").Missed} Missed
 * @typedef {import("../lib/protocol.js").Model} Model
 *
 * @typedef {"empty" | "waiting" | "preview" | "final" | "late" | "resting" | "unavailable"} State
 * @typedef {object} CardState
 * @property {State} state
 * @property {string} mark A badge beside the name; empty: nothing is unusual.
 * @property {string} note A sentence; empty: nothing to add.
 */

/** How a guesser stands to the drawing on the pad.
 * @param {Model} model
 * @param {Guess | undefined} guess Its answer, to the finished drawing or to a part of it.
 * @param {Missed | undefined} missed What was said of its not answering the finished drawing.
 * @param {boolean} finished Whether the drawing on the pad is finished.
 * @param {(model: string) => string} name What a model is called.
 * @returns {CardState}
 */
export function cardState(model, guess, missed, finished, name) {
  if (guess && guess.final === finished && (finished || !model.resting)) {
    return { state: finished ? "final" : "preview", mark: mark(guess), note: noted(model, guess, name) };
  }
  if (model.unavailable) return { state: "unavailable", mark: "unavailable", note: model.unavailable };
  if (missed?.resting) return { state: "resting", mark: "resting", note: missed.why };
  if (missed) return { state: "late", mark: "late", note: missed.why };
  if (model.resting) return { state: "resting", mark: "resting", note: model.resting };
  return { state: finished ? "waiting" : "empty", mark: "", note: known(model.model, model.version) };
}

/** @param {Guess} guess */
function mark({ role, fallback }) {
  if (fallback) return "stand-in";
  return role === "canary" ? "early" : "";
}

/** @param {Model} model @param {Guess} guess @param {(model: string) => string} name */
function noted({ model }, { version, role, fallback, final, left_out: missing = {} }, name) {
  const told = Object.entries(missing).filter(([, why]) => final || why !== "late"); // many times a second, that would flicker
  const without = told.map(([each, why]) => `${name(each)} (${why})`);
  if (without.length > 0) return `without ${listed(without)}`;
  if (fallback) return `version ${version} stands in: ${fallback}`;
  if (role === "canary") return `you see version ${version} early`;
  return known(model, version);
}

/** What the player's own model and the blend stand on: their versions would tell a player nothing. @param {string} model @param {string | null} version */
function known(model, version) {
  const kind = kindOf(model);
  if (kind === "blend") return "all models, together";
  if (kind !== "personal") return "";
  if (version === null) return `${shared()}, and what you teach it`;
  const drawings = lessons(version);
  return drawings === 0 ? `as ${shared()}, until your first answer` : `knows ${plural(drawings, "drawing")} of yours`;
}

/** How many lessons an online model's version has behind it: of "own2+12" twelve.
 * @param {string} version
 * @returns {number}
 */
export function lessons(version) {
  return Number.parseInt(version.split("+")[1] ?? "0", 10) || 0;
}

/** A version as a player sees it: none where it would tell them nothing.
 * @param {string} model
 * @param {string | null} version
 * @returns {string}
 */
export function shownVersion(model, version) {
  const kind = kindOf(model);
  return version === null || kind === "blend" || kind === "personal" ? "" : version;
}

/** "a", "a and b", "a, b and c".
 * @param {string[]} names
 */
export function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** Who is shown first: what the guesses on finished drawings say; a preview's counts only until one has come, so that no
 * card moves while the pen does.
 */
export class Lead {
  /** Null: nobody has said, and the first in order is. @type {string | null} */ #lead = null;
  #settled = false;

  /** Hear what the policy says: nothing where the guesses do.
   * @param {Model[]} models
   */
  obey(models) {
    this.#lead = models.find(({ lead }) => lead)?.model ?? this.#lead;
  }

  /** @param {Guess} guess @returns {boolean} Whether another one is shown first now. */
  hear({ lead, final }) {
    if (!lead || (this.#settled && !final)) return false;
    this.#settled = true;
    const before = this.#lead;
    this.#lead = lead;
    return lead !== before;
  }

  /** The model that is shown first, of those that there are.
   * @param {string[]} models In the order in which they are shown.
   * @returns {string | null} Null where there are none.
   */
  of(models) {
    return this.#lead !== null && models.includes(this.#lead) ? this.#lead : (models[0] ?? null);
  }
}

/** How many see the digit that most of them see; the blend is none of them.
 * @param {Guess[]} guesses
 * @returns {{digit: number, n: number, of: number} | null} None without guesses.
 */
export function agreement(guesses) {
  const votes = new Array(10).fill(0);
  const voters = guesses.filter(({ model }) => kindOf(model) !== "blend");
  for (const { label } of voters) votes[label] += 1;
  const n = Math.max(...votes);
  return voters.length === 0 ? null : { digit: votes.indexOf(n), n, of: voters.length };
}
