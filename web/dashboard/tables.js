// @ts-check
/** The dashboard's tables and tiles: from scores to elements. */

import { h } from "../lib/dom.js";
import { count, percent, percent1 } from "../lib/format.js";
import { axisFrom, intervalBar } from "../lib/interval.js";
import { colour, short } from "../lib/models.js";
import { ends, told } from "./honest.js";
import { LATENCY_MS, perDigit, quantile, wilson } from "./counts.js";

/**
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("../lib/protocol.js").Score} Score
 * @typedef {import("../lib/protocol.js").Honest} Honest
 * @typedef {"labels" | "picks"} How Whether accuracy is shown as labels give it, or estimated.
 * @typedef {{model: Model, score: Score, honest: Honest | undefined}} Scored
 */

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
/** A share of wrong guesses that is as red as it gets. */
const REDDEST = 0.35;
/** From this shade on a cell's text is light. */
const LOUD = 0.55;

/** What stands behind a version whose guesses were counted and not shown (contracts/events.py). */
const SHADOW = "/shadow";

/** @param {Scored} scored @param {How} how */
export function tile({ model, score, honest }, how) {
  const labels = wilson(score);
  const interval = how === "labels" ? labels : ends(honest?.whole);
  const other = how === "labels" ? told(honest) : labels ? `as labels give it: ${percent1(labels.share)}` : "no labels yet";
  const why = model.unavailable || model.resting;
  const frozen = model.frozen ? `frozen ${model.frozen}` : null;
  const mark = model.unavailable ? "unavailable" : model.resting ? "resting" : frozen ? "frozen" : model.part && model.part !== "shown" ? model.part : model.lead ? "first" : "";
  const facts = interval
    ? [
        h("p", {}, `${percent1(interval.low)} to ${percent1(interval.high)}`),
        h("p", {}, how === "labels" ? `${count(score.correct)} of ${count(score.n)} right` : `of ${count(honest?.whole.known ?? 0)} picked`),
        h("p", { class: "other" }, other),
        h("p", {}, latencies(score)),
      ]
    : [h("p", {}, how === "labels" ? "0 of 0 right" : "none picked yet"), h("p", { class: "other" }, other)];
  return h(
    "article",
    { class: "card tile", ...colour(model.model), "data-model": model.model, "data-state": why ? "away" : "here" },
    h("h2", { title: model.title }, short(model, model.model)),
    h("p", { class: "standing quiet small" }, h("span", { class: "version" }, model.version ?? "\u00a0"), ...(mark ? [h("span", { class: "badge" }, mark)] : [])),
    h("p", { class: "share" }, interval ? percent1(interval.share) : "–"),
    h("div", { class: "facts small" }, ...facts, ...[why, frozen].flatMap((told) => (told ? [h("p", { class: "why", title: told }, told)] : []))),
  );
}

/** Accuracy per digit, a row for each model.
 * @param {Scored[]} scored
 * @param {How} how
 */
export function digits(scored, how) {
  const head = h("tr", {}, h("th", {}), ...DIGITS.map((digit) => h("th", { scope: "col" }, String(digit))));
  const rows = scored.map(({ model, score, honest }) => h("tr", { ...colour(model.model) }, named(model), ...(how === "labels" ? perDigit(score.confusion).map((counted) => digitCell(counted.n, wilson(counted))) : DIGITS.map((digit) => digitCell(honest?.digits[digit]?.known ?? 0, ends(honest?.digits[digit]))))));
  return [h("thead", {}, head), h("tbody", {}, ...rows)];
}

/** @param {number} n @param {import("./counts.js").Interval | null} interval */
function digitCell(n, interval) {
  if (!interval) return h("td", { class: "quiet" }, "–");
  const wrong = Math.min(1, (1 - interval.share) / REDDEST);
  const cell = h("td", { class: wrong > LOUD ? "loud" : "", title: `${percent1(interval.low)} to ${percent1(interval.high)}` }, percent(interval.share), h("small", {}, count(n)));
  cell.style.setProperty("--wrong", wrong.toFixed(3));
  return cell;
}

/** What one model took for what.
 * @param {Scored} scored
 * @param {How} how
 */
