// @ts-check
/** What a correction did, in words. Pure. */

import { change as changed, percent, percent1, versions } from "../lib/format.js";
import { byPlace, kindOf } from "../lib/models.js";
import { lessons } from "./guessers.js";

/**
 * @typedef {import("../lib/protocol.js").Receipt} Receipt
 * @typedef {{model: string, text: string, note: string, before: number, after: number, learned: boolean}} Line
 */

const SURE = 0.5;
const SUMMARIES = {
  learned: "Learned.",
  weighted: "Learned, with less weight than most.",
  quarantined: "Set aside: everybody's model did not learn from it.",
  superseded: "Replaced by your later answer.",
  refused: "Not accepted.",
};

const WAITING = "Kept for later.";
const TAKEN_BACK = "No longer counts.";

/** One line on the whole.
 * @param {Receipt} receipt
 */
export function summary(receipt) {
  const known = receipt.outcome === "superseded" && receipt.why ? TAKEN_BACK : SUMMARIES[receipt.outcome];
  const told = receipt.frozen ? WAITING : (known ?? receipt.outcome);
  return receipt.why ? `${told.replace(/\.$/, "")}: ${receipt.why}.` : told;
}

/** What all who wrote of one correction have said together: those who learn tell one by one, in any order.
 * @param {Receipt | null} before
 * @param {Receipt} next
 * @returns {Receipt}
 */
export function merged(before, next) {
  if (!before || before.correction_id !== next.correction_id) return next;
  const outcome = [before.outcome, next.outcome].find((each) => each !== "learned") ?? "learned";
  return { ...next, outcome, why: next.why ?? before.why, frozen: next.frozen ?? before.frozen, models: { ...before.models, ...next.models } };
}

/** @param {string} name @param {import("../lib/protocol.js").Change} change @param {boolean} learned */
function told(name, { p_before: before, p_after: after }, learned) {
  if (!learned) return `${name} gave it ${percent(before)}`;
  if (percent1(before) === percent1(after)) return `${name} ${before < SURE ? "still gives it" : "knew it already:"} ${percent1(after)}`;
  return `${name} learned it: ${changed(before, after)}`;
}

/** What comes of it, or will. @param {string} model @param {import("../lib/protocol.js").Change} change @param {boolean} learned */
function noted(model, { version_before: before, version_after: after }, learned) {
  const kind = kindOf(model);
  if (kind === "blend") return "changes with the others";
  if (kind === "personal" && learned) return `knows ${lessons(after)} of your drawings`;
  if (learned) return `version ${versions(before, after)}`;
  return kind === "personal" ? "learned nothing from it" : "learns when rebuilt";
}

/** A line for each model, those that learned first: how its belief in the player's digit changed.
 * @param {Receipt} receipt
 * @param {(model: string) => string} title
 * @returns {Line[]}
 */
export function lines(receipt, title) {
  return Object.entries(receipt.models)
    .map(([model, change]) => {
      // A player's own model counts drawings: another answer to one of them makes no other version.
      const learned = change.version_after !== change.version_before || change.p_after !== change.p_before;
      const text = told(title(model), change, learned);
      return { model, learned, before: change.p_before, after: change.p_after, text, note: noted(model, change, learned) };
    })
    .sort((a, b) => Number(b.learned) - Number(a.learned) || byPlace(a.model, b.model));
}
