// @ts-check
/** The endpoints' page: where the batch models answer, how they are and what they would cost. */

import { say, the } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { fresh } from "../lib/fresh.js";
import { watchHealth } from "../lib/health.js";
import { keyed } from "../lib/keyed.js";
import { byPlace } from "../lib/models.js";
import { cost, health, total } from "./facts.js";
import { cardOf } from "./rows.js";

/** @typedef {import("./facts.js").Endpoint} Endpoint */

fresh("/api/endpoints", the("connection", HTMLElement), (/** @type {Endpoint[]} */ answer) => {
  const endpoints = [...answer].sort((a, b) => byPlace(a.model, b.model));
  const well = endpoints.filter((endpoint) => health(endpoint).kind === "good").length;
  say(the("summary", HTMLElement), `${plural(endpoints.length, "endpoint")}, ${well} in service and well.`);
  say(the("price", HTMLElement), total(endpoints) === null ? "" : `On AWS: ${cost(total(endpoints))}, at list price. Here it runs on your machine.`);
  keyed(the("cards", HTMLElement), endpoints, ({ model }) => model, cardOf);
});

watchHealth();