export function confusion({ model, score, honest }, how) {
  const counts = how === "labels" ? score.confusion : (honest?.confusion ?? new Array(100).fill(0));
  const meant = perDigit(counts);
  const head = h("tr", {}, h("th", {}), ...DIGITS.map((digit) => h("th", { scope: "col" }, String(digit))));
  const rows = DIGITS.map((row) =>
    h("tr", { ...colour(model.model) }, h("th", { scope: "row" }, String(row)), ...DIGITS.map((column) => {
      const n = counts[row * 10 + column];
      const share = meant[row].n ? n / meant[row].n : 0;
      const shade = row === column ? share : Math.min(1, Math.sqrt(share / REDDEST));
      const kind = `${row === column ? "right" : ""} ${shade > LOUD ? "loud" : ""}`.trim();
      const cell = h("td", { class: kind, title: `${row} taken for ${column}: ${n} of ${meant[row].n}` }, n ? count(n) : "");
      cell.style.setProperty("--share", shade.toFixed(3));
      return cell;
    })),
  );
  return [h("thead", {}, head), h("tbody", {}, ...rows)];
}

/** Every version that answers or has been judged, on one axis.
 * @param {Scored[]} scored
 * @param {How} how
 */
export function versions(scored, how) {
  const all = scored.flatMap(({ model, score, honest }) =>
    Object.entries({ ...(model.version && { [generation(model.version)]: { n: 0, correct: 0 } }), ...Object.fromEntries(Object.keys(honest?.versions ?? {}).map((version) => [version, { n: 0, correct: 0 }])), ...score.versions })
      .sort(byAge)
      .map(([version, counted]) =>
        how === "labels" ? { model, version, n: counted.n, interval: wilson(counted) } : { model, version, n: honest?.versions[version]?.known ?? 0, interval: ends(honest?.versions[version]) },
      ),
  );
  const from = axisFrom(all.map(({ interval }) => interval));
  const head = h("tr", {}, h("th", {}), h("th", {}), h("th", {}, "judged"), h("th", {}, "right"), h("th", { class: "range" }, `${percent(from)} to 100 %`));
  const rows = all.map(({ model, version, n, interval }) => {
    const shadow = version.endsWith(SHADOW);
    const mark = shadow ? "shadow" : model.version && generation(model.version) === version ? "answers" : "";
    return h(
      "tr",
      { ...colour(model.model), "data-model": model.model, "data-version": version, class: shadow ? "shadow" : "" },
      named(model),
      h("td", {}, shadow ? version.slice(0, -SHADOW.length) : version, ...(mark ? [" ", h("span", { class: "badge" }, mark)] : [])),
      h("td", {}, count(n)),
      h("td", {}, interval ? percent1(interval.share) : "–"),
      h("td", { class: "range" }, ...(interval ? [intervalBar(interval, from)] : [])),
    );
  });
  return [h("thead", {}, head), h("tbody", {}, ...rows)];
}

/** What a version is counted under: an online model's "mnist1+41" under "mnist1". @param {string} version */
function generation(version) {
  return version.split("+", 1)[0];
}

/** Base versions, which have words for names, before those that are numbered.
 * @param {[string, unknown]} a @param {[string, unknown]} b
 */
function byAge([a], [b]) {
  return Number(/^\d/.test(a)) - Number(/^\d/.test(b)) || a.localeCompare(b, "en", { numeric: true });
}

/** How long guesses took, a histogram for each model.
 * @param {Scored[]} scored
 */
export function latency(scored) {
  return scored.map(({ model, score }) => {
    const most = Math.max(1, ...score.latency);
    const columns = score.latency.map((n, i) => {
      const column = h("i", { title: `${i < LATENCY_MS.length ? `up to ${LATENCY_MS[i]}` : `over ${LATENCY_MS.at(-1)}`} ms: ${count(n)}` });
      column.style.height = `${(n / most) * 100}%`;
      return column;
    });
    const bounds = [...LATENCY_MS.map(String), "ms"].map((bound) => h("span", {}, bound));
    return h(
      "div",
      { class: "histogram", ...colour(model.model) },
      h("p", {}, h("span", { class: "dot" }, short(model, model.model)), h("span", { class: "quiet" }, latencies(score))),
      h("div", { class: "columns", "aria-hidden": "true" }, ...columns),
      h("div", { class: "bounds", "aria-hidden": "true" }, ...bounds),
    );
  });
}

/** @param {Score} score */
function latencies({ latency: buckets }) {
  const [half, most] = [quantile(buckets, 0.5), quantile(buckets, 0.95)];
  return half === null || most === null ? "–" : `half ${bound(half)}, 95 % ${bound(most)}`;
}

/** @param {number} ms */
function bound(ms) {
  return ms === Infinity ? `> ${LATENCY_MS.at(-1)} ms` : `≤ ${Math.ceil(ms)} ms`;
}

/** @param {string} term @param {string} text */
function fact(term, text) {
  return [h("dt", {}, term), h("dd", {}, text)];
}

/** @param {Model} model */
function named(model) {
  return h("th", { scope: "row", class: "dot", ...colour(model.model) }, short(model, model.model));
}
