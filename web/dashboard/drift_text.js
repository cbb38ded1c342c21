// @ts-check
/** A drift in words. Pure. */

import { plural } from "../lib/format.js";

/**
 * @typedef {{action: "notify" | "retrain" | "freeze", outcome: "done" | "refused" | "failed", message: string, by: string, at: string}} Deed
 * @typedef {{detection_id: string, at: string, kind: string, subject: string, what: string, before: number, after: number,
 *   n: number, hands: number, deed: Deed | null}} Drift
 */

const DONE = { notify: "Operators are notified", retrain: "Being rebuilt", freeze: "Learning is frozen" };
const NOT_DONE = { notify: "Nobody was notified", retrain: "Not rebuilt", freeze: "Not frozen" };

/** How much it was seen in. @param {Drift} drift */
export function sizeText({ n, hands }) {
  return `Seen in ${plural(n, "labelled drawing")} by ${plural(hands, "player")}`;
}

/** What was done about it, or why nothing was. @param {Drift} drift */
export function deedText({ deed }) {
  if (!deed) return "Nothing was done yet.";
  if (deed.outcome === "done") return `${DONE[deed.action]}.`;
  return `${NOT_DONE[deed.action]}: ${deed.message}.`;
}
