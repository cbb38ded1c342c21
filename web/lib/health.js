// @ts-check
/** What the game says of its own health, in a player's words, above every page: what /healthz says, asked every few seconds while the page
 * is looked at. Nothing is shown while all is well; whether the server is reached at all is the connection's to say. */

import { h, say } from "./dom.js";
import { short } from "./models.js";

/** @typedef {{status: "ok" | "degraded" | "unavailable", missing: Record<string, string>,
 * titles?: Record<string, string>}} Health titles: of the missing models, in the order in which they are shown. */

const EVERY_MS = 5_000;
/** @type {Record<string, string>} What is said of what is no model. */
const PARTS = {
  learning: "The models do not learn at the moment: your corrections are saved, and will be learned later.",
  "learning of yours": "Your own model does not learn at the moment: your corrections are saved, and will be learned later.",
  router: "Some drawings get no guesses at the moment: they are saved, and will be guessed later.",
};
const DOWN = "The game cannot guess at the moment. It tries again by itself: your drawings wait, and nothing that was saved is lost.";

/** What a player is told; empty: nothing.
 * @param {Health} health
 * @returns {string}
 */
export function sentence({ status, missing, titles = {} }) {
  if (status === "ok") return "";
  if (status === "unavailable") return DOWN;
  const named = [...Object.keys(titles), ...Object.keys(missing).filter((name) => !(name in PARTS) && !(name in titles))];
  const models = named.map((model) => short({ model, title: titles[model] }, model));
  const told = Object.keys(PARTS).filter((part) => part in missing && !(part === "learning of yours" && "learning" in missing));
  const absent = models.length > 1 ? `${models.slice(0, -1).join(", ")} and ${models.at(-1)} do` : `${models[0]} does`;
  return [...(models.length ? [`${absent} not guess at the moment.`] : []), ...told.map((part) => PARTS[part])].join(" ");
}

/** The causes, for whoever wants to know. @param {Health} health */
export function causes({ missing }) {
  return Object.entries(missing).map(([name, why]) => `${name}: ${why}`).join("\n");
}

/** Show it above the page from now on. */
export function watchHealth() {
  const banner = h("p", { class: "health", role: "status", hidden: true });
  document.querySelector("header.top")?.after(banner);
  /** @type {number | undefined} */ let timer;

  async function ask() {
    clearTimeout(timer);
    const health = document.visibilityState === "visible" ? await asked() : undefined;
    if (health !== undefined) {
      const text = health ? sentence(health) : "";
      banner.hidden = text === "";
      banner.dataset.status = health?.status ?? "ok";
      banner.title = health ? causes(health) : "";
      say(banner, text);
    }
    timer = setTimeout(ask, EVERY_MS * (0.8 + 0.4 * Math.random()));
  }

  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && ask());
  ask();
}

/** @returns {Promise<Health | null>} Null: the server is not reached, or says something else. */
async function asked() {
  try {
    const response = await fetch("/api/health", { cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null; // the connection says so
  }
}
