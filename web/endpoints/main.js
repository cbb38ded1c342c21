// @ts-check
/** The endpoints' page: where the batch models answer, how they are and what they would cost. */

import { say, the } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { watchHealth } from "../lib/health.js";
import { reconcile } from "../lib/reconcile.js";
import { byPlace, know } from "../lib/models.js";
import { cost, health, total } from "./facts.js";
import { cardOf } from "./rows.js";

/** @typedef {import("./facts.js").Endpoint} Endpoint */

poll("/api/endpoints", the("connection", HTMLElement), (/** @type {Endpoint[]} */ answer) => {
  know(answer);
  const endpoints = [...answer].sort((a, b) => byPlace(a.model, b.model));
  const well = endpoints.filter((endpoint) => health(endpoint).kind === "good").length;
  say(the("summary", HTMLElement), `${plural(endpoints.length, "endpoint")}, ${well} in service and well.`);
  say(the("price", HTMLElement), total(endpoints) === null ? "" : `On AWS: ${cost(total(endpoints))}, at list price. Here it runs on your machine.`);
  reconcile(the("cards", HTMLElement), endpoints, ({ model }) => model, cardOf);
});

watchHealth();
