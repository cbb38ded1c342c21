// @ts-check
/** What a correction did, in words. Pure. */

import { change as changed, percent, percent1, versions } from "../lib/format.js";

/**
 * @typedef {import("../lib/protocol.js").Receipt} Receipt
 * @typedef {{model: string, text: string, note: string, before: number, after: number, learned: boolean}} Line
 */

const SUMMARIES = {
  learned: "Learned.",
  weighted: "Learned, with less weight than most.",
  quarantined: "Set aside: the models did not learn from it.",
  superseded: "Replaced by your later word.",
};

/** One line on the whole.
 * @param {Receipt} receipt
 */
export function summary(receipt) {
  return SUMMARIES[receipt.outcome] ?? receipt.outcome;
}

/** @param {string} name @param {number} label @param {import("../lib/protocol.js").Change} change @param {boolean} learned */
function told(name, label, { p_before: before, p_after: after }, learned) {
  if (!learned) return `${name} gave the ${label} ${percent(before)}`;
  if (percent1(before) === percent1(after)) return `${name} knew it already: ${percent1(after)} for the ${label}`;
  return `${name} learned it: ${changed(before, after)} for the ${label}`;
}

/** A line for each model, those that learned first.
 * @param {Receipt} receipt
 * @param {number} label
 * @param {(model: string) => string} title
 * @returns {Line[]}
 */
export function lines(receipt, label, title) {
  return Object.entries(receipt.models)
    .map(([model, change]) => {
      const learned = change.version_after !== change.version_before;
      return {
        model,
        learned,
        before: change.p_before,
        after: change.p_after,
        text: told(title(model), label, change, learned),
        note: learned
          ? `version ${versions(change.version_before, change.version_after)}`
          : `version ${change.version_before}, learns when it is rebuilt`,
      };
    })
    .sort((a, b) => Number(b.learned) - Number(a.learned) || a.model.localeCompare(b.model));
}
