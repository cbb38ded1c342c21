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
import { shelfOf } from "./version_list.js";

/** @typedef {import("./facts.js").Shelf} Shelf */

const shelves = the("shelves", HTMLElement);
const summary = the("summary", HTMLElement);

poll("/api/models", the("connection", HTMLElement), (/** @type {Shelf[]} */ answer) => {
  know(answer);
  const models = [...answer].sort((a, b) => byPlace(a.model, b.model));
  const all = models.flatMap(({ live, versions }) => [live, ...versions.flatMap((version) => [version.live, version.as_shadow])]);
  const from = axisFrom(all.map(interval));
  say(summary, `${plural(models.length, "model")}, ${plural(models.reduce((sum, { versions }) => sum + versions.length, 0), "version")}; ${field(models)}.`);
  say(the("axis", HTMLElement), `${Math.round(from * 100)} to 100\u00a0%`);
  reconcile(shelves, models.map((shelf) => ({ shelf, from })), ({ shelf }) => shelf.model, (each) => shelfOf(each.shelf, each.from));
});

watchHealth();
