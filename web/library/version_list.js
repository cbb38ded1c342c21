// @ts-check
/** The library's elements: a list of versions for each model, a line for each version, its provenance behind it. */

import { copyable } from "../lib/copy.js";
import { h } from "../lib/dom.js";
import { percent1, time, usd } from "../lib/format.js";
import { intervalBar } from "../lib/interval.js";
import { colour, short } from "../lib/models.js";
import { besides, compared, interval, isBase, judged, kind, meaning, measure, newestFirst, onLive, rolledOut, status, inWords } from "./facts.js";

/**
 * @typedef {import("./facts.js").Live} Live
 * @typedef {import("./facts.js").LibraryModel} LibraryModel
 * @typedef {import("./facts.js").Version} Version
 */

/** @param {LibraryModel} model @param {number} from Where the axis of shares begins. */
export function versionList(model, from) {
  const why = model.unavailable || model.resting || (model.frozen && `frozen ${model.frozen}`);
  const head = h(
    "header",
    {},
    h("h2", { title: model.title }, short(model, model.model)),
    h("span", { class: "badge standing", "data-kind": model.standing, title: meaning(model.standing) }, model.standing),
    ...(model.unavailable ? [h("span", { class: "badge", "data-kind": "away" }, "unavailable")] : []),
    ...(model.resting ? [h("span", { class: "badge", "data-kind": "away" }, "resting")] : []),
    ...(model.frozen ? [h("span", { class: "badge", "data-kind": "away" }, "frozen")] : []),
    h("p", { class: "quiet small kind" }, kind(model), ...(model.cost_per_hour_usd === null ? [] : [`; on AWS ${usd(model.cost_per_hour_usd)} an hour`])),
    live("players' verdict", model.live, from),
  );
  const columns = ["Version", "Status", "Created", "Players' verdict", "As shadow", "Digest"].map((name) => h("span", {}, name));
  const lines = newestFirst(model.versions).map((version) => versionOf(model, version, from));
  return h(
    "article",
    { class: "card versions", ...colour(model.model), "data-model": model.model },
    head,
    ...(why ? [h("p", { class: "why small" }, why)] : []),
    ...tried(model.candidates ?? []),
    ...(lines.length ? [h("div", { class: "columns small quiet", "aria-hidden": "true" }, ...columns)] : [h("p", { class: "quiet small" }, "No version yet.")]),
    ...lines,
  );
}

/** The versions beside the champion, side by side. @param {import("./facts.js").Candidate[]} candidates */
function tried(candidates) {
  if (!candidates.length) return [];
  const heads = ["Beside the champion", "Role", "Drawings", "Points, at any time", "By chance", "On AWS"];
  const rows = besides(candidates).map((one) =>
    h("tr", { "data-candidate": one.version }, h("th", { scope: "row" }, one.version), ...[one.role, one.drawings, one.difference, one.chance, one.cost].map((told) => h("td", {}, told))),
  );
  const head = h("thead", {}, h("tr", {}, ...heads.map((name) => h("th", { scope: "col" }, name))));
  return [h("div", { class: "beside" }, h("table", { class: "candidates small" }, head, h("tbody", {}, ...rows)))];
}

/** @param {LibraryModel} model @param {Version} version @param {number} from */
function versionOf({ model, candidate, candidates }, version, from) {
  const created = version.created ? h("time", { datetime: version.created, title: version.created }, time(version.created)) : "–";
  const name = h("b", { class: "name" }, version.version, ...(isBase(version.version) ? [" ", h("span", { class: "badge" }, "base")] : []));
  return h(
    "details",
    { class: "version", "data-name": version.version, "data-status": version.status, "data-version": version.version },
    h(
      "summary",
      {},
      name,
      h("span", {}, h("span", { class: "badge", "data-kind": version.status }, status(version, candidates ?? (candidate ? [candidate] : [])))),
      h("span", { class: "created small" }, created),
      live("live", version.live, from),
      live("as shadow", version.as_shadow, from),
      h("code", { class: "digest" }, version.digest ? version.digest.slice(0, 12) : "–"),
    ),
    provenance(model, version),
  );
}

/** @param {string} what @param {Live} counted @param {number} from */
function live(what, counted, from) {
  const found = interval(counted);
  const title = found ? `${what}: ${percent1(found.share)}, between ${percent1(found.low)} and ${percent1(found.high)}` : "";
  if (!found) return h("span", { class: "live small quiet", "data-what": what }, what === "as shadow" ? "–" : judged(counted));
  return h("span", { class: "live", "data-what": what, title }, h("b", {}, percent1(found.share)), intervalBar(found, from), h("span", { class: "small quiet" }, judged(counted)));
}

/** All there is on a version. @param {string} model @param {Version} version */
export function provenance(model, { version, arn, digest, artifact, gate, beside, on_live, rollout, failed, lineage, metrics }) {
  const name = `${model} ${version}`;
  return h(
    "dl",
    { class: "provenance small" },
    ...fact("Card", lineage.training_job !== undefined && h("a", { href: `/api/models/${encodeURIComponent(model)}/${encodeURIComponent(version)}/card.md`, "aria-label": `Model card of ${name}` }, "Model card")),
    ...fact("Failed", failed),
    ...fact("Gate", gate),
    ...fact("Compared", pairs(compared(beside))),
    ...fact("On live drawings", pairs(onLive(on_live))),
    ...fact("Way to players", pairs(rolledOut(rollout))),
    ...fact("ARN", arn && copyable(arn, arn, `the ARN of ${name}`)),
    ...fact("Digest", digest && copyable(digest, `sha256:${digest.slice(0, 24)}…`, `the digest of ${name}`)),
    ...fact("Artifact", artifact && copyable(artifact, artifact, `where ${name} is`)),
    ...fact("Metrics", pairs(Object.entries(metrics).map(([key, value]) => [inWords(key), measure(key, value)]))),
    ...fact("Lineage", pairs(Object.entries(lineage).map(([key, value]) => [inWords(key), value]))),
  );
}

/** @param {[string, string][]} entries */
function pairs(entries) {
  return entries.length && h("ul", { class: "pairs" }, ...entries.map(([key, value]) => h("li", {}, h("span", { class: "quiet" }, `${key} `), h("span", {}, value))));
}

/** @param {string} term @param {Node | string | 0 | false} told Nothing where there is nothing to tell. */
function fact(term, told) {
  return told ? [h("dt", {}, term), h("dd", {}, told)] : [];
}
