// @ts-check
/** What has drifted, and what was done about it: a line each, the newest first. */

import { h } from "../lib/dom.js";
import { percent1, time } from "../lib/format.js";
import { short } from "../lib/models.js";
import { deedText, sizeText } from "./drift_text.js";

/**
 * @typedef {import("./drift_text.js").Drift} Drift
 * @typedef {{actions: Record<string, string>, cooldown_s: number, detections: Drift[]}} DriftState
 */

const SHOWN = 6;

/** @param {DriftState} state */
export function driftLines({ detections }) {
  if (detections.length === 0) return [h("li", { class: "quiet" }, "None in the last weeks.")];
  return detections.slice(0, SHOWN).map((one) =>
    h(
      "li",
      { "data-subject": one.subject, "data-deed": one.deed?.outcome ?? "none" },
      h("time", { datetime: one.at }, time(one.at)),
      h("b", {}, `${one.kind.endsWith("-errors") ? short(undefined, one.subject) : one.subject}: ${one.what}`),
      ` ${percent1(one.before)} → ${percent1(one.after)}`,
      h("p", { class: "quiet small" }, `${sizeText(one)}. ${deedText(one)}`),
    ),
  );
}
