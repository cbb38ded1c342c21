// @ts-check
/** The elements of the page of costs: a card for each endpoint with its chart, and a table of trainings. */

import { h, svg } from "../lib/dom.js";
import { count, duration, time } from "../lib/format.js";
import { colour, short } from "../lib/models.js";
import { POWERS, WAYS, asked, gain, lines, money } from "./facts.js";

/**
 * @typedef {import("./facts.js").EndpointCost} EndpointCost
 * @typedef {import("./facts.js").TrainingCost} TrainingCost
 * @typedef {import("./facts.js").TrainingInVain} TrainingInVain
 */

/** @param {EndpointCost} endpoint @param {number} minutes */
export function cardOf(endpoint, minutes) {
  const { model, title, instances, unpriced, per_hour: hour, per_month: month, per_year: year } = endpoint;
  const head = h("header", {}, h("h2", {}, title), h("code", { class: "quiet small" }, instances.join(", ")));
  const attributes = { class: "card endpoint cost", ...colour(model), "data-model": model, "data-kind": unpriced ? "away" : "good" };
  if (unpriced) return h("article", attributes, head, h("p", { class: "why small" }, unpriced));
  return h(
    "article",
    attributes,
    head,
    h("p", { class: "price" }, h("b", {}, money(month)), " a month", h("span", { class: "quiet small" }, `$${hour} an hour · ${money(year)} a year`)),
    h(
      "dl",
      { class: "facts small" },
      fact("A thousand guesses", money(endpoint.per_thousand)),
      fact("A right guess", money(endpoint.per_correct)),
      fact("Asked", asked(endpoint, minutes)),
    ),
    ways(endpoint),
    ...chart(endpoint),
  );
}

/** @param {EndpointCost} endpoint */
function ways({ ways: several, cheapest }) {
  const items = several.map(({ way, per_month: month, note }) =>
    h(
      "li",
      { "data-way": way },
      h("span", {}, WAYS[way], ...(way === cheapest ? [" ", h("span", { class: "badge", "data-kind": "champion" }, "cheapest")] : [])),
      h("b", {}, month === null ? "–" : `${money(month)} a month`),
      h("span", { class: "quiet small" }, note),
    ),
  );
  return h("ul", { class: "ways" }, ...items);
}

const WIDTH = 320;
const HEIGHT = 96;

/** What a month costs by how much is asked: always there, and serverless. @param {EndpointCost} endpoint */
function chart(endpoint) {
  const drawn = lines(endpoint);
  if (!drawn) return [];
  const x = (/** @type {number} */ share) => share * WIDTH;
  const y = (/** @type {number} */ share) => HEIGHT * (1 - share);
  const { always, from, to, even, here } = drawn;
  const even_at = `always there is cheaper from ${count(endpoint.break_even ?? 0)} guesses an hour`;
  const ticks = [1, 3, 5].map((power) => [
    svg("line", { class: "grid", x1: x(power / POWERS), x2: x(power / POWERS), y1: 0, y2: HEIGHT }),
    svg("text", { x: x(power / POWERS), y: HEIGHT + 14, "text-anchor": "middle" }, count(10 ** power)),
  ]);
  const picture = svg(
    "svg",
    { class: "by-rate", viewBox: `0 0 ${WIDTH} ${HEIGHT + 18}`, role: "img", "aria-label": `What a month costs by guesses an hour: ${even_at}` },
    ...ticks.flat(),
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
    svg("line", { class: "always", x1: 0, x2: WIDTH, y1: y(always), y2: y(always) }),
    svg("line", { class: "serverless", x1: 0, x2: WIDTH, y1: y(from), y2: y(to) }),
    svg("text", { x: 0, y: y(always) - 6 }, "always there"),
    svg("text", { x: WIDTH, y: y(to) - 6, "text-anchor": "end" }, "serverless"),
    svg("circle", { class: "even", cx: x(even), cy: y(always), r: 4 }),
    ...(here === null ? [] : [svg("line", { class: "here", x1: x(here), x2: x(here), y1: 0, y2: HEIGHT }), svg("text", { x: x(here) + 4, y: 10 }, "now")]),
  );
  return [h("figure", {}, picture, h("figcaption", { class: "quiet small" }, `By guesses an hour, both axes in powers of ten: ${even_at}.`))];
}

/** @param {TrainingCost[]} trainings */
export function trainingsTable(trainings) {
  if (!trainings.length) return h("p", { class: "quiet" }, "No model was trained here yet.");
  const head = ["Version", "When", "Took", "Cost", "Bought"].map((name) => h("th", { scope: "col" }, name));
  return h("div", { class: "scroll" }, h("table", { class: "small" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...trainings.map(row))));
}

/** @param {TrainingCost} training */
function row(training) {
  const { model, version, at, seconds, instances, cost, warning } = training;
  return h(
    "tr",
    { "data-version": `${model} ${version}` },
    h("th", { scope: "row" }, h("span", { class: "dot", ...colour(model) }), `${short({ model }, model)} ${version}`),
    h("td", {}, h("time", { datetime: at, title: at }, time(at))),
    h("td", {}, seconds === null ? "–" : duration(seconds * 1000), ...(instances ? [h("span", { class: "quiet" }, ` on ${instances}`)] : [])),
    h("td", {}, money(cost)),
    h("td", {}, gain(training) ?? "not compared", ...(warning ? [h("p", { class: "why" }, warning)] : [])),
  );
}

/** What rebuilds cost that ended without a version; nothing if there are none. @param {TrainingInVain[]} several */
export function inVain(several) {
  if (!several.length) return [];
  const head = ["Ended without a version", "When", "Took", "Cost"].map((name) => h("th", { scope: "col" }, name));
  const rows = several.map(({ model, at, outcome, seconds, cost }) =>
    h(
      "tr",
      { "data-outcome": outcome },
      h("th", { scope: "row" }, h("span", { class: "dot", ...colour(model) }), `${short({ model }, model)}, ${outcome}`),
      h("td", {}, h("time", { datetime: at, title: at }, time(at))),
      h("td", {}, duration(seconds * 1000)),
      h("td", {}, money(cost)),
    ),
  );
  return [h("div", { class: "scroll" }, h("table", { class: "small" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)))];
}

/** @param {string} term @param {string} told */
function fact(term, told) {
  return h("div", {}, h("dt", {}, term), h("dd", {}, told));
}

/** What all cost together. @param {[string, string][]} several Each a term and an amount. */
export function sums(several) {
  return several.map(([term, amount]) => h("div", {}, h("dt", { class: "quiet small" }, term), h("dd", {}, amount)));
}
