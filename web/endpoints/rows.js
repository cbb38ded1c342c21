// @ts-check
/** The endpoints' elements: a card for each, with who answers at it. */

import { copyable } from "../lib/copy.js";
import { h } from "../lib/dom.js";
import { count, duration, percent, percent1, time } from "../lib/format.js";
import { colour } from "../lib/models.js";
import { interval, judged } from "../library/facts.js";
import { provenance } from "../library/version_list.js";
import { cost, health, trouble } from "./facts.js";

/**
 * @typedef {import("./facts.js").Endpoint} Endpoint
 * @typedef {import("./facts.js").Variant} Variant
 */

/** @param {Endpoint} endpoint */
export function cardOf(endpoint) {
  const { status, kind } = health(endpoint);
  const why = trouble(endpoint);
  return h(
    "article",
    { class: "card endpoint", ...colour(endpoint.model), "data-model": endpoint.model, "data-kind": kind },
    h(
      "header",
      {},
      h("h2", {}, endpoint.title),
      h("code", { class: "quiet small" }, endpoint.endpoint),
      h("span", { class: "status", "data-kind": kind }, status),
    ),
    ...(why ? [h("p", { class: "why small" }, why)] : []),
    ...(endpoint.created || endpoint.variants.length ? [facts(endpoint)] : []),
    ...(endpoint.variants.length ? [shares(endpoint.variants), table(endpoint.variants), h("div", {}, ...endpoint.variants.flatMap((variant) => made(endpoint.model, variant)))] : []),
  );
}

/** @param {Endpoint} endpoint */
function facts({ endpoint, arn, created, modified, latency, cost_per_hour_usd: price }) {
  const told = latency ? `half in ${duration(latency.p50_ms)}, 95\u00a0% in ${duration(latency.p95_ms)} (n = ${count(latency.n)})` : "no recent calls";
  return h(
    "dl",
    { class: "facts small" },
    fact("Answers", told),
    fact("Price on AWS", cost(price)),
    fact("Created", when(created)),
    fact("Modified", when(modified)),
    ...(arn ? [fact("ARN", copyable(arn, arn, `the ARN of ${endpoint}`))] : []),
  );
}

/** Who answers how many of the players. @param {Variant[]} variants */
function shares(variants) {
  const parts = variants.filter(({ players }) => players > 0).map(({ version, role, players }) => {
    const part = h("span", { "data-role": role, title: `version ${version}: ${percent(players)} of the players` }, `${version} · ${percent(players)}`);
    part.style.flexGrow = String(players);
    return part;
  });
  const told = variants.map(({ version, players }) => `version ${version} answers ${percent(players)}`).join(", ");
  return h("div", { class: "shares", role: "img", "aria-label": `Share of players: ${told}` }, ...parts);
}

/** @param {Variant[]} variants */
function table(variants) {
  const head = ["Variant", "Version", "Role", "Weight", "Players", "Instances"].map((name) => h("th", { scope: "col" }, name));
  const rows = variants.map(({ variant, version, role, weight, players, instances, instance_type: type }) =>
    h(
      "tr",
      { "data-variant": variant },
      h("th", { scope: "row" }, h("code", {}, variant)),
      h("td", {}, version),
      h("td", {}, h("span", { class: "badge", "data-kind": role }, role)),
      h("td", {}, String(Number(weight.toFixed(3)))),
      h("td", {}, percent(players)),
      h("td", {}, `${instances} × ${type}`),
    ),
  );
  return h("div", { class: "scroll" }, h("table", { class: "small" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)));
}

/** The version at a variant as the library has it: how it does, and behind that what it is made of.
 * @param {string} model
 * @param {Variant} variant
 */
function made(model, { variant, papers: version }) {
  if (!version) return [];
  const found = interval(version.live);
  const verdict = found ? `${percent1(found.share)} right, ${percent1(found.low)} to ${percent1(found.high)}, ${judged(version.live)}` : judged(version.live);
  return [h("details", { class: "version", "data-name": variant }, h("summary", { class: "small" }, h("b", { class: "name" }, version.version), h("span", {}, verdict)), provenance(model, version))];
}

/** @param {string | null} at */
function when(at) {
  return at ? h("time", { datetime: at, title: at }, time(at)) : "–";
}

/** @param {string} term @param {Node | string} told */
function fact(term, told) {
  return h("div", {}, h("dt", {}, term), h("dd", {}, told));
}
