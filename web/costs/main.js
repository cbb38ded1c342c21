// @ts-check
/** The page of costs: what endpoints and trainings would cost on AWS, and what they give for it. */

import { say, the } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { watchHealth } from "../lib/health.js";
import { reconcile } from "../lib/reconcile.js";
import { byPlace, know } from "../lib/models.js";
import { money } from "./facts.js";
import { cardOf, inVain, sums, trainingsTable } from "./cards.js";

/** @typedef {import("./facts.js").Costs} Costs */

/** @typedef {import("../lib/models.js").Look} Look */

/** What models are called and coloured; once they are known, nobody asks again. @type {Look[]} */
let looks = [];

/** @param {string} why What is wrong with the prices; empty: nothing. */
function warn(why) {
  const old = the("stale", HTMLElement);
  old.hidden = !why;
  say(old, why);
}

poll("/api/costs", the("connection", HTMLElement), async (/** @type {Costs} */ costs) => {
  if (!looks.length) looks = await fetch("/api/models").then((answer) => (answer.ok ? answer.json() : []), () => []);
  know(looks);
  const endpoints = [...costs.endpoints].sort((a, b) => byPlace(a.model, b.model));
  const { as_of: day, region, source, stale } = costs.prices;
  say(the("summary", HTMLElement), `${plural(endpoints.filter(({ unpriced }) => !unpriced).length, "endpoint")}, ${plural(costs.trainings.length, "training")}.`);
  warn(stale ?? "");
  the("sums", HTMLElement).replaceChildren(
    ...sums([
      ["All endpoints, an hour", `$${costs.per_hour}`],
      ["a month", money(costs.per_month)],
      ["a year", money(costs.per_year)],
      ["All trainings", money(costs.trained)],
      ...(costs.in_vain.length ? [/** @type {[string, string]} */ (["of these without a version", money(costs.trained_in_vain)])] : []),
    ]),
  );
  reconcile(the("cards", HTMLElement), endpoints.map((endpoint) => ({ endpoint, minutes: costs.minutes })), ({ endpoint }) => endpoint.model, (each) => cardOf(each.endpoint, each.minutes));
  the("trainings", HTMLElement).replaceChildren(trainingsTable(costs.trainings), ...inVain(costs.in_vain));
  say(the("prices", HTMLElement), `${source}, ${region}, ${day}, in US dollars, without taxes and storage. Serverless with ${costs.memory_gb} GB of memory.`);
}, { refused: warn });

watchHealth();
