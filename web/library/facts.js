// @ts-check
/** What the library says of models and their versions, in words. Pure. */

import { count, percent, percent1, plural } from "../lib/format.js";
import { shared, short } from "../lib/models.js";

/**
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("../lib/interval.js").Interval} Interval
 *
 * @typedef {{n: number, correct: number, share: number | null, low: number | null, high: number | null}} Live
 *
 * @typedef {object} Version
 * @property {string} version
 * @property {"champion" | "previous" | "canary" | "shadow" | "approved" | "refused" | "failed"} status
 * @property {string | null} created
 * @property {string} arn
 * @property {string} digest
 * @property {string} artifact
 * @property {Record<string, string>} lineage
 * @property {Record<string, number>} metrics
 * @property {string} gate
 * @property {string} failed
 * @property {Live} live
 * @property {Live} as_shadow
 * @property {boolean} [best] Of an online model and the experiments beside it.
 *
 * @typedef {{version: string, role: "canary" | "shadow", share: number, note: string, at: string}} Candidate
 * @typedef {"champion" | "challenger" | "shadow" | "off"} Standing
 * @typedef {Model & {standing: Standing, cost_per_hour_usd: number | null, previous: string | null, candidate: Candidate | null, live: Live, versions: Version[]}} LibraryModel
 */

const KINDS = {
  batch: () => "Trained on SageMaker, answers at an endpoint",
  online: () => "Learns from every correction, within a second",
  personal: () => `Each player's own: ${shared()}, and what they have taught`,
  blend: () => "The combined guess of all models that answer in time",
};

/** @param {Model} model */
export function kind(model) {
  return model.kind ? KINDS[model.kind]() : "";
}

const STANDINGS = {
  champion: "Its guess is shown first",
  challenger: "Shown beside the champion, or picked by the bandit",
  shadow: "Asked and scored, but not shown",
  off: "Not asked",
};

/** What a standing means, for a tooltip. @param {Standing} standing */
export function meaning(standing) {
  return STANDINGS[standing];
}

/** Who is the champion, and how many challenge it. @param {{standing: Standing, title: string, model: string}[]} models */
export function field(models) {
  const champion = models.find((model) => model.standing === "champion");
  const challengers = plural(models.filter((model) => model.standing === "challenger").length, "challenger");
  if (!champion) return `a bandit picks each player's champion among ${challengers}`;
  return `${short(champion, champion.model)} is the champion, shown first, with ${challengers}`;
}

/** What a version is to its model; the best of an online model and its experiments says so besides.
 * @param {Version} version
 * @param {Candidate | null} candidate
 */
export function status({ version, status: named, best }, candidate) {
  const share = named === "canary" && candidate?.version === version ? ` ${percent(candidate.share)}` : "";
  return `${named}${share}${best ? ", best so far" : ""}`;
}

/** Whether a version was made from MNIST alone. @param {string} version */
export function isBase(version) {
  return version.startsWith("base");
}

/** @param {Live} live @returns {Interval | null} None where nothing was counted. */
export function interval({ share, low, high }) {
  return share === null || low === null || high === null ? null : { share, low, high };
}

/** @param {Live} live */
export function judged(live) {
  return live.n === 0 ? "not judged yet" : `n = ${count(live.n)}`;
}

/** A measure with its unit: names of shares say so, times are in seconds.
 * @param {string} name
 * @param {number} value
 */
export function measure(name, value) {
  if (/accuracy|share|agree/.test(name) && value >= 0 && value <= 1) return percent1(value);
  if (/(^|_)(s|seconds)$/.test(name)) return `${value.toFixed(1)}\u00a0s`;
  if (/_ms$/.test(name)) return `${value.toFixed(1)}\u00a0ms`;
  return Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
}

/** A measure's name as people read it. @param {string} name */
export function inWords(name) {
  return name.replace(/_(s|ms|seconds)$/, "").replaceAll("_", " ").replace(/\bmnist\b/, "MNIST");
}

/** Versions, the newest first; what has no date stands last. @param {Version[]} versions */
export function newestFirst(versions) {
  return [...versions].sort((a, b) => (b.created ?? "").localeCompare(a.created ?? ""));
}
