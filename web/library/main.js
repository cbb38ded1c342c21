// @ts-check
/** The library's page: every model, every version, as they are now. */

import { say, the } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { watchHealth } from "../lib/health.js";
import { axisFrom } from "../lib/interval.js";
import { reconcile } from "../lib/reconcile.js";
import { byPlace, know } from "../lib/models.js";
import { field, interval } from "./facts.js";
import { versionList } from "./version_list.js";

/** @typedef {import("./facts.js").LibraryModel} LibraryModel */

const lists = the("version-lists", HTMLElement);
const summary = the("summary", HTMLElement);

poll("/api/models", the("connection", HTMLElement), (/** @type {LibraryModel[]} */ answer) => {
  know(answer);
  const models = [...answer].sort((a, b) => byPlace(a.model, b.model));
  const all = models.flatMap(({ live, versions }) => [live, ...versions.flatMap((version) => [version.live, version.as_shadow])]);
  const from = axisFrom(all.map(interval));
  say(summary, `${plural(models.length, "model")}, ${plural(models.reduce((sum, { versions }) => sum + versions.length, 0), "version")}; ${field(models)}.`);
  say(the("axis", HTMLElement), `${Math.round(from * 100)} to 100\u00a0%`);
  reconcile(lists, models.map((model) => ({ model, from })), ({ model }) => model.model, (each) => versionList(each.model, each.from));
});

watchHealth();
